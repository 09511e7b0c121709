"""Buying credits on the pages, with a fake of Stripe: checkout, webhooks, refunds, automatic top-ups, bank transfers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.ledger import post_entry
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, Payment, PaymentProfile
from shared.operations import payments as operations
from shared.operations.account_closing import close_account
from shared.payments.orders import TOP_UP_RETRY_MS
from tests import stripe_events
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply
from tests.edge.web.conftest import Browser, Site
from tests.edge.web.test_members import member_of
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.stripe import DECLINED_CARD, KEY, WEBHOOK_SECRET, StripeServer
from tests.threads import run_threads
from workers.payments import PaymentWork
from workers.task_connection import task_connection

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True, scope="package")
Event = dict[str, Any]
HOOK = "/webhooks/stripe/"
SOLD = operations.PaymentTerms("usd", 1_000, [500, 2_500], 100, 100_000, invoices=True, bank_details="IBAN DE02 1203")


class Shop:
    """A site that sells credits through Stripe, and a member who buys."""

    def __init__(self, site: Site, stripe: StripeServer, settings: Settings) -> None:
        self.site, self.stripe, self.settings = site, stripe, settings
        self.worker = PaymentWork(settings)
        operations.set_payment_settings(SOLD, origin=ORIGIN)
        self.member = site.member(**stripe.settings)
        assert self.member.account is not None
        self.account = self.member.account

    def order(self, amount: str = "5.00", **fields: str) -> Payment:
        """Order credits on the page, up to the redirect to Stripe. Returns the row."""
        form = {"amount": amount, **fields}
        answer = self.member.submit_form("/account/credits/checkout", form, page="/account/credits")
        assert answer.status == 200, answer.body.decode()
        row = self.newest()
        assert f'content="0;url={self.stripe.sessions[row.checkout_id or ""]["url"]}"' in answer.body.decode()
        return row

    def newest(self) -> Payment:
        found: Payment = Payment.select().where(Payment.account == self.account).order_by(Payment.created_at.desc()).get()
        return found

    def buy(self, **fields: str) -> list[Event]:
        """Order and pay. Returns Stripe's events, which were not delivered."""
        return self.stripe.pay(self.order(**fields).checkout_id or "")

    def deliver(self, *events: Event, secret: str = WEBHOOK_SECRET, browser: Browser | None = None) -> list[int]:
        return [self._post(*stripe_events.signed(event, secret), browser).status for event in events]

    def _post(self, body: bytes, signature: str, browser: Browser | None) -> Reply:
        headers = {"stripe-signature": signature, "content-type": "application/json", "accept": "*/*"}
        return (browser or self.member).request("POST", HOOK, body, headers)

    @property
    def bought(self) -> list[int]:
        """The amounts of the account's purchases in the ledger."""
        own = (LedgerEntry.account == self.account) & (LedgerEntry.kind == "purchase")
        return [row.amount for row in LedgerEntry.select().where(own).order_by(LedgerEntry.seq)]

    @property
    def balance(self) -> int:
        found: int = Account.get_by_id(self.account.id).balance
        return found


@pytest.fixture
def shop(site: Site, stripe: StripeServer, make_settings: Callable[..., Settings]) -> Shop:
    return Shop(site, stripe, make_settings(**stripe.settings))


def test_a_purchase_from_the_page_to_the_ledger_and_back(shop: Shop) -> None:
    before = shop.balance
    events = shop.buy(save_card="1")
    row = shop.newest()
    waiting = shop.member.get(f"/account/credits/orders/{row.reference}").body.decode()
    assert "pending" in waiting
    assert 'http-equiv="refresh" content="10"' in waiting
    assert shop.deliver(*events, *events) == [200] * 2 * len(events)
    assert (shop.bought, shop.balance) == ([500_000], before + 500_000)
    page = shop.member.get("/account/credits").body.decode()
    assert "visa 4242 03/2031" in page
    assert "https://pay.stripe.test/receipts/" in page
    assert f"payment {row.reference}" in shop.member.get("/account").body.decode()
    refund = shop.stripe.refund(shop.newest().intent_id or "", 250)
    assert shop.deliver(refund, events[-1], refund) == [200] * 3
    assert (shop.bought, shop.balance) == ([500_000], before + 250_000)
    again = shop.buy(amount="other", other="12.34")
    assert shop.stripe.sessions[shop.newest().checkout_id or ""]["customer"] == events[-1]["data"]["object"]["customer"]
    assert shop.deliver(*again) == [200] * 3
    assert shop.bought == [500_000, 1_234_000]


