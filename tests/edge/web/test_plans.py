"""Buying a plan on the pages, with a fake of Stripe: checkout, webhooks, renewals, changes, cancellations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from shared.core.settings import Settings
from shared.mail_composing import compose
from shared.models import LedgerEntry, OutgoingMail, Payment, Plan, StripeSubscription, SubscriptionPeriod
from shared.operations.account_closing import close_account
from shared.operations.plans import create_plan
from shared.operations.subscriptions import active_subscription
from shared.payments.plan_periods import GRACE_MS, end_unpaid_plans
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import Browser, Site
from tests.edge.web.test_members import member_of
from tests.edge.web.test_payments import Event, Shop
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.stripe import DECLINED_CARD, StripeServer
from workers.payments import PaymentWork

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True, scope="package")
MAIL = {"smtp_url": "smtp://127.0.0.1:1", "mail_from": "Yout <no-reply@example.com>", "public_url": "https://yout.example"}


class PlanShop(Shop):
    """A site that sells plans through Stripe, and a member who buys one."""

    def __init__(self, site: Site, stripe: StripeServer, settings: Settings) -> None:
        super().__init__(site, stripe, settings)
        self.small, self.large = self._plan("small", 900, 1_000_000), self._plan("large", 2_900, 4_000_000)

    def _plan(self, name: str, price: int, credits: int) -> Plan:
        terms = {"monthly_credits": credits, "price_cents": price, "self_service": True, "rpm": 90}
        terms |= {"overage_allowed": True, "owner_overage_cap": 500_000}
        return create_plan(f"{name} {self.account.id.hex[-8:]}", terms, origin=ORIGIN)

    def subscribe(self, plan: Plan) -> Payment:
        """Order a plan on the page, up to the redirect to Stripe. Returns the order."""
        answer = self.member.submit_form("/account/plan/subscribe", {"plan": str(plan.id)}, page="/account/plan")
        assert answer.status == 200, answer.body.decode()
        row = self.newest()
        assert f'content="0;url={self.stripe.sessions[row.checkout_id or ""]["url"]}"' in answer.body.decode()
        return row

    def buy_plan(self, plan: Plan) -> list[Event]:
        """Order and pay. Returns Stripe's events, which were not delivered."""
        return self.stripe.pay(self.subscribe(plan).checkout_id or "")

    def change(self, plan: Plan) -> Reply:
        return self.member.submit_form("/account/plan/change", {"plan": str(plan.id)}, page="/account/plan")

    def decline_from_now_on(self) -> None:
        found = self.stripe.subscriptions.by_id[self.stripe_id]
        found["default_payment_method"] = self.stripe.add_card(found["customer"], DECLINED_CARD)

    @property
    def granted(self) -> list[int]:
        """The amounts of the account's plan credits in the ledger."""
        own = (LedgerEntry.account == self.account) & (LedgerEntry.kind == "grant") & LedgerEntry.reason.startswith("payment ")
        return [row.amount for row in LedgerEntry.select().where(own).order_by(LedgerEntry.seq)]

    @property
    def plan(self) -> str | None:
        row = active_subscription(self.account.id)
        return row.plan.name if row else None

    @property
    def stripe_id(self) -> str:
        return StripeSubscription.get(StripeSubscription.account == self.account).stripe_id or ""


@pytest.fixture
def shop(site: Site, stripe: StripeServer, make_settings: Callable[..., Settings]) -> PlanShop:
    return PlanShop(site, stripe, make_settings(**stripe.settings))


def test_a_plan_from_the_page_to_its_credits(shop: PlanShop) -> None:
    page = shop.member.get("/account/plan").body.decode()
    assert shop.small.name in page
    events = shop.buy_plan(shop.small)
    assert (shop.granted, shop.plan) == ([], None)
    assert shop.deliver(*events, *events) == [200] * 2 * len(events)
    assert (shop.granted, shop.plan) == ([1_000_000], shop.small.name)
    row = shop.newest()
    assert (row.state, row.purpose, row.credits, row.amount_minor) == ("paid", "plan", 1_000_000, 900)
    assert f"payment {row.reference}" in shop.member.get("/account").body.decode()
    assert "Current plan" in shop.member.get("/account/plan").body.decode()


