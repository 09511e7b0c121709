"""Stripe's events as facts about payments. Pure. Source: Stripe API reference, "Types of events"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.payments.orders import Fact

Object = Mapping[str, Any]
PAYMENT_KEY = "yout_payment"  # in the metadata of whatever we create at Stripe
SAVE_CARD_KEY = "yout_save_card"


def read_event(event: Object) -> list[Fact]:
    """Return the facts that an event states about our payments; an empty list for other events."""
    read = READERS.get(str(event.get("type", "")))
    found = event.get("data", {}).get("object", {})
    if read is None or not isinstance(found, Mapping):
        return []
    return [fact for fact in read(found) if fact.reference or fact.intent_id or fact.checkout_id]


def _checkout(session: Object) -> list[Fact]:
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


def _checkout_ended(kind: Any) -> Callable[[Object], list[Fact]]:
    def read(session: Object) -> list[Fact]:
        if session.get("mode") != "payment" or not _reference(session):
            return []
        return [Fact(kind, _reference(session), checkout_id=_text(session.get("id")))]

    return read


def _intent_succeeded(intent: Object) -> list[Fact]:
    """A charge of a saved card. Those of a checkout are ignored: only its session separates taxes from the price."""
    if not _reference(intent) or _metadata(intent).get("yout_purpose") != "top_up":
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


def _intent_failed(intent: Object) -> list[Fact]:
    if not _reference(intent) or _metadata(intent).get("yout_purpose") != "top_up":
        return []
    error = intent.get("last_payment_error") or {}
    problem = _text(error.get("decline_code") or error.get("code")) or "declined"
    return [Fact("failed", _reference(intent), intent_id=_text(intent.get("id")), problem=problem)]


def _charge_succeeded(charge: Object) -> list[Fact]:
    reference = _reference(charge)
    if not reference:
        return []
    facts = [Fact("card", reference, intent_id=_id(charge.get("payment_intent")), url=_text(charge.get("receipt_url")))]
    card = (charge.get("payment_method_details") or {}).get("card") or {}
    if _metadata(charge).get(SAVE_CARD_KEY) and card:
        label = f"{card.get('brand')} {card.get('last4')} {card.get('exp_month'):02d}/{card.get('exp_year')}"
        facts[0] = facts[0]._replace(
            customer_id=_id(charge.get("customer")), payment_method=_id(charge.get("payment_method")), card=label
        )
    return facts


def _charge_refunded(charge: Object) -> list[Fact]:
    intent = _id(charge.get("payment_intent"))
    return [Fact("refunded", _reference(charge), intent_id=intent, amount_minor=_integer(charge.get("amount_refunded")))]


def _dispute(dispute: Object) -> list[Fact]:
    amount, status = _integer(dispute.get("amount")), _text(dispute.get("status"))
    intent, id = _id(dispute.get("payment_intent")), _text(dispute.get("id"))
    return [Fact("disputed", intent_id=intent, amount_minor=amount, problem=status, dispute_id=id)]


def _invoice_paid(invoice: Object) -> list[Fact]:
    if not _reference(invoice):
        return []
    return [Fact("invoice", _reference(invoice), url=_text(invoice.get("hosted_invoice_url")))]


READERS: dict[str, Callable[[Object], list[Fact]]] = {
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
}
EVENT_TYPES = tuple(READERS)


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
