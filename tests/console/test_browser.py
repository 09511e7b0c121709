"""Staff work in the console in a real browser, with a real edge beside it: each change takes effect on the next API call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from playwright.async_api import Page

from shared.core.clock import now_ms
from shared.ledger.verify import verify_ledger
from shared.models import Account, ApiKey, UsageLedger
from shared.operations.staff import create_staff
from tests import factories
from tests.conftest import OpenPage, StartWeb
from tests.console.conftest import PASSWORD
from tests.edge.http_calls import Response, Stream, chat
from tests.factories import ORIGIN
from tests.openai_payloads import chunk, finish, usage
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, stream

pytestmark = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)


class ConsoleAndEdge(NamedTuple):
    """Everything a test needs: a console, an edge, a provider, and an account with a key and a model."""

    console: WebProcess
    edge: WebProcess
    provider: Upstream
    account: Account
    key: ApiKey
    secret: str

    async def call(self, model: str = "m-1") -> Response:
        """Make one chat call to the edge with the customer's key."""
        return await asyncio.to_thread(chat, self.edge, self.secret, model=model)


@pytest.fixture
def setup(bound_database, any_database_url, redis_url, upstream, start_edge: StartWeb, start_console: StartWeb) -> ConsoleAndEdge:
    for role in ("owner", "readonly"):
        create_staff(f"{role}@yout.example", role, PASSWORD, origin=ORIGIN)
    account = factories.account(credits=100_000)
    key, secret = factories.api_key(account, name="laptop")
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000)
    settings: dict[str, Any] = {"database_url": any_database_url, "redis_url": redis_url}
    edge = start_edge(**settings)
    console = start_console(**settings, edge_port=edge.port)
    return ConsoleAndEdge(console, edge, upstream, account, key, secret)


@pytest.fixture
def enter(setup: ConsoleAndEdge, open_page: OpenPage) -> Callable[..., Any]:
    """`await enter("owner")`: a console page, signed in."""

    async def make(role: str = "owner", **options: Any) -> Page:
        page = await open_page(**options)
        await page.goto(f"{setup.console.url}/login")
        await page.fill("[name=email]", f"{role}@yout.example")
        await page.fill("[name=password]", PASSWORD)
        await page.click("text=Sign in")
        await page.wait_for_url(f"{setup.console.url}/")
        return page

    return make


async def test_a_revoked_key_is_rejected_on_the_next_call(setup: ConsoleAndEdge, enter) -> None:
    assert (await setup.call()).status == 200
    page = await enter()
    await page.goto(f"{setup.console.url}/keys/")
    await page.fill("#q", setup.secret[:9])
    await page.press("#q", "Enter")
    await page.click("a.row")
    await page.fill("[name=confirmation]", "laptop")
    await page.click(f"button:has-text('Revoke {setup.key.prefix}')")
    await page.wait_for_selector("text=Requests with it are rejected")
    refused = await setup.call()
    assert (refused.status, refused.code) == (401, "invalid_api_key")


async def test_a_published_price_applies_to_the_next_call_but_not_to_a_running_one(setup: ConsoleAndEdge, enter) -> None:
    gate = Gate()
    setup.provider.script(stream(chunk("Hel"), gate, finish(), usage()))
    running = await asyncio.to_thread(Stream, setup.edge, setup.secret)
    await asyncio.to_thread(running.response_head)
    await asyncio.to_thread(gate.wait_reached)
    page = await enter("owner")
    await page.goto(f"{setup.console.url}/models/id/m-1")
    await page.fill("[name=input]", "10 000")
    await page.fill("[name=output]", "20 000")
    await page.click("text=Save draft")
    await page.wait_for_selector("text=Draft saved.")
    assert await page.locator("table.diff tbody tr").count() == 2
    await page.click("text=Publish price")
    await page.wait_for_selector("text=The new price of m-1 is in effect")
    await asyncio.to_thread(eventually, lambda: _charged_at_new_price(setup), "the new price at the edge")
    gate.open()
    await asyncio.to_thread(running.remaining_events)
    running.disconnect()
    old = UsageLedger.select().order_by(UsageLedger.created_at).get()
    assert old.credits == 7 + 3 * 2  # 7 input tokens at 1 credit, 3 output tokens at 2: the price when the call started
    assert verify_ledger(now_ms()).problems == ()


def _charged_at_new_price(setup: ConsoleAndEdge) -> bool:
    """Edges load a new price within a second. The new price is ten times the old one."""
    charged: int = chat(setup.edge, setup.secret).body["yout"]["credits_charged"]
    return charged == 10 * 13


