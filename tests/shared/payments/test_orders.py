"""Payments: each purchase is one ledger entry, however often and in whatever order Stripe's events arrive."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.core.errors import InvalidInput
from shared.ledger import post_entry
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, OutgoingMail, Payment, PaymentProfile
from shared.operations import payments as operations
from shared.payments.orders import Fact, create_order, record_fact
from shared.payments.webhooks import record_event
from tests import factories, stripe_events
from tests.factories import ORIGIN

ON_SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
RATE = 10_000
TERMS = operations.PaymentTerms("usd", RATE, [500, 2_500], 100, 100_000, invoices=True, bank_details="IBAN DE02\nYout")


@pytest.fixture
def owner(bound_database: peewee.Database) -> Account:
    operations.set_payment_settings(TERMS, origin=ORIGIN)
    return factories.account(credits=0)


def order(owner: Account, amount: int = 500) -> Payment:
    return operations.order_credits(owner.id, amount, "stripe", origin=ORIGIN)


def paid(row: Payment, **changes: Any) -> dict[str, Any]:
    return stripe_events.event("checkout.session.completed", stripe_events.session(row, **changes))


def refunded(row: Payment, amount: int) -> dict[str, Any]:
    return stripe_events.event("charge.refunded", stripe_events.charge(row, amount_refunded=amount))


def disputed(row: Payment, status: str, amount: int | None = None, *, number: int = 1) -> dict[str, Any]:
    kind = "charge.dispute.closed" if status in ("won", "lost") else "charge.dispute.created"
    return stripe_events.event(kind, stripe_events.dispute(row, status, amount, number=number))


def card_saved(row: Payment, card: str) -> dict[str, Any]:
    return stripe_events.event("charge.succeeded", stripe_events.charge(row, payment_method=card))


def fresh(row: Payment) -> Payment:
    return operations.find_payment(row.reference)


def balance(owner: Account) -> int:
    found: int = Account.get_by_id(owner.id).balance
    return found


def entries(owner: Account, kind: str) -> list[LedgerEntry]:
    return list(LedgerEntry.select().where((LedgerEntry.account == owner) & (LedgerEntry.kind == kind)).order_by(LedgerEntry.seq))


def test_a_purchase_is_one_entry_that_names_its_payment(owner: Account) -> None:
    row = order(owner)
    assert (row.state, row.credits, balance(owner)) == ("pending", 500 * RATE, 0)
    event = paid(row)
    assert [record_event(event), record_event(event)] == [1, 1]
    [entry] = entries(owner, "purchase")
    assert (entry.amount, entry.reason, entry.actor) == (500 * RATE, f"payment {row.reference}", "payment:stripe")
    now = fresh(row)
    assert (now.state, now.entry_seq, now.intent_id) == ("paid", entry.seq, stripe_events.intent_of(row))
    assert not verify_ledger(now_ms()).problems


@ON_SQLITE
def test_a_payment_sends_one_receipt_and_a_failed_top_up_one_email(owner: Account) -> None:
    row = order(owner)
    for _ in range(2):
        record_event(paid(row), sends_mail=True)
    record_event(refunded(row, 100), sends_mail=True)
    with transaction():
        top_up = create_order(owner.id, "stripe", 700, "usd", 700 * RATE, purpose="top_up")
    for _ in range(2):
        record_fact("stripe", Fact("failed", top_up.reference, problem="declined"), sends_mail=True)
    mails = OutgoingMail.select(OutgoingMail.kind, OutgoingMail.subject).order_by(OutgoingMail.id)
    assert [(mail.kind, mail.subject) for mail in mails] == [
        ("receipt", f"stripe:{row.reference}"),
        ("top_up_failed", str(700 * RATE)),
    ]
    record_event(paid(order(owner)))
    assert OutgoingMail.select().count() == 2, "without a mail server nothing is queued"


@ON_SQLITE
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"amount_subtotal": 100, "amount_total": 100}, "other_amount"),
        ({"amount_total": 100}, "other_amount"),
        ({"currency": "jpy"}, "other_currency"),
        ({"id": "cs_of_another_order"}, "other_order"),
    ],
)
def test_a_payment_that_differs_from_its_order_adds_nothing(owner: Account, changes: dict[str, Any], problem: str) -> None:
    row = order(owner)
    Payment.update(checkout_id=f"cs_{row.reference}").where(Payment.reference == row.reference).execute()
    assert record_event(paid(row, **changes)) == 1
    assert (fresh(row).state, fresh(row).problem, balance(owner)) == ("review", problem, 0)
    record_event(refunded(row, 500))
    assert (balance(owner), fresh(row).returned_credits) == (0, 0)


@ON_SQLITE
@pytest.mark.parametrize(
    "found",
    [
        {"type": "checkout.session.completed", "data": {"object": {"mode": "payment", "payment_status": "paid", "metadata": {}}}},
        {"type": "checkout.session.completed", "data": {"object": None}},
        {"type": "product.created", "data": {"object": {"metadata": {"yout_payment": "1"}}}},
        {"type": "charge.dispute.created", "data": {"object": {"payment_intent": "pi_of_another_shop", "amount": 5}}},
        {"type": "charge.refunded", "data": {"object": {"payment_intent": None, "amount_refunded": True}}},
        {"type": 5},
        {},
    ],
)
def test_other_events_are_ignored(owner: Account, found: dict[str, Any]) -> None:
    assert record_event(found) == 0


@ON_SQLITE
def test_an_unpaid_session_adds_nothing_until_it_is_paid(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row, payment_status="unpaid"))
    assert fresh(row).state == "pending"
    record_event(stripe_events.event("checkout.session.expired", stripe_events.session(row)))
    assert fresh(row).state == "expired"
    record_event(stripe_events.event("checkout.session.async_payment_succeeded", stripe_events.session(row)))
    assert (fresh(row).state, balance(owner)) == ("paid", 500 * RATE)


@ON_SQLITE
def test_taxes_are_not_credits(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row, amount_total=595))
    record_event(refunded(row, 119))
    assert (fresh(row).total_minor, balance(owner)) == (595, 500 * RATE - 500 * RATE // 5)


def test_a_refund_never_goes_below_zero_and_what_is_missing_is_recorded(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row))
    post_entry(owner.id, "adjustment", -4_000_000, actor="test", reason="used")
    record_event(refunded(row, 250))
    assert (balance(owner), fresh(row).returned_credits, fresh(row).unrecovered_credits) == (0, 1_000_000, 1_500_000)
    record_event(refunded(row, 500))
    record_event(refunded(row, 250))  # late
    assert (balance(owner), fresh(row).returned_credits, fresh(row).unrecovered_credits) == (0, 1_000_000, 4_000_000)
    assert not verify_ledger(now_ms()).problems


def test_a_dispute_takes_credits_back_and_a_won_one_returns_them(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row))
    record_event(disputed(row, "warning_needs_response"))
    assert balance(owner) == 500 * RATE
    record_event(disputed(row, "needs_response"))
    assert balance(owner) == 0
    record_event(disputed(row, "won"))
    record_event(disputed(row, "needs_response"))  # late
    assert (balance(owner), fresh(row).returned_credits, fresh(row).dispute_status) == (500 * RATE, 0, "won")


def test_a_second_dispute_after_a_won_one_takes_the_credits_back(owner: Account) -> None:
    row = order(owner)
    for event in (paid(row), disputed(row, "won"), disputed(row, "needs_response", 200, number=2)):
        record_event(event)
    assert (balance(owner), fresh(row).disputed_minor, fresh(row).dispute_status) == (300 * RATE, 200, "needs_response")
    record_event(disputed(row, "won"))  # repeated
    assert balance(owner) == 300 * RATE
    record_event(disputed(row, "lost", 200, number=2))
    record_event(disputed(row, "needs_response"))  # of the first, late
    assert (balance(owner), fresh(row).disputed_minor, fresh(row).dispute_status) == (300 * RATE, 200, "lost")
    assert not verify_ledger(now_ms()).problems


@ON_SQLITE
def test_two_disputes_take_back_no_more_than_was_bought(owner: Account) -> None:
    row = order(owner)
    for event in (paid(row), disputed(row, "lost", 300), disputed(row, "needs_response", 300, number=2), refunded(row, 100)):
        record_event(event)
    assert (balance(owner), fresh(row).disputed_minor, fresh(row).returned_credits) == (0, 600, 500 * RATE)
    record_event(disputed(row, "won", 300, number=2))
    assert balance(owner) == 100 * RATE


@ON_SQLITE
def test_a_dispute_from_before_disputes_were_told_apart_can_still_be_won(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row))
    record_event(disputed(row, "needs_response"))
    Payment.update(disputes=None).where(Payment.reference == row.reference).execute()  # as the previous release stores it
    record_event(disputed(row, "won"))
    assert (balance(owner), fresh(row).disputed_minor, fresh(row).dispute_status) == (500 * RATE, 0, "won")


def test_a_lost_dispute_and_a_refund_take_back_no_more_than_was_bought(owner: Account) -> None:
    row = order(owner)
    for event in (paid(row), disputed(row, "lost"), refunded(row, 500)):
        record_event(event)
    assert (balance(owner), fresh(row).returned_credits, len(entries(owner, "adjustment"))) == (0, 500 * RATE, 1)


def test_a_saved_card_belongs_to_the_customer_of_the_account(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row))
    record_event(stripe_events.event("charge.succeeded", stripe_events.charge(row)))
    profile = PaymentProfile.get_by_id(owner.id)
    assert (profile.customer_id, profile.payment_method) == (f"cus_{owner.id.hex}", f"pm_{owner.id.hex}")
    assert (profile.card, fresh(row).invoice_url) == ("visa 4242 03/2031", f"https://pay.stripe.test/receipts/{row.reference}")
    invoice = {"metadata": {"yout_payment": row.reference}, "hosted_invoice_url": "https://invoice.stripe.test/i"}
    record_event(stripe_events.event("invoice.paid", invoice))
    record_event(stripe_events.event("charge.succeeded", stripe_events.charge(row)))
    assert fresh(row).invoice_url == "https://invoice.stripe.test/i"
    foreign = stripe_events.charge(row, customer="cus_of_another", payment_method="pm_of_another")
    record_event(stripe_events.event("charge.succeeded", foreign))
    assert PaymentProfile.get_by_id(owner.id).payment_method == f"pm_{owner.id.hex}"


def test_a_repeated_event_does_not_save_a_removed_card(owner: Account) -> None:
    row = order(owner)
    record_event(paid(row))
    saved = stripe_events.event("charge.succeeded", stripe_events.charge(row))
    record_event(saved)
    operations.remove_card(owner.id, origin=ORIGIN)
    record_event(saved)  # the worker reads the last hour of events again and again
    profile = PaymentProfile.get_by_id(owner.id)
    assert (profile.payment_method, profile.card) == (None, "")

    again = order(owner)
    Payment.update(created_at=now_ms() + 1).where(Payment.reference == again.reference).execute()
    record_event(stripe_events.event("charge.succeeded", stripe_events.charge(again)))
    assert PaymentProfile.get_by_id(owner.id).payment_method == f"pm_{owner.id.hex}"


def test_the_card_of_the_newest_order_stays_whatever_event_comes_last(owner: Account) -> None:
    first, second = order(owner), order(owner)
    for row in (first, second):
        record_event(paid(row))
    events = [card_saved(first, "pm_first"), card_saved(second, "pm_second")]
    for event in (*events, events[0]):  # a webhook that Stripe repeats, or the worker's list
        record_event(event)
    assert PaymentProfile.get_by_id(owner.id).payment_method == "pm_second"
    operations.remove_card(owner.id, origin=ORIGIN)
    for event in events:
        record_event(event)
    assert PaymentProfile.get_by_id(owner.id).payment_method is None


def story(row: Payment, chance: random.Random) -> list[dict[str, Any]]:
    """Every event of a payment, in the order in which Stripe creates them."""
    life = chance.choice(("paid", "expired", "refunded", "partly", "lost", "won"))
    if life == "expired":
        return [stripe_events.event("checkout.session.expired", stripe_events.session(row, payment_status="unpaid"))]
    events = [paid(row), stripe_events.event("charge.succeeded", stripe_events.charge(row))]
    if life in ("refunded", "partly"):
        events += [refunded(row, 100), refunded(row, (row.amount_minor or 0) if life == "refunded" else 250)]
    if life in ("lost", "won"):
        events += [disputed(row, "needs_response"), disputed(row, life)]
    if life == "won":
        events += [disputed(row, "needs_response", 100, number=2), disputed(row, chance.choice(("lost", "won")), 100, number=2)]
    return events


def test_any_order_with_doubles_and_losses_ends_like_the_list_of_events(owner: Account) -> None:
    """A fifth of the webhooks are lost, a third are duplicated, in random order. Then the worker reads the list of events."""
    chance = random.Random(20261130)
    owners = [owner, *(factories.account(credits=0) for _ in range(4))]
    with transaction():
        rows = [order(chance.choice(owners), chance.choice((500, 2_500))) for _ in range(45)]
    listed = [event for row in rows for event in story(row, chance)]
    sent = [event for event in listed if chance.random() > 0.2]
    sent += chance.sample(sent, len(sent) // 3)
    chance.shuffle(sent)
    with transaction():  # one commit: the disk is not what is tested
        for event in (*sent, *listed):
            record_event(event)
    for row in map(fresh, rows):
        expected = 0
        if row.state == "paid":
            expected = row.credits - row.credits * min(row.refunded_minor + row.disputed_minor, row.total_minor or 0) // (
                row.total_minor or 1
            )
        assert row.credits * (row.state == "paid") - row.returned_credits - row.unrecovered_credits == expected
        purchases = LedgerEntry.select().where(
            (LedgerEntry.kind == "purchase") & (LedgerEntry.reason == f"payment {row.reference}")
        )
        assert purchases.count() == (row.state == "paid") == (row.entry_seq is not None)
        assert row.state == ("expired" if row.paid_at is None else "paid")
    for account in owners:
        own = [row for row in map(fresh, rows) if row.account == account and row.state == "paid"]
        assert balance(account) == sum(row.credits - row.returned_credits for row in own)
    assert not verify_ledger(now_ms()).problems


def test_processes_that_record_the_same_events_at_once_credit_them_once(owner: Account) -> None:
    rows = [order(owner) for _ in range(6)]
    events = [event for row in rows for event in (paid(row), refunded(row, 100))]

    def deliver(seed: int) -> None:
        mine = events * 2
        random.Random(seed).shuffle(mine)
        try:
            for event in mine:
                record_event(event)
        finally:
            database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, range(4)))
    for row in rows:
        record_event(refunded(row, 100))
    assert len(entries(owner, "purchase")) == 6
    assert balance(owner) == 6 * 400 * RATE


def test_staff_confirm_a_bank_transfer_once(owner: Account) -> None:
    row = operations.order_credits(owner.id, 2_500, "invoice", origin=ORIGIN)
    assert operations.mark_paid(row.reference, origin=ORIGIN).state == "paid"
    with pytest.raises(InvalidInput, match="not waiting"):
        operations.mark_paid(row.reference, origin=ORIGIN)
    assert (balance(owner), len(entries(owner, "purchase"))) == (2_500 * RATE, 1)
    operations.return_payment(row.reference, 2_500, origin=ORIGIN)
    assert (balance(owner), fresh(row).returned_credits) == (0, 2_500 * RATE)


@ON_SQLITE
def test_a_cancelled_order_cannot_be_confirmed(owner: Account) -> None:
    row = operations.order_credits(owner.id, 500, "invoice", origin=ORIGIN)
    operations.cancel_order(row.reference, owner.id, origin=ORIGIN)
    with pytest.raises(InvalidInput):
        operations.mark_paid(row.reference, origin=ORIGIN)


@ON_SQLITE
@pytest.mark.parametrize("amount", [0, 99, 100_001])
def test_amounts_outside_of_the_range_are_refused(owner: Account, amount: int) -> None:
    with pytest.raises(InvalidInput):
        order(owner, amount)


@ON_SQLITE
def test_an_account_has_few_open_orders(owner: Account) -> None:
    for _ in range(20):
        order(owner)
    with pytest.raises(InvalidInput, match="too many unpaid orders"):
        order(owner)
