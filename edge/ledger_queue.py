"""Group commit: what waits while one transaction commits goes together into the next.

One thread owns one database connection and runs `shared.ledger` on batches. There is no timer: a lone call is committed at once,
and under load the batches grow by themselves. Settlements go before reservations, so that credits which come back are there for
the calls that wait for them.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from shared.clock import now_ms
from shared.database import LOST_CONNECTION, drop_connection, transaction
from shared.errors import DatabaseUnavailable, RequestRefused, Unavailable
from shared.ledger import (
    NO_VISITORS,
    Reservation,
    Reserved,
    Settled,
    Settlement,
    VisitorTerms,
    batch_transaction,
    lock_in_order,
    release,
    reserve,
    settle,
)

log = logging.getLogger("yout.ledger")

LARGEST_BATCH = 256
_RETRY = object()
RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)


class _Waiting(NamedTuple):
    item: Any
    future: asyncio.Future[Any]


class _Batch(NamedTuple):
    settlements: list[_Waiting]
    reservations: list[_Waiting]
    jobs: list[_Waiting]


class LedgerQueue:
    """The edge's one way to the ledger. Make it inside the running loop; `close` settles what is queued."""

    def __init__(self, visitors: VisitorTerms = NO_VISITORS) -> None:
        self._visitors = visitors
        self._loop = asyncio.get_running_loop()
        self._settlements: list[_Waiting] = []
        self._reservations: list[_Waiting] = []
        self._jobs: list[_Waiting] = []
        self._busy = False
        self._scheduled = False
        self._failures = 0
        # Owned by the thread: reservations whose commit is under way, and those whose commit got no answer.
        self._committing: list[UUID] = []
        self._doubtful: list[UUID] = []
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    async def reserve(self, ask: Reservation) -> Reserved:
        """Take a hold. Raises what `shared.ledger.reserve` decided, or `DatabaseUnavailable`."""
        future = self._submit(self._reservations, ask)
        try:
            result = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # cancelled between the commit and this task's turn
                self._give_back(ask, future.result())
            raise
        if isinstance(result, RequestRefused | Unavailable):
            raise result
        taken: Reserved = result
        return taken

    def settle(self, item: Settlement) -> asyncio.Future[Settled]:
        """Queue a settlement at once; the future tells when it is durable. A lost database is waited for, not given up on.

        The future raises `DatabaseUnavailable` for a settlement that the database refuses; its hold is left to the sweeper.
        """
        return self._submit(self._settlements, item)

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `job` in the ledger's thread, in a transaction of its own."""
        return self._submit(self._jobs, job)

    async def close(self, timeout_seconds: float) -> None:
        """Wait until everything queued is durable (at most so long), then end the thread."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            log.error("the database did not come back: unsettled holds are left to the sweeper")
        self._batches.put(None)
        await asyncio.to_thread(self._thread.join, timeout_seconds)

    def _submit(self, waiting: list[_Waiting], item: Any) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        waiting.append(_Waiting(item, future))
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._kick)  # at the end of this tick: all that arrived in it goes together
        return future

    def _kick(self) -> None:
        self._scheduled = False
        if not (self._settlements or self._reservations or self._jobs):
            self._busy = False
            self._idle.set()
            return
        self._busy = True
        batch = _Batch(self._settlements[:LARGEST_BATCH], self._reservations[:LARGEST_BATCH], self._jobs)
        del self._settlements[:LARGEST_BATCH], self._reservations[:LARGEST_BATCH]
        self._jobs = []
        self._batches.put(batch)

    def _finish(self, results: list[tuple[_Waiting, Any]]) -> None:
        again = [waiting for waiting, result in results if result is _RETRY]
        for waiting, result in results:
            if result is _RETRY:
                continue
            if waiting.future.done():  # the caller left while it waited
                self._give_back(waiting.item, result)
            elif isinstance(result, DatabaseUnavailable) and isinstance(waiting.item, Settlement):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        if again:
            self._settlements[:0] = again
            delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            self._loop.call_later(delay, self._kick)
        else:
            self._failures = 0
            self._kick()

    def _give_back(self, ask: Any, result: Any) -> None:
        """Nobody else will release a hold whose caller never heard of it, nor its Idempotency-Key."""
        if isinstance(result, Reserved):
            self.settle(Settlement(ask.call, result.account, 0, claimed=ask.claim is not None))

    # --- in the ledger's thread

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            results = self._commit(batch.settlements, batch.reservations)
            results += [(job, self._run_job(job.item)) for job in batch.jobs]
            self._loop.call_soon_threadsafe(self._finish, results)
        drop_connection()

    def _commit(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        try:
            return self._transact(settlements, reservations)
        except LOST_CONNECTION as error:
            log.warning("the database is away: %s", type(error).__name__)
            drop_connection()
            self._doubtful += self._committing
            refused = DatabaseUnavailable()
            return [*((waiting, _RETRY) for waiting in settlements), *((waiting, refused) for waiting in reservations)]
        except Exception:  # whatever the database refused: find out whose it is, below
            if len(settlements) + len(reservations) == 1:
                log.exception("one call's ledger entry was refused by the database; its hold is left to the sweeper")
                return [(waiting, DatabaseUnavailable()) for waiting in (*settlements, *reservations)]
        # One bad call must not take its neighbours with it: commit each alone.
        results = []
        for waiting in settlements:
            results += self._commit([waiting], [])
        for waiting in reservations:
            results += self._commit([], [waiting])
        return results

    def _transact(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        if not (settlements or reservations):
            return []
        now = now_ms()
        self._committing = []
        if self._doubtful:
            with batch_transaction():
                release(self._doubtful, now)
            self._doubtful.clear()
        with batch_transaction():
            if settlements and reservations:
                lock_in_order(
                    waiting.item.account for waiting in (*settlements, *reservations) if waiting.item.account is not None
                )
            settled = settle([waiting.item for waiting in settlements], now) if settlements else []
            reserved = reserve([waiting.item for waiting in reservations], now, self._visitors) if reservations else []
            self._committing = [waiting.item.call for waiting in reservations]
        return [*zip(settlements, settled, strict=True), *zip(reservations, reserved, strict=True)]

    def _run_job(self, job: Callable[[], Any]) -> Any:
        try:
            with transaction():
                return job()
        except LOST_CONNECTION:
            drop_connection()
            return DatabaseUnavailable()
        except Exception:  # the thread must live on: everybody's money waits for it
            log.exception("a job was refused by the database")
            return DatabaseUnavailable()
