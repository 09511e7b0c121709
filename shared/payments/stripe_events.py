"""Stripe's events as facts about payments. Pure. Source: Stripe API reference, "Types of events"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from shared.payments.orders import Fact, FactKind
from shared.payments.plan_facts import InvoiceFact, InvoiceIntentFact, PlanFact, SubscriptionFact

Object = Mapping[str, Any]
PAYMENT_KEY = "yout_payment"  # in the metadata of whatever we create at Stripe
SAVE_CARD_KEY = "yout_save_card"
ATTEMPT_KEY = "yout_attempt"
CARD_PURPOSES = ("top_up", "overage")  # of charges of a saved card


def read_event(event: Object) -> list[Fact | PlanFact]:
    """Return the facts that an event states about our payments; an empty list for other events."""
    read = READERS.get(str(event.get("type", "")))
    found = event.get("data", {}).get("object", {})
    if read is None or not isinstance(found, Mapping):
        return []
    facts = [fact for fact in read(found) if not isinstance(fact, Fact) or fact.reference or fact.intent_id or fact.checkout_id]
    at = _integer(event.get("created"))
    return [fact._replace(at=at) if isinstance(fact, SubscriptionFact) else fact for fact in facts]


def _checkout(session: Object) -> list[Fact | PlanFact]:
    if session.get("mode") == "subscription" and _reference(session):
        ids = Fact("linked", _reference(session), checkout_id=_text(session.get("id")), customer_id=_id(session.get("customer")))
        return [SubscriptionFact("linked", _reference(session), _id(session.get("subscription"))), ids]
    if session.get("mode") != "payment" or not _reference(session):
        return []
    if session.get("payment_status") != "paid":
        return []  # a delayed payment method: `async_payment_succeeded` or `async_payment_failed` follows
    return [
        Fact(
            "paid",
            _reference(session),
            intent_id=_id(session.get("payment_intent")),
            checkout_id=_text(session.get("id")),
            amount_minor=_integer(session.get("amount_subtotal")),
            total_minor=_integer(session.get("amount_total")),
            currency=_text(session.get("currency")),
            customer_id=_id(session.get("customer")),
        )
    ]


def _checkout_ended(kind: Any) -> Callable[[Object], list[Fact | PlanFact]]:
    def read(session: Object) -> list[Fact | PlanFact]:
        if session.get("mode") == "subscription" and _reference(session) and kind == "expired":
            return [SubscriptionFact("expired", _reference(session))]
        if session.get("mode") != "payment" or not _reference(session):
            return []
        return [Fact(kind, _reference(session), checkout_id=_text(session.get("id")))]

    return read


def _intent_succeeded(intent: Object) -> list[Fact | PlanFact]:
    """A charge of a saved card. Those of a checkout are ignored: only its session separates taxes from the price."""
    if not _reference(intent) or _metadata(intent).get("yout_purpose") not in CARD_PURPOSES:
        return []
    amount = _integer(intent.get("amount_received", intent.get("amount")))
    return [
        Fact(
            "paid",
            _reference(intent),
            intent_id=_text(intent.get("id")),
            amount_minor=amount,
            total_minor=amount,
            currency=_text(intent.get("currency")),
        )
    ]


def _intent_failed(intent: Object) -> list[Fact | PlanFact]:
    if not _reference(intent) or _metadata(intent).get("yout_purpose") not in CARD_PURPOSES:
        return []
    error = intent.get("last_payment_error") or {}
    problem = _text(error.get("decline_code") or error.get("code")) or "declined"
    attempt = _metadata(intent).get(ATTEMPT_KEY, "")
    is_bill = _metadata(intent).get("yout_purpose") == "overage"  # whose attempts are different intents
    return [
        Fact(
            "failed",
            _reference(intent),
            intent_id="" if is_bill else _text(intent.get("id")),
            problem=problem,
            attempt=int(attempt) if str(attempt).isdecimal() else 0,
        )
    ]


def _charge_succeeded(charge: Object) -> list[Fact | PlanFact]:
    reference = _reference(charge)
    if not reference:
        return []
    fact = Fact("card", reference, intent_id=_id(charge.get("payment_intent")), url=_text(charge.get("receipt_url")))
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    if _metadata(charge).get(SAVE_CARD_KEY) and card:
        label = f"{card.get('brand')} {card.get('last4')} {card.get('exp_month'):02d}/{card.get('exp_year')}"
        fact = fact._replace(
            customer_id=_id(charge.get("customer")), payment_method=_id(charge.get("payment_method")), card=label
        )
    return [fact]


def _charge_refunded(charge: Object) -> list[Fact | PlanFact]:
    intent = _id(charge.get("payment_intent"))
    return [Fact("refunded", _reference(charge), intent_id=intent, amount_minor=_integer(charge.get("amount_refunded")))]


def _dispute(dispute: Object) -> list[Fact | PlanFact]:
    amount, status = _integer(dispute.get("amount")), _text(dispute.get("status"))
    intent, id = _id(dispute.get("payment_intent")), _text(dispute.get("id"))
    return [Fact("disputed", intent_id=intent, amount_minor=amount, problem=status, dispute_id=id)]


def _invoice_paid(invoice: Object) -> list[Fact | PlanFact]:
    if facts := _plan_invoice("paid")(invoice):
        return facts
    if not _reference(invoice):
        return []
    return [Fact("invoice", _reference(invoice), url=_text(invoice.get("hosted_invoice_url")))]


def _plan_invoice(kind: FactKind) -> Callable[[Object], list[Fact | PlanFact]]:
    """Read an invoice of a subscription. Until 2025, the fields of `parent` and `pricing` were in the object above them."""

    def read(invoice: Object) -> list[Fact | PlanFact]:
        details = _object(_object(invoice.get("parent")).get("subscription_details")) or _object(
            invoice.get("subscription_details")
        )
        subscription = _id(details.get("subscription")) or _id(invoice.get("subscription"))
        lines = _object(invoice.get("lines")).get("data")
        if not subscription or not isinstance(lines, list):
            return []
        line = max((_object(line) for line in lines), key=lambda line: _integer(line.get("amount")), default={})
        price = _id(_object(_object(line.get("pricing")).get("price_details")).get("price")) or _id(line.get("price"))
        period = _object(line.get("period"))
        fact = InvoiceFact(
            kind,
            _text(invoice.get("id")),
            _reference(details),
            subscription,
            invoice.get("billing_reason") == "subscription_create",
            price,
            _integer(invoice.get("subtotal")),
            _integer(invoice.get("total")),
            _text(invoice.get("currency")),
            _integer(period.get("start")),
            _integer(period.get("end")),
            _id(invoice.get("customer")),
            _id(invoice.get("payment_intent")),
            _text(invoice.get("hosted_invoice_url")),
        )
        return [fact] if fact.invoice_id and fact.period_start < fact.period_end else []

    return read


def _invoice_payment(payment: Object) -> list[Fact | PlanFact]:
    invoice, intent = _id(payment.get("invoice")), _id(_object(payment.get("payment")).get("payment_intent"))
    return [InvoiceIntentFact(invoice, intent)] if invoice and intent else []


def _subscription(kind: Literal["changed", "ended"]) -> Callable[[Object], list[Fact | PlanFact]]:
    def read(found: Object) -> list[Fact | PlanFact]:
        has_ended = found.get("status") in ("canceled", "incomplete_expired")
        cancels = bool(found.get("cancel_at_period_end") or found.get("cancel_at"))
        id, items = _text(found.get("id")), _object(found.get("items")).get("data")
        price = _id(_object(items[0]).get("price")) if isinstance(items, list) and items else ""
        fact = SubscriptionFact("ended" if has_ended else kind, _reference(found), id, cancels=cancels, price_id=price)
        return [fact] if id else []

    return read


# At most 20, as many as Stripe's list of events accepts at once.
READERS: dict[str, Callable[[Object], list[Fact | PlanFact]]] = {
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": _checkout,
    "checkout.session.async_payment_failed": _checkout_ended("failed"),
    "checkout.session.expired": _checkout_ended("expired"),
    "payment_intent.succeeded": _intent_succeeded,
    "payment_intent.payment_failed": _intent_failed,
    "charge.succeeded": _charge_succeeded,
    "charge.refunded": _charge_refunded,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "charge.dispute.funds_reinstated": _dispute,
    "charge.dispute.funds_withdrawn": _dispute,
    "invoice.paid": _invoice_paid,
    "invoice.payment_failed": _plan_invoice("failed"),
    "invoice.voided": _plan_invoice("expired"),
    "invoice.marked_uncollectible": _plan_invoice("expired"),
    "invoice_payment.paid": _invoice_payment,
    "customer.subscription.updated": _subscription("changed"),
    "customer.subscription.deleted": _subscription("ended"),
}
EVENT_TYPES = tuple(READERS)


def _object(value: Any) -> Object:
    return value if isinstance(value, Mapping) else {}


def _metadata(found: Object) -> Mapping[str, Any]:
    metadata = found.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _reference(found: Object) -> str:
    return _text(_metadata(found).get(PAYMENT_KEY))


def _id(value: Any) -> str:
    """Return the id of an object, which is expanded in some versions of the API."""
    return _text(value.get("id")) if isinstance(value, Mapping) else _text(value)


def _text(value: Any) -> str:
    return value[:200] if isinstance(value, str) else ""


def _integer(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
