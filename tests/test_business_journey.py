"""A business in real browsers, on a real edge, console and worker, from its first page to its closing.

Staff set up payments. Ada signs up by mail, buys credits and invites Ben, whose calls she limits; a budget alerts her; her card
is charged automatically; staff refund payments; Ben leaves, and Ada closes the account. Mails go to a real SMTP server, and
Stripe's fake sends its webhooks to the edge.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, closing
from typing import Any

import openai
import peewee
import pytest
from playwright.async_api import Page, expect

from shared.core.clock import now_ms
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, Payment
from shared.operations.staff import create_staff
from tests import factories, stripe_events
from tests.conftest import OpenPage, StartWeb
from tests.factories import ORIGIN
from tests.openai_payloads import completion, tokens
from tests.servers.browser import PHONE
from tests.servers.edge import SECRET_KEY, WebProcess
from tests.servers.process import Process, eventually
from tests.servers.smtp import ReceivedMail, SmtpServer
from tests.servers.stripe import WEBHOOK_SECRET, StripeServer
from tests.upstream import Upstream
from tests.upstream_responses import WAIT_SECONDS, json_response

ADA, BEN, STAFF = "ada@example.com", "ben@example.com", "staff@yout.example"
PASSWORD = "correct horse battery"
PROMPT, ANSWER = "the prompt that no mail may contain", "the answer that no webhook may contain"
GRANTED, BOUGHT, CALL = 500_000, 2_500_000, 13  # credits: at sign-up, for 25.00 USD, of one call
PATIENCE_MS = 90_000  # the worker compares budgets every 10 s and charges cards every 20 s


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.close()


class Business:
    """The running product, its customers' pages, and what arrived outside."""

    def __init__(self, edge: WebProcess, console: WebProcess, smtp: SmtpServer, stripe: StripeServer, hook: Upstream) -> None:
        self.edge, self.console, self.smtp, self.stripe, self.hook = edge, console, smtp, stripe, hook
        self._delivered = 0

    async def mail(self, recipient: str, subject: str) -> ReceivedMail:
        """Wait for an email whose subject contains `subject`."""
        return await asyncio.to_thread(self._wait_mail, recipient, subject)

    def _wait_mail(self, recipient: str, subject: str) -> ReceivedMail:
        def found() -> list[ReceivedMail]:
            return [mail for mail in self.smtp.mails if mail.recipient == recipient and subject in mail.message["Subject"]]

        eventually(lambda: bool(found()), f"{recipient} gets a mail: {subject}", PATIENCE_MS / 1000)
        return found()[-1]

    async def deliver_webhooks(self) -> None:
        """Deliver Stripe's new events, each twice, as Stripe does: over HTTP, signed."""
        events = self.stripe.events[self._delivered :]
        self._delivered += len(events)
        for event in events * 2:
            assert await asyncio.to_thread(self._post_webhook, event) == 200

    def _post_webhook(self, event: dict[str, Any]) -> int:
        body, signature = stripe_events.signed(event, WEBHOOK_SECRET)
        with closing(http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS)) as connection:
            headers = {"stripe-signature": signature, "content-type": "application/json"}
            connection.request("POST", "/webhooks/stripe/", body, headers)
            return connection.getresponse().status

    async def go(self, page: Page, path: str) -> None:
        await page.goto(self.edge.url + path)


@pytest.fixture
def business(
    bound_postgres: peewee.Database,
    postgres_url: str,
    redis_url: str,
    smtp: SmtpServer,
    stripe: StripeServer,
    upstream: Upstream,
    start_upstream: Callable[[], Upstream],
    start_edge: StartWeb,
    start_console: StartWeb,
    start_worker: Callable[..., Process],
) -> Business:
    create_staff(STAFF, "owner", PASSWORD, origin=ORIGIN)
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000)
    upstream.default = lambda _: json_response(completion(ANSWER, usage=tokens(7, 3)))
    settings: dict[str, Any] = {"database_url": postgres_url, "redis_url": redis_url, **stripe.settings}
    settings |= {"smtp_url": smtp.url, "mail_from": "Yout <no-reply@yout.example>", "outbound_networks": ("127.0.0.1/32",)}
    settings |= {"sign_up_credits": GRANTED, "public_url": "http://127.0.0.1:{port}"}
    edge = start_edge(**settings)
    settings["public_url"] = edge.url
    console = start_console(**settings, edge_port=edge.port)
    start_worker(**settings)
    hook = start_upstream()
    hook.default = lambda _: json_response({})
    return Business(edge, console, smtp, stripe, hook)


async def submit(page: Page, button: str) -> None:
    await page.click(f"main button:text-is('{button}')")


