"""The minimum speed at which a client must send: average rate and total time."""

from __future__ import annotations


class MinimumRate:
    """The time budget of a client: a window that every received byte extends, and a total.

    Only time spent waiting for the client counts, not time when the server does not read. Times are in seconds of the event loop.
    """

    __slots__ = ("_bytes_per_second", "_left", "_since", "_total_left", "_window")

    def __init__(self, window: float, bytes_per_second: float, total: float, now: float) -> None:
        self._window = window
        self._bytes_per_second = bytes_per_second
        self._left = window
        self._total_left = total
        self._since = now

    def seconds_left(self) -> float:
        """Return the seconds left, counted from the last call of `take` or `resume`."""
        return min(self._left, self._total_left)

    def record(self, count: int, now: float) -> None:
        """Record ``count`` received bytes."""
        waited = now - self._since
        self._since = now
        self._left = min(self._window, self._left - waited + count / self._bytes_per_second)
        self._total_left -= waited

    def resume(self, now: float) -> None:
        """Start waiting for the client again, without counting the time since the last bytes."""
        self._since = now
