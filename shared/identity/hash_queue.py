"""A bounded queue for password hashing: one thread hashes, and attempts are refused at once if the queue is full.

By design a hash takes tens of milliseconds and 19 MiB (`shared.identity.passwords`). A single thread limits the memory and leaves
the other CPU cores free; the queue limits keep waits short.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from shared.core.errors import SignInQueueFull

T = TypeVar("T")

MAX_WAITING = 24
MAX_WAITING_KNOWN = 8  # extra slots for known browsers
MAX_PER_NETWORK = 4  # for unknown browsers, and again for known browsers
MAX_WAIT_SECONDS = 1.5


class HashQueue:
    """One per process. Has `max_waiting` slots for unknown browsers and `max_known` more for known ones."""

    def __init__(self, max_waiting: int = MAX_WAITING, max_known: int = MAX_WAITING_KNOWN) -> None:
        self._max_waiting, self._max_known = max_waiting, max_known
        self._held: Counter[tuple[str, bool]] = Counter()  # by (network, browser is known)
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    @contextmanager
    def slot(self, network: str, *, known: bool = False) -> Iterator[None]:
        """Hold a slot for one attempt. Raises `SignInQueueFull` if all slots, or all of the network's, are taken.

        Take it before any other work for the attempt, so that refusing a flood of attempts is cheap.
        """
        key = (network, known)
        with self._lock:
            limit = self._max_waiting + (self._max_known if known else 0)
            if self._held.total() >= limit or self._held[key] >= MAX_PER_NETWORK:
                raise SignInQueueFull
            self._held[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in the thread. The future raises `SignInQueueFull` if `work` does not start within 1.5 seconds."""
        deadline = time.monotonic() + MAX_WAIT_SECONDS

        def run() -> T:
            if time.monotonic() > deadline:
                raise SignInQueueFull
            return work()

        return self._thread.submit(run)

    def run(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread and return its result. Raises `SignInQueueFull`."""
        return self.submit(work).result()

    def close(self) -> None:
        """Cancel waiting work. The thread ends after its current hash."""
        self._thread.shutdown(cancel_futures=True)
