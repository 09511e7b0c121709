"""Polls media jobs for all waiting requests of this process: one query per interval, none while nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.errors import DatabaseUnavailable
from shared.models import MediaJob

POLL_SECONDS = 0.25
MAX_QUERY = 500

Read = Callable[[Callable[[], Any]], Awaitable[Any]]


class State(NamedTuple):
    """The observable state of a job. `status` is "gone" if its row was deleted."""

    status: str
    progress: int

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


GONE = State("gone", 0)


class JobPoller:
    """Reports changes of jobs. `read` runs a query in the reader thread."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[UUID, dict[asyncio.Queue[State], State | None]] = {}  # with the last state sent to each
        self._task: asyncio.Task[None] | None = None

    async def changes(self, job: UUID) -> AsyncGenerator[State, None]:
        """Yield the states of `job`: the current one, then each change until it ends."""
        queue: asyncio.Queue[State] = asyncio.Queue()
        self._waiting.setdefault(job, {})[queue] = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._watch())
        try:
            ended = False
            while not ended:
                state = await queue.get()
                ended = state.ended
                yield state
        finally:
            queues = self._waiting[job]
            del queues[queue]
            if not queues:
                del self._waiting[job]

    async def wait_until_ended(self, job: UUID) -> State:
        """Wait until `job` ends and return its final state."""
        state = GONE
        async for state in self.changes(job):  # noqa: B007  (only the last one counts)
            pass
        return state

    async def _watch(self) -> None:
        while self._waiting:
            jobs = list(self._waiting)
            for first in range(0, len(jobs), MAX_QUERY):
                batch = jobs[first : first + MAX_QUERY]
                try:
                    found: dict[UUID, State] = await self._read(partial(_states, batch))
                except DatabaseUnavailable:  # retried at the next interval; waiting requests have their own timeouts
                    continue
                for job in batch:
                    self._publish(job, found.get(job, GONE))
            await asyncio.sleep(POLL_SECONDS)

    def _publish(self, job: UUID, state: State) -> None:
        queues = self._waiting.get(job, {})
        for queue, last in queues.items():
            if state != last:
                queues[queue] = state
                queue.put_nowait(state)


def _states(jobs: list[UUID]) -> dict[UUID, State]:
    rows: Any = MediaJob.select(MediaJob.id, MediaJob.status, MediaJob.progress).where(MediaJob.id.in_(jobs)).tuples()
    return {id: State(status, progress) for id, status, progress in rows}
