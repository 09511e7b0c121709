"""An HTTP/1.1 server connection that serves its requests one at a time, in order."""

import asyncio
from math import inf

from .chunked import ChunkedBody
from .error_responses import ProtocolError, render
from .head_buffer import HeadBuffer
from .minimum_rate import MinimumRate
from .request_cycle import RequestCycle
from .request_head import RequestHead, parse_head
from .timeouts import Timeouts
from .worker import Worker
from .write_buffer import WriteBuffer

Address = tuple[str, int] | None


class Connection(asyncio.Protocol):
    """The asyncio protocol of one accepted socket.

    It is between requests (``_cycle`` is None), serves one (``_cycle``), or is ``_closing``. ``_running`` has the cycles whose
    application still runs, even if their response is complete and the next cycle has started.
    """

    __slots__ = (
        "_closing",
        "_cycle",
        "_decoder",
        "_heads",
        "_left",
        "_lingered",
        "_lost",
        "_next_waits",
        "_over",
        "_pipelined",
        "_rate",
        "_reading",
        "_running",
        "_served",
        "_timeouts",
        "_transport",
        "client",
        "out",
        "server",
        "worker",
    )

    def __init__(self, worker: Worker, transport: asyncio.Transport, client: Address, server: Address) -> None:
        self.worker = worker
        self.client = client
        self.server = server
        self._transport = transport
        self._timeouts = Timeouts(worker.loop, self._read_late, self._write_late)
        self._cycle: RequestCycle | None = None
        self._running: set[RequestCycle] = set()
        self._served = 0
        # Input: an incomplete head, the body's framing, and the bytes of pipelined requests.
        self._heads = HeadBuffer(worker.limits.head_bytes)
        self._decoder: ChunkedBody | None = None
        self._left = 0
        self._rate: MinimumRate | None = None
        self._pipelined = bytearray()
        self._reading = True
        # Output.
        self.out = WriteBuffer(worker.loop, transport)
        transport.set_write_buffer_limits(high=worker.limits.waiting_bytes)
        self._next_waits = False
        # Shutdown.
        self._closing = False
        self._lingered = 0
        self._lost = False
        self._over = asyncio.Event()
        worker.connections.add(self)
        self._timeouts.expect_read(worker.config.keep_alive_timeout)

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._lingered += len(data)
            if self._lingered > self.worker.limits.linger_bytes:
                self._transport.close()
            return
        try:
            if self._cycle is None:
                self._read_head(data)
            elif self._cycle.body_ended:
                self._keep_pipelined(data)
            else:
                self._read_body(self._cycle, data)
        except ProtocolError as refusal:
            self._refuse(refusal)

    def eof_received(self) -> None:
        """Treat a half-closed connection as closed (RFC 9112, section 9.6), as Hypercorn does."""
        self._disconnect()
        self._close()

    def pause_writing(self) -> None:
        self.out.writable = False
        self._check_write_progress()

    def resume_writing(self) -> None:
        self.out.resume()
        if not self._closing:
            self._timeouts.expect_write(inf)
        if self._next_waits:
            self._next_waits = False
            self._begin_next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (how asyncio calls it)
        self._lost = self._closing = True
        self.worker.connections.discard(self)
        self._timeouts.stop()
        self._disconnect()
        self.out.discard()
        if not self._running:
            self._over.set()

    # Called by the worker.

    async def wait_closed(self) -> None:
        """Wait until the socket is closed and its applications have returned.

        If cancelled (by Hypercorn after ``graceful_timeout``), cancel the applications, let them send their last bytes, and
        close the socket.
        """
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            tasks = [turn.task for turn in self._running if turn.task is not None]
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            self._running.clear()  # a task that was cancelled before its first step never reached finished()
            if not self._lost:
                await self._close_within(self.worker.limits.linger_seconds)
            raise

    def shut_down(self) -> None:
        """Close now if idle, else after the current response. Called when the worker stops."""
        if self._cycle is None:
            self._close()

    # Called by the turn.

    def may_continue(self) -> bool:
        """Return whether another request may follow on this connection."""
        worker = self.worker
        return self._served < worker.config.keep_alive_max_requests and not worker.stopping

    def send_continue(self) -> None:
        self.out.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._begin_rate()

    def body_taken(self) -> None:
        if not self._reading and not self._closing:
            self._resume_reading()
            if self._cycle is not None and not self._cycle.body_ended and self._rate is not None:
                self._rate.resume(self.worker.loop.time())
                self._timeouts.expect_read(self._rate.seconds_left())

    def response_done(self, cycle: RequestCycle) -> None:
        """Start the next request or close the connection, after a complete response."""
        if self._closing:
            return
        if not cycle.keep_alive:
            self._close(linger=not cycle.body_ended or bool(self._pipelined))
        elif self.out.writable:
            self._begin_next()
        else:
            self._next_waits = True

    def application_done(self, cycle: RequestCycle) -> None:
        """Clean up after the application returned or failed. An incomplete response becomes a 500 or a closed connection."""
        self._running.discard(cycle)
        if not cycle.answered and not cycle.gone:
            message = "Internal server error. Contact support with the request id."
            self._refuse(ProtocolError(500, "internal_error", message))
        if self._lost and not self._running:
            self._over.set()

    # Reading.

    def _read_head(self, data: bytes) -> None:
        limits = self.worker.limits
        is_first = not self._heads
        taken = self._heads.feed(data)
        if taken is not None:
            self._begin(parse_head(taken[0], limits.head_fields), taken[1])
        elif is_first:
            self._timeouts.expect_read(self.worker.config.read_timeout or limits.header_seconds)

    def _begin(self, head: RequestHead, rest: bytes) -> None:
        names = self.worker.config.server_names
        if names and (head.host or b"").decode("ascii") not in names:
            raise ProtocolError(404, "unknown_host", "The name in the Host header is not served here.")
        turn = self._cycle = RequestCycle(self, head)
        self._served += 1
        if head.chunked or head.length:
            self._decoder = ChunkedBody() if head.chunked else None
            self._left = head.length
            if rest:
                self._read_body(turn, rest)
            elif not turn.awaits_continue:
                self._begin_rate()
            else:
                self._timeouts.expect_read(inf)
        else:
            self._end_body(turn, rest)
        self._running.add(turn)
        turn.task = self.worker.loop.create_task(turn.run())

    def _read_body(self, cycle: RequestCycle, data: bytes) -> None:
        rest: bytes | None
        if self._decoder is not None:
            piece, rest = self._decoder.feed(data)
        elif len(data) < self._left:
            self._left -= len(data)
            piece, rest = data, None
        else:
            piece, rest = data[: self._left], data[self._left :]
        if piece:
            cycle.feed(piece)
        if rest is not None:
            self._end_body(cycle, rest)
            return
        if self._rate is None:
            self._begin_rate()
        else:
            self._rate.record(len(data), self.worker.loop.time())
            self._timeouts.expect_read(self._rate.seconds_left())
        if cycle.unread > self.worker.limits.unread_bytes:
            self._pause_reading()

    def _end_body(self, cycle: RequestCycle, rest: bytes) -> None:
        self._decoder = None
        self._rate = None
        cycle.end_body()
        self._timeouts.expect_read(inf)
        if rest:
            self._keep_pipelined(rest)

    def _keep_pipelined(self, data: bytes) -> None:
        self._pipelined += data
        if len(self._pipelined) > self.worker.limits.unread_bytes:
            self._pause_reading()

    def _begin_next(self) -> None:
        self._cycle = None
        if not self.may_continue():
            self._close(linger=bool(self._pipelined))
            return
        self._resume_reading()
        data = bytes(self._pipelined)
        self._pipelined.clear()
        self._timeouts.expect_read(self.worker.config.keep_alive_timeout)
        if data:
            self.data_received(data)

    def _pause_reading(self) -> None:
        self._timeouts.expect_read(inf)
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()

    def _begin_rate(self) -> None:
        limits, window = self.worker.limits, self.worker.config.read_timeout or self.worker.limits.body_seconds
        self._rate = MinimumRate(window, limits.body_bytes_per_second, limits.body_total_seconds, self.worker.loop.time())
        self._timeouts.expect_read(self._rate.seconds_left())

    # Ending.

    def _refuse(self, refusal: ProtocolError) -> None:
        """Send an error response unless the response has started, then close."""
        turn = self._cycle
        if self._closing:
            return
        if turn is None or not turn.head_sent:
            request_id = turn.request_id if turn else ""
            with_body = turn is None or turn.head.method != "HEAD"
            self.out.write(render(refusal, self.worker.server_headers(), request_id, with_body=with_body))
        self._disconnect()
        self._close(linger=turn is None or not turn.head_sent)

    def _disconnect(self) -> None:
        for turn in self._running:
            turn.disconnect()

    def _close(self, *, linger: bool = False) -> None:
        """Close once everything is written. ``linger`` reads on for a while, so that unread bytes do not cause a reset."""
        if self._closing:
            return
        self._closing = True
        self._pipelined.clear()
        self.out.flush()
        self._check_write_progress()
        if linger and self._transport.can_write_eof():
            self._transport.write_eof()
            self._resume_reading()
            self._timeouts.expect_read(self.worker.limits.linger_seconds)
        else:
            self._transport.close()

    async def _close_within(self, seconds: float) -> None:
        """Close, and abort if the client has not read everything within ``seconds``."""
        self._close()
        self._transport.close()
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            self._transport.abort()
            await self._over.wait()

    def _check_write_progress(self) -> None:
        self.out.mark_progress()
        self._timeouts.expect_write(self.worker.limits.write_seconds)

    def _read_late(self) -> None:
        if self._closing:
            self._transport.close()
        elif self._cycle is None and not self._heads:
            self._close()
        else:
            self._refuse(ProtocolError(408, "request_timeout", "Timed out waiting for the complete request. Send it again."))

    def _write_late(self) -> None:
        """Disconnect the client unless it has read enough since the start of the window."""
        if self.out.has_progressed(self.worker.limits.write_bytes):
            self._check_write_progress()
        else:
            self._transport.abort()
