"""Email verification over HTTP, from sign-up to the opening credits, with a real mail server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import expect

from shared.core import formats
from shared.core.clock import now_ms
from shared.identity.account_links import VERIFY_EMAIL, make_token
from shared.mail.outbox import OVERDUE_MS
from shared.models import Account, LedgerEntry, OutgoingMail
from tests.conftest import OpenPage
from tests.edge.web.conftest import PASSWORD, MailSite, Site
from tests.page_checks import check_page
from tests.servers.browser import DESKTOP, PHONE
from tests.servers.edge import SECRET_KEY

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
CREDITS = 500_000
SHOWN = formats.format_credits(CREDITS)


def test_an_email_is_in_the_language_of_the_page_that_requested_it(mail_site: MailSite) -> None:
    browser, _ = mail_site.signed_up()
    mail_site.link()
    browser.cookies["yout_language"] = "de"
    assert browser.submit_form("/account/verify-email", page="/account").status == 303
    mail_site.send()
    assert mail_site.server.mails[0].message["Subject"] == "E-Mail-Adresse bestätigen"


def balance(account: Account) -> int:
    return int(Account.get_by_id(account.id).balance)


def expired_link(account: Account) -> str:
    return f"/verify-email/{make_token(SECRET_KEY, VERIFY_EMAIL, account.id, account.email, now_ms())}"


def test_from_sign_up_to_the_opening_credits(mail_site: MailSite) -> None:
    browser, account = mail_site.signed_up()
    assert balance(account) == 0
    assert f"Verify your email to receive {SHOWN} credits".encode() in browser.get("/account").body
    link, device = mail_site.link(), mail_site.browser()
    for _ in range(2):  # like an email scanner that opens every link
        assert b"Verify email</button>" in device.get(link).body
    assert balance(account) == 0
    assert f"{SHOWN} credits were added".encode() in device.submit_form(link).body
    again = device.post(link, f"csrf_token={device.token()}".encode())
    assert (again.status, b"is verified" in again.body, b"were added" in again.body) == (200, True, False)
    assert b"is verified" in mail_site.browser().get(link).body
    assert balance(account) == CREDITS
    assert LedgerEntry.select().where(LedgerEntry.account == account).count() == 1
    assert b"Verify your email" not in browser.get("/account").body


def test_a_cross_site_form_confirms_nothing(mail_site: MailSite) -> None:
    _, account = mail_site.signed_up()
    link = mail_site.link()
    assert mail_site.browser().post(link, b"").status == 403
    assert mail_site.browser().submit_form(link, headers={"origin": "https://evil.example"}).status == 403
    assert balance(account) == 0


def test_an_expired_link_offers_a_new_one(mail_site: MailSite) -> None:
    _, account = mail_site.signed_up()
    mail_site.link()
    link, device = expired_link(account), mail_site.browser()
    shown = device.get(link)
    assert (shown.status, b"has expired" in shown.body) == (200, True)
    refused = device.post(link, f"csrf_token={device.token()}".encode())
    assert (refused.status, b"has expired" in refused.body, balance(account)) == (410, True, 0)
    assert b"We sent a new link" in device.submit_form(f"{link}/resend", page=link).body
    device.submit_form(mail_site.link())
    assert balance(account) == CREDITS
    assert b"is verified" in device.get(link).body


@pytest.mark.parametrize("token", ["x", "A" * 64, "=" * 64])
def test_an_invalid_link_is_explained(mail_site: MailSite, token: str) -> None:
    path = f"/verify-email/{token}"
    stranger = mail_site.browser().get(path)
    assert (stranger.status, b"Sign in</a> to get a new one" in stranger.body) == (404, True)
    browser, account = mail_site.signed_up()
    mail_site.link()
    assert browser.post(path, f"csrf_token={browser.token('/account')}".encode()).status == 404
    sent = browser.follow(browser.submit_form("/account/verify-email", page=path))
    assert b"We sent you an email" in sent.body
    browser.submit_form(mail_site.link())
    assert balance(account) == CREDITS
    assert b"Send a new link" not in browser.get(path).body


def test_mails_are_limited_per_account_and_network(mail_site: MailSite) -> None:
    browser, _ = mail_site.signed_up()
    for _ in range(3):
        assert browser.submit_form("/account/verify-email", page="/account").status == 303
    refused = browser.submit_form("/account/verify-email", page="/account")
    assert (refused.status, b"Too many attempts" in refused.body) == (429, True), refused.body.decode()
    network = {"x-forwarded-for": mail_site.browser().address}
    for number in range(11):
        member = mail_site.site.member(**mail_site.settings)
        answer = member.submit_form("/account/verify-email", page="/account", headers=network)
        assert answer.status == (303 if number < 10 else 429)


def test_an_undeliverable_email_cannot_sign_up(mail_site: MailSite) -> None:
    answer = mail_site.browser().submit_form("/sign-up", {"email": "a,b@example.com", "password": PASSWORD})
    assert (answer.status, b"We cannot send email to this address" in answer.body) == (422, True)


def test_without_a_mail_server_no_verification_is_required(site: Site) -> None:
    browser = site.browser()
    account = site.account(browser.sign_up())
    assert (balance(account), OutgoingMail.select().count()) == (CREDITS, 0)
    assert b"Verify your email" not in browser.get("/account").body
    assert browser.submit_form("/account/verify-email", page="/account").status == 404


def test_overdue_mails_are_reported_as_a_metric(mail_site: MailSite) -> None:
    browser, account = mail_site.signed_up()

    def metric() -> str:
        return browser.request("GET", "/metrics", headers={"x-forwarded-for": ""}).body.decode()

    assert "yout_mail_unsent 0.0" in metric()
    OutgoingMail.update(created_at=now_ms() - OVERDUE_MS - 1).where(OutgoingMail.account == account).execute()
    assert "yout_mail_unsent 1.0" in metric()


@pytest.mark.parametrize("look", [{"viewport": DESKTOP, "scheme": "light"}, {"viewport": PHONE, "scheme": "dark"}])
async def test_verification_in_a_browser(mail_site: MailSite, open_page: OpenPage, axe: str, look: dict[str, Any]) -> None:
    browser, account = mail_site.signed_up()
    url = f"http://127.0.0.1:{browser.port}"
    page = await open_page(**look)
    await browser.copy_session_to(page)
    await page.goto(f"{url}/account")
    await expect(page.get_by_role("heading", name=re.compile("to receive 500.000 credits"))).to_be_visible()
    await check_page(page, axe, "account-unverified")
    mail_site.link()
    await page.click("text=Resend email")
    await expect(page.get_by_role("status")).to_contain_text("We sent you an email")
    device = await open_page(**look)
    await device.goto(url + expired_link(account))
    await check_page(device, axe, "verify-email-expired")
    await device.goto(url + mail_site.link())
    await check_page(device, axe, "verify-email")
    await device.click("text=Verify email >> nth=-1")
    await expect(device.locator("h1")).to_have_text("Email verified")
    await check_page(device, axe, "verify-email-done")
    await page.reload()
    await expect(page.get_by_text("Verify your email")).to_have_count(0)
    assert balance(account) == CREDITS
