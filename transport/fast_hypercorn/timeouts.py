"""A connection's read and write deadlines, on one timer."""

import asyncio
from collections.abc import Callable
from math import inf


class Timeouts:
    """Calls ``on_read_late`` and ``on_write_late`` when their deadline has passed.

    Moving a deadline to a later time is only an assignment: when the timer fires, it checks the clock and is set to the next
    deadline. So requests create no timers.
    """

    __slots__ = ("_handle", "_loop", "_on_read_late", "_on_write_late", "_read_at", "_wakes_at", "_write_at")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_read_late: Callable[[], None], on_write_late: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_read_late = on_read_late
        self._on_write_late = on_write_late
        self._read_at = inf
        self._write_at = inf
        self._wakes_at = inf
        self._handle: asyncio.TimerHandle | None = None

    def expect_read(self, seconds: float) -> None:
        """Expect input within ``seconds``; infinity removes the deadline."""
        self._read_at = seconds if seconds == inf else self._arm(seconds)

    def expect_write(self, seconds: float) -> None:
        """Expect the client to read our output within ``seconds``; infinity removes the deadline."""
        self._write_at = seconds if seconds == inf else self._arm(seconds)

    def stop(self) -> None:
        """Cancel the timer and both deadlines."""
        self._read_at = self._write_at = inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, seconds: float) -> float:
        at = self._loop.time() + seconds
        if at < self._wakes_at:
            self._wake_at(at)
        return at

    def _wake_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wakes_at = at
        self._handle = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._handle = None
        self._wakes_at = inf
        now = self._loop.time()
        if self._read_at <= now:
            self._read_at = inf
            self._on_read_late()
        if self._write_at <= now:
            self._write_at = inf
            self._on_write_late()
        nearest = min(self._read_at, self._write_at)
        if nearest < self._wakes_at:
            self._wake_at(nearest)
