"""Changes of the email address with a mail server: the new address confirms them, the former one can cancel them."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from shared.models import Account, EmailChange
from shared.operations.verification import confirm_email
from tests.conftest import OpenPage
from tests.edge.web.conftest import PASSWORD, Browser, MailSite
from tests.factories import ORIGIN
from tests.page_checks import check_page
from tests.servers.browser import PHONE

only_sqlite = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
SESSIONS = "/account/sessions"


def request_change(browser: Browser, email: str) -> None:
    fields = {"email": email, "again": email, "password_now": PASSWORD}
    done = browser.submit_form("/account/email", fields, page=SESSIONS)
    assert done.headers["location"] == f"{SESSIONS}?done=email-change-requested", done.body.decode()


def verified(mail_site: MailSite) -> tuple[Browser, Account]:
    browser, account = mail_site.signed_up()
    browser.submit_form(mail_site.link())
    return browser, account


def links(mail_site: MailSite) -> dict[str, tuple[str, str]]:
    """The subject and the link of each email since the last call, by its recipient."""
    mail_site.send()
    found = {mail.recipient: (str(mail.message["Subject"]), mail.link()) for mail in mail_site.server.mails}
    mail_site.server.mails.clear()
    return found


def test_a_new_address_takes_effect_once_it_confirms(mail_site: MailSite) -> None:
    browser, account = verified(mail_site)
    former, new = account.email, f"new-{account.email}"
    request_change(browser, new)
    assert new.encode() in browser.get(SESSIONS).body
    found = links(mail_site)
    assert {email: subject for email, (subject, _) in found.items()} == {
        new: "Confirm your new email address",
        former: "Change of your email address",
    }
    assert mail_site.browser().sign_in(former).status == 303
    assert mail_site.browser().sign_in(new).status == 403

    other, link = mail_site.browser(), found[new][1]
    for _ in range(2):  # like an email scanner that opens every link
        assert b"Confirm email address</button>" in other.get(link).body
    forged = link.replace("/confirm-email/", "/cancel-email/")
    assert other.get(forged).status == 404
    assert b"You now sign in with" in other.submit_form(link).body
    assert other.get(link).status == other.get(found[former][1]).status == 404
    row = Account.get_by_id(account.id)
    assert (row.email, row.email_verified_at is not None) == (new, True)
    assert browser.get("/account").status == 200  # the session continues
    assert mail_site.browser().sign_in(new).status == 303
    assert mail_site.browser().sign_in(former).status == 403
    assert links(mail_site)[former][0] == "Email address changed"


def test_the_former_address_cancels_a_change(mail_site: MailSite) -> None:
    browser, account = verified(mail_site)
    new = f"new-{account.email}"
    request_change(browser, new)
    found, other = links(mail_site), mail_site.browser()
    assert b"stays" in other.get(found[account.email][1]).body
    assert b"Set a new password" in other.submit_form(found[account.email][1]).body
    assert other.get(found[new][1]).status == 404
    assert new.encode() not in browser.get(SESSIONS).body
    assert Account.get_by_id(account.id).email == account.email


@only_sqlite
def test_a_change_ends_when_it_is_cancelled_replaced_or_expires_or_the_password_changes(mail_site: MailSite) -> None:
    browser, account = verified(mail_site)
    new, other = f"new-{account.email}", mail_site.browser()

    request_change(browser, new)
    first = links(mail_site)[new][1]
    request_change(browser, f"newer-{account.email}")
    assert other.get(first).status == 404
    assert browser.submit_form("/account/email/cancel", page=SESSIONS).status == 303
    assert not EmailChange.select().where(EmailChange.person == account.id).exists()
    mail_site.send()
    assert not mail_site.server.mails  # nothing is left to confirm

    request_change(browser, new)
    link = links(mail_site)[new][1]
    fields = {"current": PASSWORD, "password": PASSWORD + "2"}
    assert browser.submit_form("/account/password", fields, page=SESSIONS).status == 303
    assert other.get(link).status == 404


@only_sqlite
def test_changes_are_limited_and_expire(mail_site: MailSite) -> None:
    browser, account = verified(mail_site)
    for number in range(3):
        request_change(browser, f"new-{number}-{account.email}")
    new = f"new-2-{account.email}"
    link = links(mail_site)[new][1]
    fields = {"email": "more@example.com", "again": "more@example.com", "password_now": PASSWORD}
    limited = browser.submit_form("/account/email", fields, page=SESSIONS)
    assert (limited.status, b"Too many attempts" in limited.body) == (429, True)
    other = mail_site.browser()
    assert other.get(link).status == 200
    EmailChange.update(expires_at=1).where(EmailChange.person == account.id).execute()
    assert other.get(link).status == 404
    assert new.encode() not in browser.get(SESSIONS).body


@only_sqlite
def test_an_address_that_was_taken_in_the_meantime_is_refused(mail_site: MailSite) -> None:
    browser, account = verified(mail_site)
    new = f"new-{account.email}"
    request_change(browser, new)
    link, other = links(mail_site)[new][1], mail_site.browser()
    token = other.token(link)
    mail_site.browser().sign_up(new)
    refused = other.post(link, f"csrf_token={token}".encode())
    assert (refused.status, b"already exists" in refused.body) == (422, True)
    assert Account.get_by_id(account.id).email == account.email


@only_sqlite
def test_a_mistyped_address_is_corrected_before_it_was_verified(mail_site: MailSite) -> None:
    browser, account = mail_site.signed_up()
    dead, new = mail_site.link(), f"right-{account.email}"
    request_change(browser, new)
    found = links(mail_site)
    assert list(found) == [new]  # the former one may belong to someone else
    assert Account.get_by_id(account.id).balance == 0
    browser.submit_form(found[new][1])
    row = Account.get_by_id(account.id)
    assert (row.email, row.balance, row.pending_credits) == (new, 500_000, 0)
    assert mail_site.browser().get(dead).status == 404
    assert confirm_email(account.id, new, origin=ORIGIN).credits == 0
    assert Account.get_by_id(account.id).balance == 500_000


@only_sqlite
async def test_a_walk_in_a_browser(mail_site: MailSite, open_page: OpenPage, axe: str) -> None:
    browser, account = verified(mail_site)
    url, new = f"http://127.0.0.1:{browser.port}", f"new-{account.email}"
    page = await open_page(viewport=PHONE, javascript=False)
    await browser.copy_session_to(page)
    await page.goto(url + SESSIONS)
    await page.fill("#email", new)
    await page.fill("#again", new)
    await page.fill("#password_now", PASSWORD)
    await page.click("button:has-text('Change email address')")
    await expect(page.get_by_role("status")).to_contain_text("takes effect once you confirm it")
    await expect(page.locator("main")).to_contain_text(f"{new} is not confirmed yet")
    found, desk = links(mail_site), await open_page()
    await desk.goto(url + found[account.email][1])
    await check_page(desk, axe, "cancel-email")
    await desk.goto(url + found[new][1])
    await check_page(desk, axe, "confirm-email")
    await desk.click("text=Confirm email address")
    await expect(desk.locator("main")).to_contain_text(f"You now sign in with {new}")
    await check_page(desk, axe, "email-confirmed")
    await page.reload()
    await expect(page.locator("main")).to_contain_text(f"You sign in with {new}")
