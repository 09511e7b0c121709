"""Several threads that start together, and are waited for no longer than a test may take."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 60


def at_once(work: Callable[[int], Any], number: int, seconds: float = WAIT_SECONDS) -> list[Any]:
    """Run `work(0)`, `work(1)`, … in threads that start together and return their results, in no certain order.

    Raises what the first failing one raised, and `AssertionError` when one has not ended after `seconds`.
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
    """Wait for a thread's end. Raises `AssertionError` when it has not ended after `seconds`."""
    thread.join(seconds)
    assert not thread.is_alive(), f"{thread.name} has not ended after {seconds} s"