def test_each_paid_invoice_starts_a_month(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    first = active_subscription(shop.account.id)
    assert first is not None
    shop.stripe.subscriptions.bill(shop.stripe_id)
    assert shop.worker.reconcile() > 0  # the webhooks were lost
    second = active_subscription(shop.account.id)
    assert second is not None
    assert (second.renews_at or 0) - (first.renews_at or 0) == 30 * 86_400_000
    assert shop.granted == [1_000_000] * 2
    assert [row.starts_at for row in second.periods.order_by(SubscriptionPeriod.starts_at)][1] == first.renews_at


def test_an_upgrade_is_paid_at_once_and_a_cheaper_plan_waits(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    answer = shop.change(shop.large)
    assert "A new month has begun" in shop.member.follow(answer).body.decode()
    assert (shop.granted, shop.plan) == ([1_000_000, 4_000_000], shop.large.name)
    assert shop.worker.reconcile() > 0  # the webhooks say the same
    assert shop.granted == [1_000_000, 4_000_000]
    answer = shop.change(shop.small)
    assert "at the next renewal" in shop.member.follow(answer).body.decode()
    assert (shop.plan, shop.granted) == (shop.large.name, [1_000_000, 4_000_000])
    assert "From the next renewal" in shop.member.get("/account/plan").body.decode()
    shop.stripe.subscriptions.bill(shop.stripe_id)
    shop.worker.reconcile()
    assert (shop.plan, shop.granted) == (shop.small.name, [1_000_000, 4_000_000, 1_000_000])


def test_a_declined_upgrade_changes_nothing(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    shop.decline_from_now_on()
    answer = shop.change(shop.large)
    assert (answer.status, "The card was declined" in answer.body.decode()) == (422, True)
    shop.worker.reconcile()
    assert (shop.plan, shop.granted) == (shop.small.name, [1_000_000])


def test_a_cancelled_plan_ends_with_its_period(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    answer = shop.member.submit_form("/account/plan/cancel", page="/account/plan")
    assert "It ends with its current period" in shop.member.follow(answer).body.decode()
    assert shop.stripe.subscriptions.by_id[shop.stripe_id]["cancel_at_period_end"]
    shop.member.submit_form("/account/plan/keep", page="/account/plan")
    assert not shop.stripe.subscriptions.by_id[shop.stripe_id]["cancel_at_period_end"]
    shop.member.submit_form("/account/plan/cancel", page="/account/plan")
    assert shop.plan == shop.small.name
    ended = shop.stripe.subscriptions.end(shop.stripe_id)
    before = shop.balance
    assert shop.deliver(ended, ended) == [200, 200]
    assert (shop.plan, shop.balance) == (None, before - 1_000_000)


def test_a_failed_payment_has_a_grace_period(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    shop.decline_from_now_on()
    invoice = shop.stripe.subscriptions.bill(shop.stripe_id)
    shop.worker.reconcile()
    row = active_subscription(shop.account.id)
    assert row is not None
    assert (row.past_due_at is not None, shop.granted) == (True, [1_000_000])
    page = shop.member.get("/account/plan").body.decode()
    assert ("A payment failed" in page, "Pay invoice" in page) == (True, True)
    answer = shop.member.post(
        "/account/plan/change", f"csrf_token={shop.member.token('/account/plan')}&plan={shop.large.id}".encode()
    )
    assert (answer.status, "Pay it first" in answer.body.decode()) == (422, True)
    assert shop.member.submit_form("/account/plan/cancel", page="/account/plan").status == 303
    now = row.renews_at or 0
    end_unpaid_plans(now + GRACE_MS - 1)
    assert shop.plan == shop.small.name
    end_unpaid_plans(now + GRACE_MS)
    assert shop.plan is None
    assert shop.worker.reconcile() > 0  # cancels it at Stripe
    assert shop.stripe.subscriptions.by_id[shop.stripe_id]["status"] == "canceled"
    assert StripeSubscription.get(StripeSubscription.account == shop.account).state == "ended"
    assert invoice["status"] == "open"


def test_a_payment_in_the_grace_period_continues_the_plan(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    shop.decline_from_now_on()
    invoice = shop.stripe.subscriptions.bill(shop.stripe_id)
    shop.worker.reconcile()
    found = shop.stripe.subscriptions.by_id[shop.stripe_id]
    found["default_payment_method"] = shop.stripe.add_card(found["customer"])
    assert shop.stripe.subscriptions.charge(invoice)
    shop.worker.reconcile()
    row = active_subscription(shop.account.id)
    assert row is not None
    assert (row.past_due_at, shop.granted) == (None, [1_000_000] * 2)


def test_a_late_payment_starts_the_plan_again(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    shop.decline_from_now_on()
    invoice = shop.stripe.subscriptions.bill(shop.stripe_id)
    shop.worker.reconcile()
    end_unpaid_plans(2**62)
    found = shop.stripe.subscriptions.by_id[shop.stripe_id]
    found["default_payment_method"] = shop.stripe.add_card(found["customer"])
    assert shop.stripe.subscriptions.charge(invoice)
    shop.worker.cancel_ended()  # it was paid, so it is not cancelled
    assert found["status"] == "active"
    shop.worker.reconcile()
    assert (shop.plan, shop.granted) == (shop.small.name, [1_000_000] * 2)


def test_a_refunded_invoice_takes_its_credits_back(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    shop.worker.reconcile()  # the intent's event came before the invoice's
    before = shop.balance
    refund = shop.stripe.refund(shop.newest().intent_id or "", 300)
    assert shop.deliver(refund, refund) == [200, 200]
    assert before - shop.balance == -(-1_000_000 * 300 // 900)


def test_another_plan_replaces_an_open_order(shop: PlanShop) -> None:
    first = shop.subscribe(shop.small)
    assert shop.subscribe(shop.small).reference == first.reference
    second = shop.subscribe(shop.large)
    assert second.reference != first.reference
    assert shop.stripe.sessions[first.checkout_id or ""]["status"] == "expired"
    shop.deliver(*shop.stripe.pay(second.checkout_id or ""))
    assert (shop.plan, shop.granted) == (shop.large.name, [4_000_000])
    answer = shop.member.submit_form("/account/plan/subscribe", {"plan": str(shop.small.id)}, page="/account/plan")
    assert answer.status == 422


def test_of_two_plans_that_are_ordered_at_once_one_can_be_paid(shop: PlanShop, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, statuses = shop.stripe.answer, []
    other = Browser(shop.member.port)
    other.cookies.update(shop.member.cookies)

    def order(browser: Browser, plan: Plan) -> None:
        reply = browser.submit_form("/account/plan/subscribe", {"plan": str(plan.id)}, page="/account/plan")
        statuses.append(reply.status)

    def interrupted(method: str, target: str, body: bytes, idempotency_key: str) -> tuple[int, bytes]:
        if target == "/v1/checkout/sessions":  # the page of the first order is being created
            monkeypatch.undo()
            order(other, shop.large)
        return answer(method, target, body, idempotency_key)

    monkeypatch.setattr(shop.stripe, "answer", interrupted)
    order(shop.member, shop.small)
    assert statuses == [200, 422]
    own = [row.checkout_id for row in Payment.select().where((Payment.account == shop.account) & (Payment.purpose == "plan"))]
    assert sorted(shop.stripe.sessions[id or ""]["status"] for id in own) == ["expired", "open"]


def test_a_closed_account_is_not_charged_again(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    close_account(shop.account.id, origin=ORIGIN)
    assert shop.plan is None
    shop.worker.reconcile()
    assert shop.stripe.subscriptions.by_id[shop.stripe_id]["status"] == "canceled"


def test_an_order_of_a_plan_that_is_paid_after_closing_is_refunded(shop: PlanShop) -> None:
    order = shop.subscribe(shop.small)
    close_account(shop.account.id, origin=ORIGIN)
    shop.deliver(*shop.stripe.pay(order.checkout_id or ""))
    shop.worker.reconcile()
    row = shop.newest()
    assert (row.state, row.refunded_minor, shop.granted, shop.plan) == ("paid", 900, [], None)
    assert shop.stripe.refunded(row.intent_id or "") == 900
    assert shop.stripe.subscriptions.by_id[shop.stripe_id]["status"] == "canceled"


def test_an_invoice_under_review_is_the_last_one(shop: PlanShop, make_settings: Callable[..., Settings]) -> None:
    shop.worker = PaymentWork(make_settings(**shop.stripe.settings, **MAIL))
    shop.deliver(*shop.buy_plan(shop.small))
    found = shop.stripe.subscriptions.by_id[shop.stripe_id]
    item = found["items"]["data"][0]
    item["price"] = {**item["price"], "id": "price_of_the_dashboard", "unit_amount": 950}
    shop.stripe.subscriptions.bill(shop.stripe_id)
    shop.worker.reconcile()
    shop.worker.reconcile()
    row = shop.newest()
    assert (row.state, row.problem, found["status"]) == ("review", "other_plan", "canceled")
    mails = OutgoingMail.select().where((OutgoingMail.account == shop.account) & (OutgoingMail.kind == "payment_review"))
    [mail] = mails
    text = compose(shop.account.id, mail, make_settings(**MAIL))
    assert text is not None
    assert "will not be charged again" in text.text
    assert (shop.plan, shop.granted) == (shop.small.name, [1_000_000]), "the plan stays for its grace period"
    page = shop.member.get("/account/plan").body.decode()
    assert ("You will not be charged again" in page, "Ends" in page, "Subscribe" in page) == (True, True, True)
    plan = active_subscription(shop.account.id)
    assert plan is not None
    end_unpaid_plans((plan.renews_at or 0) + GRACE_MS)
    assert shop.plan is None


def test_a_first_invoice_under_review_starts_no_plan_and_is_the_last_one(shop: PlanShop) -> None:
    order = shop.subscribe(shop.small)
    session = shop.stripe.sessions[order.checkout_id or ""]
    shop.stripe.subscriptions.prices[session["price"]]["unit_amount"] = 950
    shop.deliver(*shop.stripe.pay(order.checkout_id or ""))
    shop.worker.reconcile()
    assert (shop.newest().state, shop.plan, shop.granted) == ("review", None, [])
    assert shop.stripe.subscriptions.by_id[shop.stripe_id]["status"] == "canceled"
    shop.deliver(*shop.buy_plan(shop.large))
    assert (shop.plan, shop.granted) == (shop.large.name, [4_000_000])


def test_a_plan_bought_after_a_review_does_not_return_to_the_former_one(shop: PlanShop) -> None:
    shop.deliver(*shop.buy_plan(shop.small))
    first = shop.stripe.subscriptions.by_id[shop.stripe_id]
    first["items"]["data"][0]["price"]["unit_amount"] = 950
    shop.stripe.subscriptions.bill(first["id"])
    shop.worker.reconcile()
    shop.worker.reconcile()
    shop.deliver(*shop.buy_plan(shop.large))
    assert shop.plan == shop.large.name
    second = StripeSubscription.get(StripeSubscription.reference == shop.newest().reference).stripe_id or ""
    shop.deliver(shop.stripe.subscriptions.end(second))
    assert shop.plan is None


def test_an_outage_is_explained(shop: PlanShop) -> None:
    shop.stripe.is_down = True
    answer = shop.member.submit_form("/account/plan/subscribe", {"plan": str(shop.small.id)}, page="/account/plan")
    assert (answer.status, "Try again later" in answer.body.decode()) == (503, True)
    answer = shop.member.submit_form("/account/plan/subscribe", {"plan": "x"}, page="/account/plan")
    assert (answer.status, "Choose a plan" in answer.body.decode()) == (422, True)


@pytest.mark.parametrize(("role", "allowed"), [("admin", True), ("billing", True), ("developer", False), ("viewer", False)])
def test_only_some_roles_may_choose_a_plan(shop: PlanShop, role: str, allowed: bool) -> None:
    other = member_of(shop.site, shop.member, role)
    assert (other.get("/account/plan").status == 200) == allowed
    token = other.token("/account/members" if not allowed else "/account/plan")
    answer = other.post("/account/plan/subscribe", f"csrf_token={token}&plan={shop.small.id}".encode())
    assert (answer.status == 403) == (not allowed)


async def test_the_browser_subscribes_and_comes_back(shop: PlanShop, open_page: OpenPage, axe: str) -> None:
    page = await open_page()
    await shop.member.copy_session_to(page)
    await page.goto(f"http://127.0.0.1:{shop.member.port}/account/plan")
    await check_page(page, axe, "plan")
    await page.get_by_role("button", name=f"Subscribe to {shop.small.name}").click()
    await page.wait_for_url(f"{shop.stripe.url}/pay/**")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url("**/account/credits/orders/*")
    await asyncio.to_thread(shop.deliver, *shop.stripe.events)
    await page.reload()
    assert await page.locator(".state").inner_text() == "paid"
    await page.get_by_role("link", name="Back to plan").click()
    await check_page(page, axe, "plan-subscribed")
    assert shop.plan == shop.small.name
