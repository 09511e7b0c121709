"""Group commit: everything queued while one transaction commits goes into the next one, if the queue is crowded.

One thread owns one database connection and runs `shared.ledger` on batches. There is no timer: a single call is committed
at once, and batches grow with the load. Settlements go first, because they release credits. Extensions are next, then new
reservations: running calls are served before waiting ones.

Calls that are committed together also return from their upstreams together, and then wait for each other again. So a queue that
is not crowded is committed item by item, which spreads the calls. Reservations then do not wait for the disk, as charges do.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from edge.store.database_writer import DatabaseWriter, WriterThread
from edge.store.metrics import Metrics
from shared.core.availability import DATABASE, Availability
from shared.core.clock import now_ms
from shared.core.database import drop_connection
from shared.core.database_errors import ErrorKind, classify_error, describe_error
from shared.core.errors import DatabaseUnavailable
from shared.identity.payer import VisitorPayer
from shared.ledger import (
    VISITORS_DISABLED,
    Extended,
    Extension,
    HoldTaken,
    Reservation,
    Settled,
    Settlement,
    SingleCalls,
    VisitorSettings,
    batch_transaction,
    extend,
    lock_in_order,
    release,
    reserve,
    settle,
)
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID

log = logging.getLogger("yout.ledger")

MAX_BATCH = 256
CROWDED_ITEMS = 16  # the queue is crowded when more items than this wait,
CROWDED_SECONDS = 0.02  # or when it was not empty for this long,
CALM_ITEMS = 2  # until at most this many wait
_RETRY = object()  # the database is unavailable: retry soon, before anything else
_LATER = object()  # another transaction holds a lock: retry this item later, continue with the others
RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)
CONFLICT_RETRY_SECONDS = 2.0
SPLIT_SECONDS = 5.0  # time limit for committing a failed batch in parts; the rest is retried later
RELEASE_SECONDS = 2.0  # seconds between attempts to release holds whose commit is uncertain
ARRIVAL_SECONDS = 6.0  # how long TCP may still deliver a statement after its connection was closed, see `TCP_LIMITS`


class _Waiting(NamedTuple):
    item: Any
    future: asyncio.Future[Any]


class _Batch(NamedTuple):
    """The work of one transaction, in this order."""

    settlements: list[_Waiting]
    extensions: list[_Waiting]
    reservations: list[_Waiting]

    def each(self) -> Iterator[tuple[int, _Waiting]]:
        """Yield every item with its position among the fields."""
        for position, part in enumerate(self):
            for waiting in part:
                yield position, waiting


class LedgerBatcher:
    """The edge's only access to the ledger. Create it inside the running loop; `close` commits the queue.

    `writer` runs other jobs in the ledger's thread, between its batches. `availability` gets the outages of the database, or of
    the shard if the batcher is for one of a distributed database.
    """

    def __init__(
        self,
        visitors: VisitorSettings = VISITORS_DISABLED,
        metrics: Metrics | None = None,
        availability: Availability = DATABASE,
    ) -> None:
        self._availability = availability
        self._visitors = visitors
        self._metrics = metrics or Metrics()
        self._waiting_since = 0.0  # when the item that has waited longest for its first batch was queued; 0 if none waits
        self._loop = asyncio.get_running_loop()
        self._settlements: list[_Waiting] = []
        self._extensions: list[_Waiting] = []
        self._reservations: list[_Waiting] = []
        self._busy = False
        self._scheduled = False
        self._crowded = False
        self._last_kind = 0  # of the last item that was committed alone, as a position in `_Batch`
        self._failures = 0
        self._postponed = 0  # postponed settlements
        # Owned by the thread: reservations being committed, and those whose commit has an unknown outcome.
        self._committing: list[Reservation] = []
        self._uncertain: list[Reservation] = []
        self._release_at = 0.0
        self._single_calls = SingleCalls()
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
                self.release(reservation, future.exception() or future.result())
            raise

    def settle(self, item: Settlement) -> asyncio.Future[Settled]:
        """Queue a settlement. The future is done when it is durable; temporary errors are retried.

        The future raises `DatabaseUnavailable` if the database rejects the settlement for good (a bug). The sweeper then releases
        the hold.
        """
        return self._submit(self._settlements, item)

    def release(self, item: Any, result: Any) -> None:
        """Release a hold (and its Idempotency-Key) that its call does not use. `result` may be anything that a batch returns."""
        if isinstance(result, HoldTaken):
            self.settle(Settlement(item.call, result.account, 0, has_claim=item.claim is not None))

    def extend(self, item: Extension) -> asyncio.Future[Extended]:
        """Queue an extension. The future never fails: if the database is unavailable, nothing is granted."""
        return self._submit(self._extensions, item)

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
        if not self._waiting_since:
            self._waiting_since = time.monotonic()
        if not self._busy and not self._scheduled:
            self._scheduled = True
            self._idle.clear()
            self._loop.call_soon(self._start_batch)  # batches everything queued in this event loop iteration

    def _start_batch(self) -> None:
        self._scheduled = False
        waiting = self._settlements, self._extensions, self._reservations
        self._busy = any(waiting)
        if self._busy:
            now = time.monotonic()
            waited_seconds = now - (self._waiting_since or now)  # 0 if only retries wait
            batch = self._take_all(waiting) if self._is_crowded(waited_seconds) else self._take_one(waiting)
            self._metrics.record_ledger_wait(waited_seconds)
            if not any(waiting):
                self._waiting_since = 0.0
            self._thread.submit(partial(self._work, batch))
        elif not self._postponed:
            self._idle.set()

    def _is_crowded(self, waited_seconds: float) -> bool:
        """Return whether calls arrive so fast, or the database is so slow, that only large batches keep up."""
        count = len(self._settlements) + len(self._extensions) + len(self._reservations)
        if count > CROWDED_ITEMS or waited_seconds > CROWDED_SECONDS:
            self._crowded = True
        elif count <= CALM_ITEMS:
            self._crowded = False
        return self._crowded

    def _take_all(self, waiting: Sequence[list[_Waiting]]) -> _Batch:
        batch = _Batch(*(part[:MAX_BATCH] for part in waiting))
        for part in waiting:
            del part[:MAX_BATCH]
        return batch

    def _take_one(self, waiting: Sequence[list[_Waiting]]) -> _Batch:
        """Take one item, of each kind in turn."""
        kinds = (*range(self._last_kind + 1, len(waiting)), *range(self._last_kind + 1))
        self._last_kind = next(kind for kind in kinds if waiting[kind])
        return _part(self._last_kind, waiting[self._last_kind].pop(0))

    def _finish(self, results: list[tuple[_Waiting, Any]]) -> None:
        again: list[_Waiting] = []
        for waiting, result in results:
            if result is _RETRY:
                again.append(waiting)
            elif result is _LATER:
                self._postponed += 1
                self._loop.call_later(CONFLICT_RETRY_SECONDS, self._requeue, waiting)
            elif waiting.future.done():  # the caller disconnected meanwhile
                self.release(waiting.item, result)
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

    # --- in the ledger thread

    def _work(self, batch: _Batch) -> None:
        began = time.monotonic()
        results = self._commit(batch)
        self._metrics.record_database("ledger", time.monotonic() - began)
        self._loop.call_soon_threadsafe(self._finish, results)  # this runs before the thread's next job

    def _commit(self, batch: _Batch) -> list[tuple[_Waiting, Any]]:
        began = time.monotonic()
        try:
            results = self._transact(batch)
        except Exception as error:  # any database error; `classify_error` says whether it is temporary
            fault = classify_error(error)
            parts = _by_account(batch) if fault in (ErrorKind.CONFLICT, ErrorKind.UNSUPPORTED) else _one_by_one(batch)
            if fault is ErrorKind.TEMPORARY or (fault is ErrorKind.UNSUPPORTED and len(parts) == 1):
                self._availability.failed(describe_error(error), began)
                drop_connection(error)
                self._uncertain += self._committing
                return _postpone(batch, _RETRY)
            if len(parts) > 1:
                return self._commit_separately(parts)
            if fault is ErrorKind.CONFLICT:
                log.warning("another transaction holds an account's lock: %s", describe_error(error))
                return _postpone(batch, _LATER)
            log.exception("the database rejected the ledger entry of a call; the sweeper will release its hold")
            return _postpone(batch, DatabaseUnavailable())
        if not self._availability.is_available:
            self._availability.succeeded(began)
        return results

    def _commit_separately(self, parts: list[_Batch]) -> list[tuple[_Waiting, Any]]:
        """Commit each part in its own transaction, so that one bad call does not fail the others."""
        results: list[tuple[_Waiting, Any]] = []
        ends_at = time.monotonic() + SPLIT_SECONDS
        for part in parts:
            results += self._commit(part) if time.monotonic() < ends_at else _postpone(part, _RETRY)
        return results

    def _transact(self, batch: _Batch) -> list[tuple[_Waiting, Any]]:
        settlements, extensions, reservations = ([waiting.item for waiting in part] for part in batch)
        if not any(batch):
            return []
        now = now_ms()
        self._committing = []
        if self._uncertain:
            self._release_uncertain(now)
        alone = self._transact_alone(batch, now)
        if alone is not None:
            return [alone]
        # Holds need not be durable: a call whose hold was lost is charged from the available credits. Extensions must be: if one
        # were lost, the smaller hold would limit the charge.
        with batch_transaction(durable=bool(settlements or extensions)):
            if bool(settlements) + bool(extensions) + bool(reservations) > 1:
                accounts = (item.account for item in (*settlements, *extensions, *reservations))
                lock_in_order(account for account in accounts if account is not None)
            settled = settle(settlements, now) if settlements else []
            extended = extend(extensions, now) if extensions else []
            reserved = reserve(reservations, now, self._visitors) if reservations else []
            self._committing = reservations
        return list(zip((waiting for _, waiting in batch.each()), (*settled, *extended, *reserved), strict=True))

    def _transact_alone(self, batch: _Batch, now: int) -> tuple[_Waiting, Any] | None:
        """Commit the only item of a batch in one statement, or return None without having changed anything."""
        if len(batch.settlements) + len(batch.extensions) + len(batch.reservations) > 1 or batch.extensions:
            return None
        if batch.settlements:
            [waiting] = batch.settlements
            result: Any = self._single_calls.settle(waiting.item, now)
        else:
            [waiting] = batch.reservations
            self._committing = [waiting.item]
            try:
                result = self._single_calls.reserve(waiting.item, now)
            except Exception:  # re-raised; the statement may have been sent, and can still arrive
                self._release_at = time.monotonic() + ARRIVAL_SECONDS
                raise
            self._committing = []
        return None if result is None else (waiting, result)

    def _release_uncertain(self, now: int) -> None:
        """Release holds whose commit has an unknown outcome, once no other transaction can still commit them."""
        if time.monotonic() < self._release_at:
            return
        try:
            with batch_transaction():
                accounts = (POOL_ACCOUNT_ID if isinstance(ask.payer, VisitorPayer) else ask.account for ask in self._uncertain)
                release([ask.call for ask in self._uncertain], now, filter(None, accounts))  # the edge knows every account
        except Exception as error:  # re-raised unless another transaction holds the lock
            if classify_error(error) is not ErrorKind.CONFLICT:
                raise
            self._release_at = time.monotonic() + RELEASE_SECONDS
        else:
            self._uncertain.clear()


def _postpone(batch: _Batch, when: object) -> list[tuple[_Waiting, Any]]:
    """Return `when` for settlements, an error for reservations, and nothing granted for extensions, which their calls repeat."""
    results = when, Extended(0, may_retry=True), DatabaseUnavailable()
    return [(waiting, results[position]) for position, waiting in batch.each()]


def _one_by_one(batch: _Batch) -> list[_Batch]:
    return [_part(position, waiting) for position, waiting in batch.each()]


def _part(position: int, waiting: _Waiting) -> _Batch:
    parts = _Batch([], [], [])
    parts[position].append(waiting)
    return parts


def _by_account(batch: _Batch) -> list[_Batch]:
    parts: dict[UUID | None, _Batch] = {}
    for position, waiting in batch.each():
        parts.setdefault(waiting.item.account, _Batch([], [], []))[position].append(waiting)
    return list(parts.values())
