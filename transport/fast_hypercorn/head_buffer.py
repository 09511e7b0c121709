"""Collects a request head from the pieces in which it arrives."""

from .error_responses import bad_request
from .grammar import FIELD_BYTES
from .request_head import too_large


class HeadBuffer:
    """Holds an incomplete head; empty between heads, and always when they come in one piece."""

    __slots__ = ("_checked", "_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = bytearray()
        self._checked = 0

    def __bool__(self) -> bool:
        return bool(self._held)

    def take(self, data: bytes) -> tuple[bytes, bytes] | None:
        """(the head's lines, what follows its empty line), or None as long as it is incomplete.

        Raises `Refusal`: 431 for a head over the limit, 400 for bytes that can never become one.
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
            raise too_large(f"The request line and headers are over {self._limit} bytes together; send less.")
        if end < 0:
            self._check_held()
            return None
        if held:
            data = bytes(held)
            held.clear()
            self._checked = 0
        return data[: end + 2], data[end + 4 :]

    def _check_held(self) -> None:
        """Refuse a bare LF at once: it would otherwise be waited on until the time-out.

        Each byte is looked at once, so that a peer that sends them one by one costs no more than it should.
        """
        fresh = bytes(self._held[self._checked :]).removesuffix(b"\r")
        if fresh.replace(b"\r\n", b"").translate(None, FIELD_BYTES):
            raise bad_request("The request head holds control characters, or lines that do not end in CRLF.")
        self._checked += len(fresh)
