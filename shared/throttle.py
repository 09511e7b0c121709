"""A throttle of failed sign-ins: so many attempts in a window, for each e-mail and each address. Bounded, in this process."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from threading import Lock

WINDOW_MS = 15 * 60 * 1000
MOST_KEYS = 10_000


class Throttle:
    """Counts attempts when they begin, so that guesses sent at once are counted too; a success takes its own back."""

    def __init__(self, most_keys: int = MOST_KEYS) -> None:
        self._attempts: OrderedDict[str, deque[int]] = OrderedDict()
        self._most_keys = most_keys
        self._lock = Lock()

    def begin(self, limits: Mapping[str, int], now: int) -> int:
        """Count an attempt under each key of `limits` (key → attempts in a window), unless one of them is used up.

        Gives 0, or the milliseconds until the next attempt may begin; a refused attempt is not counted. `now` in ms.
        """
        with self._lock:
            wait = max(self._wait(key, limit, now) for key, limit in limits.items())
            if wait:
                return wait
            for key in limits:
                self._attempts.setdefault(key, deque()).append(now)
                self._attempts.move_to_end(key)
            while len(self._attempts) > self._most_keys:  # the key that was quiet for longest
                self._attempts.popitem(last=False)
            return 0

    def forgive(self, person: str, address: str) -> None:
        """After a success: forget the person's failures, and of the address the attempt that succeeded."""
        with self._lock:
            self._attempts.pop(person, None)
            if self._attempts.get(address):
                self._attempts[address].pop()

    def _wait(self, key: str, limit: int, now: int) -> int:
        times = self._attempts.get(key)
        if not times:
            return 0
        while times and times[0] <= now - WINDOW_MS:
            times.popleft()
        return times[-limit] + WINDOW_MS - now if len(times) >= limit else 0
