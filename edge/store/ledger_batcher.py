"""Group commit: everything queued while one transaction commits goes into the next one.

One thread owns one database connection and runs `shared.ledger` on batches. There is no timer: a single call is committed
at once, and batches grow with the load. Settlements go before reservations, so that new calls can use released credits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from edge.store.database_writer import DatabaseWriter, WriterThread
from shared.core.clock import now_ms
from shared.core.database import drop_connection
from shared.core.database_errors import ErrorKind, classify_error, describe_error
from shared.core.errors import DatabaseUnavailable
from shared.identity.payer import VisitorPayer
from shared.ledger import (
    VISITORS_DISABLED,
    HoldTaken,
    Reservation,
    Settled,
    Settlement,
    VisitorSettings,
    batch_transaction,
    lock_in_order,
    release,
    reserve,
    settle,
)
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID

log = logging.getLogger("yout.ledger")

MAX_BATCH = 256
_RETRY = object()  # the database is unavailable: retry soon, before anything else
_LATER = object()  # another transaction holds a lock: retry this item later, continue with the others
RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
CONFLICT_RETRY_SECONDS = 2.0
SPLIT_SECONDS = 5.0  # time limit for committing a failed batch in parts; the rest is retried later
RELEASE_SECONDS = 2.0  # seconds between attempts to release holds whose commit is uncertain


class _Waiting(NamedTuple):
    item: Any
    future: asyncio.Future[Any]


class LedgerBatcher:
    """The edge's only access to the ledger. Create it inside the running loop; `close` commits the queue.

    `writer` runs other jobs in the ledger's thread, between its batches.
    """

    def __init__(self, visitors: VisitorSettings = VISITORS_DISABLED) -> None:
        self._visitors = visitors
        self._loop = asyncio.get_running_loop()
        self._settlements: list[_Waiting] = []
        self._reservations: list[_Waiting] = []
        self._busy = False
        self._scheduled = False
        self._failures = 0
        self._postponed = 0  # postponed settlements
        # Owned by the thread: reservations being committed, and those whose commit has an unknown outcome.
        self._committing: list[Reservation] = []
        self._uncertain: list[Reservation] = []
        self._release_at = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = WriterThread("ledger")
        self.writer = DatabaseWriter(self._thread)

    async def reserve(self, reservation: Reservation) -> HoldTaken:
        """Reserve credits. Raises the errors of `shared.ledger.reserve`, and `DatabaseUnavailable`."""
        future: asyncio.Future[HoldTaken] = self._submit(self._reservations, reservation)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # cancelled after the commit, before this task resumed
                self._release_unclaimed(reservation, future.exception() or future.result())
            raise

    def settle(self, item: Settlement) -> asyncio.Future[Settled]:
        """Queue a settlement. The future is done when it is durable; temporary errors are retried.

        The future raises `DatabaseUnavailable` if the database rejects the settlement for good (a bug). The sweeper then releases
        the hold.
        """
        return self._submit(self._settlements, item)

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until everything queued is committed, up to `timeout_seconds`."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            log.error("the database is still unavailable at shutdown; the sweeper will release unsettled holds")

    async def close(self, timeout_seconds: float) -> None:
        """Wait until the queue is committed, then stop the thread, both within `timeout_seconds`."""
        ends_at = time.monotonic() + timeout_seconds
        await self.drain(timeout_seconds)
        await self.writer.close(max(0.0, ends_at - time.monotonic()))

    def _submit(self, waiting: list[_Waiting], item: Any) -> asyncio.Future[Any]:
        future = self._loop.create_future()
        self._queue(waiting, _Waiting(item, future))
        return future

    def _queue(self, waiting: list[_Waiting], item: _Waiting) -> None:
        waiting.append(item)
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._start_batch)  # batches everything queued in this event loop iteration

    def _start_batch(self) -> None:
        self._scheduled = False
        self._busy = bool(self._settlements or self._reservations)
        if self._busy:
            settlements, reservations = self._settlements[:MAX_BATCH], self._reservations[:MAX_BATCH]
            del self._settlements[:MAX_BATCH], self._reservations[:MAX_BATCH]
            self._thread.submit(partial(self._work, settlements, reservations))
        elif not self._postponed:
            self._idle.set()

    def _finish(self, results: list[tuple[_Waiting, Any]]) -> None:
        again: list[_Waiting] = []
        for waiting, result in results:
            if result is _RETRY:
                again.append(waiting)
            elif result is _LATER:
                self._postponed += 1
                self._loop.call_later(CONFLICT_RETRY_SECONDS, self._requeue, waiting)
            elif waiting.future.done():  # the caller disconnected meanwhile
                self._release_unclaimed(waiting.item, result)
            elif isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        if again:
            self._settlements[:0] = again
            delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
            self._failures += 1
            self._loop.call_later(delay, self._start_batch)
        else:
            self._failures = 0
            self._start_batch()

    def _requeue(self, waiting: _Waiting) -> None:
        self._postponed -= 1
        self._queue(self._settlements, waiting)

    def _release_unclaimed(self, ask: Any, result: Any) -> None:
        """Release a hold (and its Idempotency-Key) whose caller has gone before receiving it."""
        if isinstance(result, HoldTaken):
            self.settle(Settlement(ask.call, result.account, 0, has_claim=ask.claim is not None))

    # --- in the ledger thread

    def _work(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> None:
        results = self._commit(settlements, reservations)
        self._loop.call_soon_threadsafe(self._finish, results)  # this runs before the thread's next job

    def _commit(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        try:
            return self._transact(settlements, reservations)
        except Exception as error:  # any database error; `classify_error` says whether it is temporary
            fault = classify_error(error)
            if fault is ErrorKind.TEMPORARY:
                log.warning("the database is unavailable: %s", describe_error(error))
                drop_connection(error)
                self._uncertain += self._committing
                return _postpone(settlements, reservations, _RETRY)
            parts = (
                _by_account(settlements, reservations) if fault is ErrorKind.CONFLICT else _one_by_one(settlements, reservations)
            )
            if len(parts) > 1:
                return self._commit_separately(parts)
            if fault is ErrorKind.CONFLICT:
                log.warning("another transaction holds an account's lock: %s", describe_error(error))
                return _postpone(settlements, reservations, _LATER)
            log.exception("the database rejected the ledger entry of a call; the sweeper will release its hold")
            return [(waiting, DatabaseUnavailable()) for waiting in (*settlements, *reservations)]

    def _commit_separately(self, parts: list[_Part]) -> list[tuple[_Waiting, Any]]:
        """Commit each part in its own transaction, so that one bad call does not fail the others."""
        results: list[tuple[_Waiting, Any]] = []
        ends_at = time.monotonic() + SPLIT_SECONDS
        for part in parts:
            results += self._commit(*part) if time.monotonic() < ends_at else _postpone(*part, _RETRY)
        return results

    def _transact(self, settlements: list[_Waiting], reservations: list[_Waiting]) -> list[tuple[_Waiting, Any]]:
        if not (settlements or reservations):
            return []
        now = now_ms()
        self._committing = []
        if self._uncertain:
            self._release_uncertain(now)
        with batch_transaction():
            if settlements and reservations:
                lock_in_order(
                    waiting.item.account for waiting in (*settlements, *reservations) if waiting.item.account is not None
                )
            settled = settle([waiting.item for waiting in settlements], now) if settlements else []
            reserved = reserve([waiting.item for waiting in reservations], now, self._visitors) if reservations else []
            self._committing = [waiting.item for waiting in reservations]
        return [*zip(settlements, settled, strict=True), *zip(reservations, reserved, strict=True)]

    def _release_uncertain(self, now: int) -> None:
        """Release holds whose commit has an unknown outcome, once no other transaction can still commit them."""
        if time.monotonic() < self._release_at:
            return
        try:
            with batch_transaction():
                accounts = {POOL_ACCOUNT_ID if isinstance(ask.payer, VisitorPayer) else ask.account for ask in self._uncertain}
                release([ask.call for ask in self._uncertain], now, [account for account in accounts if account is not None])
        except Exception as error:  # re-raised unless another transaction holds the lock
            if classify_error(error) is not ErrorKind.CONFLICT:
                raise
            self._release_at = time.monotonic() + RELEASE_SECONDS
        else:
            self._uncertain.clear()


_Part = tuple[list[_Waiting], list[_Waiting]]  # settlements and reservations of one transaction


def _postpone(settlements: list[_Waiting], reservations: list[_Waiting], when: object) -> list[tuple[_Waiting, Any]]:
    """Return `when` for settlements, which are retried, and an error for reservations."""
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
