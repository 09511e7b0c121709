"""Overage bills: their payments, and which of them are due. The worker charges the cards.

A bill is an `OverageEntry` of kind `bill`; its payment has the entry's id as its reference. Each attempt has a number, and each
failure counts once, whether the response or the event arrives first. An attempt without an answer is repeated with the same
idempotency key, so a bill is paid once.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.ledger.sql import lock_accounts
from shared.models import OverageEntry, Payment, PaymentProfile, PaymentSettings, StripeSubscription
from shared.payments.orders import CHARGING, STRIPE
from shared.payments.plan_periods import OPEN_STATES
from shared.payments.top_ups import UNANSWERED_MS

log = logging.getLogger("yout.payments")

MIN_BILL_MINOR = 50  # Stripe's minimum charge in most currencies; smaller bills are waived
SLACK_MS = 24 * 3_600_000  # a bill is committed soon after its `created_at`
BATCH = 100


class Charge(NamedTuple):
    """A charge to make for a bill. `payment_method` is "" if the card is that of the subscription `stripe_id`."""

    reference: str
    attempt: int
    amount_minor: int
    currency: str
    customer_id: str
    payment_method: str
    stripe_id: str


def create_bill_payments(now: int | None = None) -> int:
    """Create the payments of new bills. Returns their number. Runs in a transaction of its own."""
    now = now_ms() if now is None else now
    with transaction():
        settings: Any = PaymentSettings.get_or_none(PaymentSettings.id == 1)
        if settings is None or settings.overage_since is None:
            return 0
        bills: list[Any] = list(
            OverageEntry.select().where((OverageEntry.kind == "bill") & (OverageEntry.created_at >= settings.overage_since))
        )
        created = sum(_create_payment(bill, settings, now) for bill in bills)
        if settings.overage_since < now - SLACK_MS:
            PaymentSettings.update(overage_since=now - SLACK_MS).where(PaymentSettings.overage_since.is_null(False)).execute()
        return created


def _create_payment(bill: Any, settings: Any, now: int) -> bool:
    reference, credits = bill.id.hex, -bill.amount
    amount = -(-credits // settings.credits_per_minor_unit)  # rounded up
    is_small = amount < MIN_BILL_MINOR
    row: dict[str, Any] = {
        "provider": STRIPE,
        "reference": reference,
        "account": bill.account_id,
        "credits": credits,
        "created_at": now,
        "purpose": "overage",
        "state": "expired" if is_small else "pending",
        "problem": "below_minimum" if is_small else "",
        "amount_minor": amount,
        "currency": settings.currency,
        "next_attempt_at": None if is_small else now,
    }
    created: Any = Payment.insert(row).on_conflict_ignore().as_rowcount().execute()
    return bool(created)


def due_bills(now: int | None = None) -> list[tuple[UUID, str]]:
    """Return account and reference of the bills that are due to be charged. Reads only."""
    now = now_ms() if now is None else now
    is_due = (Payment.purpose == "overage") & (Payment.state == "pending") & (Payment.next_attempt_at <= now)
    rows: Any = Payment.select(Payment.account, Payment.reference).where(is_due).limit(BATCH).tuples()
    return list(rows)


def begin_charge(account: UUID, reference: str, now: int | None = None) -> Charge | None:
    """Begin or repeat an attempt to charge a bill. None if it is no longer due.

    An attempt that had no answer for so long that its idempotency key may be forgotten is left to staff (`review`).
    """
    now = now_ms() if now is None else now
    with transaction():
        lock_accounts([account])()
        row: Any = Payment.get((Payment.provider == STRIPE) & (Payment.reference == reference))
        if row.state != "pending" or row.next_attempt_at is None or row.next_attempt_at > now:
            return None
        if row.problem == CHARGING and row.next_attempt_at < now - UNANSWERED_MS:
            row.state, row.problem, row.next_attempt_at = "review", "no_answer", None
            row.save()
            log.error("overage bill %s has had no answer from Stripe; compare it there", reference)
            return None
        if row.problem != CHARGING:
            row.problem, row.next_attempt_at = CHARGING, now
            row.save()
        profile: Any = PaymentProfile.get_or_none(PaymentProfile.account == account)
        bought: Any = StripeSubscription.get_or_none(
            (StripeSubscription.account == account) & StripeSubscription.state.in_(OPEN_STATES)
        )
        return Charge(
            reference,
            row.attempts + 1,
            row.amount_minor or 0,
            row.currency or "",
            (profile and profile.customer_id) or "",
            (profile and profile.payment_method) or "",
            (bought and bought.stripe_id) or "",
        )
