"""The registry of calls in progress in this process, which can be cut off from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from shared.core.errors import SettlementPending
from shared.identity.payer import Payer


class InflightCall:
    """A call in progress.

    `payer` is None before admission. `abort_reason` is the error that cut the call off, None if it was not cut off or the client
    disconnected. `client_gone` is true if the client disconnected. `answered` is true once only its settlement is missing.
    """

    __slots__ = ("abort_reason", "answered", "client_gone", "payer", "since", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.since = time.monotonic()
        self.payer: Payer | None = None
        self.abort_reason: Exception | None = None
        self.answered = False
        self.client_gone = False

    def abort(self, error: Exception) -> None:
        """Cut the call off: cancel its task, send `error` to the caller, settle what was delivered."""
        if self.abort_reason is None:
            self.abort_reason = SettlementPending() if self.answered else error
            self.task.cancel()

    def disconnect(self) -> None:
        """Cancel the call, because its client disconnected."""
        self.client_gone = True
        self.task.cancel()


class InflightCalls:
    """All calls in progress."""

    def __init__(self) -> None:
        self._calls: set[InflightCall] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[InflightCall]:
        return iter(tuple(self._calls))

    def begin(self) -> InflightCall:
        """Register a call that the current task serves."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (ASGI servers run handlers in tasks)
        call = InflightCall(task)
        self._calls.add(call)
        return call

    def end(self, call: InflightCall) -> None:
        """Unregister a call."""
        self._calls.discard(call)

    def median_age_seconds(self) -> float:
        """Return the median time that the calls in progress have been running for; 0 if there are none."""
        ages = sorted(time.monotonic() - call.since for call in self._calls)
        return ages[len(ages) // 2] if ages else 0.0

    async def wait(self, seconds: float) -> None:
        """Wait up to `seconds` until the calls in progress have ended."""
        if self._calls:
            await asyncio.wait([call.task for call in self._calls], timeout=seconds)
