"""Start several threads together, and wait for them with a timeout."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 60


def run_threads(work: Callable[[int], Any], number: int, seconds: float = WAIT_SECONDS) -> list[Any]:
    """Run `work(0)`, `work(1)`, … in threads that start together; returns their results in any order.

    Re-raises the first exception, or raises `AssertionError` if a thread has not ended after `seconds`.
    """
    results: list[Any] = []
    failures: list[BaseException] = []
    start = threading.Barrier(number)

    def run(index: int) -> None:
        try:
            start.wait(seconds)
            results.append(work(index))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        join(thread, seconds)
    if failures:
        raise failures[0]
    return results


def join(thread: threading.Thread, seconds: float = WAIT_SECONDS) -> None:
    """Wait for a thread to end. Raises `AssertionError` if it has not ended after `seconds`."""
    thread.join(seconds)
    assert not thread.is_alive(), f"{thread.name} has not ended after {seconds} s"
