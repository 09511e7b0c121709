"""Orders of credits and plans: from the order to the ledger entry, and back with a refund.

A provider's messages can arrive late, twice and in any order. Each states a fact about one payment: it was paid, it failed, an
amount was paid back. `record_fact` stores facts in the payment's row, and then posts the ledger entries that follow from the row.
Facts are never undone (paid stays paid, the larger refund counts), so the result does not depend on their order, and a repeated
fact changes nothing. All of it happens in one transaction, under the account's lock.
"""

from __future__ import annotations

import logging
from typing import Any, Literal, NamedTuple, cast
from uuid import UUID

import peewee

from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger import post_entry
from shared.ledger.sql import lock_accounts
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.mail.payment_mails import (
    queue_payment_failed_mail,
    queue_payment_review_mail,
    queue_receipt_mail,
    queue_top_up_failed_mail,
)
from shared.models import Account, AuditEntry, Payment, PaymentProfile
from shared.payments.money import MAX_PURCHASE_CREDITS, credits_to_return
from shared.payments.plan_periods import start_paid_plan, update_past_due
from shared.text.translation import lazy_gettext

log = logging.getLogger("yout.payments")

STRIPE = "stripe"
INVOICE = "invoice"  # bank transfer, confirmed by staff
CODE = "code"
CARD_REMOVED = "payment.card_remove"  # in the audit log
CHECKOUT_MS = 25 * 3_600_000  # Stripe ends a checkout page after 24 hours
MAX_OPEN_ORDERS = 20  # per account
MAX_TOP_UP_FAILURES = 3  # in a row; then the automatic top-up stops
CHARGING = "charging"  # the problem of an overage bill while its card is being charged
BILL_RETRY_MS = tuple(days * 24 * 3_600_000 for days in (1, 2, 4))  # after each failed attempt; then it stays failed
TOP_UP_RETRY_MS = 3_600_000  # pause after the first failure, twice as long after the second
_FINAL_DISPUTES = frozenset({"won", "lost", "warning_closed", "prevented"})
_HARMLESS_DISPUTES = frozenset({"won", "warning_needs_response", "warning_under_review", "warning_closed", "prevented"})

FactKind = Literal[
    "paid", "failed", "expired", "refunded", "disputed", "card", "invoice", "linked", "waived", "review"
]  # linked: only ids


class Fact(NamedTuple):
    """What a provider states about a payment. The payment is found by the first id that is known."""

    kind: FactKind
    reference: str = ""
    intent_id: str = ""
    checkout_id: str = ""
    amount_minor: int = 0  # paid: without added taxes; refunded: all refunds so far; disputed: the disputed part
    total_minor: int = 0  # paid: with taxes
    currency: str = ""
    customer_id: str = ""
    payment_method: str = ""
    card: str = ""
    url: str = ""
    problem: str = ""  # failed, review: the reason's code; disputed: its status
    dispute_id: str = ""
    attempt: int = 0  # failed: the number of the attempt to charge an overage bill


def create_order(
    account: UUID,
    provider: str,
    amount_minor: int,
    currency: str,
    credits: int,
    *,
    purpose: str = "credits",
    now: int | None = None,
) -> Payment:
    """Record an order that waits for its payment. Run inside a transaction.

    Raises `NotFound` for an unknown account, and `InvalidInput` if it is not active or has too many open orders.
    """
    now = now_ms() if now is None else now
    if not 0 < credits <= MAX_PURCHASE_CREDITS:
        raise InvalidInput(lazy_gettext("This amount buys more credits than one purchase can contain."))
    if account == POOL_ACCOUNT_ID or account not in lock_accounts([account])():
        raise NotFound(lazy_gettext("No such account."))
    if Account.get_by_id(account).status != "active":
        raise InvalidInput(lazy_gettext("This account is suspended. Contact support."))
    is_open = (Payment.account == account) & (Payment.state == "pending") & (Payment.purpose == purpose)
    if Payment.select().where(is_open).count() >= MAX_OPEN_ORDERS:
        raise InvalidInput(lazy_gettext("There are too many unpaid orders. Pay or cancel one, or try again tomorrow."))
    return Payment.create(
        provider=provider,
        reference=new_id().hex,
        account=account,
        credits=credits,
        created_at=now,
        purpose=purpose,
        state="pending",
        amount_minor=amount_minor,
        currency=currency,
    )


