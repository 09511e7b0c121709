"""Plans that are paid through Stripe: each paid invoice is one entry and one period, however the events arrive."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.core.errors import InvalidInput
from shared.ledger import renew_subscriptions
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, OutgoingMail, Payment, Plan, PlanPrice, StripeSubscription, Subscription
from shared.operations import payments as operations
from shared.operations import plan_purchases, subscriptions
from shared.operations.account_closing import close_account
from shared.operations.plans import create_plan, find_plan, update_plan
from shared.operations.subscriptions import active_subscription
from shared.payments.plan_facts import ended_here
from shared.payments.webhooks import record_event
from tests import factories, stripe_events
from tests.factories import ORIGIN

ON_SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
TERMS = operations.PaymentTerms("usd", 10_000, [500], 100, 100_000)
START = int(time.time())
MONTH = 30 * 86_400
Event = dict[str, Any]


class Buyer:
    """An account that ordered a plan, and its events at Stripe."""

    def __init__(self, price: PlanPrice) -> None:
        self.account = factories.account(credits=0)
        self.price = price
        self.order = plan_purchases.order_plan(self.account.id, price, origin=ORIGIN)
        self.reference = self.order.reference
        self.found = stripe_events.subscription(f"sub_{self.reference}", self.reference, customer=f"cus_{self.reference}")

    def checkout(self) -> Event:
        session = stripe_events.subscription_session(self.reference, self.found["id"], self.found["customer"])
        return stripe_events.event("checkout.session.completed", session)

    def invoice(self, number: int, kind: str = "paid", **changes: Any) -> Event:
        """An event about the invoice of a month, counted from 0."""
        reason = "subscription_cycle" if number else "subscription_create"
        found = stripe_events.invoice(
            f"in_{self.reference}_{number}",
            self.found,
            self.price.id,
            self.price.amount_minor,
            START + number * MONTH,
            **{"billing_reason": reason, **changes},
        )
        return stripe_events.event(f"invoice.{kind}", found)

    def intent(self, number: int) -> Event:
        invoice = f"in_{self.reference}_{number}"
        return stripe_events.event("invoice_payment.paid", stripe_events.invoice_payment(invoice, f"pi_{invoice}"))

    def refund(self, number: int, amount: int) -> Event:
        intent = f"pi_in_{self.reference}_{number}"
        return stripe_events.event("charge.refunded", {"payment_intent": intent, "amount_refunded": amount})

    def updated(self, at: int, **changes: Any) -> Event:
        return stripe_events.event("customer.subscription.updated", {**self.found, **changes}, created=at)

    def deleted(self) -> Event:
        return stripe_events.event("customer.subscription.deleted", {**self.found, "status": "canceled"})

    @property
    def payments(self) -> list[Payment]:
        return list(Payment.select().where(Payment.stripe_subscription == self.reference).order_by(Payment.period_start))

    @property
    def granted(self) -> list[int]:
        own = (LedgerEntry.account == self.account) & (LedgerEntry.kind == "grant") & LedgerEntry.reason.startswith("payment ")
        return [row.amount for row in LedgerEntry.select().where(own).order_by(LedgerEntry.seq)]

    @property
    def balance(self) -> int:
        found: int = Account.get_by_id(self.account.id).balance
        return found

    @property
    def plan(self) -> Subscription | None:
        return active_subscription(self.account.id)


@pytest.fixture
def price(bound_database: peewee.Database) -> PlanPrice:
    operations.set_payment_settings(TERMS, origin=ORIGIN)
    return price_of("pro", 900, 1_000)


def price_of(name: str, amount: int, credits: int) -> PlanPrice:
    terms = {"monthly_credits": credits, "price_cents": amount, "self_service": True, "rollover_cap": 1_000_000}
    plan = create_plan(name, terms, origin=ORIGIN)
    settings = operations.find_payment_settings()
    assert settings is not None
    return plan_purchases.add_plan_price(plan, settings, f"price_{name}")


def test_an_invoice_is_one_entry_that_names_its_payment(price: PlanPrice) -> None:
    buyer = Buyer(price)
    for event in (buyer.checkout(), buyer.invoice(0), buyer.invoice(0)):
        record_event(event)
    [row] = buyer.payments
    entry = LedgerEntry.get((LedgerEntry.account == buyer.account) & (LedgerEntry.kind == "grant"))
    assert (row.state, row.entry_seq, row.reference) == ("paid", entry.seq, buyer.reference)
    assert (entry.amount, entry.plan_amount, entry.reason) == (1_000, 1_000, f"payment {buyer.reference}")
    plan = buyer.plan
    assert plan is not None
    assert (plan.plan.name, plan.renews_at) == ("pro", (START + MONTH) * 1_000)
    assert renew_subscriptions((START + 2 * MONTH) * 1_000) == 0, "a period starts with its payment"
    assert not verify_ledger(now_ms()).problems


@ON_SQLITE
@pytest.mark.parametrize("names", ["before 2025", "now"])
def test_both_forms_of_an_invoice_are_read(price: PlanPrice, names: str) -> None:
    buyer = Buyer(price)
    event = buyer.invoice(0)
    if names == "before 2025":
        found = event["data"]["object"]
        details = found.pop("parent")["subscription_details"]
        found |= {"subscription": details["subscription"], "subscription_details": {"metadata": details["metadata"]}}
        found["lines"]["data"][0]["price"] = {"id": found["lines"]["data"][0].pop("pricing")["price_details"]["price"]}
        found["payment_intent"] = "pi_1"
    record_event(event)
    assert buyer.granted == [1_000]


@ON_SQLITE
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subtotal": 100}, "other_amount"),
        ({"total": 100}, "other_amount"),
        ({"currency": "eur"}, "other_currency"),
        ({"lines": {"data": [{"amount": 900, "period": {"start": 1, "end": 2}, "price": {"id": "price_x"}}]}}, "other_plan"),
    ],
)
def test_an_invoice_that_differs_from_its_price_adds_nothing(price: PlanPrice, changes: dict[str, Any], problem: str) -> None:
    buyer = Buyer(price)
    record_event(buyer.invoice(0, **changes))
    [row] = buyer.payments
    assert (row.state, row.problem, buyer.granted, buyer.plan) == ("review", problem, [], None)


@ON_SQLITE
def test_a_failed_invoice_is_past_due_until_it_is_paid_or_void(price: PlanPrice) -> None:
    buyer = Buyer(price)
    record_event(buyer.invoice(0))
    for number, kind in ((1, "paid"), (2, "voided")):
        record_event(buyer.invoice(number, "payment_failed"), sends_mail=True)
        record_event(buyer.invoice(number, "payment_failed"), sends_mail=True)
        plan = buyer.plan
        assert plan is not None
        assert plan.past_due_at is not None
        record_event(buyer.invoice(number, kind))
        record_event(buyer.invoice(number, "payment_failed"), sends_mail=True)  # late
        plan = buyer.plan
        assert plan is not None
        assert plan.past_due_at is None
    assert buyer.granted == [1_000] * 2
    mails = [row.kind for row in OutgoingMail.select()]
    assert mails == ["payment_failed"] * 2


@ON_SQLITE
def test_a_replaced_plan_returns_when_the_paid_one_ends(price: PlanPrice) -> None:
    buyer = Buyer(price)
    create_plan("free", {"monthly_credits": 10}, origin=ORIGIN)
    subscriptions.subscribe(buyer.account.id, "free", origin=ORIGIN)
    record_event(buyer.invoice(0))
    plan = buyer.plan
    assert plan is not None
    assert (plan.plan.name, buyer.balance) == ("pro", 1_010)
    record_event(buyer.deleted())
    plan = buyer.plan
    assert plan is not None
    assert (plan.plan.name, plan.stripe_subscription, buyer.balance) == ("free", None, 10)
    assert not verify_ledger(now_ms()).problems


@ON_SQLITE
def test_the_latest_change_counts(price: PlanPrice) -> None:
    larger = price_of("large", 2_000, 5_000)
    buyer = Buyer(price)
    record_event(buyer.invoice(0))
    record_event(buyer.updated(START + 20, items={"data": [{"price": {"id": larger.id}}]}))
    record_event(buyer.updated(START + 10, cancel_at_period_end=True))  # late
    plan = buyer.plan
    assert plan is not None
    assert (plan.cancelled_at, plan.next_plan) == (None, larger.plan.id)
    record_event(buyer.updated(START + 30, cancel_at_period_end=True))
    plan = buyer.plan
    assert plan is not None
    assert plan.cancelled_at is not None


@ON_SQLITE
def test_a_change_here_is_newer_than_events_of_the_same_second(price: PlanPrice) -> None:
    buyer = Buyer(price)
    record_event(buyer.invoice(0))
    second = int(time.time())
    plan_purchases.record_change(buyer.account.id, price_of("large", 1_900, 4_000), origin=ORIGIN)
    record_event(buyer.updated(second, cancel_at_period_end=True))
    found = StripeSubscription.get_by_id(buyer.reference)
    assert (found.price_id, found.cancels) == ("price_large", False)


@ON_SQLITE
def test_staff_end_a_paid_plan_only_at_once(price: PlanPrice) -> None:
    buyer = Buyer(price)
    record_event(buyer.invoice(0))
    for change in (
        lambda: subscriptions.cancel_subscription(buyer.account.id, origin=ORIGIN),
        lambda: subscriptions.withdraw_cancellation(buyer.account.id, origin=ORIGIN),
        lambda: subscriptions.change_subscription(buyer.account.id, "pro", origin=ORIGIN),
    ):
        with pytest.raises(InvalidInput, match="paid through Stripe"):
            change()
    subscriptions.cancel_subscription(buyer.account.id, "now", origin=ORIGIN)
    assert (buyer.plan, StripeSubscription.get_by_id(buyer.reference).state) == (None, "ending")
    record_event(buyer.invoice(1))  # it was charged before the worker cancelled it
    assert (buyer.plan, buyer.granted) == (None, [1_000] * 2)


@ON_SQLITE
def test_an_order_that_expired_is_paid_late(price: PlanPrice) -> None:
    buyer = Buyer(price)
    session = stripe_events.subscription_session(buyer.reference, "", "")
    record_event(stripe_events.event("checkout.session.expired", session))
    assert StripeSubscription.get_by_id(buyer.reference).state == "expired"
    record_event(buyer.invoice(0))
    assert (buyer.granted, buyer.plan is not None) == ([1_000], True)


@ON_SQLITE
def test_an_order_that_is_paid_after_the_account_was_closed_starts_no_plan(price: PlanPrice) -> None:
    buyer = Buyer(price)
    session = stripe_events.subscription_session(buyer.reference, "", "")
    record_event(stripe_events.event("checkout.session.expired", session))
    close_account(buyer.account.id, origin=ORIGIN)
    record_event(buyer.invoice(0))
    assert (buyer.granted, buyer.plan, buyer.payments[0].state) == ([], None, "paid")
    assert [row.reference for row in ended_here(now_ms())] == [buyer.reference]  # the worker cancels it at Stripe


@pytest.mark.parametrize("way", ["downgrade", "end"])
def test_another_plan_lowers_the_overage_cap_to_its_own_maximum(bound_database: peewee.Database, way: str) -> None:
    operations.set_payment_settings(TERMS, origin=ORIGIN)
    price_of("free", 100, 1)
    large, small = price_of("large", 900, 1_000), price_of("small", 500, 500)
    for name, maximum in (("large", 5_000), ("small", 200), ("free", 200)):
        update_plan(find_plan(name).id, {"overage_allowed": True, "owner_overage_cap": maximum}, origin=ORIGIN)
    buyer = Buyer(large)
    subscriptions.subscribe(buyer.account.id, "free", origin=ORIGIN)
    record_event(buyer.invoice(0))
    subscriptions.set_own_overage(buyer.account.id, 5_000, origin=ORIGIN)
    record_event(buyer.invoice(1))
    assert buyer.plan is not None
    assert buyer.plan.overage_cap == 5_000  # the same plan keeps it
    if way == "end":
        record_event(buyer.deleted())
    else:
        buyer.price = small
        record_event(buyer.invoice(2))
    assert buyer.plan is not None
    assert (buyer.plan.plan.name, buyer.plan.overage_cap) == ("free" if way == "end" else "small", 200)


@ON_SQLITE
def test_an_unpaid_overage_bill_stops_the_overage_of_the_plan_that_returns(price: PlanPrice) -> None:
    price_of("free", 100, 1)
    buyer = Buyer(price)
    subscriptions.subscribe(buyer.account.id, "free", origin=ORIGIN)
    record_event(buyer.invoice(0))
    bill = {"provider": "stripe", "reference": "bill", "credits": 5, "created_at": now_ms(), "purpose": "overage"}
    Payment.create(account=buyer.account, state="failed", amount_minor=500, currency="usd", **bill)
    record_event(buyer.deleted())
    assert buyer.plan is not None
    assert buyer.plan.plan.name == "free"
    assert buyer.plan.past_due_at is not None


@ON_SQLITE
def test_a_plan_for_sale_needs_a_price_and_credits(bound_database: peewee.Database) -> None:
    for terms in ({"price_cents": 900}, {"monthly_credits": 900}):
        with pytest.raises(InvalidInput, match="needs a price and monthly credits"):
            create_plan("pro", {**terms, "self_service": True}, origin=ORIGIN)
    assert Plan.select().count() == 0


def life(buyer: Buyer, chance: random.Random) -> list[Event]:
    """Every event of a subscription, the oldest first."""
    events = [buyer.checkout(), buyer.invoice(0), buyer.intent(0)]
    for number in range(1, chance.randint(1, 4)):
        end = chance.choice(("paid", "paid", "late", "void"))
        if end != "paid":
            events.append(buyer.invoice(number, "payment_failed"))
        if end == "void":
            events.append(buyer.invoice(number, "voided"))
        else:
            events += [buyer.invoice(number), buyer.intent(number)]
        events.append(buyer.updated(START + number, cancel_at_period_end=chance.random() < 0.3))
    if chance.random() < 0.3:
        events.append(buyer.refund(0, chance.choice((300, 900))))
    if chance.random() < 0.4:
        events.append(buyer.deleted())
    return events


def test_any_order_with_doubles_and_losses_ends_like_the_list_of_events(price: PlanPrice) -> None:
    """A fifth of the webhooks are lost, a third are duplicated, in random order. Then the worker reads the list of events."""
    chance = random.Random(20261130)
    with transaction():
        buyers = [Buyer(price) for _ in range(25)]
    lives = [life(buyer, chance) for buyer in buyers]
    listed = [event for events in lives for event in events]
    sent = [event for event in listed if chance.random() > 0.2]
    sent += chance.sample(sent, len(sent) // 3)
    chance.shuffle(sent)
    with transaction():  # one commit: the disk is not what is tested
        for event in (*sent, *listed):
            record_event(event)
    for buyer, events in zip(buyers, lives, strict=True):
        paid = {event["data"]["object"]["id"] for event in events if event["type"] == "invoice.paid"}
        rows = [row for row in buyer.payments if row.state == "paid"]
        assert {row.invoice_id for row in rows} == paid
        assert buyer.granted == [1_000] * len(paid)
        assert len({row.entry_seq for row in rows}) == len(rows)
        refunds = [event["data"]["object"]["amount_refunded"] for event in events if event["type"] == "charge.refunded"]
        returned = sum(row.returned_credits + row.unrecovered_credits for row in rows)
        assert returned == -(-1_000 * sum(refunds) // 900)
        has_ended = any(event["type"] == "customer.subscription.deleted" for event in events)
        assert StripeSubscription.get_by_id(buyer.reference).state == ("ended" if has_ended else "active")
        plan = buyer.plan
        assert (plan is None) == has_ended
        if plan is not None:
            ends = max(row.period_end or 0 for row in rows)
            last = [event for event in events if event["type"] == "customer.subscription.updated"][-1:]
            cancels = bool(last and last[0]["data"]["object"]["cancel_at_period_end"])
            assert (plan.renews_at, plan.past_due_at, plan.cancelled_at is not None) == (ends, None, cancels)
            assert buyer.balance == 1_000 * len(rows) - sum(row.returned_credits for row in rows)
    renew_subscriptions(now_ms())  # credits of invoices that arrived after the end expire, too
    assert all(buyer.balance == 0 for buyer in buyers if buyer.plan is None)
    assert not verify_ledger(now_ms()).problems


def test_processes_that_record_the_same_invoices_at_once_grant_them_once(price: PlanPrice) -> None:
    buyers = [Buyer(price) for _ in range(4)]
    events = [event for buyer in buyers for number in range(2) for event in (buyer.invoice(number), buyer.intent(number))]

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
    assert [buyer.granted for buyer in buyers] == [[1_000] * 2] * 4
