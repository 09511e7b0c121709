"""Passkeys of customers in Chromium with a virtual authenticator, and answers that are refused."""

from __future__ import annotations

from html import unescape
from typing import Any

import orjson
import pytest
from playwright.async_api import Page, expect

from edge.web.security import PASSKEY_PURPOSE
from shared.core.secrets import unseal
from shared.models import Person, PersonPasskey
from shared.operations.passkeys import PEOPLE
from shared.operations.passkeys import Site as UsedSite
from tests.conftest import OpenPage
from tests.edge.web.conftest import COOKIE, PASSWORD, Site
from tests.page_checks import check_page
from tests.servers.browser import add_authenticator
from tests.servers.edge import SECRET_KEY

PAGE = "/account/security"
pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)


async def test_a_walk_with_a_passkey(site: Site, open_page: OpenPage, axe: str) -> None:
    browser = site.browser()
    email = browser.sign_up()
    url = f"http://localhost:{browser.port}"  # passkeys need a host name
    page = await open_page()
    await add_authenticator(page)
    await sign_in_with_password(page, url, email)

    await page.goto(url + PAGE)
    await page.fill("#new-passkey-password", "wrong password")
    await page.click("button:has-text('Add a passkey')")
    await expect(page.locator("main .wrong:visible")).to_have_text("Incorrect password.")
    page.problems.clear()  # type: ignore[attr-defined]  # Chromium logs the status 422
    await page.fill("#new-passkey-password", PASSWORD)
    await page.click("button:has-text('Add a passkey')")
    await expect(page.locator(".flash")).to_have_text("Passkey added. You can now sign in with it.")
    await check_page(page, axe, "security-passkey")
    await page.fill("#new-passkey-password", PASSWORD)
    await page.click("button:has-text('Add a passkey')")
    await expect(page.locator("main .wrong:visible")).to_have_text("This device already has a passkey for your account.")
    await page.click("text=Sign out")

    await page.goto(url + "/sign-in?next=/account/usage")
    sent = await answer_of(page)
    await expect(page).to_have_url(f"{url}/account/usage")
    await expect(page.locator(".who")).to_contain_text(email)
    row = PersonPasskey.get(PersonPasskey.person == Person.get(Person.email == email).id)
    assert row.last_used_at is not None

    # the same answer again, in another browser: its challenge was used, and a changed one does not verify
    other = site.browser()
    other.port = browser.port
    host = {"host": f"localhost:{browser.port}", "origin": url}
    for fields, status in (
        (sent, 429),
        ({"credential": sent["credential"]}, 403),
        ({"credential": "{}"}, 403),
        ({"credential": "[" * 15_000}, 403),
        ({"credential": sent["credential"], "challenge": "forged"}, 403),
    ):
        tokens = hidden_fields(other.get("/sign-in", host).body.decode())
        refused = other.submit_form("/sign-in/passkey", tokens | fields, page="/sign-in", headers=host)
        assert (refused.status, COOKIE in other.cookies) == (status, False), fields

    # nor on a process that has not counted it, because Redis is down
    challenge, issued_at, _ = orjson.loads(unseal(sent["challenge"], SECRET_KEY, PASSKEY_PURPOSE))
    replayed = UsedSite("localhost", url, challenge, int(issued_at))
    PersonPasskey.update(sign_count=0).where(PersonPasskey.id == row.id).execute()  # like most passkeys, which do not count
    assert PEOPLE.verify(sent["credential"], replayed) is None
    PersonPasskey.update(last_used_at=int(issued_at) - 1).where(PersonPasskey.id == row.id).execute()
    assert PEOPLE.verify(sent["credential"], replayed) == row.person.id
    assert PersonPasskey.get_by_id(row.id).last_used_at >= int(issued_at)

    await page.goto(url + PAGE)
    await page.fill("#passkeys-password", PASSWORD)
    await page.click("tbody button:has-text('Remove')")
    await expect(page.locator(".flash")).to_contain_text("Passkey removed")
    await page.click("text=Sign out")
    await page.goto(url + "/sign-in")
    await page.click("text=Sign in with a passkey")
    await expect(page.locator("main .wrong")).to_have_text("The passkey could not be verified. Try again.")
    page.problems.clear()  # type: ignore[attr-defined]  # Chromium logs the status 403


async def sign_in_with_password(page: Page, url: str, email: str) -> None:
    await page.goto(url + "/sign-in")
    await page.fill("#email", email)
    await page.fill("#password", PASSWORD)
    await page.click("button.primary")
    await expect(page).to_have_url(f"{url}/account")


async def answer_of(page: Page) -> dict[str, str]:
    """Use a passkey on the sign-in page; returns the fields that the form sent."""
    async with page.expect_request(lambda request: request.url.partition("?")[0].endswith("/sign-in/passkey")) as caught:
        await page.click("text=Sign in with a passkey")
    sent: Any = (await caught.value).post_data_json
    return {name: sent[name] for name in ("credential", "challenge")}


def hidden_fields(page: str) -> dict[str, str]:
    challenge = page.partition('name="challenge" value="')[2].partition('"')[0]
    return {"challenge": unescape(challenge)}


def test_a_host_without_a_name_offers_no_passkeys(site: Site) -> None:
    assert b"data-passkey" not in site.browser().get("/sign-in").body
    member = site.member()
    assert b"Passkeys need https and a host name." in member.get(PAGE).body
    assert member.submit_form("/account/passkeys", {"credential": "{}"}, page=PAGE).status == 422
    for id in ("01a22d0d-596b-7e66-8734-658d91142780", "x"):
        assert member.submit_form(f"/account/passkeys/{id}/remove", page=PAGE).status in (404, 422)
