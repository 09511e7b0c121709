"""Automatic top-ups: which accounts are due, and their orders. The worker charges the cards."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from peewee import SQL, fn

from shared.core.billing_periods import month_start
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.ledger.sql import lock_accounts
from shared.models import Account, Payment, PaymentProfile, PaymentSettings
from shared.payments.money import CreditPrice
from shared.payments.orders import STRIPE, Fact, create_order, record_fact

UNANSWERED_MS = 20 * 3_600_000  # Stripe deletes idempotency keys after 24 hours, so older charges are not sent again
BATCH = 100


class TopUp(NamedTuple):
    """A charge to make: of a new order, or of one whose charge may not have arrived."""

    account: UUID
    reference: str
    amount_minor: int
    currency: str
    customer_id: str
    payment_method: str


def due_top_ups() -> list[UUID]:
    """Return accounts that are below their threshold, or whose charge has no result yet. Reads only."""
    on = PaymentProfile.top_up_threshold.is_null(False) & PaymentProfile.top_up_stopped_at.is_null()
    open_orders = Payment.select(Payment.account).where((Payment.purpose == "top_up") & (Payment.state == "pending"))
    low = Account.balance - Account.held < PaymentProfile.top_up_threshold
    rows: Any = (
        PaymentProfile.select(PaymentProfile.account)
        .join(Account)
        .where(on & (PaymentProfile.top_up_not_before <= now_ms()) & (Account.status == "active"))
        .where(low | PaymentProfile.account.in_(open_orders))
        .limit(BATCH)
        .tuples()
    )
    return [id for (id,) in rows]


def begin_top_up(account: UUID, now: int | None = None) -> TopUp | None:
    """Order an account's top-up, or return its open one. None if it is no longer due, or the month's maximum is reached."""
    now = now_ms() if now is None else now
    with transaction():
        pool = lock_accounts([account])().get(account)
        settings: PaymentSettings | None = PaymentSettings.get_or_none(PaymentSettings.id == 1)
        row: PaymentProfile | None = PaymentProfile.get_or_none(PaymentProfile.account == account)
        if pool is None or settings is None or row is None or not _is_on(row) or row.top_up_not_before > now:
            return None
        order: Payment | None = Payment.get_or_none(
            (Payment.account == account) & (Payment.purpose == "top_up") & (Payment.state == "pending")
        )
        if order is None:
            amount = row.top_up_minor or 0
            spent = _charged_since(account, month_start(now))
            if pool.available >= (row.top_up_threshold or 0) or spent + amount > (row.top_up_month_minor or 0):
                return None
            price = CreditPrice(
                settings.currency, settings.credits_per_minor_unit, settings.minimum_minor, settings.maximum_minor
            )
            try:
                credits = price.credits(amount)
            except InvalidInput:  # staff changed the price or the allowed amounts since
                PaymentProfile.update(top_up_stopped_at=now, top_up_problem="amount_not_allowed").where(
                    PaymentProfile.account == account
                ).execute()
                return None
            try:
                order = create_order(account, STRIPE, amount, settings.currency, credits, purpose="top_up", now=now)
            except InvalidInput:  # the account was suspended since
                return None
        return TopUp(
            account,
            order.reference,
            order.amount_minor or 0,
            order.currency or "",
            row.customer_id or "",
            row.payment_method or "",
        )


def expire_unanswered(now: int, *, sends_mail: bool = False) -> int:
    """End charges that never got a result and can no longer be repeated. A late event still credits them."""
    old = (Payment.state == "pending") & (Payment.purpose == "top_up") & (Payment.created_at < now - UNANSWERED_MS)
    rows = list(Payment.select().where(old & (Payment.provider == STRIPE)))
    for row in rows:
        record_fact(STRIPE, Fact("failed", row.reference, problem="no_answer"), now, sends_mail=sends_mail)
    return len(rows)


def _is_on(row: PaymentProfile) -> bool:
    return row.top_up_threshold is not None and row.top_up_stopped_at is None and bool(row.customer_id and row.payment_method)


def _charged_since(account: UUID, since: int) -> int:
    """Return what top-ups charged since a time, with open ones."""
    rows: Any = Payment.select(fn.COALESCE(fn.SUM(Payment.amount_minor), SQL("0"))).where(
        (Payment.account == account) & (Payment.purpose == "top_up") & Payment.state.in_(("paid", "pending", "review"))
    )
    return int(rows.where(Payment.created_at >= since).scalar())
