"""Facts about plans that are paid through Stripe: its invoices, and the state of its subscriptions.

As in `orders.py`, facts can arrive late, twice and in any order. Each invoice is a row of `payment`; that of the first is the
order. A subscription's end is final, and of its other changes the latest counts, by Stripe's time.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, NamedTuple

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.ledger.sql import lock_accounts
from shared.models import Payment, PlanPrice, StripeSubscription, Subscription
from shared.payments.orders import CHECKOUT_MS, STRIPE, Fact, FactKind, is_closed, record_fact
from shared.payments.plan_periods import end_paid_plan, show_changes, update_past_due

log = logging.getLogger("yout.payments")


class InvoiceFact(NamedTuple):
    """What Stripe states about an invoice of a subscription. Times are seconds UTC."""

    kind: FactKind  # paid, failed, or expired (void or written off)
    invoice_id: str
    reference: str  # of the `StripeSubscription`, from the metadata; "" if they are missing
    stripe_id: str
    is_first: bool
    price_id: str
    amount_minor: int
    total_minor: int
    currency: str
    period_start: int
    period_end: int
    customer_id: str = ""
    intent_id: str = ""
    url: str = ""


class InvoiceIntentFact(NamedTuple):
    """The payment intent that paid an invoice: refunds and disputes name only the intent."""

    invoice_id: str
    intent_id: str


class SubscriptionFact(NamedTuple):
    """What Stripe states about a subscription, `at` a time in seconds UTC. expired: its checkout page ended unpaid."""

    kind: Literal["linked", "changed", "ended", "expired"]
    reference: str
    stripe_id: str = ""
    at: int = 0
    cancels: bool = False
    price_id: str = ""  # of the next invoice


PlanFact = InvoiceFact | InvoiceIntentFact | SubscriptionFact


def record_plan_fact(fact: PlanFact, now: int | None = None, *, sends_mail: bool = False) -> bool:
    """Store a fact, and start or end the plan that follows from it. Returns whether it is about a subscription of ours.

    Runs in a transaction of its own. Safe to repeat and to run in several processes at once.
    """
    now = now_ms() if now is None else now
    if isinstance(fact, InvoiceIntentFact):
        row: Any = Payment.get_or_none((Payment.provider == STRIPE) & (Payment.invoice_id == fact.invoice_id))
        return row is not None and bool(record_fact(STRIPE, Fact("linked", row.reference, intent_id=fact.intent_id), now))
    seen: Any = _find(fact)
    if seen is None:
        return False
    with transaction():
        lock_accounts([seen.account_id])()
        found: Any = StripeSubscription.get_by_id(seen.reference)
        if fact.stripe_id and found.stripe_id is None:
            found.stripe_id = fact.stripe_id
            found.save()
        if isinstance(fact, InvoiceFact):
            _record_invoice(found, fact, now, sends_mail=sends_mail)
        else:
            _record_subscription(found, fact, now)
        return True


def expire_plan_orders(now: int) -> int:
    """End orders of plans whose checkout page no longer exists. A late event still starts the plan. Returns their number."""
    old = (StripeSubscription.state == "pending") & (StripeSubscription.created_at < now - CHECKOUT_MS)
    rows = list(StripeSubscription.select().where(old).limit(1_000))
    for row in rows:
        record_plan_fact(SubscriptionFact("expired", row.reference), now)
    return len(rows)


def ended_here(now: int) -> list[StripeSubscription]:
    """Return the subscriptions at Stripe whose plan has ended here, and that must be cancelled there."""
    StripeSubscription.update(state="expired").where(  # no checkout page is left that could be paid
        (StripeSubscription.state == "ending")
        & StripeSubscription.stripe_id.is_null()
        & (StripeSubscription.created_at < now - CHECKOUT_MS)
    ).execute()
    linked = Subscription.select(Subscription.stripe_subscription).where(
        (Subscription.status == "active") & Subscription.stripe_subscription.is_null(False)
    )
    unlinked = (StripeSubscription.state == "active") & StripeSubscription.reference.not_in(linked)
    over = StripeSubscription.stripe_id.is_null(False) & ((StripeSubscription.state == "ending") | unlinked)
    return list(StripeSubscription.select().where(over).limit(100))


def _find(fact: InvoiceFact | SubscriptionFact) -> StripeSubscription | None:
    found: StripeSubscription | None = None
    if fact.reference:
        found = StripeSubscription.get_or_none(StripeSubscription.reference == fact.reference)
    if found is None and fact.stripe_id:
        found = StripeSubscription.get_or_none(StripeSubscription.stripe_id == fact.stripe_id)
    return found


def _record_invoice(found: Any, fact: InvoiceFact, now: int, *, sends_mail: bool) -> None:
    row = _payment(found, fact, now)
    if fact.price_id != row.price_id and row.paid_at is None:
        if fact.kind == "paid":
            log.warning("invoice %s is for an unknown price", fact.invoice_id)
            record_fact(STRIPE, Fact("review", row.reference, problem="other_plan"), now, sends_mail=sends_mail)
            _stop_charges(found, now)
        return
    stated = Fact(
        fact.kind,
        row.reference,
        intent_id=fact.intent_id,
        amount_minor=fact.amount_minor,
        total_minor=fact.total_minor,
        currency=fact.currency,
        customer_id=fact.customer_id,
        url=fact.url,
    )
    if fact.kind != "failed" or not fact.is_first:  # a card that is declined on the checkout page can be replaced there
        recorded = record_fact(STRIPE, stated, now, sends_mail=sends_mail)
        if recorded is not None and (recorded.state == "review" or is_closed(found.account_id)):
            _stop_charges(found, now)
    update_past_due(found.account_id, now)


def _stop_charges(found: Any, now: int) -> None:
    """Have the worker cancel a subscription at Stripe: an invoice needs a review, as would the next, or the account is closed."""
    if found.state != "ended":
        found.state, found.cancels = "ending", True
        found.save()
        show_changes(found, now)


def _payment(found: Any, fact: InvoiceFact, now: int) -> Any:
    """Return the row of an invoice; that of a later one is created with the terms of its price."""
    reference = found.reference if fact.is_first else fact.invoice_id
    row: Any = Payment.get_or_none((Payment.provider == STRIPE) & (Payment.reference == reference))
    if row is None:
        price: Any = PlanPrice.get_or_none(PlanPrice.id == fact.price_id) or found.price
        row = Payment.create(
            provider=STRIPE,
            reference=reference,
            account=found.account_id,
            credits=price.credits,
            created_at=now,
            purpose="plan",
            state="pending",
            amount_minor=price.amount_minor,
            currency=price.currency,
            stripe_subscription=found.reference,
            price_id=price.id,
        )
    if row.invoice_id is None:
        row.invoice_id = fact.invoice_id
        row.period_start, row.period_end = fact.period_start * 1_000, fact.period_end * 1_000
        row.save()
    return row


def _record_subscription(found: Any, fact: SubscriptionFact, now: int) -> None:
    if fact.kind == "expired" and found.state == "pending":
        found.state = "expired"
        found.save()
        record_fact(STRIPE, Fact("expired", found.reference), now)
    elif fact.kind == "ended" and found.state != "ended":
        found.state, found.ended_at = "ended", now
        found.save()
        if not _was_stopped(found):  # otherwise the plan keeps its grace period, as if the invoice were unpaid
            end_paid_plan(found, now)
    elif fact.kind == "changed" and found.state not in ("ending", "ended"):
        _change(found, fact, now)


def _was_stopped(found: Any) -> bool:
    reviewed = (Payment.stripe_subscription == found.reference) & (Payment.state == "review")
    return bool(Payment.select().where(reviewed).exists())


def _change(found: Any, fact: SubscriptionFact, now: int) -> None:
    """Apply the latest change. Of two in the same second, the larger one counts, so that their order does not matter."""
    price = fact.price_id if PlanPrice.get_or_none(PlanPrice.id == fact.price_id) else found.price_id
    if (fact.at, fact.cancels, price) > (found.changed_at, found.cancels, found.price_id):
        found.changed_at, found.cancels, found.price = fact.at, fact.cancels, price
        found.save()
        show_changes(found, now)
