"""Overage bills, charged to saved cards with a fake of Stripe, and overage caps that owners set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.core.errors import InvalidInput
from shared.core.settings import Settings
from shared.ledger.allowances import read_overages
from shared.ledger.renewals import bill_overage
from shared.models import OverageEntry, Payment, PaymentProfile, Subscription
from shared.operations import payments as operations
from shared.operations.subscriptions import active_subscription
from shared.payments.orders import BILL_RETRY_MS
from tests.edge.web.conftest import Site
from tests.edge.web.test_payments import SOLD
from tests.edge.web.test_plans import PlanShop
from tests.factories import ORIGIN
from tests.servers.stripe import DECLINED_CARD, StripeServer

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True, scope="package")


class OverageShop(PlanShop):
    """A site that charges overage to cards, and a member with a plan and overage."""

    def __init__(self, site: Site, stripe: StripeServer, settings: Settings) -> None:
        super().__init__(site, stripe, settings)
        operations.set_payment_settings(replace(SOLD, collect_overage=True), origin=ORIGIN)
        self.deliver(*self.buy_plan(self.small))

    def use_overage(self, credits: int) -> None:
        """Use overage, and bill it as at the end of a period."""
        row = self.subscription
        with transaction():
            OverageEntry.create(account=self.account, subscription=row.id, kind="charge", amount=credits)
            Subscription.update(overage_used=credits).where(Subscription.id == row.id).execute()
            bill_overage(self.account.id, row.id, now_ms())

    @property
    def subscription(self) -> Subscription:
        row = active_subscription(self.account.id)
        assert row is not None
        return row

    @property
    def bill(self) -> Payment:
        found: Payment = Payment.get((Payment.account == self.account) & (Payment.purpose == "overage"))
        return found

    @property
    def intents(self) -> list[str]:
        """The states of the payment intents of bills, as localstripe has them."""
        found = self.stripe.call("GET", "/v1/payment_intents?limit=100")["data"]
        return [intent["status"] for intent in found if intent["metadata"].get("yout_payment") == self.bill.reference]

    def wait(self, milliseconds: int) -> None:
        """Make the next attempt due, as after some time."""
        row = self.bill
        assert row.next_attempt_at is not None
        assert abs(row.next_attempt_at - now_ms() - milliseconds) < 60_000
        Payment.update(next_attempt_at=now_ms()).where(Payment.reference == row.reference).execute()


@pytest.fixture
def shop(site: Site, stripe: StripeServer, make_settings: Callable[..., Settings]) -> OverageShop:
    return OverageShop(site, stripe, make_settings(**stripe.settings))


def test_a_bill_is_charged_once_to_the_card_of_the_plan(shop: OverageShop) -> None:
    shop.use_overage(123_001)
    before = shop.balance
    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(lambda _: collect(shop), range(3))) >= 1
    assert collect(shop) == 0
    shop.worker.reconcile()  # the event says the same
    row = shop.bill
    assert (row.state, row.credits, row.amount_minor, row.total_minor) == ("paid", 123_001, 124, 124)
    assert (shop.intents, shop.balance, shop.subscription.past_due_at) == (["succeeded"], before, None)


def collect(shop: OverageShop) -> int:
    try:
        return shop.worker.collect_overage()
    finally:
        database.close()


def test_a_declined_card_is_tried_again_with_bounds(shop: OverageShop) -> None:
    shop.use_overage(200_000)
    shop.decline_from_now_on()
    for number, pause in enumerate(BILL_RETRY_MS, 1):
        assert collect(shop) == 0
        assert (shop.bill.state, shop.bill.attempts, shop.bill.problem) == ("pending", number, "card_declined")
        assert shop.subscription.past_due_at is not None
        shop.worker.reconcile()  # the event of the failure counts no second time
        shop.wait(pause)
    assert collect(shop) == 0
    assert (shop.bill.state, shop.bill.attempts, shop.bill.next_attempt_at) == ("failed", 4, None)
    assert collect(shop) == 0
    page = shop.member.get("/account/plan").body.decode()
    assert "Unpaid overage" in page
    found = shop.stripe.subscriptions.by_id[shop.stripe_id]
    found["default_payment_method"] = shop.stripe.add_card(found["customer"])
    path = f"/account/plan/bills/{shop.bill.reference}/pay"
    assert "charged within a minute" in shop.member.follow(shop.member.submit_form(path, page="/account/plan")).body.decode()
    collect(shop)
    assert (shop.bill.state, shop.subscription.past_due_at) == ("paid", None)
    assert shop.member.submit_form(path, page="/account/plan").status == 422


def test_an_unanswered_charge_is_repeated_with_the_same_key(shop: OverageShop) -> None:
    shop.use_overage(200_000)
    shop.deliver(*shop.buy(save_card="1"))
    shop.stripe.is_down = True
    assert collect(shop) == 0
    assert (shop.bill.state, shop.bill.problem, shop.bill.attempts) == ("pending", "charging", 0)
    with pytest.raises(InvalidInput, match="being charged"):
        operations.settle_bill(shop.bill.reference, "paid", origin=ORIGIN)
    shop.stripe.is_down = False
    collect(shop)
    assert (shop.bill.state, shop.intents) == ("paid", ["succeeded"])


def test_a_charge_without_an_answer_for_a_day_is_left_to_staff(shop: OverageShop) -> None:
    shop.use_overage(200_000)
    shop.stripe.is_down = True
    collect(shop)
    Payment.update(next_attempt_at=now_ms() - 21 * 3_600_000).where(Payment.reference == shop.bill.reference).execute()
    shop.stripe.is_down = False
    collect(shop)
    assert (shop.bill.state, shop.bill.problem, shop.intents) == ("review", "no_answer", [])
    operations.settle_bill(shop.bill.reference, "waived", origin=ORIGIN)
    assert shop.bill.state == "expired"


@pytest.mark.parametrize(("how", "state"), [("paid", "paid"), ("waived", "expired")])
def test_staff_settle_a_bill(shop: OverageShop, how: str, state: str) -> None:
    shop.use_overage(200_000)
    shop.decline_from_now_on()
    collect(shop)
    assert shop.subscription.past_due_at is not None
    before = shop.balance
    operations.settle_bill(shop.bill.reference, how, origin=ORIGIN)
    assert (shop.bill.state, shop.bill.next_attempt_at, shop.subscription.past_due_at) == (state, None, None)
    with pytest.raises(InvalidInput, match="not open"):
        operations.settle_bill(shop.bill.reference, how, origin=ORIGIN)
    assert (collect(shop), shop.balance) == (0, before)


def test_a_bill_without_a_card_fails(shop: OverageShop) -> None:
    shop.use_overage(200_000)
    shop.stripe.subscriptions.by_id[shop.stripe_id]["default_payment_method"] = None
    collect(shop)
    assert (shop.bill.problem, shop.bill.attempts) == ("no_card", 1)
    PaymentProfile.update(payment_method=shop.stripe.add_card(PaymentProfile.get_by_id(shop.account.id).customer_id or "")).where(
        PaymentProfile.account == shop.account
    ).execute()
    operations.retry_bill(shop.bill.reference, shop.account.id, origin=ORIGIN)
    assert collect(shop) >= 1


def test_small_bills_are_waived_and_earlier_ones_are_not_charged(shop: OverageShop) -> None:
    shop.use_overage(49_000)
    collect(shop)
    assert (shop.bill.state, shop.bill.problem) == ("expired", "below_minimum")
    Payment.delete().where(Payment.reference == shop.bill.reference).execute()
    operations.set_payment_settings(SOLD, origin=ORIGIN)
    operations.set_payment_settings(replace(SOLD, collect_overage=True), origin=ORIGIN)
    OverageEntry.update(created_at=now_ms() - 1_000).where(OverageEntry.account == shop.account).execute()
    collect(shop)
    assert not Payment.select().where((Payment.account == shop.account) & (Payment.purpose == "overage")).exists()


def test_owners_set_their_overage_cap_up_to_a_maximum(shop: OverageShop) -> None:
    page = shop.member.get("/account/plan").body.decode()
    assert "Overage cap" in page
    for cap, status in (("500001", 422), ("x", 422), ("-1", 422), ("500000", 303), ("0", 303)):
        assert shop.member.submit_form("/account/plan/overage", {"cap": cap}, page="/account/plan").status == status
    shop.member.submit_form("/account/plan/overage", {"cap": "500 000"}, page="/account/plan")
    assert shop.subscription.overage_cap == 500_000
    assert "Overage is charged to your saved card" in shop.member.get("/account/plan").body.decode()


def test_another_account_cannot_pay_a_bill(shop: OverageShop) -> None:
    shop.use_overage(200_000)
    collect(shop)
    stranger = shop.site.member(**shop.stripe.settings)
    path = f"/account/plan/bills/{shop.bill.reference}/pay"
    token = stranger.token("/account/plan")
    assert stranger.post(path, f"csrf_token={token}".encode()).status == 404


def test_a_declined_bill_stops_overage(shop: OverageShop) -> None:
    shop.member.submit_form("/account/plan/overage", {"cap": "500000"}, page="/account/plan")
    shop.use_overage(200_000)
    shop.deliver(*shop.buy(save_card="1"))
    customer = PaymentProfile.get_by_id(shop.account.id).customer_id or ""
    bad = shop.stripe.add_card(customer, DECLINED_CARD)
    PaymentProfile.update(payment_method=bad).where(PaymentProfile.account == shop.account).execute()
    collect(shop)
    assert read_overages([(shop.account.id, shop.subscription.id)])()[shop.account.id, shop.subscription.id].allowed == 0
