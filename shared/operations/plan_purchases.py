"""Plans that owners buy, change and cancel themselves. What Stripe reports about them is in `shared/payments/`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.sql import lock_accounts
from shared.models import Payment, PaymentSettings, Plan, PlanPrice, StripeSubscription
from shared.operations.accounts import find_account, require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.payments import find_payment, find_payment_settings
from shared.operations.subscriptions import active_subscription
from shared.payments.orders import STRIPE, create_order
from shared.payments.plan_periods import OPEN_STATES, show_changes
from shared.text.translation import lazy_gettext


def plans_for_sale() -> list[Plan]:
    """Return the plans that owners can buy, the cheapest first. Reads only."""
    sold = Plan.self_service & (Plan.status == "active") & (Plan.price_cents > 0) & (Plan.monthly_credits > 0)
    return list(Plan.select().where(sold).order_by(Plan.price_cents, Plan.name))


def plan_for_sale(id: UUID) -> Plan:
    """Return a plan that owners can buy. Raises `NotFound`."""
    found = next((plan for plan in plans_for_sale() if plan.id == id), None)
    if found is None:
        raise NotFound(lazy_gettext("This plan is not for sale."))
    return found


def find_plan_price(plan: Plan, settings: PaymentSettings) -> PlanPrice | None:
    """Return the price at Stripe with the current terms of a plan, or None if there is none yet. Reads only."""
    found: PlanPrice | None = PlanPrice.get_or_none(
        (PlanPrice.plan == plan)
        & (PlanPrice.amount_minor == plan.price_cents)
        & (PlanPrice.currency == settings.currency)
        & (PlanPrice.credits == plan.monthly_credits)
    )
    return found


def add_plan_price(plan: Plan, settings: PaymentSettings, id: str) -> PlanPrice:
    """Store the id of a price that was created at Stripe with the terms of a plan. Keeps the one that is stored already."""
    with transaction():
        terms = {"amount_minor": plan.price_cents, "currency": settings.currency, "credits": plan.monthly_credits}
        try:
            with transaction():  # a savepoint
                return PlanPrice.create(id=id, plan=plan, **terms)
        except peewee.IntegrityError:  # another process was faster
            found = find_plan_price(plan, settings)
            if found is None:
                raise
            return found


def order_plan(account: UUID, price: PlanPrice, *, origin: Origin) -> Payment:
    """Order a plan, to be paid at Stripe. It starts when its first invoice is paid.

    Raises `InvalidInput` if the account is not active, has a plan that is paid through Stripe, or has an open order of one.
    """
    if find_payment_settings() is None:
        raise InvalidInput(lazy_gettext("This payment method is not available."))
    with transaction():
        require_customer_account(find_account(account))
        lock_accounts([account])()
        if open_subscription(account) is not None:
            raise InvalidInput(lazy_gettext("There is a paid plan or an open order already. Load the page again."))
        order: Any = create_order(account, STRIPE, price.amount_minor, price.currency, price.credits, purpose="plan")
        order.stripe_subscription, order.price_id = order.reference, price.id
        order.save()
        StripeSubscription.create(reference=order.reference, account=account, price=price)
        after = {"account": str(account), "plan": price.plan.name, "amount_minor": price.amount_minor, "currency": price.currency}
        record_audit_entry(origin, "plan.order", order.reference, after=after)
        return find_payment(order.reference)


def paid_price(found: StripeSubscription) -> PlanPrice:
    """Return the price that was paid for the current period of a paid plan. Reads only."""
    paid = (Payment.stripe_subscription == found.reference) & (Payment.state == "paid")
    row: Any = Payment.select().where(paid & Payment.price_id.is_null(False)).order_by(Payment.period_start.desc()).first()
    price: PlanPrice = PlanPrice.get_by_id(row.price_id if row is not None else found.price.id)
    return price


def unpaid_invoice(found: StripeSubscription) -> Payment | None:
    """Return the latest invoice of a paid plan whose payment has failed, or None. Reads only."""
    failed = (Payment.stripe_subscription == found.reference) & (Payment.state == "failed")
    row: Payment | None = Payment.select().where(failed).order_by(Payment.created_at.desc()).first()
    return row


def invoice_under_review(account: UUID) -> Payment | None:
    """Return the latest invoice of an account's plan, if it needs a review and was not refunded. Reads only."""
    invoices = (Payment.account == account) & (Payment.purpose == "plan") & Payment.invoice_id.is_null(False)
    row: Payment | None = Payment.select().where(invoices).order_by(Payment.created_at.desc()).first()
    return row if row is not None and row.state == "review" and not row.refunded_minor else None


def changeable_subscription(account: UUID) -> StripeSubscription:
    """Return an account's paid plan, to change or cancel it. Raises `InvalidInput` without one."""
    found, row = open_subscription(account), active_subscription(account)
    if found is None or found.state != "active" or row is None or row.stripe_subscription != found.reference:
        raise InvalidInput(lazy_gettext("There is no paid plan to change."))
    return found


def require_paid(account: UUID) -> None:
    """Raise `InvalidInput` if a payment of the account's plan or overage has failed."""
    row = active_subscription(account)
    if row is not None and row.past_due_at is not None:
        raise InvalidInput(lazy_gettext("A payment has failed. Pay it first."))


def record_change(account: UUID, price: PlanPrice, *, origin: Origin) -> None:
    """Record that the owner changed the plan at Stripe to another price. A paid invoice starts it."""
    _update(account, {"price": price, "cancels": False}, "plan.change_paid", {"plan": price.plan.name}, origin)


def record_cancellation(account: UUID, cancels: bool, *, origin: Origin) -> None:
    """Record that the owner cancelled the plan at Stripe at the end of its period, or withdrew that."""
    _update(account, {"cancels": cancels}, "plan.cancel_paid" if cancels else "plan.keep_paid", {}, origin)


def _update(account: UUID, changes: dict[str, Any], action: str, after: dict[str, Any], origin: Origin) -> None:
    with transaction():
        lock_accounts([account])()
        found = open_subscription(account)
        if found is None:
            return  # it ended meanwhile
        changed_at = now_ms() // 1_000 + 1  # newer than Stripe's events of the same second, such as the one about this change
        StripeSubscription.update(**changes, changed_at=changed_at).where(
            StripeSubscription.reference == found.reference
        ).execute()
        show_changes(StripeSubscription.get_by_id(found.reference), now_ms())
        record_audit_entry(origin, action, found.reference, after=after | {"account": str(account)})


def open_subscription(account: UUID) -> StripeSubscription | None:
    """Return an account's paid plan, or its open order of one. Reads only."""
    found: StripeSubscription | None = (
        StripeSubscription.select(StripeSubscription, PlanPrice, Plan)
        .join(PlanPrice)
        .join(Plan)
        .where((StripeSubscription.account == account) & StripeSubscription.state.in_(OPEN_STATES))
        .first()
    )
    return found
