"""Renders response heads: the application's headers, with the framing that this server chooses."""

from collections.abc import Iterable
from http import HTTPStatus

from .grammar import CRLF, LOWER_NAMES, is_valid_block

_STATUS_LINES = {int(s): b"HTTP/1.1 %d %b\r\n" % (s, s.phrase.encode()) for s in HTTPStatus}
_FRAMING = frozenset({b"content-length", b"connection", b"transfer-encoding", b"keep-alive"})
_BODILESS = frozenset({204, 304})

Fields = Iterable[tuple[bytes, bytes]]


class ResponseHead:
    """A validated response start, kept until the first body message.

    ``lines`` are the application's header lines, ``length`` is its Content-Length, ``closes`` is true if it sent
    ``connection: close``.
    """

    __slots__ = ("closes", "has_body", "length", "lines", "status")

    def __init__(self, status: int, fields: Fields, method: str) -> None:
        """Raises ValueError for an invalid status or header, TypeError for values that are not bytes."""
        if not 200 <= status <= 999:
            raise ValueError(f"response status must be between 200 and 999, not {status}")
        self.status = status
        self.length: int | None = None
        self.closes = False
        self.has_body = status not in _BODILESS and method != "HEAD"
        lines: list[bytes] = []
        for field in fields:
            name, value = field
            lowered = LOWER_NAMES[name]
            if lowered is None:
                raise ValueError(f"invalid header name {name!r}")
            if lowered in _FRAMING and value != b"upgrade":  # "connection: upgrade" belongs to a 426
                self._read_framing(lowered, value)
            else:
                lines.append(b": ".join(field))
        count = len(lines)
        lines.append(b"")  # the last line ends with CRLF, too
        self.lines = CRLF.join(lines)
        if not is_valid_block(self.lines, count):
            raise ValueError("a response header contains a control character")

    def _read_framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            if self.length is not None or not value.isdigit():
                raise ValueError(f"content-length must be a single decimal number, not {value!r}")
            self.length = int(value)
        elif name == b"connection" and b"close" in value.lower():
            self.closes = True
        # The other framing headers are dropped: this server decides on keep-alive and chunking.

    def render(self, server_headers: bytes, *, chunked: bool, close: bool) -> bytes:
        """Return the head with its final empty line. ``server_headers`` (date, server) are lines with CRLF."""
        status_line = _STATUS_LINES.get(self.status) or b"HTTP/1.1 %d \r\n" % self.status
        framing = b""
        if chunked:
            framing = b"transfer-encoding: chunked\r\n"
        elif self.length is not None and self.status != 204:  # not allowed with a 204 (RFC 9110, section 8.6)
            framing = b"content-length: %d\r\n" % self.length
        ending = b"connection: close\r\n\r\n" if close else b"\r\n"
        return b"".join((status_line, self.lines, framing, server_headers, ending))
