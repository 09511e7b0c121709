"""A client connection as an asyncio protocol: one request and response at a time.

It buffers body bytes until the response takes them, and pauses reading from the socket when too many are buffered. It does not
depend on the pool.
"""

import asyncio
import math
from collections.abc import Callable
from typing import cast

from transport.http_client.deadlines import Deadlines
from transport.http_client.errors import ConnectionLost, FirstByteTimeout, HttpClientError, ProtocolError, ReadTimeout
from transport.http_client.response_parser import ResponseParser

# Reading pauses when this many body bytes are buffered, chunk framing included.
HIGH_WATER_BYTES = 8 * 1024
# Up to this size, head and body are one write; above it, copying the body costs more than a second write.
_JOINED_WRITE_BYTES = 64 * 1024


class Connection(ResponseParser, asyncio.Protocol):
    """Idle (`in_use` is false), serving one request, or `closed` for good.

    `error` is why the response cannot be completed; bytes that arrived before it stay readable.
    """

    __slots__ = (
        "_buffered_bytes",
        "_deadlines",
        "_loop",
        "_on_closed",
        "_paused",
        "_reads_small",
        "_transport",
        "_waiter",
        "closed",
        "deadline",
        "error",
        "in_use",
        "reused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        roster: Deadlines,
        max_header_bytes: int,
        on_closed: Callable[["Connection"], None],
    ) -> None:
        super().__init__(max_header_bytes)
        self._loop = loop
        self._deadlines = roster
        self._on_closed = on_closed
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._reads_small = False
        self._buffered_bytes = 0
        self.deadline = math.inf
        self.closed = False
        self.in_use = False
        self.reused = False
        self.error: HttpClientError | None = None

    # Called by the client, the pool and the response.

    def send(self, head: bytes, body: bytes, *, head_only: bool, timeout: float) -> asyncio.Future[None]:
        """Send a request; the future is done when `head_done` or `error` is set. `head_only`: a HEAD request."""
        self.expect(head_only=head_only)
        if not self.closed:
            self.in_use = True
            if len(body) <= _JOINED_WRITE_BYTES:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
        return self.wait(timeout)

    def wait(self, timeout: float) -> asyncio.Future[None]:
        """Return a future that is done when the head, body bytes, the end or an error (including the timeout) has arrived.

        Only one waiter at a time. The future never has an exception; check the connection's state instead.
        """
        waiter = self._loop.create_future()
        if self.closed:
            waiter.set_result(None)
            return waiter
        self._waiter = waiter
        self.expire_in(timeout)
        return waiter

    def expire_in(self, seconds: float) -> None:
        """Call `expire` after `seconds`, unless the deadline is changed before."""
        self.deadline = when = self._loop.time() + seconds
        if when < self._deadlines.next_sweep:
            self._deadlines.sweep_by(when)

    def take(self) -> bytes:
        """Return all buffered body bytes, and resume reading if it was paused."""
        parts = self.parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._buffered_bytes = 0
        if self._paused:
            self._resume()
        return data

    def reset_for_reuse(self) -> bool:
        """Discard the rest of this response. Return whether the connection can serve another request."""
        self.parts.clear()
        self._buffered_bytes = 0
        if self._paused:
            self._resume()
        if self.closed or not (self.done and self.keep_alive) or self._transport.get_write_buffer_size():
            return False
        self.in_use = False
        self.reused = True
        return True

    def abort(self, error: HttpClientError | None = None) -> None:
        """Close the socket now and discard unsent bytes. A waiter wakes up and finds `error`."""
        if not self.closed:
            self._transport.abort()
            self._end(error or self._lost("the connection was closed locally"))

    def failure(self) -> HttpClientError:
        """Return why the response failed."""
        return self.error or self._lost("the connection is closed")

    def expire(self) -> None:
        """Handle a passed deadline. If in use without a waiter, the deadline is outdated and ignored."""
        if not self.in_use:
            self.abort()
        elif self._waiter is not None and self.head_done:
            self.abort(ReadTimeout("timed out waiting for more of the response body"))
        elif self._waiter is not None:
            self.abort(FirstByteTimeout("timed out waiting for the response head"))

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.done or not self.in_use:
            # Unsolicited bytes: they could be mistaken for the next response.
            self.abort()
        if self.closed:
            return
        try:
            self.feed(data)
        except ProtocolError as exc:
            self.abort(exc)
            return
        if self.parts:
            if self._waiter is not None:
                self._wake()
            self._buffered_bytes += len(data)
            if self._buffered_bytes > HIGH_WATER_BYTES and not (self._paused or self.done):
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        # Abort: a close would wait until the upstream has read the remaining output.
        self._transport.abort()
        self._peer_ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_ended(exc)
        self._deadlines.discard(self)
        self.break_cycle()

    # Internals.

    def _resume(self) -> None:
        self._paused = False
        if self.closed:
            return
        if not self._reads_small:
            self._reads_small = True
            self._transport.set_protocol(_SmallReads(self, self._deadlines.read_buffer))
        self._transport.resume_reading()

    def _peer_ended(self, exc: Exception | None) -> None:
        if self.closed:
            return
        if exc is None and self.head_done and self.until_eof:
            self.done = True
        reason = "the upstream closed the connection" if exc is None else f"the connection broke: {exc}"
        self._end(self._lost(f"{reason} {'in mid-body' if self.head_done else 'before a response'}"))

    def _lost(self, message: str) -> ConnectionLost:
        return ConnectionLost(message, sent=self.in_use, response_started=self.started)

    def _end(self, error: HttpClientError) -> None:
        self.closed = True
        if not self.done:
            self.error = error
        self._wake()
        self._on_closed(self)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class _SmallReads(asyncio.BufferedProtocol):
    """Limits the size of each read, for a connection whose upstream sends faster than its reader consumes.

    uvloop reads 250 KB at once. That much would be buffered for each slow reader, and parsing its events would delay other
    streams. It is used only for slow readers, because it adds a call to each read.
    """

    __slots__ = ("_buffer", "_connection")

    def __init__(self, connection: Connection, buffer: memoryview) -> None:
        self._connection = connection
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (how asyncio calls it)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
