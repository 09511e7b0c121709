"""A team in a real browser: an invitation by mail, a switch of the account, a key, a limit, a suspension, and leaving."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest
from playwright.async_api import Page, expect

from shared.core.clock import new_id
from tests.conftest import OpenPage
from tests.edge.web.conftest import PASSWORD, MailSite
from tests.openai_payloads import completion
from tests.page_checks import check_page
from tests.servers.browser import PHONE
from tests.upstream_responses import json_response

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


async def submit(page: Page, button: str) -> None:
    await page.click(f"main button:text-is('{button}')")


async def test_a_team_shares_an_account(mail_site: MailSite, open_page: OpenPage, axe: str) -> None:
    async with AsyncExitStack() as closing:
        await share_an_account(mail_site, open_page, axe, closing)


async def share_an_account(mail_site: MailSite, open_page: OpenPage, axe: str, closing: AsyncExitStack) -> None:
    edge = mail_site.site.edge(**mail_site.settings)
    owner, account = mail_site.signed_up()
    mail_site.browser().submit_form(mail_site.link())  # verifies the address, which grants the credits
    email = f"{new_id().hex}@example.com"
    desk, phone = await open_page(), await open_page(viewport=PHONE)
    await owner.copy_session_to(desk)

    await desk.goto(f"{edge.url}/account/members")
    await desk.fill("#email", email)
    await desk.select_option("#role", "developer")
    await submit(desk, "Invite")
    await expect(desk.locator(".flash")).to_have_text("Invitation sent.")
    await expect(desk.locator("main")).to_contain_text(email)
    await check_page(desk, axe, "members-invited")

    await phone.goto(edge.url + mail_site.link())
    await expect(phone.locator("h1")).to_have_text(f"Join {account.email}")
    await phone.fill("#password", PASSWORD)
    await check_page(phone, axe, "invitation")
    await submit(phone, "Accept invitation")
    await expect(phone.locator(".flash")).to_contain_text("You are now a member of this account")

    await phone.goto(f"{edge.url}/account/keys")
    await phone.fill("#name", "laptop")
    await submit(phone, "Create key")
    secret = await phone.inner_text("#secret")
    client = await closing.enter_async_context(openai.AsyncOpenAI(base_url=f"{edge.url}/v1", api_key=secret, max_retries=0))
    messages: Any = [{"role": "user", "content": "Hi"}]
    mail_site.site.upstream.script(json_response(completion()))
    await client.chat.completions.create(model="m-1", messages=messages, max_tokens=5)

    await desk.goto(f"{edge.url}/account/members")
    await desk.click(f"tr:has-text('{email}') >> a")
    await desk.fill("#daily_credit_limit", "1")
    await submit(desk, "Save")
    await expect(desk.locator(".flash")).to_contain_text("Member updated")
    with pytest.raises(openai.APIStatusError, match="Your limit in this account is 1 credits a day"):
        await client.chat.completions.create(model="m-1", messages=messages, max_tokens=5)

    await desk.click(f"tr:has-text('{email}') >> a")
    await check_page(desk, axe, "member")
    await submit(desk, "Suspend member")
    await expect(desk.locator(".flash")).to_contain_text("Member suspended")
    with pytest.raises(openai.PermissionDeniedError, match="suspended"):
        await client.models.list()
    await desk.click(f"tr:has-text('{email}') >> a")
    await submit(desk, "Reinstate member")
    await expect(desk.locator(".flash")).to_have_text("Member reinstated.")

    other, second = mail_site.signed_up()
    other.submit_form(mail_site.link(), {})  # only verified people can send invitations
    other.submit_form("/account/members/invite", {"email": email, "role": "viewer"}, page="/account/members")
    await phone.goto(edge.url + mail_site.link())
    await submit(phone, "Accept invitation")
    await expect(phone.locator("main")).to_contain_text(f"Account: {second.email}. Your role: viewer.")
    assert await phone.locator("nav a[href='/account/keys']").count() == 0
    await phone.click("text=Switch account")
    await check_page(phone, axe, "accounts")
    await phone.click(f"tr:has-text('{account.email}') >> button")
    await expect(phone.locator("main")).to_contain_text(f"Account: {account.email}. Your role: developer.")

    await phone.goto(f"{edge.url}/account/members")
    await phone.click("main a:text-is('Leave')")
    await check_page(phone, axe, "leave")
    await submit(phone, "Leave this account")
    await expect(phone.locator(".flash")).to_have_text("You have left the account.")
    await expect(phone.locator("main")).to_contain_text(f"Account: {second.email}.")
    with pytest.raises(openai.AuthenticationError):
        await client.models.list()
