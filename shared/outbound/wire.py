"""A socket with limits on silence, on the total time, and on the bytes received.

`http.client` has a timeout per read only: a server that sends a byte now and then would hold the connection forever. It does not
limit bodies either: it reads any number of informational answers and trailers, and a chunk of negative size to the end.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from http.client import HTTPConnection
from typing import Any

from shared.outbound.addresses import Address

PIECE_BYTES = 64 * 1024  # per read
FRAMING_BYTES = 256 * 1024  # allowed besides the body: heads, informational answers, trailers
Stream = socket.socket | ssl.SSLSocket


class TooLarge(Exception):
    """The server sent more bytes than allowed for the exchange, body or not."""


class Deadline:
    """When an exchange must be over, and how long it may be silent."""

    def __init__(self, total_seconds: float, idle_seconds: float) -> None:
        self._at = time.monotonic() + total_seconds
        self._idle = idle_seconds

    def patience(self) -> float:
        """How long the next step may take, in seconds. Raises `TimeoutError` when none is left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the whole exchange is over")
        return min(left, self._idle)


class BoundedSocket:
    """As much of a socket as `http.client` uses."""

    def __init__(self, stream: Stream, deadline: Deadline, max_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._max_bytes = max_bytes

    def sendall(self, data: Any) -> None:
        # One timeout for each piece, as the socket's counts for the whole of one `sendall`.
        view = memoryview(data).cast("B")
        for place in range(0, len(view), 65_536):
            self._stream.settimeout(self._deadline.patience())
            self._stream.sendall(view[place : place + 65_536])

    def makefile(self, *_: object) -> io.BufferedReader:
        return _PiecewiseReader(_Reader(self._stream, self._deadline, self._max_bytes), PIECE_BYTES)

    def close(self) -> None:
        """Nothing yet: `http.client` lets go of its socket when it has read the head. `hang_up` is what closes."""


class PinnedConnection(HTTPConnection):
    """HTTP/1.1 to one address, whatever the host's name may resolve to by now. The name goes into SNI and certificate check."""

    def __init__(
        self, host: str, address: Address, port: int, tls: ssl.SSLContext | None, deadline: Deadline, max_bytes: int
    ) -> None:
        super().__init__(host, port)
        self._max_bytes = max_bytes
        self._address = address
        self._tls = tls
        self._deadline = deadline
        self._stream: Stream = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)

    def connect(self) -> None:
        self._stream.settimeout(self._deadline.patience())
        self._stream.connect((str(self._address), self.port))
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._stream.settimeout(self._deadline.patience())
            self._stream = self._tls.wrap_socket(self._stream, server_hostname=self.host)
        self.sock: Any = BoundedSocket(self._stream, self._deadline, self._max_bytes)

    def hang_up(self) -> None:
        """Close the connection, whatever is under way."""
        self._stream.close()


class _Reader(io.RawIOBase):
    def __init__(self, stream: Stream, deadline: Deadline, max_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._left = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._stream.settimeout(self._deadline.patience())
        count = self._stream.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise TooLarge
        return count


class _PiecewiseReader(io.BufferedReader):
    """Refuses a read without a size, which `http.client` does for a negative chunk size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= PIECE_BYTES:
            raise ValueError("a read without a size")
        return super().read(size)
