"""Usage retention: deletes the calls of accounts whose plan, or the setting, limits how long they are kept.

A pass visits all accounts by id. It is spread over many short runs of the task, and each batch is its own transaction, so an
interruption loses nothing. Several workers may run passes at once: on PostgreSQL, each skips the calls that another has locked.
"""

from __future__ import annotations

import logging
import time
from uuid import UUID

from shared.core.billing_periods import month_start
from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.settings import Settings
from shared.ledger import partitions, retention
from shared.ledger.partitions import Partition
from shared.rollup import summed_until
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.usage_retention")

RUN_SECONDS = 10.0
MAX_SECONDS = 2.0  # the scheduler has other tasks; the next run continues
PAUSE_MS = 600_000  # between passes
BATCH = 500  # calls per transaction
CLEAR_BATCH = 2_000  # calls per transaction whose references are removed
PAGE = 500  # accounts per query
_START = UUID(int=0)


class UsageRetention:
    """Passes of one worker process. `days` is how long calls are kept if the plan sets nothing; None means until a purge."""

    def __init__(self, days: int | None) -> None:
        self._days = days
        self._after = _START  # the last account of this pass that is done
        self._due_at = 0  # of the next pass
        self._cleared = "", _START  # a partition to drop, and the last of its calls without references
        self._deleted = 0  # calls in this pass

    def run(self, now: int, seconds: float = MAX_SECONDS) -> int:
        """Continue the pass for about `seconds`, or start the next one if it is due (`now` in ms UTC).

        Returns the number of deleted calls. Raises database errors; earlier batches stay deleted.
        """
        if now < self._due_at:
            return 0
        deadline = time.monotonic() + seconds
        before = self._deleted
        if self._days is not None or retention.has_plan_with_usage_days():
            until = summed_until(now)
            if not self._drop_partitions(now, until, deadline):
                return 0
            while self._visit_page(now, until, deadline):
                if time.monotonic() >= deadline:
                    return self._deleted - before
        deleted = self._deleted - before
        if self._deleted:
            log.info("deleted %d calls whose retention period is over", self._deleted)
        self._after, self._deleted, self._due_at = _START, 0, now + PAUSE_MS
        return deleted

    def _drop_partitions(self, now: int, summed: int, deadline: float) -> bool:
        """Drop the partitions of ended months that are empty, or whose calls are all expired. Returns False if time ran out."""
        days = partitions.longest_period(self._days)
        expired = 0 if days is None else min(retention.kept_since(days, now), summed)
        for partition in () if is_sqlite() or not partitions.is_owner() else partitions.list_partitions("usage_ledger"):
            if partition.until <= expired and partitions.can_drop(partition):
                if not self._clear_references(partition, deadline):
                    return False
                dropped = partitions.drop_partition(partition.name)
            else:
                dropped = partition.until <= month_start(now) and partitions.drop_partition(partition.name, if_empty=True)
            if dropped:
                log.info("dropped the partition %s, because the retention period of its calls is over", partition.name)
        return True

    def _clear_references(self, partition: Partition, deadline: float) -> bool:
        """Remove all references to the calls of a partition. Returns False if time ran out."""
        name, last = self._cleared
        after = last if name == partition.name else _START
        while True:
            with transaction():
                done = partitions.clear_next_references(partition, after, CLEAR_BATCH)
            if done is None:
                return True
            after = done
            self._cleared = partition.name, after
            if time.monotonic() >= deadline:
                return False

    def _visit_page(self, now: int, summed: int, deadline: float) -> bool:
        """Delete the old calls of the next accounts, until time runs out. Returns False after the last account."""
        accounts = retention.select_accounts(self._days, self._after, PAGE)
        limits = {account: min(retention.kept_since(days, now), summed) for account, days in accounts.items()}
        due: set[UUID] = set()
        for until in set(limits.values()):
            due.update(retention.with_calls_before([account for account, limit in limits.items() if limit == until], until))
        for account in sorted(due):
            if not self._delete_calls(account, limits[account], deadline):
                return True
            self._after = account
            if time.monotonic() >= deadline:
                return True
        self._after = max(accounts, default=self._after)
        return len(accounts) == PAGE

    def _delete_calls(self, account: UUID, until: int, deadline: float) -> bool:
        """Delete an account's calls from before `until`. Returns False if time ran out first."""
        since = 0
        while True:
            with transaction():
                calls = retention.lock_old_calls(account, since, until, BATCH)
                retention.delete_calls(account, [call.id for call in calls])
            self._deleted += len(calls)
            if len(calls) < BATCH:
                return True
            since = calls[-1].at  # skips the index entries of deleted rows
            if time.monotonic() >= deadline:
                return False


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic task. It needs only the database."""
    usage = UsageRetention(settings.usage_days)

    def run() -> None:
        usage.run(now_ms())

    return (PeriodicTask("usage retention", RUN_SECONDS, task_connection()(run)),)
