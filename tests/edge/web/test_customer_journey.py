"""A complete customer journey in a real browser, from the first page to the certificate of a purge; axe checks the pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import openai
import pytest
from playwright.async_api import expect

from shared.models import Account, Plan, Subscription
from tests import factories
from tests.conftest import OpenPage
from tests.edge.web.conftest import PASSWORD, Site
from tests.edge.web.test_chat_app import choose_model, send
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.servers.process import Process
from tests.upstream_responses import stream

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
EMAIL = "story@example.com"
SHARE = """async () => {
  const headers = { "content-type": "application/json", "x-csrf-token": document.querySelector("meta[name=csrf-token]").content };
  const body = JSON.stringify({ title: "Hello", messages: [{ role: "user", content: "Hello" }] });
  return (await (await fetch("/api/chat/share/", { method: "POST", headers, body })).json()).url;
}"""
ANSWER = "Here is **bold** and <img src=x onerror=alert(1)> and [a link](javascript:alert(1))."


async def test_from_the_first_page_to_the_certificate(
    site: Site, open_page: OpenPage, axe: str, start_worker: Callable[..., Process]
) -> None:
    edge = site.edge()
    site.upstream.script(*[stream(role(), chunk(ANSWER), finish(), usage(7, 3), DONE)] * 2)
    page = await open_page()
    await page.goto(edge.url)
    await check_page(page, axe, "welcome")
    await page.click("text=Sign up >> nth=-1")
    await page.fill("#email", EMAIL)
    await page.fill("#password", PASSWORD)
    await check_page(page, axe)
    await page.click("text=Create account")
    await expect(page.locator("h1")).to_have_text("Overview")

    await page.click("text=API keys >> nth=0")
    await page.fill("#name", "story")
    await page.click("button:text('Create key')")
    secret = await page.inner_text("#secret")
    await page.click("#secret + button")
    assert await page.evaluate("navigator.clipboard.readText()") == secret
    await check_page(page, axe)
    client = openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key=secret, max_retries=0)
    messages: Any = [{"role": "user", "content": "Hi"}]
    parts = [part async for part in await client.chat.completions.create(model="m-1", messages=messages, stream=True)]
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == ANSWER

    account = Account.get(Account.email == EMAIL)
    plan = Plan.create(name="Keeper", stores_content=True)
    Subscription.create(account=account, plan=plan)
    await page.goto(edge.url)
    await choose_model(page, "m-1")
    await send(page, "Hello *there*")
    await expect(page.locator(".cost")).to_have_text("13 credits")
    await expect(page.locator("#balance")).to_have_text(re.compile("499.974 credits"))
    await expect(page.locator(".said strong")).to_have_text("bold")
    assert await page.locator(".said img, .said a").count() == 0  # neither the image nor the link was rendered
    assert await page.inner_text(".bubble") == "Hello *there*"
    await check_page(page, axe)

    address = await page.evaluate(SHARE)
    visitor = await open_page()
    await visitor.goto(edge.url + "/c/" + address.rpartition("/")[2])
    assert "Hello" in await visitor.inner_text("body")
    assert EMAIL not in await visitor.content()
    await page.goto(f"{edge.url}/account/shares")
    await check_page(page, axe)
    await page.click("td >> text=Revoke")
    await page.click("text=Revoke share")
    await expect(page.locator(".flash")).to_contain_text("Share revoked.")
    await visitor.reload()
    visitor.problems.clear()  # type: ignore[attr-defined]  # a 404 is reported on the console
    assert "Hello" not in await visitor.inner_text("body")

    for path in ("/account", "/account/usage", "/account/conversations", "/account/sessions"):
        await page.goto(edge.url + path)
        await check_page(page, axe)
    await page.goto(f"{edge.url}/account/keys")
    await page.click("td >> text=Revoke")
    await check_page(page, axe)
    await page.click("text=Revoke key")
    await expect(page.locator(".flash")).to_contain_text("Key revoked.")
    with pytest.raises(openai.AuthenticationError):
        await client.chat.completions.create(model="m-1", messages=messages)

    start_worker(**site.settings)
    await page.goto(f"{edge.url}/account/data")
    await page.fill("#confirmation", EMAIL)
    await page.click("text=Delete data")
    await expect(page.locator("text=Download the certificate")).to_be_visible(timeout=60_000)
    await check_page(page, axe)
    await page.goto(f"{edge.url}/account/conversations")
    await expect(page.locator(".empty b")).to_have_text("No stored conversations")
    await page.click("text=Sign out")
    await expect(page.locator(".flash")).to_have_text("You have been signed out.")
    await page.goto(f"{edge.url}/account")
    assert page.url.endswith("/sign-in?next=/account")
    await client.close()


async def test_pages_on_a_phone_in_dark_mode(site: Site, open_page: OpenPage, axe: str) -> None:
    member = site.member()
    assert member.account is not None
    factories.api_key(member.account, name="a key with a rather long name for a small screen")
    page = await open_page(viewport=PHONE, scheme="dark")
    await member.copy_session_to(page)
    for path in ("", "/keys", "/usage", "/conversations", "/shares", "/sessions", "/data"):
        await page.goto(f"{site.edge().url}/account{path}")
        await check_page(page, axe)


async def test_the_account_works_without_javascript(site: Site, open_page: OpenPage) -> None:
    page = await open_page(javascript=False)
    url = site.edge().url
    await page.goto(f"{url}/sign-up")
    await page.fill("#email", "no-script@example.com")
    await page.fill("#password", PASSWORD)
    await page.click("text=Create account")
    await page.goto(f"{url}/account/keys")
    await page.fill("#name", "plain")
    await page.click("button:text('Create key')")
    assert (await page.inner_text("#secret")).startswith("yout-")
    await page.goto(f"{url}/account/keys")
    await page.click("td >> text=Revoke")
    await page.click("text=Revoke key")
    await page.click("text=Sign out")
    await expect(page.locator("h1")).to_have_text("Sign in")
