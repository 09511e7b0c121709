"""Payments: settings, orders by customers, and bank transfers that staff confirm."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.sql import lock_accounts
from shared.models import Payment, PaymentProfile, PaymentSettings
from shared.operations.accounts import find_account, require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.validation import MAX_AMOUNT, check_choice, check_integer, check_text
from shared.payments.money import MAX_CREDITS_PER_MINOR_UNIT, MAX_MINOR, CreditPrice, check_currency
from shared.payments.orders import CARD_REMOVED, CHARGING, INVOICE, STRIPE, Fact, create_order, record_fact
from shared.text.translation import lazy_gettext

MAX_AMOUNTS = 12
OPEN_BILLS = ("pending", "failed", "review")
MAX_BANK_LINES = 20


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Payment settings, which staff choose. Amounts are in minor units of the currency."""

    currency: str
    credits_per_minor_unit: int
    amounts: list[int] = field(default_factory=list)
    minimum_minor: int = 500
    maximum_minor: int = 100_000
    automatic_tax: bool = False
    invoices: bool = False
    bank_details: str = ""
    collect_overage: bool = False


def find_payment_settings() -> PaymentSettings | None:
    """Return the payment settings, or None if credits are not sold for money. Reads only."""
    found: PaymentSettings | None = PaymentSettings.get_or_none(PaymentSettings.id == 1)
    return found


def credit_price(row: PaymentSettings) -> CreditPrice:
    """Return the price of credits."""
    return CreditPrice(row.currency, row.credits_per_minor_unit, row.minimum_minor, row.maximum_minor)


