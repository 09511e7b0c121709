"""Roll: sum up the hours that have ended, look for late calls, keep only what is needed. Exactly once, however often it runs."""

from __future__ import annotations

import time
from typing import NamedTuple
from uuid import UUID

from shared.database import is_sqlite, transaction
from shared.ledger.rows import execute
from shared.models import NO_CHANNEL
from shared.rollup import statements as sql
from shared.rollup.statements import DAY_MS, HOUR_MS

GRACE_MS = 5 * 60_000  # an hour is summed up this long after its end: most of its calls are over
CHECK_NEWEST = 3  # hours that are compared with their calls each time; one older is, in turn
KEEP_HOURS = 8 * 24  # that an account's hours are kept for, and so the longest that a late call is waited for


class Rolled(NamedTuple):
    """What one run did: hours summed up for the first time, hours that late calls had changed, and whether it is up to date."""

    hours: int
    changed: int
    up_to_date: bool


def roll(now: int, seconds: float = 5.0) -> Rolled:
    """Sum up what has ended before `now` (ms UTC), the oldest first, for about so many seconds at most; then look for late calls.

    Each hour is one short transaction, so that a stop at any moment loses nothing. Safe to run anywhere, any time.
    """
    deadline = time.monotonic() + seconds
    hours = 0
    while time.monotonic() < deadline:
        if not _roll_next(now):
            return Rolled(hours, _check(now), True)
        hours += 1
    return Rolled(hours, 0, False)


def forget(account: UUID) -> int:
    """Take an account's own sums out and give how many rows they were. Run inside a transaction.

    Call it when the account's `purge_job` is there, and before its calls are deleted: from then on the account is left out of
    what is summed up, and what the platform's sums have of it stays.
    """
    _lock()
    execute("DELETE FROM account_total WHERE account = ?", [account])
    return int(execute("DELETE FROM account_usage WHERE account = ?", [account]).rowcount)


def _lock() -> tuple[int | None, int | None]:
    """Lock the sums against other writers; give `rolled_until` and `checked_at`."""
    lock = "" if is_sqlite() else " FOR UPDATE"  # SQLite has locked the whole file by BEGIN IMMEDIATE
    until, checked = execute(f"SELECT rolled_until, checked_at FROM rollup_state WHERE id = 1{lock}", []).fetchone()
    return until, checked


def _roll_next(now: int) -> bool:
    """Sum up the oldest hour that is not yet; false when there is none."""
    with transaction():
        hour, _ = _lock()
        if hour is None:
            hour = _first_hour(now)
        if hour + HOUR_MS + GRACE_MS > now:
            return False
        _sum_hour(hour)
        if (hour + HOUR_MS) % DAY_MS == 0:
            _sum_day(hour - hour % DAY_MS, now)
        execute("UPDATE rollup_state SET rolled_until = ? WHERE id = 1", [hour + HOUR_MS])
    return True


def _first_hour(now: int) -> int:
    """The hour of the oldest call; where that is not over yet, or there is none, the last one that is."""
    (first,) = execute("SELECT MIN(created_at) FROM usage_ledger", []).fetchone()
    ended = now - GRACE_MS - HOUR_MS
    first = ended if first is None else min(first, ended)
    return int(first - first % HOUR_MS)


def _sum_hour(hour: int) -> None:
    execute(sql.TAKE_FROM_PLATFORM, [hour])
    execute(sql.DROP_SUMS, [hour])
    execute(sql.SUM_CALLS, [NO_CHANNEL, hour, hour + HOUR_MS])
    execute(sql.ADD_TO_PLATFORM, [hour])
    execute(sql.DROP_EMPTY, [hour])
    execute(sql.DROP_TOTALS, [hour])
    execute(sql.ADD_TOTALS, [hour])


def _sum_day(day: int, now: int) -> None:
    """Make a day of its hours, and drop the accounts' hours that no late call can reach any more."""
    for drop, insert in (sql.sum_day("platform_usage"), sql.sum_day("account_usage"), sql.TOTAL_DAY):
        execute(drop, [day])
        execute(insert, [day, day + DAY_MS])
    for table in ("account_usage", "account_total"):
        execute(f"DELETE FROM {table} WHERE grain_hours = 1 AND at < ?", [min(kept_from(now), day + DAY_MS)])


def kept_from(now: int) -> int:
    """The first hour, and the beginning of a day, whose sums by account are kept."""
    return now - now % DAY_MS - KEEP_HOURS * HOUR_MS


def _check(now: int) -> int:
    """Sum up again the hours whose calls are no longer what was summed up, among the newest and one older; give their number."""
    with transaction():
        until, checked = _lock()
        if until is None:
            return 0
        oldest = kept_from(now)
        older = checked + HOUR_MS if checked is not None and oldest <= checked < until - HOUR_MS else oldest
        hours = {older, *(until - number * HOUR_MS for number in range(1, CHECK_NEWEST + 1))}
        changed = [hour for hour in sorted(hours) if oldest <= hour < until and _has_changed(hour)]
        for hour in changed:
            _sum_hour(hour)
        for day in sorted({hour - hour % DAY_MS for hour in changed}):
            if day + DAY_MS <= until:
                _sum_day(day, now)
        execute("UPDATE rollup_state SET checked_at = ? WHERE id = 1", [older])
        return len(changed)


def _has_changed(hour: int) -> bool:
    span = [hour, hour + HOUR_MS]
    return bool(tuple(execute(sql.COUNT_CALLS, span).fetchone()) != tuple(execute(sql.COUNT_SUMS, span).fetchone()))
