"""Every open connection of a client, and the one event-loop timer that watches them all.

A timer handle per wait costs about as much as parsing a small response, and almost none of them ever fires. So a
connection only notes its deadline as a number, and the single timer is moved when a note is earlier than it. When the
timer fires, all notes are looked at once.
"""

import asyncio
import math
from typing import Protocol

# Sweeps are at least this far apart, so that thousands of spread deadlines cannot turn into thousands of sweeps.
_SPACING_SECONDS = 0.02
READ_BYTES = 8 * 1024  # the size limit of one read if a reader does not keep up


class Member(Protocol):
    """Something open that may have a deadline, in the event loop's clock; `math.inf` is none."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""

    def abort(self) -> None:
        """Close now; `discard` follows soon."""


class Roster:
    """Members expire at most `_SPACING_SECONDS` late.

    `read_buffer` is shared by the members whose readers do not keep up: it is filled and emptied within one event loop callback.
    """

    __slots__ = ("_emptied", "_handle", "_loop", "_members", "next_sweep", "read_buffer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[Member] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()
        self._emptied.set()
        self.next_sweep = math.inf
        self.read_buffer = memoryview(bytearray(READ_BYTES))

    def add(self, member: Member) -> None:
        self._members.add(member)
        self._emptied.clear()

    def discard(self, member: Member) -> None:
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
        """Make sure a sweep happens soon after `when`. Callers skip the call while `when >= next_sweep`."""
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