def attach_checkout(reference: str, checkout_id: str) -> None:
    """Store the id of an order's checkout page."""
    Payment.update(checkout_id=checkout_id).where(
        (Payment.provider == STRIPE) & (Payment.reference == reference) & Payment.checkout_id.is_null()
    ).execute()


def record_fact(provider: str, fact: Fact, now: int | None = None, *, sends_mail: bool = False) -> Payment | None:
    """Store a fact about a payment, and post the ledger entries that follow from it. Returns None for an unknown payment.

    With `sends_mail`, a receipt or the failure of an automatic top-up is also sent by email. Runs in a transaction of its own.
    Safe to repeat and to run in several processes at once.
    """
    now = now_ms() if now is None else now
    seen: Any = _find(provider, fact)
    if seen is None:
        return None
    if not _apply(seen, fact, now) and not fact.customer_id:
        return cast(Payment, seen)  # known already, which needs no lock
    with transaction():
        lock_accounts([seen.account_id])()
        row: Payment = Payment.get((Payment.provider == provider) & (Payment.reference == seen.reference))
        _remember_customer(row, fact, now)
        before = row.state, row.attempts
        if _apply(row, fact, now):
            _post_entries(row, now)
            row.save()
        if (row.state, row.attempts) != before:
            if row.purpose == "top_up":
                _count_top_up(seen.account_id, row, now)
            elif row.purpose == "overage":
                update_past_due(seen.account_id, now)
            if sends_mail:
                _queue_mail(row)
        return row


def _queue_mail(row: Any) -> None:
    """Queue the email about a payment's new state, if there is one."""
    if row.state == "paid" and row.entry_seq is None and row.purpose != "overage":
        return  # the account was closed before
    if row.state == "paid":
        queue_receipt_mail(row.account_id, row.provider, row.reference)
    elif row.state == "review":
        queue_payment_review_mail(row.account_id, row.reference)
    elif row.state == "failed" and row.purpose == "top_up":
        queue_top_up_failed_mail(row.account_id, row.credits)
    elif row.purpose in ("plan", "overage") and (row.state == "failed" or (row.state, row.attempts) == ("pending", 1)):
        queue_payment_failed_mail(row.account_id, row.reference)


def expire_orders(now: int) -> int:
    """End orders whose checkout page no longer exists. A late event still credits them. Returns their number."""
    is_old = (Payment.state == "pending") & (Payment.provider == STRIPE) & (Payment.purpose == "credits")
    rows = list(Payment.select().where(is_old & (Payment.created_at < now - CHECKOUT_MS)).limit(1_000))
    for row in rows:
        record_fact(STRIPE, Fact("expired", row.reference), now)
    return len(rows)


def cancel_orders(account: UUID) -> None:
    """End an account's open orders by bank transfer, because it is closed. The worker ends its checkout pages."""
    own = (Payment.account == account) & (Payment.provider == INVOICE) & (Payment.state == "pending")
    for row in Payment.select().where(own):
        record_fact(INVOICE, Fact("expired", row.reference))


def orders_of_closed_accounts() -> list[Payment]:
    """Return open orders (at most 100) whose checkout page must be ended, because the account was closed. Reads only."""
    is_open = (Payment.state == "pending") & (Payment.provider == STRIPE) & Payment.checkout_id.is_null(False)
    return list(Payment.select().join(Account).where(is_open & (Account.status == "closed")).limit(100))


def payments_to_refund() -> list[Payment]:
    """Return payments (at most 100) that arrived after their account was closed, and added no credits. Reads only."""
    late = (Payment.state == "paid") & Payment.entry_seq.is_null() & (Payment.purpose != "overage")
    open_ones = (Payment.refunded_minor == 0) & (Payment.disputed_minor == 0) & Payment.intent_id.is_null(False)
    rows = Payment.select().join(Account).where(late & open_ones & (Payment.provider == STRIPE) & (Account.status == "closed"))
    return list(rows.limit(100))