async def test_credits_are_granted_and_an_account_is_suspended(setup: ConsoleAndEdge, enter) -> None:
    page = await enter()
    await page.goto(f"{setup.console.url}/accounts/{setup.account.id}")
    await page.fill("[name=amount]", "50 000")
    assert "50\u202f000 credits" in await page.inner_text("form[data-balance] button")
    await page.fill("[name=reason]", "Goodwill")
    await page.click("form[data-balance] button")
    await page.wait_for_selector("text=New balance: 150\u202f000")
    await page.click("text=Suspend account >> nth=-1")
    await page.wait_for_selector("text=is suspended")
    refused = await setup.call()
    assert (refused.status, refused.code) == (403, "account_suspended")
    await page.click("button:has-text('Activate account')")
    await page.wait_for_selector("text=Its keys work again")
    assert (await setup.call()).body["yout"]["balance"] == 150_000 - 13


async def test_a_new_channel_and_model_serve_calls(setup: ConsoleAndEdge, enter) -> None:
    page = await enter()
    await page.goto(f"{setup.console.url}/channels/")
    await page.click("text=Add channel")
    await page.fill("[name=name]", "second")
    await page.fill("[name=base_url]", setup.provider.url)
    await page.fill("[name=secret]", "sk-second")
    await page.click("button:has-text('Add channel')")
    await page.wait_for_selector("text=Channel second created")
    await page.goto(f"{setup.console.url}/models/")
    await page.click("text=Add model")
    await page.fill("[name=model]", "fresh")
    await page.select_option("[name=channel]", "second")
    await page.fill("[name=input]", "1000")
    await page.fill("[name=output]", "2000")
    await page.click("button:has-text('Add model')")
    await page.wait_for_selector("text=fresh added to the catalog")
    await asyncio.to_thread(
        eventually, lambda: chat(setup.edge, setup.secret, model="fresh").status == 200, "the new model at the edge"
    )
    assert setup.provider.calls[-1].headers["authorization"] == "Bearer sk-second"


async def test_a_trial_call_is_charged_to_the_chosen_account(setup: ConsoleAndEdge, enter) -> None:
    page = await enter()
    await page.goto(f"{setup.console.url}/models/id/m-1")
    await page.click("text=Send a message as a customer")
    await page.fill("[name=prompt]", "Hello?")
    await page.fill("[name=account]", setup.account.email)
    await page.click("button:has-text('Send')")
    await page.wait_for_selector("text=13 credits charged, balance 99\u202f987")
    assert (await page.inner_text(".tried p >> nth=0")).strip()
    assert ApiKey.select().where(ApiKey.revoked_at.is_null()).count() == 1  # only the customer's own key


async def test_readonly_staff_see_no_forms_and_their_posts_are_rejected(setup: ConsoleAndEdge, enter) -> None:
    page = await enter("readonly")
    paths = [
        "/",
        "/accounts/",
        f"/accounts/{setup.account.id}",
        "/keys/",
        f"/keys/{setup.key.id}",
        "/models/",
        "/models/id/m-1",
        "/channels/",
    ]
    for path in [
        *paths,
        "/channels/new",
        "/models/new",
        "/plans/",
        "/plans/new",
        "/codes/",
        "/staff/",
        "/usage/",
        "/ledger/",
        "/holds/",
        "/audit/",
    ]:
        await page.goto(setup.console.url + path)
        forms = await page.locator("form[method=post]:not([action='/logout'], .language, .find)").count()
        assert forms == 0, path
    token = await page.get_attribute("[name=csrf_token] >> nth=0", "value")
    target = f"{setup.console.url}/accounts/{setup.account.id}/suspend"
    answer = await page.request.post(target, form={"csrf_token": token or ""}, headers={"referer": setup.console.url})
    assert answer.status == 403
    assert (await setup.call()).status == 200


async def test_old_and_new_key_both_work_during_the_grace_period(setup: ConsoleAndEdge, enter) -> None:
    page = await enter()
    await page.goto(f"{setup.console.url}/keys/{setup.key.id}")
    await page.click("button:has-text('Rotate key')")
    fresh = await page.inner_text("code.secret")
    assert (await setup.call()).status == 200
    assert (await setup._replace(secret=fresh).call()).status == 200
    await page.goto(f"{setup.console.url}/keys/{setup.key.id}")
    assert fresh not in await page.content()
