"""The thread that parses and translates large request bodies, one after the other, so that other calls do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LARGE_BODY_BYTES = 256 * 1024  # of many short messages, this much takes 4 ms to parse; one text takes a tenth of that

T = TypeVar("T")


class LargeBodies:
    """Runs work on bodies of more than `LARGE_BODY_BYTES`.

    There is only one thread, because each would keep the event loop waiting for the interpreter for up to 5 ms at a time.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

    async def run(self, work: Callable[[], T]) -> T:
        """Return the result of `work`, which must not use the event loop or change state. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Wait for running work, and end the thread."""
        self._thread.shutdown()