async def test_a_business_from_sign_up_to_closing(business: Business, open_page: OpenPage) -> None:
    async with AsyncExitStack() as closing_clients:
        staff, ada, ben = await open_page(), await open_page(), await open_page(viewport=PHONE)
        await set_up_payments(business, staff)
        await sign_up_and_verify(business, ada)
        await buy_credits(business, ada)
        await invite_and_accept(business, ada, ben)
        client = await create_key(business, ben)
        await closing_clients.enter_async_context(client)
        charged = await reach_the_limit(business, ada, client)
        await be_alerted_and_topped_up(business, ada)
        await refund(business, ada, staff)
        await leave(business, ben, client)
        await close(business, ada)
    check_books(charged)
    check_what_went_out(business)


async def set_up_payments(business: Business, staff: Page) -> None:
    await staff.goto(f"{business.console.url}/login?next=/payments/settings")
    await staff.fill("[name=email]", STAFF)
    await staff.fill("[name=password]", PASSWORD)
    await staff.click("button.primary")
    await staff.wait_for_url("**/payments/settings")
    values = {"currency": "usd", "credits_per_minor_unit": "1000", "amounts": "5 25", "minimum": "1", "maximum": "1000"}
    for name, value in {**values, "bank_details": "IBAN DE02 1203"}.items():
        await staff.fill(f"[name={name}]", value)
    await staff.check("[name=invoices]")
    await submit(staff, "Save")
    await expect(staff.locator("main")).to_contain_text("Payment settings saved.")


async def sign_up_and_verify(business: Business, ada: Page) -> None:
    await business.go(ada, "/sign-up")
    await ada.fill("#email", ADA)
    await ada.fill("#password", PASSWORD)
    await submit(ada, "Create account")
    await expect(ada.locator("h1")).to_have_text("Overview")
    assert Account.get(Account.email == ADA).balance == 0
    await business.go(ada, (await business.mail(ADA, "Verify your email")).link())
    await submit(ada, "Verify email")
    await expect(ada.locator("main")).to_contain_text(f"{ADA} is verified.")
    assert Account.get(Account.email == ADA).balance == GRANTED


async def buy_credits(business: Business, ada: Page) -> None:
    await business.go(ada, "/account/credits")
    await ada.get_by_label("25.00").check()
    await ada.get_by_label("Save the card for automatic top-ups").check()
    await submit(ada, "Pay by card")
    await ada.wait_for_url(f"{business.stripe.url}/pay/**")
    await ada.get_by_role("button", name="Pay").click()
    await ada.wait_for_url(f"{business.edge.url}/account/credits/orders/*")
    assert await ada.locator(".state").inner_text() == "pending"
    await business.deliver_webhooks()
    await ada.reload()
    assert await ada.locator(".state").inner_text() == "paid"
    assert Account.get(Account.email == ADA).balance == GRANTED + BOUGHT
    receipt = await business.mail(ADA, "Receipt for")
    assert Payment.get().reference in receipt.part("plain")


async def invite_and_accept(business: Business, ada: Page, ben: Page) -> None:
    await business.go(ada, "/account/members")
    await ada.fill("#email", BEN)
    await ada.select_option("#role", "developer")
    await submit(ada, "Invite")
    await expect(ada.locator(".flash")).to_have_text("Invitation sent.")
    await business.go(ben, (await business.mail(BEN, "Invitation to")).link())
    await ben.fill("#password", PASSWORD)
    await submit(ben, "Accept invitation")
    await expect(ben.locator(".flash")).to_contain_text("You are now a member of this account")


async def create_key(business: Business, ben: Page) -> openai.AsyncOpenAI:
    await business.go(ben, "/account/keys")
    await ben.fill("#name", "laptop")
    await submit(ben, "Create key")
    secret = await ben.inner_text("#secret")
    return openai.AsyncOpenAI(base_url=f"{business.edge.url}/v1", api_key=secret, max_retries=0)


