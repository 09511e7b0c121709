"""The deadlines of a client's open connections, on one event loop timer.

A timer handle per wait costs about as much as parsing a small response, and almost none ever fires. So a connection only
stores its deadline as a number; the single timer is moved if a deadline is earlier. When it fires, all deadlines are checked.
"""

import asyncio
import math
from typing import Protocol

# The minimum interval between sweeps, so that thousands of different deadlines do not cause thousands of sweeps.
_SPACING_SECONDS = 0.02
READ_BYTES = 8 * 1024  # maximum size of a read for a slow reader


class Expirable(Protocol):
    """A connection with a deadline in event loop time; `math.inf` means none."""

    deadline: float

    def expire(self) -> None:
        """Called when the deadline has passed."""

    def abort(self) -> None:
        """Close immediately; `Roster.discard` follows soon."""


class Deadlines:
    """All open connections. They expire at most `_SPACING_SECONDS` late.

    `read_buffer` is shared by all slow readers: it is filled and emptied within one event loop callback.
    """

    __slots__ = ("_emptied", "_handle", "_loop", "_members", "next_sweep", "read_buffer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[Expirable] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.next_sweep = math.inf
        self.read_buffer = memoryview(bytearray(READ_BYTES))

    def add(self, member: Expirable) -> None:
        self._members.add(member)
        self._emptied.clear()

    def discard(self, member: Expirable) -> None:
        self._members.discard(member)
        if not self._members:
            self._stop()
            self._emptied.set()

    async def close(self) -> None:
        """Abort every member and wait until the last is gone."""
        for member in list(self._members):
            member.abort()
        await self._emptied.wait()

    def sweep_by(self, when: float) -> None:
        """Schedule a sweep soon after `when`. Not needed if `when >= next_sweep`."""
        if self._handle is not None:
            self._handle.cancel()
        self.next_sweep = when
        self._handle = self._loop.call_at(when, self._sweep)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
        self.next_sweep = math.inf

    def _sweep(self) -> None:
        self._handle = None
        self.next_sweep = math.inf
        now = self._loop.time()
        earliest = math.inf
        for member in list(self._members):
            if member.deadline <= now:
                member.deadline = math.inf
                member.expire()
            elif member.deadline < earliest:
                earliest = member.deadline
        if earliest < math.inf:
            self.sweep_by(max(earliest, now + _SPACING_SECONDS))
