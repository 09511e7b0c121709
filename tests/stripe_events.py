"""Events as Stripe sends them, built from a payment's row, and their signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from itertools import count
from typing import Any
from uuid import uuid4

from shared.models import Payment

_numbers = count(1)


def event(kind: str, found: dict[str, Any], created: int | None = None) -> dict[str, Any]:
    """An event about an object."""
    return {
        "id": f"evt_{next(_numbers)}_{uuid4().hex[:12]}",
        "object": "event",
        "type": kind,
        "created": int(time.time()) if created is None else created,
        "livemode": False,
        "data": {"object": found},
    }


def intent_of(row: Payment) -> str:
    """The id of the payment intent that our fake creates for a payment."""
    return f"pi_{row.reference}"


def session(row: Payment, **changes: Any) -> dict[str, Any]:
    """The checkout session of an order, paid."""
    return {
        "id": f"cs_{row.reference}",
        "object": "checkout.session",
        "mode": "payment",
        "payment_status": "paid",
        "client_reference_id": row.reference,
        "metadata": {"yout_payment": row.reference},
        "amount_subtotal": row.amount_minor,
        "amount_total": row.amount_minor,
        "currency": row.currency,
        "payment_intent": intent_of(row),
        "customer": f"cus_{row.account.id.hex}",
        "invoice": None,
        **changes,
    }


def charge(row: Payment, **changes: Any) -> dict[str, Any]:
    """The charge of a payment, with a card that was saved."""
    return {
        "id": f"ch_{row.reference}",
        "object": "charge",
        "amount": row.amount_minor,
        "amount_refunded": 0,
        "currency": row.currency,
        "payment_intent": intent_of(row),
        "customer": f"cus_{row.account.id.hex}",
        "payment_method": f"pm_{row.account.id.hex}",
        "payment_method_details": {"card": {"brand": "visa", "last4": "4242", "exp_month": 3, "exp_year": 2031}},
        "receipt_url": f"https://pay.stripe.test/receipts/{row.reference}",
        "metadata": {"yout_payment": row.reference, "yout_save_card": "1"},
        **changes,
    }


def dispute(row: Payment, status: str, amount: int | None = None, *, number: int = 1) -> dict[str, Any]:
    """A dispute about a payment, which can have several."""
    amount = row.amount_minor if amount is None else amount
    return {
        "id": f"dp_{number}_{row.reference}",
        "object": "dispute",
        "payment_intent": intent_of(row),
        "amount": amount,
        "status": status,
    }


def subscription(id: str, reference: str, **changes: Any) -> dict[str, Any]:
    """A subscription. Source: Stripe API reference, "The Subscription object"."""
    return {
        "id": id,
        "object": "subscription",
        "status": "active",
        "cancel_at_period_end": False,
        "cancel_at": None,
        "metadata": {"yout_payment": reference},
        **changes,
    }


def subscription_session(reference: str, stripe_id: str, customer: str, **changes: Any) -> dict[str, Any]:
    """The checkout session of a subscription, paid."""
    return {
        "id": f"cs_{reference}",
        "object": "checkout.session",
        "mode": "subscription",
        "status": "complete",
        "payment_status": "paid",
        "client_reference_id": reference,
        "metadata": {"yout_payment": reference},
        "subscription": stripe_id,
        "customer": customer,
        "payment_intent": None,
        **changes,
    }


def invoice(id: str, found: dict[str, Any], price: str, amount: int, start: int, **changes: Any) -> dict[str, Any]:
    """An invoice of a subscription for 30 days. Source: Stripe API reference, "The Invoice object"."""
    line = {
        "amount": amount,
        "period": {"start": start, "end": start + 30 * 86_400},
        "pricing": {"type": "price_details", "price_details": {"price": price}},
    }
    details = {"subscription": found["id"], "metadata": found["metadata"]}
    return {
        "id": id,
        "object": "invoice",
        "status": "paid",
        "billing_reason": "subscription_cycle",
        "currency": "usd",
        "customer": found.get("customer", ""),
        "subtotal": amount,
        "total": amount,
        "metadata": {},
        "hosted_invoice_url": f"https://invoice.stripe.test/{id}",
        "lines": {"object": "list", "data": [line]},
        "parent": {"type": "subscription_details", "subscription_details": details},
        **changes,
    }


def invoice_payment(invoice_id: str, intent: str) -> dict[str, Any]:
    """What paid an invoice. Source: Stripe API reference, "The Invoice Payment object"."""
    return {
        "id": f"inpay_{invoice_id}",
        "object": "invoice_payment",
        "invoice": invoice_id,
        "payment": {"type": "payment_intent", "payment_intent": intent},
        "status": "paid",
    }


def signed(found: dict[str, Any], secret: str, at: int | None = None) -> tuple[bytes, str]:
    """The body of a webhook and its `Stripe-Signature` header. Source: Stripe, "Verify webhook signatures manually"."""
    body = json.dumps(found, indent=2).encode()
    at = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()
    return body, f"t={at},v1={digest}"
