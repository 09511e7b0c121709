"""Writes the usage sums: sums hours that have ended, sums hours with late calls again, and deletes old hours. Idempotent."""

from __future__ import annotations

import time
from typing import NamedTuple
from uuid import UUID

from shared.core.database import is_sqlite, transaction
from shared.ledger.sql import execute
from shared.models import NO_CHANNEL, NO_KEY
from shared.rollup import sql
from shared.rollup.sql import DAY_MS, HOUR_MS
from shared.rollup.token_samples import delete_old_token_samples

GRACE_MS = 5 * 60_000  # delay after the end of an hour, so that most of its calls have ended
CHECKED_HOURS = 3  # latest hours to compare with their calls in each run; older ones take turns
OUTPUT_SIZE_HOURS = 48  # how long histograms of output tokens are kept: only recent calls count
KEEP_HOURS = 8 * 24  # how long account hours are kept, and late calls are detected


class RollupResult(NamedTuple):
    """Result of one run: hours summed for the first time, hours that late calls had changed, and whether all is up to date."""

    hours: int
    changed: int
    up_to_date: bool


def update_sums(now: int, seconds: float = 5.0) -> RollupResult:
    """Sum hours that ended before `now` (ms UTC), oldest first, for about `seconds`. When up to date, check for late calls.

    Each hour is one short transaction, so interruptions lose nothing. Safe to run concurrently.
    """
    deadline = time.monotonic() + seconds
    hours = 0
    while time.monotonic() < deadline:
        if not _roll_next(now):
            changed = _check(now)
            while time.monotonic() < deadline and _sum_earlier_day(now):
                pass
            return RollupResult(hours, changed, True)
        hours += 1
    return RollupResult(hours, 0, False)


def delete_account_sums(account: UUID) -> int:
    """Delete an account's own sums. Returns the number of rows. Run inside a transaction.

    Call it after the account's `purge_job` was inserted and before its calls are deleted: from then on new sums leave the account
    out, and the platform's sums keep its share.
    """
    _lock()
    for table in ("account_total", "key_usage", "tag_usage"):
        execute(f"DELETE FROM {table} WHERE account = ?", [account])
    return int(execute("DELETE FROM account_usage WHERE account = ?", [account]).rowcount)


def _lock() -> tuple[int | None, int | None]:
    """Lock the sums against other writers. Returns `rolled_until` and `checked_at`."""
    lock = "" if is_sqlite() else " FOR UPDATE"  # on SQLite, BEGIN IMMEDIATE has locked the whole file
    until, checked = execute(f"SELECT rolled_until, checked_at FROM rollup_state WHERE id = 1{lock}", []).fetchone()
    return until, checked


def _roll_next(now: int) -> bool:
    """Sum the next hour. Returns False if there is none."""
    with transaction():
        hour, _ = _lock()
        if hour is None:
            hour = _first_hour(now)
        if hour + HOUR_MS + GRACE_MS > now:
            return False
        _sum_hour(hour)
        if (hour + HOUR_MS) % DAY_MS == 0:
            _sum_day(hour - hour % DAY_MS, now)
        execute("DELETE FROM output_size WHERE at < ?", [hour - OUTPUT_SIZE_HOURS * HOUR_MS])
        delete_old_token_samples(hour)
        execute("UPDATE rollup_state SET rolled_until = ? WHERE id = 1", [hour + HOUR_MS])
    return True


def _first_hour(now: int) -> int:
    """Return the hour of the oldest call, or the last hour that has ended if there is none."""
    (first,) = execute("SELECT MIN(created_at) FROM usage_ledger", []).fetchone()
    ended = now - GRACE_MS - HOUR_MS
    first = ended if first is None else min(first, ended)
    return int(first - first % HOUR_MS)


