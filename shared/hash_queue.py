"""A bounded queue for password hashes: one thread does the slow work, and attempts are refused at once when it is full.

A hash takes tens of milliseconds and 19 MiB by design (`shared.passwords`). One thread limits the memory and leaves the other
CPU cores free; the limits on the queue keep waits short.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from shared.errors import Busy

T = TypeVar("T")

MAX_WAITING = 24
MAX_WAITING_KNOWN = 8  # additional places for known browsers
MAX_PER_NETWORK = 4  # of unknown browsers, and the same number of known ones
MAX_WAIT_SECONDS = 1.5


class HashQueue:
    """One per process. At most `max_waiting` slots for unknown browsers, plus `max_known` for known ones."""

    def __init__(self, max_waiting: int = MAX_WAITING, max_known: int = MAX_WAITING_KNOWN) -> None:
        self._max_waiting, self._max_known = max_waiting, max_known
        self._held: Counter[tuple[str, bool]] = Counter()  # by network and whether the browser is known
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    @contextmanager
    def slot(self, network: str, *, known: bool = False) -> Iterator[None]:
        """Hold a place in the queue for one attempt. Raises `Busy` if all are taken, or the network has its share.

        Take it before any other work for the attempt, so that refusing a flood is cheap.
        """
        place = (network, known)
        with self._lock:
            limit = self._max_waiting + (self._max_known if known else 0)
            if self._held.total() >= limit or self._held[place] >= MAX_PER_NETWORK:
                raise Busy
            self._held[place] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[place] -= 1
                if not self._held[place]:
                    del self._held[place]

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in the thread. The future raises `Busy` if its turn does not come within 1.5 seconds."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS

        def run() -> T:
            if time.monotonic() > deadline:
                raise Busy
            return work()

        return self._thread.submit(run)

    def run(self, work: Callable[[], T]) -> T:
        """The same, and wait for it. Raises `Busy`."""
        return self.submit(work).result()

    def close(self) -> None:
        """Cancel waiting work, and end the thread after its current hash."""
        self._thread.shutdown(cancel_futures=True)
