"""Sweep: expires abandoned holds and deletes outdated rows.

A hold is abandoned if its deadline has passed, or if the edge process that took it stopped sending heartbeats (it was killed).
Holds are closed by compare-and-set, so sweeps and late settlements never release the same credits twice.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from shared.core.billing_periods import day_of
from shared.core.database import transaction
from shared.core.shards import group_by_shard
from shared.ledger.allowances import MeterId, allowance_names, read_allowances, read_overages, write_meters
from shared.ledger.sql import as_uuid, change_accounts, execute, insert, lock_accounts
from shared.models import FORM_SECRET_MS

HEARTBEAT_MS = 5_000  # interval of an edge process's heartbeats
HEARTBEAT_TIMEOUT_MS = 30_000  # without a heartbeat for this long, an edge process is dead
BATCH = 500
# Parameters: find holds whose deadline is before the first, or whose process was last seen before the second.
ABANDONED_HOLDS_SQL = (
    "hold h LEFT JOIN edge_process e ON e.id = h.edge_process WHERE h.state = 'held' AND (h.expires_at < ?"
    " OR (h.edge_process IS NOT NULL AND (e.id IS NULL OR e.seen_at < ?)))"
)
KEEP_VISITOR_DAYS = 8  # longer than closed holds, which a late settlement may need
KEEP_LIMIT_DAYS = 8  # of daily limits of keys and members, for the same reason
KEEP_CLOSED_HOLDS_MS = 7 * 24 * 3600 * 1000
DEAD_PROCESS_MS = 3600 * 1000  # the row of a process that has been silent for this long is deleted, unless a hold refers to it


GRACE_MS = 3 * HEARTBEAT_MS  # after an outage, enough for every edge process to send a heartbeat


class HeartbeatGrace:
    """The grace period after an outage, or after startup, in which missing heartbeats are ignored. Times in milliseconds.

    During a database outage no edge process can write its heartbeat. Expiring holds right after the outage would release credits
    that running calls are about to be charged.
    """

    def __init__(self) -> None:
        self._swept_at: int | None = None
        self._ends_at = 0

    def is_over(self, now: int) -> bool:
        """Call before each sweep."""
        if self._swept_at is None or now - self._swept_at > GRACE_MS:
            self._ends_at = now + GRACE_MS
        return now >= self._ends_at

    def record_sweep(self, now: int) -> None:
        """Call after a successful sweep."""
        self._swept_at = now


def sweep(now: int, *, expire_silent: bool = True) -> int:
    """Expire every abandoned hold and return their number. Runs its own short transactions; safe to run concurrently.

    If `expire_silent` is false, missing heartbeats are ignored: only holds past their deadline, or of an unknown process, expire.
    """
    expired = 0
    while True:
        found = _find_abandoned(now, now - HEARTBEAT_TIMEOUT_MS if expire_silent else 0)
        calls: dict[UUID, list[UUID]] = defaultdict(list)
        for call, account in found:
            calls[account].append(call)
        for accounts in group_by_shard(calls):
            with transaction():
                expired += _expire([call for account in accounts for call in calls[account]], accounts, now)
        if len(found) < BATCH:
            break
    with transaction():
        _forget(now)
    return expired


def _find_abandoned(now: int, seen_before: int) -> list[tuple[UUID, UUID]]:
    """Return up to `BATCH` abandoned holds, each as call and account."""
    rows = execute(f"SELECT h.id, h.account_id FROM {ABANDONED_HOLDS_SQL} LIMIT ?", [now, seen_before, BATCH]).fetchall()
    return [(as_uuid(call), as_uuid(account)) for call, account in rows]


def _expire(calls: list[UUID], accounts: list[UUID], now: int) -> int:
    """Expire those of `calls` whose holds are still open, all of these `accounts`. Returns their number."""
    lock_accounts(accounts)()
    closed = execute(
        "UPDATE hold SET state = 'expired', closed_at = ? WHERE id IN ? AND account_id IN ? AND state = 'held'"
        " RETURNING id, account_id, api_key_id, model, price, amount, created_at, overage, subscription, allowance,"
        " parent_allowance, more_allowances, member",
        [now, calls, accounts],
    ).fetchall()
    released: dict[UUID, int] = defaultdict(int)
    for row in closed:
        released[as_uuid(row[1])] += row[5]
    change_accounts({account: (0, -amount, 0, 0) for account, amount in released.items()})
    _release_meters(closed)
    _record([(*row[:7], row[-1]) for row in closed], now)
    return len(closed)


def _release_meters(closed: list[tuple[Any, ...]]) -> None:
    """Release the allowances and overage that the holds used."""
    held: dict[MeterId, int] = defaultdict(int)
    for _, account, *_, amount, _, overage, subscription, own, parent, more, _ in closed:
        if subscription is not None:
            held[as_uuid(account), as_uuid(subscription)] += overage
        for allowance in allowance_names(own, parent, more):
            held[as_uuid(account), allowance] += amount + overage
    read_allowed = read_allowances([id for id in held if isinstance(id[1], str)])
    read = read_allowed() | read_overages([id for id in held if not isinstance(id[1], str)])()
    write_meters(read, {id: meter.settle(held[id], 0) for id, meter in read.items()})


_COLUMNS = (
    *("id", "account_id", "api_key", "model", "price", "status", "error_code", "streamed", "estimated"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits", "attempts"),
    *("duration_ms", "created_at", "member"),
)
MAX_DURATION_MS = 2**31 - 1


def _record(closed: list[tuple[Any, ...]], now: int) -> None:
    """Write a usage row for each lost call, so that its request id is known, and free its Idempotency-Key."""
    rows = [
        (
            *(as_uuid(call), as_uuid(account), as_uuid(key) if key else None, model, as_uuid(price)),
            *("expired", "hold_expired", False, True, 0, 0, 0, 0, 0, 0, 0, min(now - created, MAX_DURATION_MS), created),
            as_uuid(member) if member else None,
        )
        for call, account, key, model, price, _, created, member in closed
    ]
    insert("usage_ledger", _COLUMNS, rows)
    if rows:
        calls, accounts = [row[0] for row in rows], sorted({row[1] for row in rows})
        execute("DELETE FROM idempotency_claim WHERE account_id IN ? AND call IN ? AND state = 'running'", [accounts, calls])


def _forget(now: int) -> None:
    """Delete old closed holds, expired idempotency claims, forms and answers, visitors of past days, and dead processes."""
    execute("DELETE FROM hold WHERE state <> 'held' AND closed_at < ?", [now - KEEP_CLOSED_HOLDS_MS])
    execute("DELETE FROM idempotency_claim WHERE expires_at < ?", [now])
    execute("UPDATE form_submission SET sealed = NULL WHERE sealed IS NOT NULL AND created_at < ?", [now - FORM_SECRET_MS])
    execute("DELETE FROM form_submission WHERE expires_at < ?", [now])
    execute("DELETE FROM admin_answer WHERE expires_at < ?", [now])
    for kind, days in (("visitor", KEEP_VISITOR_DAYS), ("keyday", KEEP_LIMIT_DAYS), ("memberday", KEEP_LIMIT_DAYS)):
        execute("DELETE FROM allowance WHERE kind = ? AND period < ? AND held = 0", [kind, day_of(now) - days])
    dead = {as_uuid(id) for (id,) in execute("SELECT id FROM edge_process WHERE seen_at < ?", [now - DEAD_PROCESS_MS]).fetchall()}
    if dead:
        held = execute("SELECT DISTINCT edge_process FROM hold WHERE edge_process IN ? AND state = 'held'", [sorted(dead)])
        dead -= {as_uuid(id) for (id,) in held.fetchall()}
    if dead:
        execute("DELETE FROM edge_process WHERE id IN ? AND seen_at < ?", [sorted(dead), now - DEAD_PROCESS_MS])