def set_payment_settings(terms: PaymentTerms, *, origin: Origin) -> PaymentSettings:
    """Set the price of credits and how they can be paid. Open orders keep their price. Raises `InvalidInput`."""
    currency = check_currency(terms.currency)
    check_integer("price", terms.credits_per_minor_unit, 1, MAX_CREDITS_PER_MINOR_UNIT)
    check_integer("minimum", terms.minimum_minor, 1, MAX_MINOR)
    check_integer("maximum", terms.maximum_minor, terms.minimum_minor, MAX_MINOR)
    price = CreditPrice(currency, terms.credits_per_minor_unit, terms.minimum_minor, terms.maximum_minor)
    if not 1 <= len(terms.amounts) <= MAX_AMOUNTS:
        raise InvalidInput(lazy_gettext("Enter 1 to {maximum} amounts.", maximum=MAX_AMOUNTS))
    for amount in terms.amounts:
        price.credits(amount)
    lines = terms.bank_details.strip().splitlines()[:MAX_BANK_LINES]
    bank_details = "\n".join(check_text("bank details", line, 200, empty=True) for line in lines)
    if terms.invoices and not bank_details:
        raise InvalidInput(lazy_gettext("Enter the bank details that customers transfer money to."))
    after = asdict(terms) | {"currency": currency, "bank_details": bank_details, "amounts": sorted(set(terms.amounts))}
    collects = after.pop("collect_overage")
    with transaction():
        row = find_payment_settings()
        since = row.overage_since if row is not None else None  # earlier bills may have been invoiced otherwise
        after["overage_since"] = (since or now_ms()) if collects else None
        before = {name: getattr(row, name) for name in after} if row is not None else {}
        if row is None:
            row = PaymentSettings.create(id=1, events_read_until=now_ms() // 1000, **after)
        else:
            PaymentSettings.update(updated_at=now_ms(), **after).where(PaymentSettings.id == 1).execute()
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        record_audit_entry(
            origin,
            "payments.settings",
            "payments",
            before={name: before[name] for name in changed if name in before},
            after=changed,
        )
    return PaymentSettings.get_by_id(1)


def order_credits(account: UUID, amount_minor: int, provider: str, *, origin: Origin) -> Payment:
    """Order credits, to be paid by card (`stripe`) or bank transfer (`invoice`). Raises `InvalidInput`, `NotFound`."""
    settings = find_payment_settings()
    if settings is None or (provider == INVOICE and not settings.invoices):
        raise InvalidInput(lazy_gettext("This payment method is not available."))
    with transaction():
        require_customer_account(find_account(account))
        credits = credit_price(settings).credits(amount_minor)
        order = create_order(account, provider, amount_minor, settings.currency, credits)
        after = {"account": str(account), "provider": provider, "amount_minor": amount_minor, "currency": settings.currency}
        record_audit_entry(origin, "payment.order", order.reference, after=after)
        return order


def find_payment(reference: str, account: UUID | None = None) -> Payment:
    """Return a payment, of `account` if given. Raises `NotFound`."""
    conditions = [Payment.reference == reference, Payment.provider.in_((STRIPE, INVOICE))]
    if account is not None:
        conditions.append(Payment.account == account)
    row: Payment | None = Payment.select().where(*conditions).first()
    if row is None:
        raise NotFound(lazy_gettext("No such payment."))
    return row


def mark_paid(reference: str, *, sends_mail: bool = False, origin: Origin) -> Payment:
    """Confirm that a bank transfer arrived, add its credits, and send a receipt if `sends_mail`.

    Raises `NotFound`, and `InvalidInput` if it is not open.
    """
    with transaction():
        row = _open_invoice(reference)
        amount = row.amount_minor or 0
        paid = Fact("paid", reference, amount_minor=amount, total_minor=amount, currency=row.currency or "")
        record_fact(INVOICE, paid, sends_mail=sends_mail)
        record_audit_entry(origin, "payment.paid", reference, before={"state": "pending"}, after={"state": "paid"})
    return find_payment(reference)


def cancel_order(reference: str, account: UUID | None = None, *, origin: Origin) -> Payment:
    """Cancel an open order by bank transfer, of `account` if given. Raises `NotFound`, and `InvalidInput` if it is not open."""
    with transaction():
        row = _open_invoice(reference, account)
        record_fact(row.provider, Fact("expired", reference))
        record_audit_entry(origin, "payment.cancel", reference, before={"state": "pending"}, after={"state": "expired"})
    return find_payment(reference)


def return_payment(reference: str, amount_minor: int, *, origin: Origin) -> Payment:
    """Record how much of a bank transfer was paid back in total, and take back its credits, as far as they are available."""
    with transaction():
        row = find_payment(reference)
        if row.provider != INVOICE or row.state != "paid":
            raise InvalidInput(lazy_gettext("Only a paid bank transfer can be paid back here. Refund card payments at Stripe."))
        check_integer("amount", amount_minor, row.refunded_minor + 1, row.total_minor or 0)
        before = {"refunded_minor": row.refunded_minor}
        record_fact(INVOICE, Fact("refunded", reference, amount_minor=amount_minor))
        record_audit_entry(origin, "payment.refund", reference, before=before, after={"refunded_minor": amount_minor})
    return find_payment(reference)


def settle_bill(reference: str, how: str, *, sends_mail: bool = False, origin: Origin) -> Payment:
    """Record that an overage bill was paid otherwise, such as by bank transfer (`paid`), or waive it (`waived`).

    Raises `NotFound`, and `InvalidInput` if it is not open, or its card is being charged.
    """
    check_choice("how", how, ("paid", "waived"))
    with transaction():
        row = _open_bill(reference)
        amount = row.amount_minor or 0
        fact = Fact("waived", reference)
        if how == "paid":
            fact = Fact("paid", reference, amount_minor=amount, total_minor=amount, currency=row.currency or "")
        record_fact(STRIPE, fact, sends_mail=sends_mail)
        record_audit_entry(origin, f"payment.bill_{how}", reference, before={"state": row.state}, after={"state": how})
    return find_payment(reference)


def retry_bill(reference: str, account: UUID, *, origin: Origin) -> Payment:
    """Have the worker charge an unpaid overage bill of an account again, within a minute. Raises as `settle_bill`."""
    with transaction():
        row: Any = _open_bill(reference, account)
        before = row.state
        row.state, row.next_attempt_at = "pending", now_ms()
        row.save()
        record_audit_entry(origin, "payment.bill_retry", reference, before={"state": before}, after={"state": "pending"})
    return find_payment(reference)


def unpaid_bills(account: UUID | None = None) -> list[Payment]:
    """Return the overage bills that are not paid, of one account or (at most 1,000) of all; the oldest first. Reads only."""
    conditions = [Payment.purpose == "overage", Payment.state.in_(OPEN_BILLS)]
    if account is not None:
        conditions.append(Payment.account == account)
    return list(Payment.select().where(*conditions).order_by(Payment.created_at).limit(1_000))


def _open_bill(reference: str, account: UUID | None = None) -> Payment:
    found: Any = find_payment(reference, account)
    lock_accounts([found.account_id])()
    row = find_payment(reference, account)
    if row.purpose != "overage" or row.state not in OPEN_BILLS:
        raise InvalidInput(lazy_gettext("This overage bill is not open."))
    if row.problem == CHARGING:
        raise InvalidInput(lazy_gettext("The card is being charged. Try again in a few minutes."))
    return row


def find_profile(account: UUID) -> PaymentProfile | None:
    """Return an account's saved card and automatic top-up, or None. Reads only."""
    found: PaymentProfile | None = PaymentProfile.get_or_none(PaymentProfile.account == account)
    return found


def _open_invoice(reference: str, account: UUID | None = None) -> Payment:
    found: Any = find_payment(reference, account)
    lock_accounts([found.account_id])()
    row = find_payment(reference, account)
    if row.provider != INVOICE or row.state != "pending":
        raise InvalidInput(lazy_gettext("This order is not waiting for a bank transfer."))
    return row


@dataclass(frozen=True, slots=True)
class TopUpTerms:
    """An automatic top-up: below `threshold` available credits, `amount_minor` is charged, up to `month_minor` a month (UTC)."""

    threshold: int
    amount_minor: int
    month_minor: int


def set_top_up(account: UUID, terms: TopUpTerms, *, origin: Origin) -> PaymentProfile:
    """Turn on or change an account's automatic top-up; one that stopped after failures starts again. Raises `InvalidInput`."""
    settings = find_payment_settings()
    if settings is None:
        raise InvalidInput(lazy_gettext("This payment method is not available."))
    check_integer("threshold", terms.threshold, 1, MAX_AMOUNT)
    credit_price(settings).credits(terms.amount_minor)
    check_integer("monthly maximum", terms.month_minor, terms.amount_minor, MAX_MINOR)
    with transaction():
        lock_accounts([account])()
        row = find_profile(account)
        if row is None or not row.payment_method:
            raise InvalidInput(lazy_gettext("Save a card first: buy credits, and choose to save the card."))
        return _save_top_up(row, terms, origin)


def stop_top_up(account: UUID, *, origin: Origin) -> PaymentProfile | None:
    """Turn off an account's automatic top-up."""
    with transaction():
        lock_accounts([account])()
        row = find_profile(account)
        return row and _save_top_up(row, None, origin)


def remove_card(account: UUID, *, origin: Origin) -> None:
    """Remove an account's saved card, and turn off its automatic top-up."""
    with transaction():
        row = stop_top_up(account, origin=origin)
        if row is not None and row.payment_method:
            record_audit_entry(origin, CARD_REMOVED, account, before={"card": row.card})
            row.payment_method, row.card = None, ""
            row.save()


def _save_top_up(row: PaymentProfile, terms: TopUpTerms | None, origin: Origin) -> PaymentProfile:
    account = row.account.id
    before = {"threshold": row.top_up_threshold, "amount_minor": row.top_up_minor, "month_minor": row.top_up_month_minor}
    row.top_up_threshold = terms.threshold if terms else None
    row.top_up_minor = terms.amount_minor if terms else None
    row.top_up_month_minor = terms.month_minor if terms else None
    row.top_up_failures, row.top_up_not_before, row.top_up_stopped_at, row.top_up_problem = 0, 0, None, ""
    row.updated_at = now_ms()
    row.save()
    after = asdict(terms) if terms else dict.fromkeys(before)
    record_audit_entry(origin, "payment.top_up", account, before=before, after=after)
    return row
