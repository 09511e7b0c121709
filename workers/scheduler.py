"""Periodic work that needs no broker: a thread that runs functions on a beat of the monotonic clock."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

log = logging.getLogger("yout.worker.clock")

RETRY_SECONDS = 1.0  # after a failure, where the beat itself is not quicker


class Periodic(NamedTuple):
    """Run `run()` every `seconds`. It must be safe to run twice, and in several processes at once."""

    name: str
    seconds: float
    run: Callable[[], object]


def next_beat(due: float, seconds: float, now: float) -> float:
    """The first beat after `now` of a series that had one at `due`. Beats that were slept through are not made up for."""
    return due + seconds * max(1, math.floor((now - due) / seconds) + 1)


class Clock:
    """Runs all of `work` in one thread: each at startup and then at its interval, never two at a time.

    A repeated failure is logged once, until the work succeeds or fails differently; it is retried after
    `RETRY_SECONDS`. A failure for which `is_outage` is true is logged in one line, others with their traceback.
    """

    def __init__(self, work: Sequence[Periodic], *, is_outage: Callable[[Exception], bool] = lambda _: False) -> None:
        self._work = work
        self._is_outage = is_outage
        self._failing: dict[str, type[Exception]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Begin nothing more and wait for what runs; give whether it ended in time."""
        self._stop.set()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        due = [time.monotonic()] * len(self._work)
        while True:
            turn = due.index(min(due))
            if self._stop.wait(max(0.0, due[turn] - time.monotonic())):
                return
            work = self._work[turn]
            done = self._run(work)
            now = time.monotonic()
            due[turn] = next_beat(due[turn], work.seconds, now) if done else now + min(RETRY_SECONDS, work.seconds)

    def _run(self, work: Periodic) -> bool:
        try:
            work.run()
        except Exception as error:  # one kind of work must not end the others'; it is logged and tried again
            self._tell(work, error)
            return False
        if self._failing.pop(work.name, None):
            log.info("%s works again", work.name)
        return True

    def _tell(self, work: Periodic, error: Exception) -> None:
        outage = self._is_outage(error)
        # One outage may show as several of its types in turn: they are one piece of news.
        kind = Exception if outage else type(error)
        if self._failing.get(work.name) is kind:
            return
        self._failing[work.name] = kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.error("%s failed and will be retried: %s", work.name, reason, exc_info=None if outage else error)
