"""Renewals: a subscription's period begins, once, and grants its plan's credits; it ends, and what it granted expires.

Everything here happens under the lock of the account, in a transaction of its own for each period. The period is a row whose
primary key is the subscription and its start: a renewal that runs again, late, or in two processes at once finds the moment of
the next one moved ahead, and a second row for the same period cannot be.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.clock import new_id
from shared.database import transaction
from shared.ledger.posting import post
from shared.ledger.rows import as_uuid, execute, lock_accounts
from shared.ledger.visitors import POOL
from shared.periods import moment_text, next_renewal

ACTOR = "system"


class _Due(NamedTuple):
    """A subscription, its plan for the next period, and its account's status, read under the account's lock."""

    id: UUID
    account: UUID
    status: str
    renews_at: int
    anchor_day: int
    cancelled: bool
    suspended: bool
    account_status: str
    plan: UUID
    plan_name: str
    monthly_credits: int
    rollover_cap: int | None

    @property
    def paused(self) -> bool:
        """Whether nothing may be granted now."""
        return self.suspended or self.account_status != "active"

    @property
    def most_plan_credits(self) -> int:
        """What the account may have of plan credits when a period begins: the cap, and at least the month's grant."""
        cap = 2 * self.monthly_credits if self.rollover_cap is None else self.rollover_cap
        return max(cap, self.monthly_credits)


def renew_subscriptions(now: int) -> int:
    """Begin every period that is due, end what was cancelled, and give how many that were. Safe to run anywhere, any time.

    Runs its own short transactions. Periods that nobody began in time are made up for, one by one. Those of a suspended account
    or subscription wait until it is active again; when they are over by then, they are skipped.
    """
    rows = execute("SELECT id FROM subscription WHERE status = 'active' AND renews_at <= ? ORDER BY renews_at", [now]).fetchall()
    done = 0
    for (id,) in rows:
        while _step(as_uuid(id), now):
            done += 1
    return done + _close_ended(now)


def _step(subscription: UUID, now: int) -> bool:
    with transaction():
        return begin_period(subscription, now)


def begin_period(subscription: UUID, now: int, actor: str = ACTOR) -> bool:
    """Begin the period that is due, or end the subscription that was cancelled; whether one was. Run inside a transaction."""
    due = _lock_due(subscription)
    if due is None or due.status != "active" or due.renews_at > now:
        return False
    if due.cancelled:
        end_subscription(due.account, due.id, due.renews_at)
        return True
    ends_at = next_renewal(due.renews_at, due.anchor_day)
    if due.paused and ends_at > now:
        return False
    bill_overage(due.account, due.id, now)
    expired, granted = (0, 0) if due.paused else _grant(due, actor)
    execute(
        "INSERT INTO subscription_period (subscription_id, starts_at, ends_at, plan, state, granted, expired, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [due.id, due.renews_at, ends_at, due.plan, "skipped" if due.paused else "granted", granted, expired, now],
    )
    execute("UPDATE subscription SET renews_at = ?, plan_id = ?, next_plan = NULL WHERE id = ?", [ends_at, due.plan, due.id])
    return True


def _lock_due(subscription: UUID) -> _Due | None:
    row = execute("SELECT account_id FROM subscription WHERE id = ?", [subscription]).fetchone()
    if row is None:
        return None
    lock_accounts([as_uuid(row[0])])
    row = execute(
        "SELECT s.id, s.account_id, s.status, s.renews_at, s.anchor_day, s.cancelled_at IS NOT NULL, s.suspended_at IS NOT NULL,"
        " a.status, p.id, p.name, p.monthly_credits, p.rollover_cap FROM subscription s JOIN account a ON a.id = s.account_id"
        " JOIN plan p ON p.id = coalesce(s.next_plan, s.plan_id) WHERE s.id = ?",
        [subscription],
    ).fetchone()
    if row is None or row[3] is None:
        return None
    id, account, status, renews_at, anchor, cancelled, suspended, account_status, plan, *terms = row
    return _Due(
        *(as_uuid(id), as_uuid(account), status, renews_at, anchor, bool(cancelled), bool(suspended), account_status),
        *(as_uuid(plan), *terms),
    )


