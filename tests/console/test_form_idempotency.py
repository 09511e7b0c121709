"""Console forms that create something take effect once, and secrets are shown once."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyotp
import pytest
from flask import Flask

from shared.models import ApiKey, Channel, CodeBatch, FormSubmission, Plan, StaffUser
from shared.operations.second_factor import STAFF, new_secret
from shared.operations.staff import create_staff
from tests import factories
from tests.console.conftest import PASSWORD, Browser, Enter
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import DESKTOP, PHONE

CODES = {"credits": "25", "count": "3", "note": "Fair"}
SHOWN = re.compile(r'<code class="secret">([^<]+)</code>|<pre class="list">([^<]+)</pre>')


@pytest.fixture
def recovery(app: Flask) -> list[str]:
    """The recovery codes of ana, who has a second factor."""
    person, _ = create_staff("ana@yout.example", "owner", PASSWORD, origin=ORIGIN)
    device = pyotp.TOTP(new_secret())
    key = app.extensions["yout_settings"].secret_key
    return STAFF.enroll(person.id, device.secret, device.at(int(time.time()) - 30), secret_key=key, origin=ORIGIN)


def secret_on(text: str) -> str:
    found = SHOWN.search(text)
    return (found[1] or found[2]).strip() if found else ""


def send_twice(browser: Browser, page: str, action: str, fields: dict[str, Any]) -> list[str]:
    """Submit the same form twice, one after the other; returns both resulting pages."""
    filled = {**browser.form(page, action), **fields}
    return [browser.post(action, filled, follow_redirects=True).text for _ in range(2)]


def test_codes_are_created_and_shown_once(signed_in) -> None:
    first, second = send_twice(signed_in("owner"), "/codes/", "/codes/", CODES)
    assert len(secret_on(first).split()) == 3
    assert "Already shown" in second
    assert CodeBatch.select().count() == 1
    assert FormSubmission.get().sealed is None


def test_a_staff_member_and_a_new_password_are_created_once(signed_in) -> None:
    owner = signed_in("owner")
    first, second = send_twice(owner, "/staff/", "/staff/", {"email": "ben@yout.example", "role": "support"})
    assert secret_on(first)
    assert "Already shown" in second
    page = f"/staff/{StaffUser.get(StaffUser.email == 'ben@yout.example').id}"
    first, second = send_twice(owner, page, f"{page}/password", {})
    assert secret_on(first)
    assert "Already shown" in second


def test_a_key_is_rotated_once(signed_in) -> None:
    key, _ = factories.api_key(factories.account(), name="laptop")
    first, second = send_twice(signed_in("owner"), f"/keys/{key.id}", f"/keys/{key.id}/rotate", {"grace_hours": "2"})
    assert secret_on(first).startswith("yout-")
    assert "Already shown" in second
    assert ApiKey.select().count() == 2


def test_rows_without_secrets_are_created_once_and_both_submissions_redirect_there(signed_in) -> None:
    plan = {"name": "Pro", "monthly_credits": "100", "price_cents": "0"}
    channel = {"name": "east", "dialect": "openai", "base_url": "https://up.example/v1", "settings": "{}", "secret": "s"}
    owner = signed_in("owner")
    for page, fields, model in (("/plans/new", plan, Plan), ("/channels/new", channel, Channel)):
        filled = {**owner.form(page, page), **fields}
        first, second = (owner.post(page, filled) for _ in range(2))
        assert (first.status_code, second.status_code) == (303, 303)
        assert first.location == second.location
        assert "Only the first submission counts" in owner.get(second.location).text
        assert model.select().count() == 1


def test_two_concurrent_submissions_create_one_batch(signed_in, app: Flask) -> None:
    browser = signed_in("owner")
    filled = {**browser.form("/codes/", "/codes/"), **CODES}
    cookie = browser._client.get_cookie("yout_console").value

    def send() -> int:
        client = app.test_client()
        client.set_cookie("yout_console", cookie)
        return int(client.post("/codes/", data=filled).status_code)

    with ThreadPoolExecutor(2) as pool:
        assert [sent.result() for sent in [pool.submit(send) for _ in range(2)]] == [303, 303]
    assert CodeBatch.select().count() == 1


def test_a_one_time_page_is_visible_only_to_its_creator(signed_in) -> None:
    owner = signed_in("owner")
    address = owner.post("/codes/", {**owner.form("/codes/", "/codes/"), **CODES}).location
    assert signed_in("billing").get(address).status_code == 404
    assert secret_on(owner.get(address).text)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "look", [{"viewport": DESKTOP, "scheme": "light"}, {"viewport": PHONE, "scheme": "dark"}], ids=["desk", "phone"]
)
async def test_one_time_pages_in_a_browser(enter: Enter, axe: str, look: dict[str, Any]) -> None:
    page = await enter("/codes/", **look)
    await page.fill("[name=credits]", "25")
    await page.fill("[name=count]", "2")
    await page.click("button:has-text('Create codes')")
    await page.wait_for_url("**/codes/made/*")
    await check_page(page, axe, "console-codes-made")
    await page.reload()
    assert await page.inner_text("h1") == "Already shown"
    await check_page(page, axe, "console-shown-already")
    await page.go_back()
    assert CodeBatch.select().count() == 1
    home = page.url.split("/codes/")[0]
    await page.goto(f"{home}/staff/")
    await page.fill("[name=email]", "a-rather-long-name-of-somebody@department.of-a-company.example")
    await page.click("button:has-text('Create login')")
    await page.wait_for_url("**/staff/made/*")
    await check_page(page, axe, "console-staff-made")
