"""Takes the chunks out of a ``Transfer-Encoding: chunked`` body, by the letter of RFC 9112, section 7.1."""

import re

from .error_responses import Refusal, bad_request
from .grammar import are_lines, lower_name
from .request_head import too_large

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})(?:;[\t -~]*)?")
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024


class ChunkedBody:
    """A decoder that is fed what arrives: extensions are skipped and trailers checked, then dropped.

    A chunk-size line and a trailer line hold at most 1 KiB, all trailers 8 KiB; a size has at most 12 hex digits.
    """

    __slots__ = ("_after_data", "_carry", "_in_trailer", "_left", "_trailer_bytes")

    def __init__(self) -> None:
        self._left = 0
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self._carry = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """(body bytes, what follows the message), the latter None as long as the message is not complete.

        Raises `Refusal` (400 or 431) at the first byte that is out of place.
        """
        if self._carry:
            data = self._carry + data
            self._carry = b""
        pieces: list[bytes] = []
        at = 0
        while True:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    return b"".join(pieces), None
                self._after_data = True
            end = self._find_line_end(data, at)
            if end < 0:
                self._carry = data[at:]
                return b"".join(pieces), None
            line, at = data[at:end], end + 2
            if self._read_line(line):
                return b"".join(pieces), data[at:]

    def _find_line_end(self, data: bytes, at: int) -> int:
        """Where the CRLF of the line at ``at`` is, -1 if it has not arrived; bare CR and LF are caught here."""
        limit = at + (0 if self._after_data else _MAX_LINE_BYTES)
        end = data.find(b"\r\n", at, limit + 2)
        if end >= 0:
            return end
        if len(data) >= limit + 2 or b"\n" in data[at:] or b"\r" in data[at:-1]:
            raise _malformed()
        return -1

    def _read_line(self, line: bytes) -> bool:
        """Take in one line, without its CRLF; true at the end of the message."""
        if self._in_trailer:
            return self._read_trailer(line)
        if self._after_data:
            self._after_data = False
            return False
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise _malformed()
        self._left = int(match[1], 16)
        self._in_trailer = self._left == 0
        return False

    def _read_trailer(self, line: bytes) -> bool:
        if not line:
            return True
        self._trailer_bytes += len(line) + 2
        if self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise too_large("The trailer section is too large; send headers before the body instead.")
        name, colon, _ = line.partition(b":")
        if not colon or lower_name(name) is None or not are_lines(line, 0):
            raise bad_request("A trailer line is not 'name: value'.")
        return False


def _malformed() -> Refusal:
    return bad_request("The chunked body is malformed: a chunk is its size in hex digits, CRLF, the data, CRLF.")