def test_the_same_form_or_button_leads_to_the_same_order(shop: Shop) -> None:
    tokens = shop.member.tokens("/account/credits")
    body = "&".join(f"{name}={value}" for name, value in {**tokens, "amount": "5.00"}.items()).encode()
    answers = [shop.member.post("/account/credits/checkout", body) for _ in range(2)]
    links = {re.findall(r'content="0;url=([^"]+)"', answer.body.decode())[0] for answer in answers}
    assert len(links) == 1
    row = shop.newest()
    path = f"/account/credits/orders/{row.reference}"
    assert next(iter(links)) in shop.member.submit_form(f"{path}/pay", page=path).body.decode()
    assert Payment.select().where(Payment.account == shop.account).count() == 1


def test_forged_webhooks_change_nothing(shop: Shop) -> None:
    *_, event = shop.buy()
    body, signature = stripe_events.signed(event, WEBHOOK_SECRET)
    late = stripe_events.signed(event, WEBHOOK_SECRET, at=event["created"] - 3_600)
    forged = [
        (body, ""),
        (body, signature.replace("v1=", "v0=")),
        (body, "t=1,v1=" + "0" * 64),
        (body.replace(b"500", b"900"), signature),
        (body, "v1=x"),
        (body, "t=x,v1=y"),
        late,
        stripe_events.signed(event, ""),
        stripe_events.signed(event, "whsec_other"),
        (b"\xff", signature),
        (b"[" * 400_000, signature),
    ]
    for sent, header in forged:
        assert shop._post(sent, header, None).status == 400
    assert shop._post(b"x" * 600_000, signature, None).status == 413
    assert (shop.bought, shop.newest().state) == ([], "pending")
    assert shop.deliver(event) == [200]
    assert shop.bought == [500_000]


def test_without_a_secret_every_webhook_is_refused(shop: Shop) -> None:
    *_, event = shop.buy()
    without = shop.site.browser()
    assert shop.deliver(event, browser=without) == [403]
    assert shop.deliver(event, secret="", browser=without) == [403]
    assert shop.bought == []


def test_unknown_events_are_accepted_and_ignored(shop: Shop) -> None:
    other = stripe_events.event("product.created", {"id": "prod_1"})
    foreign = shop.stripe.dispute("pi_of_another_shop", 500, "lost")
    assert shop.deliver(other, foreign) == [200, 200]
    assert shop.bought == []


def test_two_edges_and_a_worker_credit_a_payment_once(shop: Shop) -> None:
    events = shop.buy()
    second = shop.site.browser(**shop.stripe.settings, default_rpm=599_999)
    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(shop.deliver, *events, browser=browser) for browser in (shop.member, second) * 2]
        jobs.append(pool.submit(_reconcile, shop))
        for job in jobs:
            job.result()
    assert shop.bought == [500_000]


def _reconcile(shop: Shop) -> list[int]:
    from shared.core.database import database

    try:
        return [shop.worker.reconcile()]
    finally:
        database.close()


def test_the_worker_finds_lost_webhooks(shop: Shop) -> None:
    before = shop.balance
    shop.buy()
    shop.stripe.is_down = True
    assert shop.worker.reconcile() == 0
    shop.stripe.is_down = False
    assert shop.worker.reconcile() == 3
    assert shop.bought == [500_000]
    intent = shop.newest().intent_id or ""
    shop.stripe.dispute(intent, 500, "needs_response")
    assert shop.worker.reconcile() == 4
    assert (shop.balance, shop.newest().returned_credits) == (before, 500_000)
    operations.set_payment_settings(SOLD, origin=ORIGIN)


def test_a_saved_card_tops_up_until_the_month_is_full(shop: Shop) -> None:
    shop.deliver(*shop.buy(save_card="1"))
    terms = {"threshold": "600000", "amount": "3", "month": "7.00"}
    answer = shop.member.submit_form("/account/credits/top-up", terms, page="/account/credits")
    assert "Automatic top-up saved." in shop.member.follow(answer).body.decode()
    assert shop.worker.top_up() == 0  # 1 000 000 credits are available
    post_entry(shop.account.id, "adjustment", -900_000, actor="test", reason="used")
    assert shop.worker.top_up() == 1
    assert shop.worker.top_up() == 1
    assert shop.worker.top_up() == 0  # 400 000 of 600 000 are not enough, but the month's maximum is reached
    assert shop.worker.reconcile() >= 6  # their events say the same
    assert shop.bought == [500_000, 300_000, 300_000]
    assert shop.newest().purpose == "top_up"
    answer = shop.member.submit_form("/account/credits/top-up", {"off": "1"}, page="/account/credits")
    assert "Automatic top-up is off." in shop.member.follow(answer).body.decode()


