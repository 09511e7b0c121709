"""A scheduler for periodic tasks that needs no broker: one thread that runs functions at fixed intervals."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shared.core.availability import Availability

log = logging.getLogger("yout.worker.clock")

RETRY_SECONDS = 1.0  # delay after a failure, unless the interval is shorter


Observer = Callable[[str, str, float], None]  # a task's name, its result (done, failed), and its duration in seconds


class PeriodicTask(NamedTuple):
    """A task to run every `seconds`. `run` must be safe to repeat and to run in several processes at once."""

    name: str
    interval_seconds: float
    run: Callable[[], object]


def next_due_time(due: float, seconds: float, now: float) -> float:
    """Return the first due time after `now` in a series of one run per `seconds` that includes `due`. Missed runs are skipped."""
    return due + seconds * max(1, math.floor((now - due) / seconds) + 1)


class Scheduler:
    """Runs tasks in one thread: each at startup and then at its interval, never two at a time.

    A task that fails is retried after `RETRY_SECONDS`. A repeated failure is logged once, until the task succeeds or fails
    differently: with its traceback, or in one line if `is_outage` is true for it. If `database` is given, outages are reported
    to it instead, so that they are logged once for all schedulers.
    """

    def __init__(
        self,
        work: Sequence[PeriodicTask],
        *,
        is_outage: Callable[[Exception], bool] = lambda _: False,
        observe: Observer = lambda *_: None,
        database: Availability | None = None,
    ) -> None:
        self._work = work
        self._observe = observe
        self._database = database
        self._is_outage = is_outage
        self._failing: dict[str, type[Exception]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float) -> bool:
        """Start no further task and wait for the current one. Returns whether it finished in time."""
        self._stop.set()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        due = [time.monotonic()] * len(self._work)
        while True:
            next_index = due.index(min(due))
            if self._stop.wait(max(0.0, due[next_index] - time.monotonic())):
                return
            work = self._work[next_index]
            done = self._run(work)
            now = time.monotonic()
            due[next_index] = (
                next_due_time(due[next_index], work.interval_seconds, now)
                if done
                else now + min(RETRY_SECONDS, work.interval_seconds)
            )

    def _run(self, work: PeriodicTask) -> bool:
        began = time.monotonic()
        try:
            work.run()
        except Exception as error:  # one task's failure must not stop the others
            self._observe(work.name, "failed", time.monotonic() - began)
            self._log_failure(work, error, began)
            return False
        self._observe(work.name, "done", time.monotonic() - began)
        if (kind := self._failing.pop(work.name, None)) is not None:
            if self._database is not None and kind is Exception:
                self._database.succeeded(began)
            else:
                log.info("%s recovered", work.name)
        return True

    def _log_failure(self, work: PeriodicTask, error: Exception, began: float) -> None:
        outage = self._is_outage(error)
        # One outage can raise different error types in turn; log them as one.
        kind = Exception if outage else type(error)
        if self._failing.get(work.name) is kind:
            return
        self._failing[work.name] = kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if outage and self._database is not None:
            self._database.failed(reason, began)
            return
        log.error("%s failed and will be retried: %s", work.name, reason, exc_info=None if outage else error)
