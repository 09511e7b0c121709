"""A bounded queue for password hashes: slow work that strangers can ask for, done by one thread, refused early when it is full.

A hash takes tens of milliseconds and 19 MiB by design (`shared.passwords`). One thread bounds the memory and leaves the other
processors to everybody else; the bounds on the queue keep an honest person's wait short, or tell them at once.
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
MAX_WAITING_KNOWN = 8  # more, for people who signed in from their browser before
MAX_PER_NETWORK = 4  # of strangers, and as many known people
MAX_WAIT_SECONDS = 1.5


class HashQueue:
    """One for each process. `max_waiting` bounds the slots that strangers may hold at once, `max_known` is added for others."""

    def __init__(self, max_waiting: int = MAX_WAITING, max_known: int = MAX_WAITING_KNOWN) -> None:
        self._max_waiting, self._max_known = max_waiting, max_known
        self._held: Counter[tuple[str, bool]] = Counter()  # by network, and whether they are known there
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    @contextmanager
    def slot(self, network: str, *, known: bool = False) -> Iterator[None]:
        """Hold a place in the queue for one attempt. Raises `Busy` when all are held, or the network holds its share.

        Take one before any other work is done for the attempt, so that a flood is refused at the least cost.
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
        """Drop what waits, and end the thread after the hash that it has begun."""
        self._thread.shutdown(cancel_futures=True)
