"""Subscription renewals: each period grants the plan's credits once; at its end, unused credits may expire.

Each period is processed in its own transaction under the account's lock. Its row has the subscription and the start as primary
key. So if a renewal runs twice, late, or in two processes at once, it finds `renews_at` already moved ahead and cannot add a
second row.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.core.billing_periods import format_timestamp, next_renewal
from shared.core.clock import new_id
from shared.core.database import transaction
from shared.ledger.entries import post_entry
from shared.ledger.sql import as_uuid, execute, lock_accounts
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID

ACTOR = "system"


class _Due(NamedTuple):
    """A subscription with the plan for its next period and its account's status, read under the account's lock."""

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
        """Whether grants are blocked, because the subscription or account is suspended."""
        return self.suspended or self.account_status != "active"

    @property
    def most_plan_credits(self) -> int:
        return _most_plan_credits(self.monthly_credits, self.rollover_cap)


class PaidPeriod(NamedTuple):
    """A period that a payment pays for. `managed_by` is the `StripeSubscription` that it belongs to.

    If it begins another plan, `max_overage_cap` replaces a higher overage cap, which was for the former plan.
    """

    managed_by: str
    plan: UUID
    plan_name: str
    monthly_credits: int
    rollover_cap: int | None
    max_overage_cap: int
    starts_at: int
    ends_at: int

    @property
    def most_plan_credits(self) -> int:
        return _most_plan_credits(self.monthly_credits, self.rollover_cap)


def _most_plan_credits(monthly_credits: int, rollover_cap: int | None) -> int:
    """Return the maximum plan credits at the start of a period: the rollover cap, but at least the monthly grant."""
    return max(2 * monthly_credits if rollover_cap is None else rollover_cap, monthly_credits)


def renew_subscriptions(now: int) -> int:
    """Start every period that is due and end cancelled subscriptions. Returns the number of periods and ends.

    Runs its own short transactions and can run in several processes at once. Missed periods are processed one by one. While an
    account or subscription is suspended, its periods wait; those that are over by then are skipped. Periods that are paid through
    Stripe start with their payment (`start_paid_period`).
    """
    rows = execute(
        "SELECT id, account_id FROM subscription WHERE status = 'active' AND renews_at <= ? AND stripe_subscription IS NULL"
        " ORDER BY renews_at",
        [now],
    ).fetchall()
    done = 0
    for id, account in rows:
        while _step(as_uuid(account), as_uuid(id), now):
            done += 1
    return done + _close_ended(now)


def _step(account: UUID, subscription: UUID, now: int) -> bool:
    with transaction():
        return start_period(account, subscription, now)


def start_period(account: UUID, subscription: UUID, now: int, actor: str = ACTOR) -> bool:
    """Start the period of an account's subscription that is due, or end it if it is cancelled. Returns whether it did.

    Run inside a transaction.
    """
    due = _lock_due(account, subscription)
    if due is None or due.status != "active" or due.renews_at > now:
        return False
    if due.cancelled:
        end_subscription(due.account, due.id, due.renews_at)
        return True
    ends_at = next_renewal(due.renews_at, due.anchor_day)
    if due.paused and ends_at > now:
        return False
    bill_overage(due.account, due.id, now)
    expired, granted = (0, 0) if due.paused else (_expire_excess(due.account, due, actor), _grant(due, actor))
    execute(
        "INSERT INTO subscription_period (subscription_id, starts_at, ends_at, plan, state, granted, expired, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [due.id, due.renews_at, ends_at, due.plan, "skipped" if due.paused else "granted", granted, expired, now],
    )
    execute(
        "UPDATE subscription SET renews_at = ?, plan_id = ?, next_plan = NULL WHERE id = ? AND account_id = ?",
        [ends_at, due.plan, due.id, due.account],
    )
    return True


def _lock_due(account: UUID, subscription: UUID) -> _Due | None:
    lock_accounts([account])
    row = execute(
        "SELECT s.id, s.account_id, s.status, s.renews_at, s.anchor_day, s.cancelled_at IS NOT NULL, s.suspended_at IS NOT NULL,"
        " a.status, p.id, p.name, p.monthly_credits, p.rollover_cap FROM subscription s JOIN account a ON a.id = s.account_id"
        " JOIN plan p ON p.id = coalesce(s.next_plan, s.plan_id) WHERE s.id = ? AND a.id = ?",
        [subscription, account],
    ).fetchone()
    if row is None or row[3] is None:
        return None
    id, owner, status, renews_at, anchor, cancelled, suspended, account_status, plan, *terms = row
    return _Due(
        *(as_uuid(id), as_uuid(owner), status, renews_at, anchor, bool(cancelled), bool(suspended), account_status),
        *(as_uuid(plan), *terms),
    )


def _grant(due: _Due, actor: str) -> int:
    if due.monthly_credits:
        reason = f"{due.plan_name}: period from {format_timestamp(due.renews_at)}"
        post_entry(due.account, "grant", due.monthly_credits, actor=actor, reason=reason, plan=True)
    return due.monthly_credits


def _expire_excess(account: UUID, terms: _Due | PaidPeriod, actor: str) -> int:
    """Expire what a grant would add beyond the rollover cap, and return the amount. Held credits do not expire."""
    pool = lock_accounts([account])()[account]
    excess = pool.plan_credits + terms.monthly_credits - terms.most_plan_credits
    expired = max(0, min(excess, pool.plan_credits, pool.available))
    if expired:
        post_entry(account, "expiry", -expired, actor=actor, reason=f"{terms.plan_name}: beyond the rollover cap")
    return expired


def start_paid_period(account: UUID, subscription: UUID, period: PaidPeriod, now: int, *, actor: str, reason: str) -> int:
    """Start a period that was paid for: grant its credits, and return the number of the ledger entry.

    If the subscription has a later period, this one was paid late: only its credits are granted. The caller makes sure that each
    payment starts one period. Run inside a transaction that holds the account's lock.
    """
    managed_by, plan, overage_cap = execute(
        "SELECT stripe_subscription, plan_id, overage_cap FROM subscription WHERE id = ? AND account_id = ?",
        [subscription, account],
    ).fetchone()
    later = execute(
        "SELECT 1 FROM subscription_period WHERE subscription_id = ? AND starts_at > ?", [subscription, period.starts_at]
    ).fetchone()
    if later is None or managed_by != period.managed_by:
        bill_overage(account, subscription, now)
        cap = overage_cap if as_uuid(plan) == period.plan else min(overage_cap, period.max_overage_cap)
        execute(
            "UPDATE subscription SET renews_at = ?, plan_id = ?, next_plan = NULL, stripe_subscription = ?, overage_cap = ?"
            " WHERE id = ? AND account_id = ?",
            [period.ends_at, period.plan, period.managed_by, cap, subscription, account],
        )
    expired = _expire_excess(account, period, actor)
    entry = post_entry(account, "grant", period.monthly_credits, actor=actor, reason=reason, plan=True)
    execute(
        "INSERT INTO subscription_period (subscription_id, starts_at, ends_at, plan, state, granted, expired, created_at)"
        " VALUES (?, ?, ?, ?, 'granted', ?, ?, ?) ON CONFLICT (subscription_id, starts_at) DO UPDATE SET"
        " granted = subscription_period.granted + excluded.granted, expired = subscription_period.expired + excluded.expired",
        [subscription, period.starts_at, period.ends_at, period.plan, period.monthly_credits, expired, now],
    )
    return int(entry.seq)


def grant_difference(account: UUID, subscription: UUID, monthly_credits: int, plan_name: str, *, actor: str) -> int:
    """Grant the difference between a larger plan and what the current period has granted. Returns the amount.

    Run inside a transaction that holds the account's lock.
    """
    row = execute(
        "SELECT starts_at, granted FROM subscription_period WHERE subscription_id = ? ORDER BY starts_at DESC LIMIT 1",
        [subscription],
    ).fetchone()
    if row is None or monthly_credits <= row[1]:
        return 0
    more = int(monthly_credits - row[1])
    post_entry(account, "grant", more, actor=actor, reason=f"{plan_name}: raised within the period", plan=True)
    execute(
        "UPDATE subscription_period SET granted = granted + ?, state = 'granted' WHERE subscription_id = ? AND starts_at = ?",
        [more, subscription, row[0]],
    )
    return more


def end_subscription(account: UUID, subscription: UUID, now: int) -> None:
    """End a subscription: bill its overage and expire its plan credits. Run inside a transaction with the account locked.

    Amounts that running calls hold are billed or expire after those calls have ended.
    """
    execute(
        "UPDATE subscription SET status = 'ended', ended_at = ?, next_plan = NULL WHERE id = ? AND account_id = ?",
        [now, subscription, account],
    )
    bill_overage(account, subscription, now)
    expire_plan_credits(account)


def bill_overage(account: UUID, subscription: UUID, now: int) -> int:
    """Write a bill entry for the overage used so far, reset the counter and return the amount. Needs the account's lock."""
    used = execute("SELECT overage_used FROM subscription WHERE id = ? AND account_id = ?", [subscription, account]).fetchone()[0]
    if used:
        execute(
            "INSERT INTO overage_entry (id, account_id, subscription, kind, amount, created_at) VALUES (?, ?, ?, 'bill', ?, ?)",
            [new_id(), account, subscription, -used, now],
        )
        execute("UPDATE subscription SET overage_used = 0 WHERE id = ? AND account_id = ?", [subscription, account])
    return int(used)


def expire_plan_credits(account: UUID) -> None:
    """Expire an account's plan credits that no call holds. Run inside a transaction."""
    pool = lock_accounts([account])()[account]
    expired = min(pool.plan_credits, pool.available)
    if expired:
        post_entry(account, "expiry", -expired, actor=ACTOR, reason="the subscription has ended")


def _close_ended(now: int) -> int:
    """Bill and expire amounts that running calls held when their subscription ended."""
    rows = execute(
        "SELECT s.id, a.id FROM subscription s JOIN account a ON a.id = s.account_id WHERE s.status = 'ended' AND a.id <> ?"
        " AND (s.overage_used > 0 OR a.plan_credits > 0 AND a.balance > a.held AND NOT EXISTS"
        " (SELECT 1 FROM subscription o WHERE o.account_id = a.id AND o.status = 'active'))",
        [POOL_ACCOUNT_ID],
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
