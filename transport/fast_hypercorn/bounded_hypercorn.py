"""Hypercorn's own connection, with the same timeouts and the same limit on open connections."""

import asyncio
import socket
from typing import cast

import h11
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData

from .error_responses import TOO_MANY_CONNECTIONS, render
from .limits import Limits
from .minimum_rate import MinimumRate


def limit_unsent(sock: socket.socket | None, limits: Limits) -> None:
    """Limit the unsent data in the kernel.

    Otherwise megabytes are read from the upstream for a stalled client, and it takes minutes to detect the stall.
    """
    if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, limits.unsent_bytes)


class BoundedTCPServer(TCPServer):
    """Hypercorn's connection handler, with the timeouts for bodies and writes that it lacks."""

    limits = Limits()
    _open = 0

    async def run(self) -> None:
        """Serve the connection, unless too many are open."""
        kind = type(self)
        if kind._open >= self.limits.connections:
            self.writer.write(render(TOO_MANY_CONNECTIONS, b"", ""))
            await self._close()
            return
        kind._open += 1
        try:
            limit_unsent(self.writer.get_extra_info("socket"), self.limits)
            await super().run()
        finally:
            kind._open -= 1

    async def _read_data(self) -> None:
        pace: MinimumRate | None = None
        while not self.reader.at_eof():
            if self._awaits_body():
                pace = pace or self._new_rate()
                pace.resume(self.loop.time())
            else:
                pace = None
            timeout = self.config.read_timeout if pace is None else max(pace.seconds_left(), 0)
            try:
                data = await asyncio.wait_for(self.reader.read(MAX_RECV), timeout)
            except (OSError, TimeoutError):
                break
            if pace is not None:
                pace.record(len(data), self.loop.time())
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())
        await self.idle_task.stop()  # otherwise a closed connection counts as open for `keep_alive_timeout`

    def _awaits_body(self) -> bool:
        connection = getattr(getattr(self.protocol, "protocol", None), "connection", None)
        return isinstance(connection, h11.Connection) and connection.their_state is h11.SEND_BODY

    def _new_rate(self) -> MinimumRate:
        limits = self.limits
        return MinimumRate(limits.body_seconds, limits.body_bytes_per_second, limits.body_total_seconds, self.loop.time())

    async def protocol_send(self, event: Event) -> None:
        """Send an event like Hypercorn, but with a timeout for a client that does not read."""
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        async with self.send_lock:
            try:
                self.writer.write(event.data)
                await self._drain()
            except (ConnectionError, RuntimeError):
                await self.protocol.handle(Closed())

    async def _drain(self) -> None:
        transport = cast(asyncio.Transport, self.writer.transport)
        while True:
            backlog = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self.limits.write_seconds if backlog else None):
                    await self.writer.drain()
                return
            except TimeoutError:
                if backlog - transport.get_write_buffer_size() < min(self.limits.write_bytes, backlog):
                    transport.abort()
                    raise ConnectionAbortedError("the client does not read") from None

    async def _close(self) -> None:
        transport = cast(asyncio.Transport, self.writer.transport)
        deadline = self.loop.call_later(self.limits.write_seconds, transport.abort)
        try:
            await super()._close()
        finally:
            deadline.cancel()