def is_closed(account: UUID) -> bool:
    """Return whether an account is closed. Needs its lock."""
    return bool(Account.select().where((Account.id == account) & (Account.status == "closed")).exists())


def _find(provider: str, fact: Fact) -> Payment | None:
    for column, value in (
        (Payment.reference, fact.reference),
        (Payment.checkout_id, fact.checkout_id),
        (Payment.intent_id, fact.intent_id),
    ):
        if value:
            row: Payment | None = Payment.get_or_none((Payment.provider == provider) & (column == value))
            if row is not None:
                return row
    return None


def _apply(row: Any, fact: Fact, now: int) -> bool:
    """Add a fact to a row. Returns whether it changed."""
    before = dict(row.__data__)
    if fact.intent_id and row.intent_id is None:
        row.intent_id = fact.intent_id
    if fact.checkout_id and row.checkout_id is None:
        row.checkout_id = fact.checkout_id
    if fact.url and (row.invoice_url is None or fact.kind == "invoice"):  # an invoice is more than a receipt
        row.invoice_url = fact.url
    if fact.kind == "paid" and row.paid_at is None:
        _apply_paid(row, fact, now)
    elif fact.kind == "review" and row.paid_at is None:
        row.state, row.problem = "review", fact.problem
    elif row.purpose == "overage" and fact.kind in ("failed", "waived"):
        _apply_to_bill(row, fact, now)
    elif fact.kind in ("failed", "expired") and row.state == "pending":
        row.state, row.problem = fact.kind, fact.problem[:64]
    elif fact.kind == "expired" and row.state == "failed" and row.purpose == "plan":  # the invoice is void or written off
        row.state = "expired"
    elif fact.kind == "refunded" and fact.amount_minor > row.refunded_minor:
        row.refunded_minor, row.refunded_at = fact.amount_minor, now
    elif fact.kind == "disputed":
        _apply_dispute(row, fact)
    return bool(row.__data__ != before)


def _apply_paid(row: Payment, fact: Fact, now: int) -> None:
    """Accept a payment only for the ordered amount and currency. Otherwise staff must look at it."""
    if fact.checkout_id and fact.checkout_id != row.checkout_id:
        row.state, row.problem = "review", "other_order"
    elif fact.currency != row.currency:
        row.state, row.problem = "review", "other_currency"
    elif fact.amount_minor != row.amount_minor or fact.total_minor < fact.amount_minor:
        row.state, row.problem = "review", "other_amount"
    else:
        row.state, row.problem, row.paid_at, row.total_minor = "paid", "", now, fact.total_minor
        row.next_attempt_at = None


def _apply_to_bill(row: Payment, fact: Fact, now: int) -> None:
    """Count the failure of an attempt once, and plan the next one; or waive a bill that is not paid."""
    if fact.kind == "waived" and row.paid_at is None:
        row.state, row.problem, row.next_attempt_at = "expired", "waived", None
    elif fact.kind == "failed" and row.state == "pending" and fact.attempt == row.attempts + 1:
        row.attempts, row.problem = fact.attempt, fact.problem[:64]
        if fact.attempt <= len(BILL_RETRY_MS):
            row.next_attempt_at = now + BILL_RETRY_MS[fact.attempt - 1]
        else:
            row.state, row.next_attempt_at = "failed", None


def _apply_dispute(row: Payment, fact: Fact) -> None:
    """Update one of the payment's disputes, and what all of them hold."""
    known: dict[str, list[Any]] = dict(cast(Any, row.disputes) or {})
    if not known and row.dispute_status:  # recorded by 0.7.0, which did not tell them apart
        known[fact.dispute_id] = [row.dispute_status, row.disputed_minor]
    status, _ = known.get(fact.dispute_id, ("", 0))
    if _dispute_rank(fact.problem) < _dispute_rank(status):
        return
    known[fact.dispute_id] = [fact.problem[:32], 0 if fact.problem in _HARMLESS_DISPUTES else fact.amount_minor]
    cast(Any, row).disputes = known
    row.disputed_minor = sum(amount for _, amount in known.values())
    # Of several, the one that holds money and is still open.
    row.dispute_status, _ = min(known.values(), key=lambda one: (not one[1], _dispute_rank(one[0]), one[0]))


