"""A TCP server that sends the exact bytes of a test, including ones that HTTP libraries refuse to send."""

import asyncio
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

JSON_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Peer:
    """The server side of one connection. `number` counts connections from 0."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        self.gone = asyncio.Event()

    async def request(self) -> bytes | None:
        """The next request, head and body; None if the client closed the connection."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length: (\d+)", head)
            return head + (await self.reader.readexactly(int(length[1])) if length else b"")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def send(self, *pieces: bytes) -> None:
        """Send each piece in a separate write, yielding to the event loop in between."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def wait_gone(self) -> None:
        """Wait until the client closes or resets the connection; sets `gone`."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        self.gone.set()

    def reset(self) -> None:
        """Close with a TCP reset instead of a FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Runs `handler` for each connection and closes the connection when it returns. An exception in it fails the test."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handler = handler
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self.peers: list[Peer] = []
        self.connected = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def url(self, path: str = "/v1/x", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def wait_for_peers(self, count: int) -> None:
        """Wait until `count` connections have arrived."""
        while len(self.peers) < count:
            self.connected.clear()
            await self.connected.wait()

    def stop_listening(self) -> None:
        self._server.close()

    async def __aexit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for peer in self.peers:
            transport = peer.writer.transport
            if not transport.is_closing() or transport.get_write_buffer_size():  # asyncio cannot abort one that has closed
                transport.abort()
        await self._server.wait_closed()
        await asyncio.sleep(0.01)  # the aborted transports close on the next turns of the loop
        for result in results:
            if isinstance(result, Exception) and exc is None:
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(self.peers))
        self.peers.append(peer)
        self.connected.set()
        self._tasks.add(asyncio.create_task(self._serve(peer)))

    async def _serve(self, peer: Peer) -> None:
        try:
            await self._handler(peer)
        except ConnectionError:
            pass  # the client disconnected while the bytes were being sent
        finally:
            peer.writer.close()


def answering(*pieces: bytes) -> Handler:
    """Respond to every request on a connection with the same pieces."""

    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(*pieces)

    return handler


def answering_then_closing(*pieces: bytes) -> Handler:
    """Respond to the first request on a connection and close it."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return handler
