"""The calls that run in this process: which task serves each, whose it is, and why it was cut off if it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from shared.core.errors import SettlementPending


class RunningCall:
    """One call. `payer` is the id of a key or the digest of a session; None before admission and for visitors. `cut_by`
    is the error that ended it from outside; `answered`: only its settlement is still missing."""

    __slots__ = ("answered", "cut_by", "payer", "since", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.since = time.monotonic()
        self.payer: UUID | str | None = None
        self.cut_by: Exception | None = None
        self.answered = False

    def cut(self, error: Exception) -> None:
        """End the call: its task is cancelled, its caller is told `error`, what was delivered is settled."""
        if self.cut_by is None:
            self.cut_by = SettlementPending() if self.answered else error
            self.task.cancel()


class RunningCalls:
    """All of them, by task: the code that serves a call finds its own without having it passed along."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[Any], RunningCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[RunningCall]:
        return iter(tuple(self._calls.values()))

    def begin(self) -> RunningCall:
        """The current task serves a call from now on."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (an ASGI server runs us in one)
        call = self._calls[task] = RunningCall(task)
        return call

    def end(self, call: RunningCall) -> None:
        """It does so no longer."""
        self._calls.pop(call.task, None)

    def admitted(self, payer: UUID | str) -> None:
        """The current task's call is paid for by the key of this id, or the session of this digest."""
        call = self._current()
        if call is not None:
            call.payer = payer

    def answered(self) -> None:
        """Mark the current task's call as answered: only its settlement is still missing."""
        call = self._current()
        if call is not None:
            call.answered = True

    def cut_by(self) -> Exception | None:
        """Why the current task's call was cut off; None when it was not, or when its caller left."""
        call = self._current()
        return call.cut_by if call is not None else None

    async def wait(self, seconds: float) -> None:
        """Wait until those that run now have ended, at most so long."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=seconds)

    def _current(self) -> RunningCall | None:
        task = asyncio.current_task()
        return self._calls.get(task) if task is not None else None