def _grant(due: _Due, actor: str) -> tuple[int, int]:
    """Let expire what would exceed the rollover cap, then grant; gives both amounts. Credits that calls hold don't expire."""
    pool = lock_accounts([due.account])()[due.account]
    excess = pool.plan_credits + due.monthly_credits - due.most_plan_credits
    expired = max(0, min(excess, pool.plan_credits, pool.free))
    if expired:
        post(due.account, "expiry", -expired, actor=actor, reason=f"{due.plan_name}: beyond the rollover cap")
    if due.monthly_credits:
        reason = f"{due.plan_name}: period from {moment_text(due.renews_at)}"
        post(due.account, "grant", due.monthly_credits, actor=actor, reason=reason, plan=True)
    return expired, due.monthly_credits


def raise_grant(account: UUID, subscription: UUID, monthly_credits: int, plan_name: str, *, actor: str) -> int:
    """Grant what a greater plan gives beyond what the current period has granted already, and give how much that is.

    Run inside a transaction that holds the account's lock.
    """
    row = execute(
        "SELECT starts_at, granted FROM subscription_period WHERE subscription_id = ? ORDER BY starts_at DESC LIMIT 1",
        [subscription],
    ).fetchone()
    if row is None or monthly_credits <= row[1]:
        return 0
    more = int(monthly_credits - row[1])
    post(account, "grant", more, actor=actor, reason=f"{plan_name}: raised within the period", plan=True)
    execute(
        "UPDATE subscription_period SET granted = granted + ?, state = 'granted' WHERE subscription_id = ? AND starts_at = ?",
        [more, subscription, row[0]],
    )
    return more


def end_subscription(account: UUID, subscription: UUID, now: int) -> None:
    """End it: its overage is billed and its plan credits expire. Run inside a transaction that holds the account's lock.

    What calls hold at that moment is billed, or expires, when they have ended.
    """
    execute("UPDATE subscription SET status = 'ended', ended_at = ?, next_plan = NULL WHERE id = ?", [now, subscription])
    bill_overage(account, subscription, now)
    expire_plan_credits(account)


def bill_overage(account: UUID, subscription: UUID, now: int) -> int:
    """Close the counter into an entry that says what is to be billed, and give that. Needs the account's lock."""
    used = execute("SELECT overage_used FROM subscription WHERE id = ?", [subscription]).fetchone()[0]
    if used:
        execute(
            "INSERT INTO overage_entry (id, account_id, subscription, kind, amount, created_at) VALUES (?, ?, ?, 'bill', ?, ?)",
            [new_id(), account, subscription, -used, now],
        )
        execute("UPDATE subscription SET overage_used = 0 WHERE id = ?", [subscription])
    return int(used)


def expire_plan_credits(account: UUID) -> None:
    """Let the plan credits of an account expire that no call holds. Run inside a transaction."""
    pool = lock_accounts([account])()[account]
    expired = min(pool.plan_credits, pool.free)
    if expired:
        post(account, "expiry", -expired, actor=ACTOR, reason="the subscription has ended")


def _close_ended(now: int) -> int:
    """Bill and expire what calls still held when their subscription ended."""
    rows = execute(
        "SELECT s.id, a.id FROM subscription s JOIN account a ON a.id = s.account_id WHERE s.status = 'ended' AND a.id <> ?"
        " AND (s.overage_used > 0 OR a.plan_credits > 0 AND a.balance > a.held AND NOT EXISTS"
        " (SELECT 1 FROM subscription o WHERE o.account_id = a.id AND o.status = 'active'))",
        [POOL],
    ).fetchall()
    for id, account in rows:
        with transaction():
            _close(as_uuid(account), as_uuid(id), now)
    return len(rows)


def _close(account: UUID, subscription: UUID, now: int) -> None:
    lock_accounts([account])
    bill_overage(account, subscription, now)
    active = execute("SELECT 1 FROM subscription WHERE account_id = ? AND status = 'active'", [account]).fetchone()
    if active is None:
        expire_plan_credits(account)
