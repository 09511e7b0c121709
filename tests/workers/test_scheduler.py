"""The scheduler: runs at intervals, never twice at once, and logs each outage in one line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from workers.scheduler import PeriodicTask, Scheduler, next_due_time

HOUR = 3600.0
QUICK = 0.001
SOON = 20  # seconds; only limits a failing test


@pytest.fixture
def start() -> Iterator[Callable[..., Scheduler]]:
    """`start(work, …)`: a running scheduler that treats OSError as an outage."""
    running: list[Scheduler] = []

    def begin(*work: PeriodicTask) -> Scheduler:
        clock = Scheduler(work, is_outage=lambda error: isinstance(error, OSError))
        running.append(clock)
        clock.start()
        return clock

    yield begin
    stopped = [clock.stop(SOON) for clock in running]
    assert all(stopped)


@pytest.mark.parametrize(
    ("due", "seconds", "now", "expected"),
    [
        (100, 10, 100, 110),  # on time
        (100, 10, 103, 110),  # a run of three seconds shifts nothing
        (100, 10, 110, 120),  # a tick that is due now has passed
        (100, 10, 149, 150),  # four ticks were missed and are skipped
        (100, 10, 95, 110),  # woken early
        (0.5, 0.25, 1.1, 1.25),
    ],
)
def test_next_tick(due: float, seconds: float, now: float, expected: float) -> None:
    assert next_due_time(due, seconds, now) == expected


def test_work_runs_at_the_start_and_at_every_interval(start: Callable[..., Scheduler]) -> None:
    rare, often = threading.Semaphore(0), threading.Semaphore(0)
    start(PeriodicTask("rare", HOUR, rare.release), PeriodicTask("often", QUICK, often.release))
    assert rare.acquire(timeout=SOON)
    assert all(often.acquire(timeout=SOON) for _ in range(5))
    assert not rare.acquire(blocking=False)


def test_one_run_at_a_time(start: Callable[..., Scheduler]) -> None:
    running, done, overlaps = threading.Lock(), threading.Semaphore(0), []

    def run() -> None:
        overlaps.append(not running.acquire(blocking=False))
        threading.Event().wait(QUICK)
        running.release()
        done.release()

    start(PeriodicTask("one", QUICK, run), PeriodicTask("two", QUICK, run))
    assert all(done.acquire(timeout=SOON) for _ in range(20))
    assert not any(overlaps)


def test_stop_waits_for_running_work_and_starts_none(start: Callable[..., Scheduler]) -> None:
    began, let_end, runs = threading.Event(), threading.Event(), []

    def run() -> None:
        runs.append(1)
        began.set()
        let_end.wait(SOON)

    clock = start(PeriodicTask("slow", QUICK, run))
    assert began.wait(SOON)
    assert not clock.stop(QUICK)
    let_end.set()
    assert clock.stop(SOON)
    assert runs == [1]


class Flaky:
    """Raises each of `failures` in turn, then succeeds; `turns` counts every run."""

    def __init__(self, *failures: Exception | None) -> None:
        self._failures = list(failures)
        self.turns: SimpleQueue[int] = SimpleQueue()

    def __call__(self) -> None:
        self.turns.put(1)
        failure = self._failures.pop(0) if self._failures else None
        if failure:
            raise failure

    def wait(self, turns: int) -> None:
        for _ in range(turns):
            self.turns.get(timeout=SOON)


def test_an_outage_and_its_end_are_logged_once(start: Callable[..., Scheduler], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    away = (ConnectionRefusedError("refused\nwith a hint"), TimeoutError("slow"), OSError("gone"))
    work = Flaky(*away, None, OSError("again"))
    start(PeriodicTask("the work", QUICK, work))
    work.wait(7)
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert logged == [
        ("ERROR", "the work failed and will be retried: refused"),
        ("INFO", "the work recovered"),
        ("ERROR", "the work failed and will be retried: again"),
        ("INFO", "the work recovered"),
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_a_bug_is_logged_with_traceback_even_during_an_outage(
    start: Callable[..., Scheduler], caplog: pytest.LogCaptureFixture
) -> None:
    work = Flaky(OSError("gone"), KeyError("a bug"), KeyError("a bug"))
    start(PeriodicTask("the work", QUICK, work))
    work.wait(4)
    assert [record.exc_info is not None for record in caplog.records] == [False, True]


def test_failing_work_does_not_stop_other_work(start: Callable[..., Scheduler]) -> None:
    well = threading.Semaphore(0)
    start(PeriodicTask("ill", QUICK, Flaky(*[OSError("gone")] * 1_000)), PeriodicTask("well", QUICK, well.release))
    assert all(well.acquire(timeout=SOON) for _ in range(5))
