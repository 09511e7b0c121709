"""Subscriptions: subscribe to a plan, change or cancel it, set overage."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.core.billing_periods import anchor_day
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger import renewals
from shared.ledger.sql import lock_accounts
from shared.models import Account, Plan, Subscription
from shared.operations.accounts import find_account, require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.plans import find_plan
from shared.operations.validation import MAX_AMOUNT, check_choice, check_integer
from shared.payments.plan_periods import give_up_subscriptions
from shared.text.translation import lazy_gettext

CHANGE_TIMES = ("now", "next_period")


def active_subscription(account: UUID) -> Subscription | None:
    """Return the account's active subscription with its plan, or None. Reads only."""
    found: Subscription | None = (
        Subscription.select(Subscription, Plan)
        .join(Plan)
        .where((Subscription.account == account) & (Subscription.status == "active"))
        .first()
    )
    return found


def subscribe(email_or_id: str | UUID, plan: str | UUID, *, origin: Origin) -> Subscription:
    """Subscribe an account to a plan. The first period and its grant start now.

    Raises `InvalidInput` if the account has a plan or is not active, or if the plan is disabled.
    """
    with transaction():
        account, current = _lock(email_or_id)
        if current is not None:
            raise InvalidInput(
                lazy_gettext(
                    "The account {email} already has the plan {plan!r}. Change it instead.",
                    email=account.email,
                    plan=current.plan.name,
                )
            )
        if account.status != "active":
            raise InvalidInput(
                lazy_gettext(
                    "The account {email} is {status} and cannot subscribe to a plan.", email=account.email, status=account.status
                )
            )
        chosen, now = _offered(plan), now_ms()
        row = Subscription.create(account=account, plan=chosen, started_at=now, renews_at=now, anchor_day=anchor_day(now))
        renewals.start_period(account.id, row.id, now, origin.actor)
        record_audit_entry(origin, "subscription.create", row.id, after={"account": str(account.id), "plan": chosen.name})
        return Subscription.get_by_id(row.id)


def change_subscription(email_or_id: str | UUID, plan: str | UUID, when: str = "next_period", *, origin: Origin) -> Subscription:
    """Change an account's plan at once or with its next period. The renewal day stays; a cancellation is withdrawn.

    At once means that the new plan's limits apply from the next call on. A larger plan grants the difference to what the current
    period has granted; a smaller one takes nothing back.
    """
    check_choice("when", when, CHANGE_TIMES)
    with transaction():
        account, row = _lock_active(email_or_id)
        _require_unpaid(row)
        chosen = _offered(plan)
        before = _terms(row)
        if when == "next_period":
            row.next_plan = chosen.id if chosen.id != row.plan.id else None
        else:
            row.plan, row.next_plan = chosen, None
            if account.status == "active" and row.suspended_at is None:
                renewals.grant_difference(account.id, row.id, chosen.monthly_credits, chosen.name, actor=origin.actor)
        row.cancelled_at = None
        return _save(row, "subscription.change", before, origin)


def cancel_subscription(email_or_id: str | UUID, when: str = "next_period", *, origin: Origin) -> Subscription:
    """Cancel a subscription at the end of its period, or at once. Its plan credits then expire; purchased credits stay."""
    check_choice("when", when, CHANGE_TIMES)
    with transaction():
        account, row = _lock_active(email_or_id)
        before = _terms(row)
        if when == "next_period":
            _require_unpaid(row)
        row.cancelled_at = row.cancelled_at or now_ms()
        _save(row, "subscription.cancel" if when == "next_period" else "subscription.end", before, origin)
        if when == "now":
            give_up_subscriptions(account.id)
            renewals.end_subscription(account.id, row.id, now_ms())
        return Subscription.get_by_id(row.id)


def withdraw_cancellation(email_or_id: str | UUID, *, origin: Origin) -> Subscription:
    """Withdraw a cancellation before the period ends."""
    with transaction():
        _, row = _lock_active(email_or_id)
        _require_unpaid(row)
        before = _terms(row)
        row.cancelled_at = None
        return _save(row, "subscription.keep", before, origin)


