"""`HttpResponse`: status and headers, with a streamed body."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from transport.http_client.connection import Connection
from transport.http_client.errors import BodyTooLarge, ConnectionLost, ProtocolError
from transport.http_client.inflate import Inflater
from transport.http_client.pool import Pool
from transport.http_client.types import Headers

_COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate"})


class HttpResponse:
    """A response whose head has arrived. It holds its connection until the body is read to the end, or `release()` or `cancel()`.

    Only one task may read at a time.
    """

    __slots__ = ("_cancelled", "_connection", "_inflater", "_pool", "headers", "status")

    def __init__(self, connection: Connection, pool: Pool) -> None:
        self.status = connection.status
        self.headers = Headers(connection.headers)
        self._connection: Connection | None = connection
        self._pool = pool
        self._cancelled = False
        self._inflater: Inflater | None = None
        if connection.content_encoding:
            self._expect_encoding(connection.content_encoding)

    def read(self, *, timeout: float) -> Coroutine[Any, Any, bytes]:
        """Return an awaitable of all body bytes that arrived since the last read, or b"" at the end.

        Waits at most `timeout` seconds. Raises ReadTimeout, ConnectionLost (also for a truncated body) and ProtocolViolation,
        each after the bytes that arrived before it. Cancelling closes the socket.
        """
        if self._inflater is None:
            return self._read_plain(timeout)
        return self._read_inflated(self._inflater, timeout)

    async def read_all(self, *, limit: int, timeout: float) -> bytes:  # noqa: ASYNC109 - cheaper than asyncio.timeout
        """Return the rest of the body, within `timeout` seconds in all.

        Raises like `read`, and BodyTooLarge if it exceeds `limit` bytes (decompressed). An error closes the connection.
        """
        connection = self._connection
        if connection is not None and self._inflater is None and connection.done:  # it arrived with its head
            data = connection.take()
            if len(data) > limit:
                self._refuse_size(limit)
            self.release()
            return data
        if connection is not None and not connection.done and (connection.content_length or 0) > limit:
            self._refuse_size(limit)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read(timeout=deadline - loop.time()):
            size += len(piece)
            if size > limit:
                self._refuse_size(limit)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def release(self) -> None:
        """Return the connection to the pool if the body is complete, else close it. Idempotent."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._pool.release(connection)

    def cancel(self) -> None:
        """Close the socket, so that the upstream stops generating. Does nothing after the end or `release()`. Idempotent."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._cancelled = True
            self._pool.discard(connection)

    async def _read_plain(self, seconds: float) -> bytes:
        connection = self._connection
        if connection is None:
            return self._read_after_end()
        if not (connection.parts or connection.done or connection.error):
            try:
                await connection.wait(seconds)
            except asyncio.CancelledError:
                self.cancel()
                raise
        if connection.parts:
            return connection.take()
        if connection.done:
            self.release()
            return b""
        self.cancel()
        raise connection.failure()

    async def _read_inflated(self, inflater: Inflater, seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        try:
            while True:
                raw = b"" if inflater.pending else await self._read_plain(deadline - loop.time())
                if not raw and not inflater.pending:
                    inflater.finish()
                    return b""
                if piece := inflater.feed(raw):
                    return piece
        except ProtocolError:
            self.cancel()
            raise

    def _read_after_end(self) -> bytes:
        if self._cancelled:
            raise ConnectionLost("the response was cancelled", sent=True, response_started=True)
        return b""

    def _refuse_size(self, limit: int) -> None:
        self.cancel()
        raise BodyTooLarge(f"the response body exceeds {limit} bytes")

    def _expect_encoding(self, encoding: bytes) -> None:
        """Prepare to decompress the body: some proxies compress although we ask for identity."""
        if encoding in _COMPRESSED:
            self._inflater = Inflater()
        elif encoding != b"identity":
            self.cancel()
            raise ProtocolError(f"unsupported content-encoding {encoding[:80]!r}")
