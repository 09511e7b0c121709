"""The connection pool of one origin: keep-alive, last in first out, with a maximum size."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from transport.http_client.connection import Connection
from transport.http_client.errors import ConnectFailed, HttpClientError, PoolTimeout

Connect = Callable[[Callable[[Connection], None]], Awaitable[Connection]]


class Pool:
    """A pool with permits for connections in use. Idle connections hold no permit.

    A request acquires a permit, in order of arrival, and then the idle connection used last (the least likely to be stale) or a
    new one. `dial` opens a connection and calls the given callback when it closes.
    """

    __slots__ = ("_active", "_closed", "_connect", "_idle", "_idle_timeout", "_limit", "_max_idle", "_timeout", "_waiters")

    def __init__(self, dial: Connect, *, max_connections: int, max_idle: int, idle_timeout: float, timeout: float) -> None:
        self._connect = dial
        self._limit = max_connections
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._timeout = timeout
        self._active = 0
        self._idle: deque[Connection] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def take_idle(self) -> Connection | None:
        """Return an idle connection without waiting, or None if `acquire` must be awaited."""
        if self._idle and self._active < self._limit:
            self._active += 1
            return self._idle.pop()
        return None

    async def acquire(self) -> Connection:
        """Return a connection for one request. Raises PoolTimeout, ConnectTimeout, ConnectFailed."""
        if self._active < self._limit:
            self._active += 1
        else:
            await self._wait_for_permit()
        if self._idle:
            return self._idle.pop()
        return await self._open_with_permit()

    async def replace(self, connection: Connection) -> Connection:
        """Replace a stale connection with a new one, under the same permit. Raises like `acquire`."""
        connection.abort()
        return await self._open_with_permit()

    def release(self, connection: Connection) -> None:
        """Return a connection after its request. It is kept if it can serve another, else closed."""
        if not self._closed and len(self._idle) < self._max_idle and connection.reset_for_reuse():
            connection.expire_in(self._idle_timeout)
            self._idle.append(connection)
        else:
            connection.abort()
        self._free_permit()

    def discard(self, connection: Connection) -> None:
        """Close a connection that must not be reused, and free its permit."""
        connection.abort()
        self._free_permit()

    def close(self) -> None:
        """Close idle connections and fail waiting requests. Connections in use stay open."""
        self._closed = True
        while self._idle:
            self._idle[-1].abort()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(self._closed_error())

    async def _open_with_permit(self) -> Connection:
        try:
            # Other connections can be idle here after a stale one was replaced; the limit includes them.
            while self._idle and self._active + len(self._idle) > self._limit:
                self._idle[0].abort()
            connection = await self._connect(self._forget)
        except BaseException:
            self._free_permit()
            raise
        if self._closed:
            self.discard(connection)
            raise self._closed_error()
        return connection

    async def _wait_for_permit(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(self._timeout):
                await waiter
        except BaseException as exc:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self._free_permit()  # the permit was granted just as the wait ended
            if isinstance(exc, TimeoutError):
                raise PoolTimeout(f"all {self._limit} connections stayed busy for {self._timeout:g} s") from exc
            raise

    def _free_permit(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._active -= 1

    def _forget(self, connection: Connection) -> None:
        if not connection.in_use and connection in self._idle:
            self._idle.remove(connection)

    def _closed_error(self) -> HttpClientError:
        return ConnectFailed("the HTTP client was closed")
