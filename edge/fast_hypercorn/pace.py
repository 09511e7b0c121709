"""How slowly a peer may send: by its rate, and in all."""

from __future__ import annotations


class Pace:
    """The time that a peer still has: a window to begin with, of which every byte buys a little back, and a total.

    Only time in which we waited counts, not that in which we did not read. Times in seconds of the event loop.
    """

    __slots__ = ("_bytes_per_second", "_left", "_since", "_total_left", "_window")

    def __init__(self, window: float, bytes_per_second: float, total: float, now: float) -> None:
        self._window = window
        self._bytes_per_second = bytes_per_second
        self._left = window
        self._total_left = total
        self._since = now

    def left(self) -> float:
        """The seconds that the peer has, from the last call that changed them."""
        return min(self._left, self._total_left)

    def take(self, count: int, now: float) -> None:
        """``count`` bytes have come."""
        waited = now - self._since
        self._since = now
        self._left = min(self._window, self._left - waited + count / self._bytes_per_second)
        self._total_left -= waited

    def resume(self, now: float) -> None:
        """The peer is waited for again: since the last bytes it was not."""
        self._since = now
