"""Overage bills: each failure counts once, and each bill is paid once, in whatever order facts arrive."""

from __future__ import annotations

import random

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.ledger.renewals import bill_overage
from shared.ledger.verify import verify_ledger
from shared.models import Account, AuditEntry, OverageEntry, Payment, Subscription
from shared.operations import payments as operations
from shared.operations import subscriptions
from shared.operations.plans import create_plan
from shared.payments.orders import BILL_RETRY_MS, CHARGING
from shared.payments.overage_bills import begin_charge, create_bill_payments, due_bills
from shared.payments.webhooks import record_event
from tests import factories, stripe_events
from tests.factories import ORIGIN

DAY_MS = 24 * 3_600_000


@pytest.fixture
def owner(bound_database: peewee.Database) -> Account:
    terms = operations.PaymentTerms("usd", 10, [500], 100, 100_000, collect_overage=True)
    operations.set_payment_settings(terms, origin=ORIGIN)
    create_plan("pro", {"overage_allowed": True}, origin=ORIGIN)
    account = factories.account(credits=0)
    subscriptions.subscribe(account.id, "pro", origin=ORIGIN)
    return account


def bill(owner: Account, credits: int) -> Payment:
    """A bill, as at the end of a period."""
    row = subscriptions.active_subscription(owner.id)
    assert row is not None
    with transaction():
        OverageEntry.create(account=owner, subscription=row.id, kind="charge", amount=credits)
        Subscription.update(overage_used=credits).where(Subscription.id == row.id).execute()
        bill_overage(owner.id, row.id, now_ms())
    assert create_bill_payments() == 1
    assert create_bill_payments() == 0
    found: Payment = Payment.select().where(Payment.purpose == "overage").order_by(Payment.created_at.desc()).get()
    return found


def fresh(row: Payment) -> Payment:
    return operations.find_payment(row.reference)


def intent(row: Payment, attempt: int, kind: str) -> dict[str, object]:
    """An event about the intent of an attempt."""
    metadata = {"yout_payment": row.reference, "yout_purpose": "overage", "yout_attempt": str(attempt)}
    found = {"id": f"pi_{attempt}", "metadata": metadata, "amount": row.amount_minor, "currency": "usd"}
    if kind == "payment_failed":
        found["last_payment_error"] = {"code": "card_declined"}
    return stripe_events.event(f"payment_intent.{kind}", found)


def test_a_bill_costs_its_credits_rounded_up(owner: Account) -> None:
    row = bill(owner, 1_001)
    assert (row.credits, row.amount_minor, row.state) == (1_001, 101, "pending")
    assert due_bills() == [(owner.id, row.reference)]
    charge = begin_charge(owner.id, row.reference)
    assert charge is not None
    assert (charge.attempt, charge.amount_minor, fresh(row).problem) == (1, 101, CHARGING)
    assert begin_charge(owner.id, row.reference) == charge, "it is repeated until there is an answer"
    assert not verify_ledger(now_ms()).problems


def test_each_failure_counts_once_in_any_order(owner: Account) -> None:
    row = bill(owner, 1_000)
    chance = random.Random(5)
    for attempt in range(1, len(BILL_RETRY_MS) + 2):
        events = [intent(row, number, "payment_failed") for number in range(1, attempt + 1)] * 2
        chance.shuffle(events)
        for event in events:
            record_event(event)
        assert fresh(row).attempts == attempt
    assert (fresh(row).state, due_bills(now_ms() + 30 * DAY_MS)) == ("failed", [])
    record_event(intent(row, 4, "succeeded"))  # it succeeded after all
    record_event(intent(row, 4, "payment_failed"))
    assert (fresh(row).state, fresh(row).attempts, fresh(row).entry_seq) == ("paid", 4, None)


def test_a_payment_that_differs_from_the_bill_needs_a_review(owner: Account) -> None:
    row = bill(owner, 1_000)
    event = intent(row, 1, "succeeded")
    event["data"]["object"]["amount"] = 5  # type: ignore[index]  # an event is a nested dict
    record_event(event)
    assert (fresh(row).state, fresh(row).problem) == ("review", "other_amount")
    assert [found.reference for found in operations.unpaid_bills()] == [row.reference]


def test_settling_a_bill_is_audited(owner: Account) -> None:
    first = bill(owner, 1_000)
    operations.settle_bill(first.reference, "paid", origin=ORIGIN)
    second = bill(owner, 2_000)
    operations.settle_bill(second.reference, "waived", origin=ORIGIN)
    operations.set_payment_settings(operations.PaymentTerms("usd", 10, [500], 100, 100_000), origin=ORIGIN)
    actions = {row.target: row.action for row in AuditEntry.select().where(AuditEntry.action.startswith("payment.bill_"))}
    assert actions == {first.reference: "payment.bill_paid", second.reference: "payment.bill_waived"}
    assert Account.get_by_id(owner.id).balance == 0
