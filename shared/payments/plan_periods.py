"""Plans that are paid through Stripe: what a paid invoice starts, and how such a plan ends.

Except for `end_unpaid_plans`, functions run inside a transaction that holds the account's lock.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.core.billing_periods import anchor_day
from shared.core.database import transaction
from shared.ledger.renewals import (
    PaidPeriod,
    bill_overage,
    end_subscription,
    expire_plan_credits,
    start_paid_period,
    start_period,
)
from shared.ledger.sql import lock_accounts
from shared.models import Payment, Plan, PlanPrice, StripeSubscription, Subscription

OPEN_STATES = ("pending", "active")
GRACE_MS = 7 * 24 * 3_600_000  # after the end of a period, until its successor must be paid


def start_paid_plan(row: Any, now: int) -> int:
    """Start the period that a payment (`Payment`) pays for. Returns the number of the ledger entry with its credits."""
    found: Any = StripeSubscription.get_by_id(row.stripe_subscription)
    price: Any = PlanPrice.select(PlanPrice, Plan).join(Plan).where(PlanPrice.id == row.price_id).get()
    if found.state == "expired":  # paid after all, if nothing else was bought meanwhile
        found.state = "ending" if _has_open(found) else "active"
    elif found.state == "pending":
        found.state = "active"
    subscription = _subscription(found, price.plan, now)
    found.save()
    plan: Any = price.plan
    period = PaidPeriod(
        found.reference,
        plan.id,
        plan.name,
        price.credits,
        plan.rollover_cap,
        plan.owner_overage_cap or 0,
        row.period_start or now,
        row.period_end or now + 1,
    )
    seq = start_paid_period(
        row.account_id,
        subscription.id,
        period,
        now,
        actor=f"payment:{row.provider}",
        reason=f"payment {row.reference}",
    )
    if found.state == "active":
        show_changes(found, now)
    else:
        end_paid_plan(found, now)
    return seq


def end_paid_plan(found: Any, now: int) -> None:
    """End the plan of a subscription at Stripe: the account returns to the plan that it had before, or has none."""
    row: Any = linked_subscription(found)
    if row is None:
        return
    plan: Any = Plan.get_or_none((Plan.id == found.replaced_plan) & (Plan.status == "active"))
    if plan is None:
        end_subscription(row.account_id, row.id, now)
        return
    bill_overage(row.account_id, row.id, now)
    expire_plan_credits(row.account_id)
    Subscription.update(
        plan=plan,
        next_plan=None,
        overage_cap=min(row.overage_cap, plan.owner_overage_cap or 0),
        stripe_subscription=None,
        cancelled_at=None,
        renews_at=now,
        anchor_day=anchor_day(now),
    ).where((Subscription.id == row.id) & (Subscription.account == row.account_id)).execute()
    start_period(row.account_id, row.id, now)
    update_past_due(row.account_id, now)


def end_unpaid_plans(now: int) -> int:
    """End plans whose next period was not paid within the grace period. Returns their number.

    Runs its own transactions. The worker then cancels them at Stripe; if Stripe collects the money after all, they start again.
    """
    late = (
        (Subscription.status == "active")
        & Subscription.stripe_subscription.is_null(False)
        & (Subscription.renews_at <= now - GRACE_MS)
    )
    rows: list[Any] = list(Subscription.select().where(late))
    for row in rows:
        with transaction():
            lock_accounts([row.account_id])()
            if Subscription.select().where(late & (Subscription.id == row.id)).exists():
                end_paid_plan(StripeSubscription.get_by_id(row.stripe_subscription), now)
    return len(rows)


def give_up_subscriptions(account: UUID) -> None:
    """Mark an account's subscription at Stripe as ended by us: the worker cancels it there, and it starts no period again."""
    StripeSubscription.update(state="ending").where(
        (StripeSubscription.account == account) & StripeSubscription.state.in_(OPEN_STATES)
    ).execute()


def show_changes(found: Any, now: int) -> None:
    """Show on the account's plan whether it ends with its period, and which plan follows."""
    row: Any = linked_subscription(found)
    if row is None:
        return
    price: Any = PlanPrice.get_by_id(found.price_id)
    next_plan = price.plan_id if price.plan_id != row.plan_id else None
    if (row.cancelled_at is not None, row.next_plan) != (found.cancels, next_plan):
        cancelled_at = (row.cancelled_at or now) if found.cancels else None
        Subscription.update(cancelled_at=cancelled_at, next_plan=next_plan).where(
            (Subscription.id == row.id) & (Subscription.account == found.account_id)
        ).execute()


def linked_subscription(found: Any) -> Subscription | None:
    """Return the active plan that a subscription at Stripe pays for, or None."""
    row: Subscription | None = Subscription.get_or_none(
        (Subscription.account == found.account_id)
        & (Subscription.status == "active")
        & (Subscription.stripe_subscription == found.reference)
    )
    return row


def update_past_due(account: Any, now: int) -> None:
    """Mark an account's plan as past due while one of its payments has failed, and clear the mark afterwards."""
    active = (Subscription.account == account) & (Subscription.status == "active")
    row: Any = Subscription.get_or_none(active)
    if row is None:
        return
    bill = (Payment.purpose == "overage") & ((Payment.state == "failed") | (Payment.state == "pending") & (Payment.attempts > 0))
    invoice = (Payment.purpose == "plan") & (Payment.state == "failed") & (Payment.stripe_subscription == row.stripe_subscription)
    is_due = Payment.select().where((Payment.account == account) & (bill | invoice)).exists()
    if is_due != (row.past_due_at is not None):
        Subscription.update(past_due_at=now if is_due else None).where(active & (Subscription.id == row.id)).execute()


def _has_open(found: Any) -> bool:
    others = (StripeSubscription.account == found.account_id) & StripeSubscription.state.in_(OPEN_STATES)
    return bool(StripeSubscription.select().where(others & (StripeSubscription.reference != found.reference)).exists())


def _subscription(found: Any, plan: Plan, now: int) -> Any:
    """Return the subscription that a period belongs to. One that another plan replaced, or that has ended, is not active."""
    linked: Any = (
        Subscription.select()
        .where((Subscription.account == found.account_id) & (Subscription.stripe_subscription == found.reference))
        .order_by(Subscription.status, Subscription.started_at.desc())  # the active one first
        .first()
    )
    if linked is not None and (linked.status == "active" or found.state != "active"):
        return linked
    if found.state == "active":
        current: Any = Subscription.get_or_none((Subscription.account == found.account_id) & (Subscription.status == "active"))
        if current is not None:
            former = StripeSubscription.get_or_none(StripeSubscription.reference == current.stripe_subscription)
            found.replaced_plan = former.replaced_plan if former is not None else current.plan_id
            Subscription.update(cancelled_at=None).where(
                (Subscription.id == current.id) & (Subscription.account == found.account_id)
            ).execute()
            return current
    return Subscription.create(
        account=found.account_id,
        plan=plan,
        status="active" if found.state == "active" else "ended",
        started_at=now,
        ended_at=None if found.state == "active" else now,
        anchor_day=anchor_day(now),
        stripe_subscription=found.reference,
    )
