"""The connections to one origin: kept alive, reused last in first out, and limited in number."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from transport.http_client.connection import Connection
from transport.http_client.errors import ConnectFailed, HttpClientError, PoolTimeout

Dial = Callable[[Callable[[Connection], None]], Awaitable[Connection]]


class Pool:
    """A permit is the right to one connection in use. Idle connections hold none.

    A request takes a permit, then the idle connection used last (the least likely to be stale), or a new one. Who finds
    no permit waits in line for one. `dial` opens a connection and has the given callback told when it closes.
    """

    __slots__ = ("_active", "_closed", "_dial", "_idle", "_idle_timeout", "_limit", "_max_idle", "_patience", "_turns")

    def __init__(self, dial: Dial, *, max_connections: int, max_idle: int, idle_timeout: float, patience: float) -> None:
        self._dial = dial
        self._limit = max_connections
        self._max_idle = max_idle
        self._idle_timeout = idle_timeout
        self._patience = patience
        self._active = 0
        self._idle: deque[Connection] = deque()
        self._turns: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def take(self) -> Connection | None:
        """An idle connection, without waiting; None where `acquire` must be awaited."""
        if self._idle and self._active < self._limit:
            self._active += 1
            return self._idle.pop()
        return None

    async def acquire(self) -> Connection:
        """A connection for one request. Raises PoolTimeout, ConnectTimeout, ConnectFailed."""
        if self._active < self._limit:
            self._active += 1
        else:
            await self._wait_turn()
        if self._idle:
            return self._idle.pop()
        return await self._open_with_permit()

    async def replace(self, connection: Connection) -> Connection:
        """A new connection in place of a stale one, under the same permit. Raises as `acquire` does."""
        connection.abort()
        return await self._open_with_permit()

    def give_back(self, connection: Connection) -> None:
        """The request is over: keep the connection where it can serve another, else close it."""
        if not self._closed and len(self._idle) < self._max_idle and connection.reset_for_reuse():
            connection.expire_in(self._idle_timeout)
            self._idle.append(connection)
        else:
            connection.abort()
        self._free_permit()

    def discard(self, connection: Connection) -> None:
        """The request is over and its connection must not be used again."""
        connection.abort()
        self._free_permit()

    def close(self) -> None:
        """Close what is idle and turn away who waits. Connections in use are their holders'."""
        self._closed = True
        while self._idle:
            self._idle[-1].abort()
        for turn in self._turns:
            if not turn.done():
                turn.set_exception(self._closed_error())

    async def _open_with_permit(self) -> Connection:
        try:
            # Only after a stale connection was replaced can others be idle here; the limit counts them too.
            while self._idle and self._active + len(self._idle) > self._limit:
                self._idle[0].abort()
            connection = await self._dial(self._forget)
        except BaseException:
            self._free_permit()
            raise
        if self._closed:
            self.discard(connection)
            raise self._closed_error()
        return connection

    async def _wait_turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as exc:
            if turn in self._turns:
                self._turns.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:
                self._free_permit()  # the turn came in the same moment as the end of waiting
            if isinstance(exc, TimeoutError):
                raise PoolTimeout(f"all {self._limit} connections stayed busy for {self._patience:g} s") from exc
            raise

    def _free_permit(self) -> None:
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._active -= 1

    def _forget(self, connection: Connection) -> None:
        if not connection.in_use and connection in self._idle:
            self._idle.remove(connection)

    def _closed_error(self) -> HttpClientError:
        return ConnectFailed("the HTTP client was closed")
