"""A threaded TCP server on any loopback address that answers every connection with the exact bytes of a test."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from tests.servers.process import free_port

Answer = Callable[[socket.socket, bytes], None]
WAIT = 20


class Server:
    """`requests` are the received requests in order. `answer` writes to the socket, which is closed afterwards."""

    def __init__(self, answer: Answer, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self.host = host
        self.requests: list[bytes] = []
        self.released = threading.Event()
        self._listener = socket.create_server((host, port or free_port()), family=_family(host))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/", host: str = "", scheme: str = "http") -> str:
        name = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{scheme}://{name}:{self.port}{path}"

    def close(self) -> None:
        self.released.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up `accept`, which close() alone would not
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(WAIT)
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            request = _whole_request(connection)
            self.requests.append(request)
            self._answer(connection, request)
        connection.close()


@contextlib.contextmanager
def serve(answer: Answer | bytes, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for the duration of the block; bytes are sent to every connection."""
    server = Server(answer if callable(answer) else lambda connection, _: connection.sendall(answer), host, port, tls)
    try:
        yield server
    finally:
        server.close()


def ok(body: bytes, *headers: str) -> bytes:
    return answer("200 OK", *headers, body=body)


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status, f"Location: {location}")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _whole_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            raise OSError("the client left")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    wanted = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < wanted:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body
