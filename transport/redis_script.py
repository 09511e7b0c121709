"""A minimal Redis client for the limiter: one connection that runs one script, at a tenth of redis-py's cost per call.

It supports `EVALSHA`, RESP2 (parsed by hiredis), a hard timeout, and reconnects after a failure. On a cluster, `redis_cluster`
uses one for each node.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

import hiredis

Argument = str | int | bytes
_pack: Any = hiredis.pack_command  # its type stub is wrong


class Address(Protocol):
    """A server with credentials. `path` is a Unix socket, which replaces host and port, or ""."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def db(self) -> int: ...
    @property
    def tls(self) -> bool: ...
    def ssl_context(self) -> ssl.SSLContext: ...


class RedisFailed(Exception):
    """Redis returned an error, closed the connection or timed out. The next call reconnects.

    `code` is the first word of an error reply, such as READONLY; "" if there was no reply.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code

    @classmethod
    def because_of(cls, error: Exception) -> RedisFailed:
        code = str(error).partition(" ")[0] if isinstance(error, hiredis.ReplyError) else ""
        return cls(f"{type(error).__name__}: {error}", code)


class RedisScript:
    """A script on the Redis server at `address`. Calls can be pipelined; replies arrive in order."""

    def __init__(self, address: Address, script: str, timeout_seconds: float) -> None:
        self._address = address
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._timeout = timeout_seconds
        self._connection: _Connection | None = None
        self._context: ssl.SSLContext | None = None

    async def run(self, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run the script and return its reply. Raises `RedisFailed`."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._connection
                if connection is None or connection.closed:
                    connection = await self._open()
                return await connection.send(("EVALSHA", self._sha, len(keys), *keys, *arguments))
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            self.close()
            raise RedisFailed.because_of(error) from error

    async def run_each(self, calls: Sequence[tuple[Sequence[str], Sequence[Argument]]], asking: Sequence[bool]) -> list[Any]:
        """Run the script with each pair of keys and arguments, in one pipeline, and return the replies, including error replies.

        `asking` says for which calls a cluster node redirected to this one with ASK. Raises `RedisFailed` without a connection.
        """
        commands: list[tuple[Argument, ...]] = []
        for (keys, arguments), is_asking in zip(calls, asking, strict=True):
            if is_asking:
                commands.append(("ASKING",))
            commands.append(("EVALSHA", self._sha, len(keys), *keys, *arguments))
        replies = iter(await self._run(commands))
        results = []
        for is_asking in asking:
            if is_asking:
                next(replies)
            results.append(next(replies))
        if any(isinstance(result, hiredis.ReplyError) and str(result).startswith("NOSCRIPT") for result in results):
            self.close()  # the next connection loads the script
        return results

    async def execute(self, *command: Argument) -> Any:
        """Run another command and return its reply. Raises `RedisFailed`."""
        [reply] = await self._run([command])
        if isinstance(reply, hiredis.ReplyError):
            raise RedisFailed.because_of(reply)
        return reply

    async def _run(self, commands: Sequence[tuple[Argument, ...]]) -> list[Any]:
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._connection
                if connection is None or connection.closed:
                    connection = await self._open()
                replies = await asyncio.gather(*connection.send_all(commands), return_exceptions=True)
            for reply in replies:
                if isinstance(reply, OSError):
                    raise reply
        except (OSError, TimeoutError, hiredis.HiredisError) as error:
            self.close()
            raise RedisFailed.because_of(error) from error
        return replies

    def close(self) -> None:
        """Close the connection. Pending calls fail."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _open(self) -> _Connection:
        made = await self._connect()
        if self._connection is not None and not self._connection.closed:  # another task was faster
            made.close()
        else:
            self._connection = made
        return self._connection

    async def _connect(self) -> _Connection:
        address = self._address
        loop = asyncio.get_running_loop()
        if address.path:
            _, link = await loop.create_unix_connection(_Connection, address.path)
        else:
            _, link = await loop.create_connection(_Connection, address.host, address.port, ssl=self._tls())
        try:
            if address.password:
                user = (address.username,) if address.username else ()
                await link.send(("AUTH", *user, address.password))
            if address.db:
                await link.send(("SELECT", address.db))
            await link.send(("SCRIPT", "LOAD", self._script))
        except BaseException:
            link.close()
            raise
        return link

    def _tls(self) -> ssl.SSLContext | None:
        """Return the TLS context, created once: it loads the system's certificates, which takes milliseconds."""
        if self._address.tls and self._context is None:
            self._context = self._address.ssl_context()
        return self._context


class _Connection(asyncio.Protocol):
    """The connection. An error reply fails its call, and `RedisScript` then closes the connection."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None
        self.closed = False

    def send(self, command: tuple[Argument, ...]) -> asyncio.Future[Any]:
        if self._transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._transport.write(_pack(command))
        return future

    def send_all(self, commands: Sequence[tuple[Argument, ...]]) -> list[asyncio.Future[Any]]:
        """Send all commands in one write."""
        if self._transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        self._waiting.extend(futures)
        self._transport.write(b"".join(map(_pack, commands)))
        return futures

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (answer := self._reader.gets()) is not False and self._waiting:
            future = self._waiting.popleft()
            if future.done():
                continue
            if isinstance(answer, hiredis.ReplyError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        for future in self._waiting:
            if not future.done():
                future.set_exception(ConnectionResetError("Redis closed the connection"))
        self._waiting.clear()
