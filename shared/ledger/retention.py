"""Usage retention: deletes the rows of an account's old calls. Charges stay in the ledger, without references to calls.

    read_usage_days(…)     how long an account's calls are kept
    select_accounts(…)     accounts whose calls are not kept forever, a page at a time
    lock_old_calls(…)      lock a batch of calls that can be deleted
    delete_calls(…)        delete them, with the references to them

Whole partitions of old calls are dropped by `shared.ledger.partitions`.

The caller must not delete calls that the usage sums do not include yet (`shared.rollup.summed_until`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.core.billing_periods import month_start
from shared.core.database import is_sqlite
from shared.ledger.sql import as_uuid, execute

DAY_MS = 24 * 3_600_000


class OldCall(NamedTuple):
    """A call that can be deleted, and when it started (ms UTC)."""

    id: UUID
    at: int


def read_usage_days(account: UUID, default: int | None) -> int | None:
    """Return how many days an account's calls are kept: as its plan says, or `default`. None means until a purge."""
    row = execute(f"SELECT p.usage_days FROM {_PLANS} WHERE a.id = ?", [account]).fetchone()
    return default if row is None or row[0] is None else int(row[0])


def select_accounts(default: int | None, after: UUID, limit: int) -> dict[UUID, int]:
    """Return up to `limit` accounts with an id above `after`, in order, each with the days that its calls are kept.

    Accounts that keep their calls, or are being purged, are left out.
    """
    limited = " AND p.usage_days IS NOT NULL" if default is None else ""
    rows = execute(
        f"SELECT a.id, p.usage_days FROM {_PLANS} WHERE a.id > ?{limited}"
        " AND NOT EXISTS (SELECT 1 FROM purge_job j WHERE j.account_id = a.id AND j.status <> 'done') ORDER BY a.id LIMIT ?",
        [after, limit],
    )
    days = {as_uuid(id): default if days is None else int(days) for id, days in rows.fetchall()}
    return {account: kept for account, kept in days.items() if kept is not None}


def has_plan_with_usage_days() -> bool:
    """Return whether any plan sets how long calls are kept."""
    return execute("SELECT 1 FROM plan WHERE usage_days IS NOT NULL LIMIT 1", []).fetchone() is not None


def kept_since(days: int, now: int) -> int:
    """Return the time (ms UTC) before which calls are deleted. Calls of the current month stay: limits of keys count them."""
    return min(now - days * DAY_MS, month_start(now))


def with_calls_before(accounts: Sequence[UUID], until: int) -> list[UUID]:
    """Return those of `accounts` that have calls from before `until` (ms UTC)."""
    rows = execute(
        "SELECT a.id FROM account a WHERE a.id IN ?"
        " AND EXISTS (SELECT 1 FROM usage_ledger u WHERE u.account_id = a.id AND u.created_at < ?)",
        [list(accounts), until],
    )
    return [as_uuid(id) for (id,) in rows.fetchall()]


def lock_old_calls(account: UUID, since: int, until: int, limit: int) -> list[OldCall]:
    """Lock up to `limit` of an account's calls that started in [since, until), the oldest first. Run inside a transaction.

    Calls of media jobs stay until the files of the job are deleted. Calls that another transaction has locked are skipped.
    """
    lock = "" if is_sqlite() else " FOR UPDATE OF u SKIP LOCKED"
    rows = execute(
        "SELECT u.id, u.created_at FROM usage_ledger u WHERE u.account_id = ? AND u.created_at >= ? AND u.created_at < ?"
        f" AND NOT EXISTS (SELECT 1 FROM media_job j WHERE j.id = u.id AND {OPEN_JOB})"
        f" ORDER BY u.created_at LIMIT ?{lock}",
        [account, since, until, limit],
    )
    return [OldCall(as_uuid(id), at) for id, at in rows.fetchall()]


def delete_calls(account: UUID, calls: Sequence[UUID]) -> None:
    """Delete the usage rows and media jobs of calls that `lock_old_calls` returned, in the same transaction.

    Balances and sums of ledger entries do not change.
    """
    ids = list(calls)
    if not ids:
        return
    execute("UPDATE ledger_entry SET call = NULL, salt = NULL WHERE account_id = ? AND call IN ?", [account, ids])
    execute("UPDATE overage_entry SET call = NULL WHERE account_id = ? AND call IN ?", [account, ids])
    execute("DELETE FROM media_job WHERE account_id = ? AND id IN ?", [account, ids])
    execute("DELETE FROM usage_ledger WHERE account_id = ? AND id IN ?", [account, ids])


OPEN_JOB = "(j.finished_at IS NULL OR j.files_expire_at IS NOT NULL OR j.input_key IS NOT NULL)"
_PLANS = "account a LEFT JOIN subscription s ON s.account_id = a.id AND s.status = 'active' LEFT JOIN plan p ON p.id = s.plan_id"
