"""The TCP server class that Hypercorn calls for each accepted socket; it chooses the fast connection or Hypercorn's own."""

import asyncio
from typing import cast

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.utils import parse_socket_addr

from .bounded_hypercorn import BoundedTCPServer, limit_unsent
from .connection import Address, Connection
from .error_responses import TOO_MANY_CONNECTIONS, render
from .worker import App, FastWorkerContext, Worker


class FastTCPServer(BoundedTCPServer):
    """Hypercorn's connection handler, with our protocol in place of the stream reader.

    Hypercorn accepts, counts and, after ``graceful_timeout``, cancels these handlers like its own. TLS (and with it HTTP/2), WSGI
    applications and raw header names are left to Hypercorn.
    """

    async def run(self) -> None:
        """Serve the connection until it is closed and its applications have returned."""
        transport = cast(asyncio.Transport, self.writer.transport)
        if not isinstance(self.context, FastWorkerContext) or not self._is_ours():
            await super().run()
            return
        worker = self.context.worker(self._build_worker)
        try:
            client, server = self._addresses()
            early, ended = _take_over(self.reader)
        except OSError:  # already reset by the client
            transport.abort()
            return
        if transport.is_closing():
            return
        if len(worker.connections) >= worker.limits.connections:
            transport.write(render(TOO_MANY_CONNECTIONS, worker.server_headers(), ""))
            transport.close()
            return
        limit_unsent(self.writer.get_extra_info("socket"), worker.limits)
        connection = Connection(worker, transport, client, server)
        transport.set_protocol(connection)
        if early:
            connection.data_received(early)
        if ended:
            connection.eof_received()
        elif worker.stopping:
            connection.shut_down()
        await connection.wait_closed()

    def _is_ours(self) -> bool:
        return (
            isinstance(self.app, ASGIWrapper)
            and self.writer.get_extra_info("ssl_object") is None
            and not self.config.h11_pass_raw_headers
        )

    def _build_worker(self) -> Worker:
        app = cast(App, cast(ASGIWrapper, self.app).app)
        context = cast(FastWorkerContext, self.context)
        return Worker(app, self.loop, self.config, context, self.state, self.limits)

    def _addresses(self) -> tuple[Address, Address]:
        sock = self.writer.get_extra_info("socket")
        client = parse_socket_addr(sock.family, sock.getpeername())
        return client, parse_socket_addr(sock.family, sock.getsockname())


def _take_over(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Return (the bytes read before the change of protocol, whether the client has sent EOF).

    The loop may have read from the socket before this task's first step (uvloop does). The reader has no non-blocking call, so
    its coroutine is stepped by hand until it would block.

    Raises OSError if the connection was lost.
    """
    pieces: list[bytes] = []
    while True:
        reading = reader.read(65536)
        try:
            reading.send(None)
        except StopIteration as result:
            if not result.value:
                return b"".join(pieces), True
            pieces.append(result.value)
        else:
            reading.close()
            return b"".join(pieces), False
