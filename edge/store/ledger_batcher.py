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
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import drop_connection, transaction
from shared.core.database_errors import Fault, describe, fault_of, may_pass
from shared.core.errors import DatabaseUnavailable, RequestRefused, Unavailable
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
from shared.ledger.visitor_pool import POOL

log = logging.getLogger("yout.ledger")

LARGEST_BATCH = 256
_RETRY = object()  # the database is unavailable: everything waits until it is back
_LATER = object()  # another transaction holds a lock: this job waits, the others continue
RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
LATER_SECONDS = 2.0
APART_SECONDS = 5.0  # how long a batch is retried in parts; the rest is postponed
RELEASE_SECONDS = 2.0  # between attempts to release holds whose commit is uncertain


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
        self._aside = 0  # postponed settlements
        # Owned by the thread: reservations whose commit is under way, and those whose commit got no answer.
        self._committing: list[Reservation] = []
        self._doubtful: list[Reservation] = []
        self._release_at = 0.0
        self._batches: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._idle = asyncio.Event()
        self._idle.set()
        self._ended = asyncio.Event()
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
        """Queue a settlement; the future is done when it is durable. It is retried after temporary errors.

        The future raises `DatabaseUnavailable` for a settlement that the database will never accept (a bug); the sweeper
        releases its hold.
        """
        return self._submit(self._settlements, item)

    def run(self, job: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run `job` in the ledger's thread, in a transaction of its own."""
        return self._submit(self._jobs, job)

    async def close(self, timeout_seconds: float) -> None:
        """Wait until everything queued is durable, and end the thread; both within the given time."""
        ends_at = time.monotonic() + timeout_seconds
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            log.error("the database did not come back: unsettled holds are left to the sweeper")
        self._batches.put(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), max(0.0, ends_at - time.monotonic()))

    def _submit(self, waiting: list[_Waiting], item: Any) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._queue(waiting, _Waiting(item, future))
        return future

    def _queue(self, waiting: list[_Waiting], one: _Waiting) -> None:
        waiting.append(one)
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._kick)  # at the end of this tick: all that arrived in it goes together

    def _kick(self) -> None:
        self._scheduled = False
        if not (self._settlements or self._reservations or self._jobs):
            self._busy = False
            if not self._aside:
                self._idle.set()
            return
        self._busy = True
        batch = _Batch(self._settlements[:LARGEST_BATCH], self._reservations[:LARGEST_BATCH], self._jobs)
        del self._settlements[:LARGEST_BATCH], self._reservations[:LARGEST_BATCH]
        self._jobs = []
        self._batches.put(batch)

    def _finish(self, results: list[tuple[_Waiting, Any]]) -> None:
        again: list[_Waiting] = []
        for waiting, result in results:
            if result is _RETRY:
                again.append(waiting)
            elif result is _LATER:
                self._aside += 1
                self._loop.call_later(LATER_SECONDS, self._requeue, waiting)
            elif waiting.future.done():  # the caller disconnected while it waited
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

    def _requeue(self, waiting: _Waiting) -> None:
        self._aside -= 1
        self._queue(self._settlements, waiting)

    def _give_back(self, ask: Any, result: Any) -> None:
        """Nobody else will release a hold whose caller never heard of it, nor its Idempotency-Key."""
        if isinstance(result, Reserved):
            self.settle(Settlement(ask.call, result.account, 0, claimed=ask.claim is not None))

    # --- in the ledger's thread

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            results = self._commit(batch.settlements, batch.reservations)
            results += self._run_jobs(batch.jobs)
            self._loop.call_soon_threadsafe(self._finish, results)
        drop_connection()
        with suppress(RuntimeError):  # the loop was closed meanwhile: nothing waits for it
            self._loop.call_soon_threadsafe(self._ended.set)

    def _commit(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        try:
            return self._transact(settlements, reservations)
        except Exception as error:  # any database error: the table says whether it is temporary
            fault = fault_of(error)
            if fault is Fault.TEMPORARY:
                log.warning("the database is unavailable: %s", describe(error))
                drop_connection(error)
                self._doubtful += self._committing
                return _put_off(settlements, reservations, _RETRY)
            parts = _by_account(settlements, reservations) if fault is Fault.CONFLICT else _one_by_one(settlements, reservations)
            if len(parts) > 1:
                return self._commit_apart(parts)
            if fault is Fault.CONFLICT:
                log.warning("another transaction holds a lock on an account: %s", describe(error))
                return _put_off(settlements, reservations, _LATER)
            log.exception("one call's ledger entry was refused by the database; its hold is left to the sweeper")
            return [(waiting, DatabaseUnavailable()) for waiting in (*settlements, *reservations)]

    def _commit_apart(self, parts: list[_Part]) -> list[tuple[_Waiting, Any]]:
        """Commit each part separately, so that one bad call does not fail the others."""
        results: list[tuple[_Waiting, Any]] = []
        ends_at = time.monotonic() + APART_SECONDS
        for part in parts:
            results += self._commit(*part) if time.monotonic() < ends_at else _put_off(*part, _RETRY)
        return results

    def _transact(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        if not (settlements or reservations):
            return []
        now = now_ms()
        self._committing = []
        if self._doubtful:
            self._release_doubtful(now)
        with batch_transaction():
            if settlements and reservations:
                lock_in_order(
                    waiting.item.account for waiting in (*settlements, *reservations) if waiting.item.account is not None
                )
            settled = settle([waiting.item for waiting in settlements], now) if settlements else []
            reserved = reserve([waiting.item for waiting in reservations], now, self._visitors) if reservations else []
            self._committing = [waiting.item for waiting in reservations]
        return [*zip(settlements, settled, strict=True), *zip(reservations, reserved, strict=True)]

    def _release_doubtful(self, now: int) -> None:
        """Release holds whose commit got no answer. This waits for a transaction that may still commit them, without delaying
        others."""
        if time.monotonic() < self._release_at:
            return
        try:
            with batch_transaction():
                accounts = {POOL if ask.visitor else ask.account for ask in self._doubtful}
                release([ask.call for ask in self._doubtful], now, [account for account in accounts if account is not None])
        except Exception as error:  # re-raised unless another transaction holds the lock
            if fault_of(error) is not Fault.CONFLICT:
                raise
            self._release_at = time.monotonic() + RELEASE_SECONDS
        else:
            self._doubtful.clear()

    def _run_jobs(self, jobs: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        results: list[tuple[_Waiting, Any]] = []
        for job in jobs:
            try:
                with transaction():
                    results.append((job, job.item()))
            except Exception as error:  # the thread must survive: every settlement depends on it
                if not may_pass(error):
                    log.exception("a job was refused by the database")
                    results.append((job, DatabaseUnavailable()))
                    continue
                drop_connection(error)
                if fault_of(error) is Fault.CONFLICT:
                    results.append((job, DatabaseUnavailable()))
                    continue
                # Each of the others would wait for the unavailable database.
                results += [(waiting, DatabaseUnavailable()) for waiting in jobs[len(results) :]]
                break
        return results


_Part = tuple[list[_Waiting], list[_Waiting]]  # settlements and reservations of one transaction


def _put_off(settlements: list[_Waiting], reservations: list[_Waiting], when: object) -> list[tuple[_Waiting, Any]]:
    """Retry settlements; fail reservations, so that their callers get an error."""
    refused = DatabaseUnavailable()
    return [*((waiting, when) for waiting in settlements), *((waiting, refused) for waiting in reservations)]


def _one_by_one(settlements: list[_Waiting], reservations: list[_Waiting]) -> list[_Part]:
    return [*(([waiting], []) for waiting in settlements), *(([], [waiting]) for waiting in reservations)]


def _by_account(settlements: list[_Waiting], reservations: list[_Waiting]) -> list[_Part]:
    parts: dict[UUID | None, _Part] = {}
    for waiting in settlements:
        parts.setdefault(waiting.item.account, ([], []))[0].append(waiting)
    for waiting in reservations:
        parts.setdefault(waiting.item.account, ([], []))[1].append(waiting)
    return list(parts.values())
