"""Labels of the purposes, providers and states of payments. Pure."""

from __future__ import annotations

from shared.models import Payment
from shared.text.translation import lazy_gettext

PURPOSES = {
    "credits": lazy_gettext("Credits"),
    "top_up": lazy_gettext("Automatic top-up"),
    "plan": lazy_gettext("Plan"),
    "overage": lazy_gettext("Overage"),
}
PROVIDERS = {
    "stripe": lazy_gettext("Stripe"),
    "invoice": lazy_gettext("Bank transfer"),
    "code": lazy_gettext("Redeemed code"),
}


def provider_label(provider: str) -> str:
    """Return how a payment is made."""
    return str(PROVIDERS[provider])


def purpose_label(purpose: str) -> str:
    """Return what a payment is for."""
    return str(PURPOSES[purpose])


def shown_state(row: Payment) -> str:
    """Return a payment's state, of which a dispute and refunds are part; a word of `shared.text.words`."""
    if row.purpose == "overage" and row.state == "expired":
        return "waived"
    if row.state != "paid":
        return row.state
    if row.disputed_minor:
        return "disputed"
    if row.refunded_minor:
        return "refunded" if row.refunded_minor >= (row.total_minor or 0) else "partly refunded"
    return "paid"