def suspend_subscription(email_or_id: str | UUID, *, origin: Origin) -> Subscription:
    """Stop grants and overage (for example after a missed payment) until resumed. Credits and limits stay."""
    with transaction():
        _, row = _lock_active(email_or_id)
        before = _terms(row)
        row.suspended_at = row.suspended_at or now_ms()
        return _save(row, "subscription.suspend", before, origin)


def resume_subscription(email_or_id: str | UUID, *, origin: Origin) -> Subscription:
    """Resume grants: the worker's next run grants the current period; past periods are skipped."""
    with transaction():
        _, row = _lock_active(email_or_id)
        before = _terms(row)
        row.suspended_at = None
        return _save(row, "subscription.resume", before, origin)


def set_overage(email_or_id: str | UUID, cap: int, *, origin: Origin) -> Subscription:
    """Allow calls to continue when the pool is empty, up to `cap` credits per period. 0 disables overage.

    Raises `InvalidInput` if the plan does not allow it. A cap below the overage already used stops further overage at once.
    """
    check_integer("overage cap", cap, 0, MAX_AMOUNT)
    with transaction():
        _, row = _lock_active(email_or_id)
        if cap and not row.plan.overage_allowed:
            raise InvalidInput(
                lazy_gettext("The plan {plan!r} does not allow overage. `yout plan change` can allow it.", plan=row.plan.name)
            )
        before = _terms(row)
        row.overage_cap = cap
        return _save(row, "subscription.overage", before, origin)


def set_own_overage(account: UUID, cap: int, *, origin: Origin) -> Subscription:
    """Set the overage cap for an owner, up to the maximum of the plan (`owner_overage_cap`). Raises as `set_overage`."""
    with transaction():
        _, row = _lock_active(account)
        maximum = row.plan.owner_overage_cap
        if maximum is None or not row.plan.overage_allowed:
            raise InvalidInput(lazy_gettext("Your plan does not let you set an overage cap. Contact support."))
        check_integer("overage cap", cap, 0, maximum)
        return set_overage(account, cap, origin=origin)


def _lock(email_or_id: str | UUID) -> tuple[Account, Subscription | None]:
    """Lock the account and return it with its active subscription."""
    account = find_account(email_or_id)
    require_customer_account(account)
    lock_accounts([account.id])()
    return Account.get_by_id(account.id), active_subscription(account.id)


def _lock_active(email_or_id: str | UUID) -> tuple[Account, Subscription]:
    account, row = _lock(email_or_id)
    if row is None:
        raise NotFound(
            lazy_gettext(
                "The account {email} has no plan. Add one with `yout account subscribe {email} PLAN`.", email=account.email
            )
        )
    return account, row


def _require_unpaid(row: Subscription) -> None:
    """Raise `InvalidInput` if the plan is paid through Stripe, which would not know of a change here."""
    if row.stripe_subscription is not None:
        raise InvalidInput(
            lazy_gettext(
                "This plan is paid through Stripe: its owner changes or cancels it, or you cancel it in Stripe's dashboard."
                " Ending it at once is possible here."
            )
        )


def _offered(name: str | UUID) -> Plan:
    plan = find_plan(name)
    if plan.status != "active":
        raise InvalidInput(lazy_gettext("The plan {plan!r} is closed to new subscribers.", plan=plan.name))
    return plan


def _terms(row: Subscription) -> dict[str, Any]:
    """Return what operations can change, for the audit log."""
    return {
        "plan": str(row.plan.id),
        "next_plan": str(row.next_plan) if row.next_plan else None,
        "overage_cap": row.overage_cap,
        "cancelled_at": row.cancelled_at,
        "suspended_at": row.suspended_at,
    }


_CHANGEABLE = (
    *(Subscription.plan, Subscription.next_plan, Subscription.overage_cap),
    *(Subscription.cancelled_at, Subscription.suspended_at),
)


def _save(row: Subscription, action: str, before: dict[str, Any], origin: Origin) -> Subscription:
    after = _terms(row)
    changed = [name for name in after if after[name] != before[name]]
    if changed or action == "subscription.end":
        row.save(only=_CHANGEABLE)
        record_audit_entry(
            origin, action, row.id, before={name: before[name] for name in changed}, after={name: after[name] for name in changed}
        )
    return Subscription.get_by_id(row.id)
