"""A newcomer's `yout up` without a mail server: they sign up, and verify the address with the link that the console shows."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from playwright.async_api import expect

from tests.conftest import OpenPage
from tests.servers.process import Process, dies_with_parent
from tests.yout.up_process import new_installation

PATIENCE_SECONDS = 120
PASSWORD, CREDITS = "correct horse battery", "500"


async def test_the_console_shows_an_email_whose_link_works(tmp_path: Path, open_page: OpenPage) -> None:
    installation = new_installation(tmp_path, YOUT_SIGN_UP_CREDITS=CREDITS)
    argv = dies_with_parent([sys.executable, "-m", "yout", "up", "--no-local"])
    process = Process("yout up", argv, env=installation.environment, cwd=tmp_path, log=tmp_path / "output")
    try:
        process.wait_ready(lambda: "Ctrl-C stops it" in process.output(), PATIENCE_SECONDS)
        printed = {line.split()[0]: line.split()[1:] for line in process.output().splitlines() if line.startswith("  ")}
        edge = f"http://127.0.0.1:{installation.environment['YOUT_EDGE_PORT']}"
        page = await open_page()
        await page.goto(f"{edge}/sign-up")
        await page.get_by_label("Email").fill("newcomer@example.com")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.locator("main button.primary").click()
        await expect(page.get_by_role("status")).to_contain_text("verify your address")

        staff = await open_page()
        [mails] = printed["Emails"]
        email, password = printed["Staff"]
        await staff.goto(mails)
        await staff.fill("[name=email]", email)
        await staff.fill("[name=password]", password)
        await staff.click("button.primary")
        await staff.click("tr:has-text('newcomer@example.com') a")
        await staff.click("a[href*='/verify-email/']")
        await staff.click("text=Verify email >> nth=-1")
        await expect(staff.locator("main")).to_contain_text(f"{CREDITS} credits were added")

        await staff.goto(mails)
        await staff.click("tr:has-text('newcomer@example.com') a")
        await expect(staff.locator("main")).to_contain_text("no longer needed")
        assert process.terminate(signal.SIGINT) == 0, process.output()
    finally:
        process.kill()