async def call(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(model="m-1", messages=[{"role": "user", "content": PROMPT}], max_tokens=3)
    assert answer.choices[0].message.content == ANSWER


async def call_three_times(client: openai.AsyncOpenAI) -> None:
    for _ in range(3):
        await call(client)


async def reach_the_limit(business: Business, ada: Page, client: openai.AsyncOpenAI) -> int:
    """Ada limits Ben to less than three calls a month. Returns the credits that his calls cost."""
    await business.go(ada, "/account/members")
    await ada.click(f"tr:has-text('{BEN}') >> a")
    await ada.fill("#monthly_credit_limit", str(3 * CALL - 1))
    await submit(ada, "Save")
    await expect(ada.locator(".flash")).to_contain_text("Member updated")
    message = f"Your limit in this account is {3 * CALL - 1} credits a month"
    with pytest.raises(openai.APIStatusError, match=message) as refused:
        await call_three_times(client)
    assert refused.value.status_code == 402
    charged = -sum(entry.amount for entry in LedgerEntry.select().where(LedgerEntry.kind == "charge"))
    assert charged in (CALL, 2 * CALL)
    await business.go(ada, "/account/members")
    await expect(ada.locator(f"tr:has-text('{BEN}')")).to_contain_text(f"{charged}of {3 * CALL - 1}")
    return charged


async def be_alerted_and_topped_up(business: Business, ada: Page) -> None:
    await business.go(ada, "/account/credits")
    for name, value in {"threshold": str(GRANTED + BOUGHT), "amount": "25", "month": "30"}.items():
        await ada.fill(f"#{name}", value)
    await submit(ada, "Turn on")
    await expect(ada.locator(".flash")).to_have_text("Automatic top-up saved.")
    await business.go(ada, "/account/budgets")
    await ada.select_option("#applies_to", label=BEN)
    await ada.fill("#credits", str(CALL))
    await ada.fill("#percents", "80")
    await ada.fill("#webhook_url", f"{business.hook.url}/budget")
    await submit(ada, "Create budget")
    await expect(ada.locator(".flash")).to_contain_text("Budget created.")

    alert = await business.mail(ADA, "80 % of a budget is spent")
    assert BEN in alert.part("plain")
    await asyncio.to_thread(eventually, lambda: bool(business.hook.calls), "the budget's webhook arrives", PATIENCE_MS / 1000)
    [received] = business.hook.calls
    secret = json.loads(await ada.evaluate("fetch('/api/media/webhook-secret/').then((answer) => answer.text())"))["secret"]
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert received.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (received.json["type"], received.json["data"]["percent"]) == ("budget.reached", 80)

    paid = (Payment.purpose == "top_up") & (Payment.state == "paid")
    await asyncio.to_thread(eventually, lambda: Payment.select().where(paid).exists(), "the card is charged", PATIENCE_MS / 1000)
    await business.deliver_webhooks()  # which repeat what the charge answered
    await business.go(ada, "/account/credits")
    await expect(ada.locator("tbody tr")).to_have_count(2)
    purchases = LedgerEntry.select().where(LedgerEntry.kind == "purchase")
    assert [entry.amount for entry in purchases.order_by(LedgerEntry.seq)] == [BOUGHT, BOUGHT]


async def refund(business: Business, ada: Page, staff: Page) -> None:
    """Staff refund part of a card payment at Stripe, and confirm a bank transfer and pay it back in the console."""
    bought = Payment.get(Payment.purpose == "credits")
    await asyncio.to_thread(business.stripe.refund, bought.intent_id or "", 500)
    await business.deliver_webhooks()
    await staff.goto(f"{business.console.url}/payments/{bought.reference}")
    await expect(staff.locator("main")).to_contain_text("Credits taken back500\u202f000")

    await business.go(ada, "/account/credits")
    await ada.get_by_label("5.00 USD", exact=False).first.check()
    await submit(ada, "Pay by bank transfer")
    await expect(ada.locator("main")).to_contain_text("IBAN DE02 1203")
    transfer = Payment.get(Payment.provider == "invoice")
    await staff.goto(f"{business.console.url}/payments/{transfer.reference}")
    await submit(staff, "Mark as paid")
    await expect(staff.locator("main")).to_contain_text("500\u202f000 credits were added")
    await staff.fill("[name=amount]", "5.00")
    await submit(staff, "Record and take credits back")
    await expect(staff.locator("main")).to_contain_text("500\u202f000 credits were taken back")
    await ada.reload()
    await expect(ada.locator("main")).to_contain_text("Credits taken back")


async def leave(business: Business, ben: Page, client: openai.AsyncOpenAI) -> None:
    await business.go(ben, "/account/leave")
    await submit(ben, "Leave this account")
    await expect(ben.locator(".flash")).to_have_text("You have left the account.")
    with pytest.raises(openai.AuthenticationError):
        await call(client)


async def close(business: Business, ada: Page) -> None:
    await business.go(ada, "/account/close")
    await ada.fill("#confirmation", ADA)
    await submit(ada, "Close account")
    await expect(ada.locator("text=Download the certificate")).to_be_visible(timeout=PATIENCE_MS)
    await business.go(ada, "/account")
    assert ada.url.endswith("/sign-in?next=/account")


def check_books(charged: int) -> None:
    """Every credit of the closed account is explained by the grant, its payments, and its calls."""
    assert verify_ledger(now_ms()).problems == ()
    account = Account.get(Account.email == ADA)
    payments = sum(row.credits - row.returned_credits for row in Payment.select())
    assert (account.status, account.held) == ("closed", 0)
    assert account.balance == GRANTED + payments - charged
    assert payments == 2 * BOUGHT - 500_000


def check_what_went_out(business: Business) -> None:
    """Each mail and webhook went out once, to those that it concerns, without content of calls."""
    ids = [mail.message["Message-ID"] for mail in business.smtp.mails]
    assert len(set(ids)) == len(ids)
    assert {mail.recipient for mail in business.smtp.mails} == {ADA, BEN}
    sent = [mail.part(kind) for mail in business.smtp.mails for kind in ("plain", "html")]
    sent += [received.body.decode() for received in business.hook.calls]
    for text in sent:
        assert not any(content in text for content in (PROMPT, ANSWER, WEBHOOK_SECRET, SECRET_KEY))
