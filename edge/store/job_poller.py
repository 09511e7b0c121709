"""Waiting for jobs: one query a beat for all that anybody of this process waits for, and none while nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.errors import DatabaseUnavailable
from shared.models import MediaJob

BEAT_SECONDS = 0.25
LARGEST_QUERY = 500

Read = Callable[[Callable[[], Any]], Awaitable[Any]]


class State(NamedTuple):
    """What may change of a job. None of it is gone when the row is: then `status` is "gone"."""

    status: str
    progress: int

    @property
    def ended(self) -> bool:
        return self.status not in ("queued", "running")


GONE = State("gone", 0)


class JobWatch:
    """Tells of jobs as they change. `read` runs a query in the reader's thread."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._waiting: dict[UUID, dict[asyncio.Queue[State], State | None]] = {}  # with what each was told last
        self._task: asyncio.Task[None] | None = None

    async def changes(self, job: UUID) -> AsyncGenerator[State, None]:
        """The states of `job`, the present one first, up to its end."""
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
            told = self._waiting[job]
            del told[queue]
            if not told:
                del self._waiting[job]

    async def end(self, job: UUID) -> State:
        """The state that `job` ends in, awaited."""
        state = GONE
        async for state in self.changes(job):  # noqa: B007  (the last one is the answer)
            pass
        return state

    async def _watch(self) -> None:
        while self._waiting:
            jobs = list(self._waiting)
            for first in range(0, len(jobs), LARGEST_QUERY):
                asked = jobs[first : first + LARGEST_QUERY]
                try:
                    found: dict[UUID, State] = await self._read(partial(_states, asked))
                except DatabaseUnavailable:  # the next beat asks again; whoever waits has limits of their own
                    continue
                for job in asked:
                    self._tell(job, found.get(job, GONE))
            await asyncio.sleep(BEAT_SECONDS)

    def _tell(self, job: UUID, state: State) -> None:
        told = self._waiting.get(job, {})
        for queue, last in told.items():
            if state != last:
                told[queue] = state
                queue.put_nowait(state)


def _states(jobs: list[UUID]) -> dict[UUID, State]:
    rows: Any = MediaJob.select(MediaJob.id, MediaJob.status, MediaJob.progress).where(MediaJob.id.in_(jobs)).tuples()
    return {id: State(status, progress) for id, status, progress in rows}
