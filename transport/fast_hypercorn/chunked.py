"""A strict decoder for ``Transfer-Encoding: chunked`` (RFC 9112, section 7.1)."""

import re

from .error_responses import ProtocolError, bad_request
from .grammar import LOWER_NAMES, is_valid_block
from .request_head import too_large

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,12})(?:;[\t -~]*)?")
_MAX_LINE_BYTES = 1024
_MAX_TRAILER_BYTES = 8 * 1024


class ChunkedBody:
    """An incremental decoder. Chunk extensions are skipped; trailers are validated, then dropped.

    Limits: 1 KiB for a chunk-size or trailer line, 8 KiB for all trailers, 12 hex digits for a size.
    """

    __slots__ = ("_after_data", "_carry", "_in_trailer", "_left", "_trailer_bytes")

    def __init__(self) -> None:
        self._left = 0
        self._after_data = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self._carry = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Return (body bytes, bytes after the message); the latter is None until the message is complete.

        Raises `ProtocolError` (400 or 431) at the first invalid byte.
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
        """Return the index of the CRLF that ends the line at ``at``, or -1 if it has not arrived. Rejects bare CR and LF."""
        limit = at + (0 if self._after_data else _MAX_LINE_BYTES)
        end = data.find(b"\r\n", at, limit + 2)
        if end >= 0:
            return end
        if len(data) >= limit + 2 or b"\n" in data[at:] or b"\r" in data[at:-1]:
            raise _malformed()
        return -1

    def _read_line(self, line: bytes) -> bool:
        """Process one line without its CRLF. Return whether the message is complete."""
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
            raise too_large("The trailer section is too large. Send headers before the body instead.")
        name, colon, _ = line.partition(b":")
        if not colon or LOWER_NAMES[name] is None or not is_valid_block(line, 0):
            raise bad_request("Invalid trailer line; expected 'name: value'.")
        return False


def _malformed() -> ProtocolError:
    return bad_request("Malformed chunked body. A chunk consists of its size in hex digits, CRLF, the data, CRLF.")
