"""A buffer that assembles a request head from the pieces that arrive."""

from .error_responses import bad_request
from .grammar import FIELD_BYTES
from .request_head import too_large


class HeadBuffer:
    """Holds an incomplete head. It stays empty if heads arrive in one piece."""

    __slots__ = ("_checked", "_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._checked = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Return (the head's lines, the bytes after its empty line), or None while the head is incomplete.

        Raises `ProtocolError`: 431 for a head over the limit, 400 for bytes that cannot start a valid head.
        """
        held = self._held
        if held:
            start = max(0, len(held) - 3)
            held += data
            end = held.find(b"\r\n\r\n", start)
        else:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                held += data
        if end > self._limit or (end < 0 and len(held) > self._limit):
            raise too_large(f"The request line and headers exceed {self._limit} bytes.")
        if end < 0:
            self._check_held()
            return None
        if held:
            data = bytes(held)
            held.clear()
            self._checked = 0
        return data[: end + 2], data[end + 4 :]

    def _check_held(self) -> None:
        """Reject a bare LF or a control character at once, instead of waiting for the rest until the timeout.

        Each byte is checked only once, so that a client that sends single bytes cannot cause quadratic work.
        """
        fresh = bytes(self._held[self._checked :]).removesuffix(b"\r")
        if fresh.replace(b"\r\n", b"").translate(None, FIELD_BYTES):
            raise bad_request("The request head contains control characters, or lines that do not end in CRLF.")
        self._checked += len(fresh)