def test_an_unanswered_charge_is_repeated_with_the_same_key(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.deliver(*shop.buy(save_card="1"))
    operations.set_top_up(shop.account.id, operations.TopUpTerms(2_000_000, 500, 5_000), origin=ORIGIN)
    shop.stripe.is_down = True
    assert shop.worker.top_up() == 0
    pending = shop.newest()
    assert (pending.purpose, pending.state) == ("top_up", "pending")
    shop.stripe.is_down = False
    assert shop.worker.top_up() == 1
    assert (shop.newest().reference, shop.newest().state) == (pending.reference, "paid")
    operations.stop_top_up(shop.account.id, origin=ORIGIN)


def test_a_declined_card_stops_after_three_failures(shop: Shop) -> None:
    shop.deliver(*shop.buy(save_card="1"))
    customer = PaymentProfile.get_by_id(shop.account.id).customer_id or ""
    bad = shop.stripe.add_card(customer, DECLINED_CARD)
    PaymentProfile.update(payment_method=bad).where(PaymentProfile.account == shop.account).execute()
    operations.set_top_up(shop.account.id, operations.TopUpTerms(2_000_000, 500, 5_000), origin=ORIGIN)
    for number in (1, 2, 3):
        assert shop.worker.top_up() == 0
        profile = PaymentProfile.get_by_id(shop.account.id)
        assert (profile.top_up_failures, profile.top_up_problem) == (number, "card_declined")
        assert shop.newest().state == "failed"
        PaymentProfile.update(top_up_not_before=PaymentProfile.top_up_not_before - number * TOP_UP_RETRY_MS).where(
            PaymentProfile.account == shop.account
        ).execute()
    shop.worker.reconcile()
    profile = PaymentProfile.get_by_id(shop.account.id)
    assert (profile.top_up_failures, profile.top_up_stopped_at is not None) == (3, True)
    failed = Payment.select().where((Payment.account == shop.account) & (Payment.state == "failed")).count()
    assert (shop.worker.top_up(), failed, shop.bought) == (0, 3, [500_000])
    assert "the card was declined three times" in shop.member.get("/account/credits").body.decode()
    shop.member.submit_form("/account/credits/card/remove", page="/account/credits")
    assert PaymentProfile.get_by_id(shop.account.id).payment_method is None


def test_a_bank_transfer_waits_for_staff(shop: Shop) -> None:
    form = {"amount": "25.00"}
    answer = shop.member.submit_form("/account/credits/invoice", form, page="/account/credits")
    page = shop.member.follow(answer).body.decode()
    assert "IBAN DE02 1203" in page
    row = shop.newest()
    assert row.reference in page
    operations.mark_paid(row.reference, origin=ORIGIN)
    assert shop.bought == [2_500_000]
    path = f"/account/credits/orders/{row.reference}"
    assert shop.member.post(f"{path}/cancel", f"csrf_token={shop.member.token('/account/credits')}".encode()).status == 400


def test_open_orders_end_with_the_account(shop: Shop) -> None:
    by_card = shop.order()
    shop.member.submit_form("/account/credits/invoice", {"amount": "5.00"}, page="/account/credits")
    by_transfer = shop.newest()
    close_account(shop.account.id, origin=ORIGIN)
    assert operations.find_payment(by_transfer.reference).state == "expired"
    shop.stripe.is_down = True
    shop.worker.reconcile()
    assert operations.find_payment(by_card.reference).state == "pending", "the next run repeats it"
    shop.stripe.is_down = False
    shop.worker.reconcile()
    assert shop.stripe.sessions[by_card.checkout_id or ""]["status"] == "expired"
    assert operations.find_payment(by_card.reference).state == "expired"


def test_a_payment_after_the_account_was_closed_is_refunded_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    order = shop.order()
    close_account(shop.account.id, origin=ORIGIN)
    before = shop.balance
    events = shop.stripe.pay(order.checkout_id or "")
    assert shop.deliver(*events, *events) == [200] * 2 * len(events)
    assert (shop.newest().state, shop.bought, shop.balance) == ("paid", [], before)
    with monkeypatch.context() as killed:  # the process ends after Stripe's answer
        killed.setattr(shop.worker, "_record", lambda fact: False)
        shop.worker.refund_closed()
    other = PaymentWork(shop.settings)
    run_threads(lambda number: task_connection()([shop.worker, other][number].refund_closed)(), 2)
    for _ in range(2):
        shop.worker.reconcile()
    row = shop.newest()
    refunds = [target for _, target in shop.stripe.requests if target == "/v1/refunds"]
    assert shop.stripe.refunded(row.intent_id or "") == row.amount_minor
    assert (row.refunded_minor, row.returned_credits, shop.balance) == (row.amount_minor, 0, before)
    shop.worker.reconcile()
    assert len([target for _, target in shop.stripe.requests if target == "/v1/refunds"]) == len(refunds)
    assert not verify_ledger(now_ms()).problems


def test_wrong_amounts_and_an_outage_are_explained(shop: Shop) -> None:
    for amount, other, words in (
        ("other", "0.50", "must be between"),
        ("other", "5,000,0", "such as 25"),
        ("", "", "such as 25"),
    ):
        fields = {"amount": amount, "other": other}
        answer = shop.member.submit_form("/account/credits/checkout", fields, page="/account/credits")
        assert (answer.status, words in answer.body.decode()) == (422, True)
    shop.stripe.is_down = True
    answer = shop.member.submit_form("/account/credits/checkout", {"amount": "5.00"}, page="/account/credits")
    assert (answer.status, "Try again later" in answer.body.decode()) == (503, True)


@pytest.mark.parametrize(("role", "allowed"), [("admin", True), ("billing", True), ("developer", False), ("viewer", False)])
def test_only_some_roles_may_pay(shop: Shop, role: str, allowed: bool) -> None:
    other = member_of(shop.site, shop.member, role)
    assert (other.get("/account/credits").status == 200) == allowed
    token = other.token("/account/members" if not allowed else "/account/credits")
    answer = other.post("/account/credits/checkout", f"csrf_token={token}&amount=5.00".encode())
    assert (answer.status == 403) == (not allowed)


def test_another_account_and_no_account_see_no_payment(shop: Shop) -> None:
    row = shop.order()
    path = f"/account/credits/orders/{row.reference}"
    stranger = shop.site.member(**shop.stripe.settings)
    assert stranger.get(path).status == stranger.get("/account/credits/orders/" + "0" * 32).status == 404
    for action in ("pay", "cancel"):
        token = stranger.token("/account/credits")
        assert stranger.post(f"{path}/{action}", f"csrf_token={token}".encode()).status == 404
    assert shop.site.browser(**shop.stripe.settings).get(path).status == 303


def test_no_secret_of_stripe_is_on_a_page_or_in_a_log(shop: Shop) -> None:
    events = shop.buy()
    shop.deliver(*events)
    shop.deliver(*events, secret="whsec_other")
    seen = shop.member.get("/account/credits").body + shop.member.get(f"/account/credits/orders/{shop.newest().reference}").body
    seen += shop.site.edge(**shop.stripe.settings).process.log.read_bytes()
    assert KEY.encode() not in seen
    assert WEBHOOK_SECRET.encode() not in seen
    assert not re.search(rb"(sk_test|whsec)_[a-z]", seen)


async def test_the_browser_pays_and_comes_back(shop: Shop, open_page: OpenPage, axe: str) -> None:
    page = await open_page()
    await shop.member.copy_session_to(page)
    await page.goto(f"http://127.0.0.1:{shop.member.port}/account/credits")
    await check_page(page, axe, "credits")
    await page.get_by_label("25.00").check()
    await page.get_by_label("Save the card for automatic top-ups").check()
    await page.get_by_role("button", name="Pay by card").click()
    await page.wait_for_url(f"{shop.stripe.url}/pay/**")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url("**/account/credits/orders/*")
    assert await page.locator(".state").inner_text() == "pending"
    await asyncio.to_thread(shop.deliver, *shop.stripe.events)
    await page.reload()
    assert await page.locator(".state").inner_text() == "paid"
    await check_page(page, axe, "payment")
    await page.get_by_role("link", name="Back to credits").click()
    assert "visa 4242 03/2031" in await page.locator("main").inner_text()
    assert shop.bought == [2_500_000]