def _dispute_rank(status: str) -> int:
    """Return how far a dispute has progressed: an older message never replaces a newer one."""
    if not status:
        return 0
    if status in _FINAL_DISPUTES:
        return 3
    return 1 if status.startswith("warning") else 2


def _post_entries(row: Any, now: int) -> None:
    """Post the ledger entries that follow from a payment's row. Needs the account's lock."""
    if row.paid_at is None or row.purpose == "overage":  # an overage bill pays for credits that were used
        return
    if row.entry_seq is None and is_closed(row.account_id):
        return  # the worker refunds it
    if row.entry_seq is None:
        row.entry_seq = start_paid_plan(row, now) if row.purpose == "plan" else _post_purchase(row)
        log.info("payment %s was credited", row.reference)
    wanted = credits_to_return(row.credits, row.total_minor, row.refunded_minor + row.disputed_minor)
    missing = wanted - row.returned_credits - row.unrecovered_credits
    if missing > 0:
        pool = lock_accounts([row.account_id])()[row.account_id]
        taken = max(0, min(missing, pool.available))
        _adjust(row, -taken)
        row.unrecovered_credits += missing - taken
        if missing > taken:
            log.warning("payment %s was paid back, but %d of its credits are used or held", row.reference, missing - taken)
    elif missing < 0:  # a dispute was won
        waived = min(-missing, row.unrecovered_credits)
        row.unrecovered_credits -= waived
        _adjust(row, -missing - waived)


def _post_purchase(row: Any) -> int:
    reason = f"payment {row.reference}"
    return int(post_entry(row.account_id, "purchase", row.credits, actor=f"payment:{row.provider}", reason=reason).seq)


def _adjust(row: Any, credits: int) -> None:
    if credits:
        reason = f"payment {row.reference} was paid back" if credits < 0 else f"payment {row.reference}: the dispute was won"
        post_entry(row.account_id, "adjustment", credits, actor=f"payment:{row.provider}", reason=reason)
        row.returned_credits -= credits


def _count_top_up(account: UUID, row: Payment, now: int) -> None:
    """Count a top-up's failures in a row: pause after each, and stop after the last. Needs the account's lock."""
    profile: PaymentProfile | None = PaymentProfile.get_or_none(PaymentProfile.account == account)
    if profile is None:
        return
    if row.state == "paid":
        profile.top_up_failures, profile.top_up_not_before, profile.top_up_problem = 0, 0, ""
    else:
        profile.top_up_failures += 1
        profile.top_up_problem = row.problem
        profile.top_up_not_before = now + TOP_UP_RETRY_MS * profile.top_up_failures
        if profile.top_up_failures >= MAX_TOP_UP_FAILURES and profile.top_up_stopped_at is None:
            profile.top_up_stopped_at = now
            log.warning("the automatic top-up of account %s stopped after %d failures", account, profile.top_up_failures)
    profile.save()


def _remember_customer(row: Any, fact: Fact, now: int) -> None:
    """Store the account's customer id and its saved card. Needs the account's lock."""
    if not fact.customer_id:
        return
    account: UUID = row.account_id
    profile = PaymentProfile.get_or_none(PaymentProfile.account == account) or PaymentProfile.create(account=account)
    if profile.customer_id is None:
        profile.customer_id = fact.customer_id
    elif profile.customer_id != fact.customer_id:
        return  # two first purchases at once: the first customer stays, and the other one's card cannot be charged with it
    is_newest = row.reference >= (profile.card_payment or "")  # references are ordered by time
    if fact.kind == "card" and fact.payment_method and is_newest and not _was_removed(account, row.created_at):
        profile.payment_method, profile.card, profile.card_payment = fact.payment_method, fact.card[:64], row.reference
    profile.updated_at = now
    try:
        with transaction():
            profile.save()
    except peewee.IntegrityError:  # the customer belongs to another account
        log.error("the Stripe customer of account %s belongs to another account", account)


def _was_removed(account: UUID, since: int) -> bool:
    """Return whether the account removed its card since an order: a repeated event must not save it again."""
    removals = (AuditEntry.target == str(account)) & (AuditEntry.action == CARD_REMOVED)
    return bool(AuditEntry.select().where(removals & (AuditEntry.created_at >= since)).exists())
