"""A response whose head is in, and the one way to its body."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from transport.http_client.connection import Connection
from transport.http_client.errors import BodyTooLarge, ConnectionLost, ProtocolViolation
from transport.http_client.inflate import Inflater
from transport.http_client.pool import Pool
from transport.http_client.types import Headers

_COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate"})


class HttpResponse:
    """Holds its connection until the body was read to the end, or `release()` or `cancel()` was called.

    For one reader: two tasks must not wait in `read` at once.
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
        """Await it for all body bytes that have arrived since the last read, or b"" at the end.

        Waits at most `timeout` seconds. Raises ReadTimeout, ConnectionLost (a body cut short included) and
        ProtocolViolation, each after the bytes that came before it were read. Cancelling closes the socket.
        """
        if self._inflater is None:
            return self._read_plain(timeout)
        return self._read_inflated(self._inflater, timeout)

    async def read_all(self, *, limit: int, timeout: float) -> bytes:  # noqa: ASYNC109 - cheaper than asyncio.timeout
        """The whole rest of the body, `timeout` seconds for all of it.

        Raises as `read` does, and BodyTooLarge where it is longer than `limit` bytes (decompressed). After an error
        the connection is closed.
        """
        connection = self._connection
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
        """Give the connection back for the next request if the body has arrived whole, else close it. Idempotent."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._pool.give_back(connection)

    def cancel(self) -> None:
        """Close the socket at once, so that the upstream stops working. Idempotent; nothing after the end or release."""
        connection = self._connection
        if connection is not None:
            self._connection = None
            self._cancelled = True
            self._pool.discard(connection)

    async def _read_plain(self, patience: float) -> bytes:
        connection = self._connection
        if connection is None:
            return self._read_after_end()
        if not (connection.parts or connection.done or connection.error):
            try:
                await connection.wait(patience)
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

    async def _read_inflated(self, inflater: Inflater, patience: float) -> bytes:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        try:
            while True:
                raw = b"" if inflater.pending else await self._read_plain(deadline - loop.time())
                if not raw and not inflater.pending:
                    inflater.finish()
                    return b""
                if piece := inflater.feed(raw):
                    return piece
        except ProtocolViolation:
            self.cancel()
            raise

    def _read_after_end(self) -> bytes:
        if self._cancelled:
            raise ConnectionLost("the response was cancelled", sent=True, response_started=True)
        return b""

    def _refuse_size(self, limit: int) -> None:
        self.cancel()
        raise BodyTooLarge(f"the response body is longer than {limit} bytes")

    def _expect_encoding(self, encoding: bytes) -> None:
        """We ask for identity. Some front proxies compress all the same: undo it where zlib can."""
        if encoding in _COMPRESSED:
            self._inflater = Inflater()
        elif encoding != b"identity":
            self.cancel()
            raise ProtocolViolation(f"content-encoding {encoding[:80]!r} was not asked for and cannot be undone here")
