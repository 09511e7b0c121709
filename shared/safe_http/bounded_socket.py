"""A socket with limits on idle time, total time, and received bytes.

`http.client` only has a timeout per read, so a server that sends a byte now and then could hold a connection forever. It does not
limit the bytes either: it accepts any number of informational responses and trailers, and chunks of negative size.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from http.client import HTTPConnection
from typing import Any

from shared.safe_http.addresses import Address

READ_BYTES = 64 * 1024  # per read
MAX_FRAMING_BYTES = 256 * 1024  # allowance for heads, informational responses and trailers
Stream = socket.socket | ssl.SSLSocket


class ResponseTooLarge(Exception):
    """The server sent more bytes than allowed, in the body or elsewhere."""


class Deadline:
    """Total and idle timeout of an exchange, in seconds."""

    def __init__(self, total_seconds: float, idle_seconds: float) -> None:
        self._at = time.monotonic() + total_seconds
        self._idle = idle_seconds

    def remaining_seconds(self) -> float:
        """Return the timeout for the next step, in seconds. Raises `TimeoutError` if none is left."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total timeout of the exchange has passed")
        return min(left, self._idle)


class BoundedSocket:
    """The part of the socket interface that `http.client` uses."""

    def __init__(self, stream: Stream, deadline: Deadline, max_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._max_bytes = max_bytes

    def sendall(self, data: Any) -> None:
        # A timeout per piece, because a socket applies its timeout to a whole `sendall`.
        view = memoryview(data).cast("B")
        for place in range(0, len(view), 65_536):
            self._stream.settimeout(self._deadline.remaining_seconds())
            self._stream.sendall(view[place : place + 65_536])

    def makefile(self, *_: object) -> io.BufferedReader:
        return _PiecewiseReader(_Reader(self._stream, self._deadline, self._max_bytes), READ_BYTES)

    def close(self) -> None:
        """Do nothing: `http.client` closes its socket after reading the head. `disconnect` closes the connection."""


class PinnedConnection(HTTPConnection):
    """HTTP/1.1 connection to a fixed address. The host name is used for SNI and the certificate check only."""

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
        self._stream.settimeout(self._deadline.remaining_seconds())
        self._stream.connect((str(self._address), self.port))
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            self._stream.settimeout(self._deadline.remaining_seconds())
            self._stream = self._tls.wrap_socket(self._stream, server_hostname=self.host)
        self.sock: Any = BoundedSocket(self._stream, self._deadline, self._max_bytes)

    def disconnect(self) -> None:
        """Close the connection, even in the middle of an exchange."""
        self._stream.close()


class _Reader(io.RawIOBase):
    def __init__(self, stream: Stream, deadline: Deadline, max_bytes: int) -> None:
        self._stream = stream
        self._deadline = deadline
        self._left = max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._stream.settimeout(self._deadline.remaining_seconds())
        count = self._stream.recv_into(buffer)
        self._left -= count
        if self._left < 0:
            raise ResponseTooLarge
        return count


class _PiecewiseReader(io.BufferedReader):
    """Rejects reads without a size, which `http.client` does for a negative chunk size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= READ_BYTES:
            raise ValueError("read without a size")
        return super().read(size)