def _sum_hour(hour: int) -> None:
    execute(sql.SUBTRACT_FROM_PLATFORM, [hour])
    execute(sql.DROP_SUMS, [hour])
    execute(sql.SUM_CALLS, [NO_CHANNEL, hour, hour + HOUR_MS])
    execute(sql.ADD_TO_PLATFORM, [hour])
    execute(sql.DROP_EMPTY, [hour])
    execute(sql.DROP_TOTALS, [hour])
    execute(sql.ADD_TOTALS, [hour])
    execute(sql.DROP_OUTPUT_SIZES, [hour])
    execute(sql.COUNT_OUTPUT_SIZES, [hour, hour + HOUR_MS])
    _sum_keys(hour)


def _sum_keys(hour: int) -> None:
    """Sum an hour by key and tag."""
    for statement in sql.DROP_KEY_SUMS:
        execute(statement, [hour])
    span = [hour, hour + HOUR_MS]
    execute(sql.SUM_KEYS, [NO_KEY, *span])
    execute(sql.SUM_TAGS, [NO_KEY, *span, *span])


def _sum_day(day: int, now: int) -> None:
    """Sum a day from its hours, and delete account hours that are no longer needed."""
    for drop, insert in (sql.sum_day("platform_usage"), sql.sum_day("account_usage"), sql.TOTAL_DAY):
        execute(drop, [day])
        execute(insert, [day, day + DAY_MS])
    _sum_key_day(day)
    _delete_old_hours(day, now)


def _sum_key_day(day: int) -> None:
    for statement in sql.DROP_KEY_DAYS:
        execute(statement, [day])
    execute(sql.SUM_KEY_DAY, [day, day + DAY_MS])
    execute(sql.SUM_TAG_DAY, [day, day + DAY_MS] * 2)


def _delete_old_hours(day: int, now: int) -> None:
    """Delete account hours that are too old for late calls, up to the end of `day`."""
    for table in ("account_usage", "account_total", "key_usage", "tag_usage"):
        execute(f"DELETE FROM {table} WHERE grain_hours = 1 AND at < ?", [min(first_kept_hour(now), day + DAY_MS)])


def first_kept_hour(now: int) -> int:
    """Return the start of the first day whose account hours are kept."""
    return now - now % DAY_MS - KEEP_HOURS * HOUR_MS


def summed_until(now: int) -> int:
    """Return the time (ms UTC) before which calls can be deleted: all sums include them, and are never summed again."""
    until, keys_from = execute("SELECT COALESCE(rolled_until, 0), keys_from FROM rollup_state WHERE id = 1", []).fetchone()
    return 0 if keys_from else min(int(until), first_kept_hour(now))


def _sum_earlier_day(now: int) -> bool:
    """Sum the latest day that is not summed by key and tag yet (`RollupState.keys_from`). Returns False if there is none."""
    with transaction():
        until, _ = _lock()
        keys_from = execute("SELECT keys_from FROM rollup_state WHERE id = 1", []).fetchone()[0]
        if until is None or not 0 < keys_from <= until:  # all days are summed, or the day of the upgrade has not ended
            return False
        (first,) = execute("SELECT MIN(created_at) FROM usage_ledger", []).fetchone()
        day = keys_from - DAY_MS if first is not None and first < keys_from else 0
        if day:
            for hour in range(day, keys_from, HOUR_MS):
                _sum_keys(hour)
            _sum_key_day(day)
            _delete_old_hours(day, now)
        execute("UPDATE rollup_state SET keys_from = ? WHERE id = 1", [day])
    return bool(day)


def _check(now: int) -> int:
    """Sum hours again whose calls have changed, among the latest ones and one older. Returns the number of changed hours."""
    with transaction():
        until, checked = _lock()
        if until is None:
            return 0
        oldest = first_kept_hour(now)
        older = checked + HOUR_MS if checked is not None and oldest <= checked < until - HOUR_MS else oldest
        hours = {older, *(until - number * HOUR_MS for number in range(1, CHECKED_HOURS + 1))}
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
