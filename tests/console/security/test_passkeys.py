"""Passkeys of staff in Chromium with a virtual authenticator."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import expect

from shared.models import AuditEntry, StaffPasskey, StaffUser
from shared.operations.staff import create_staff
from tests.conftest import OpenPage, StartWeb
from tests.console.conftest import PASSWORD
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import add_authenticator


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
async def test_a_walk_with_a_passkey(
    bound_database: Any, any_database_url: str, start_console: StartWeb, open_page: OpenPage, axe: str
) -> None:
    create_staff("owner@yout.example", "owner", PASSWORD, origin=ORIGIN)
    console = start_console(database_url=any_database_url)
    url = console.url.replace("127.0.0.1", "localhost")  # passkeys need a host name
    page = await open_page()
    await add_authenticator(page)
    await page.goto(f"{url}/login?next=/me/")
    await page.fill("[name=email]", "owner@yout.example")
    await page.fill("[name=password]", PASSWORD)
    await page.click("button.primary")

    await page.fill("#new-passkey-password", "wrong password")
    await page.click("button:has-text('Add a passkey')")
    await expect(page.locator("main .wrong:visible")).to_have_text("Incorrect password.")
    await page.fill("#new-passkey-password", PASSWORD)
    await page.click("button:has-text('Add a passkey')")
    await expect(page.locator(".flash")).to_have_text("Passkey added. You can now sign in with it.")
    await check_page(page, axe, "console-passkey")
    await page.click("text=Sign out >> nth=0")

    await page.goto(f"{url}/login?next=/usage/")
    await check_page(page, axe, "console-sign-in-passkey")
    await page.click("text=Sign in with a passkey")
    await expect(page).to_have_url(f"{url}/usage/")
    assert StaffPasskey.get().last_used_at is not None

    await page.click("text=Sign out >> nth=0")
    StaffUser.update(status="disabled").execute()
    await page.goto(f"{url}/login")
    await page.click("text=Sign in with a passkey")
    await expect(page.locator("main .wrong:visible")).to_have_text("The passkey could not be verified. Try again.")
    StaffUser.update(status="active").execute()
    await page.goto(f"{url}/login?next=/me/")
    await page.click("text=Sign in with a passkey")
    await page.fill("#passkey-password", PASSWORD)
    await page.click("tbody button:has-text('Remove')")
    await expect(page.locator(".flash")).to_contain_text("Passkey removed")
    actions = [entry.action for entry in AuditEntry.select().where(AuditEntry.action.endswith("_passkey"))]
    assert actions == ["staff.add_passkey", "staff.remove_passkey"]
    page.problems.clear()  # type: ignore[attr-defined]  # Chromium logs the status of refused forms
