"""Password links: valid for one account, once, for one day."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from shared.identity.account_links import LASTS_MS, PASSWORD, VERIFY_EMAIL, make_token, proves, read_token
from shared.models import Account, AuditEntry
from shared.operations.audit import Origin
from shared.operations.web_accounts import create_password_link
from tests import factories
from tests.edge.web.conftest import COOKIE, Browser, MailSite, Site
from tests.servers.edge import SECRET_KEY

NEW = "a brand new password"


def test_an_account_created_by_staff_gets_its_first_password(site: Site, browser: Browser) -> None:
    account = factories.account()
    link = create_password_link(account.email, SECRET_KEY, origin=Origin("operator:test"))
    path = f"/password/{link.token}"
    assert account.email.encode() in browser.get(path).body
    assert browser.submit_form(path, {"password": NEW}).status == 303
    assert browser.get("/account").status == 200
    assert site.browser().sign_in(account.email, NEW).status == 303
    again = site.browser().get(path)
    assert again.status == 404
    assert b"<h1>This password link no longer works</h1>" in again.body
    assert b'href="/sign-in">Sign in</a>' in again.body
    entry = AuditEntry.get(AuditEntry.action == "account.password_link", AuditEntry.target == str(account.id))
    assert entry.after == {"expires_at": link.expires_at}


def test_a_lost_password_is_reset_and_every_session_ends(site: Site, browser: Browser) -> None:
    email = browser.sign_up()
    former = browser.cookies[COOKIE]
    token = create_password_link(email, SECRET_KEY, origin=Origin("operator:test")).token
    other = site.browser()
    assert other.submit_form(f"/password/{token}", {"password": NEW}).status == 303
    assert browser.cookies[COOKIE] == former
    assert browser.get("/account").status == 303
    assert browser.sign_in(email).status == 403


def test_a_short_password_keeps_the_link_valid(site: Site, browser: Browser) -> None:
    path = f"/password/{create_password_link(factories.account().email, SECRET_KEY, origin=Origin('test')).token}"
    assert browser.submit_form(path, {"password": "short"}).status == 422
    assert browser.submit_form(path, {"password": NEW}).status == 303


@pytest.mark.parametrize("token", ["x", "A" * 64, "=" * 64, "%00"])
def test_an_unknown_link_looks_like_a_used_one(browser: Browser, token: str) -> None:
    answer = browser.get(f"/password/{token}")
    assert answer.status == 404
    assert (b"This password link no longer works" in answer.body) == (token != "%00")  # which no address may contain
    body = urlencode({"csrf_token": browser.token(), "password": NEW}).encode()
    assert browser.post(f"/password/{token}", body).status == 404


def test_a_link_is_valid_for_its_own_account_only() -> None:
    first, second = Account(password_hash="a").id, Account(password_hash="a").id
    link = read_token(make_token(SECRET_KEY, PASSWORD, first, "a", 5_000))
    assert proves(link, SECRET_KEY, PASSWORD, "a", 4_999)
    assert not proves(link, SECRET_KEY, PASSWORD, "a", 5_000)
    assert not proves(link, SECRET_KEY, PASSWORD, "b", 0)
    assert not proves(link, SECRET_KEY, VERIFY_EMAIL, "a", 0)
    assert not proves(link, "another installation", PASSWORD, "a", 0)
    assert not proves(link._replace(account=second), SECRET_KEY, PASSWORD, "a", 0)
    assert not proves(link._replace(expires_at=LASTS_MS), SECRET_KEY, PASSWORD, "a", 0)
    assert re.fullmatch(r"[\w-]{64}", make_token(SECRET_KEY, PASSWORD, first, None, 5_000))


def test_the_owner_of_an_address_takes_the_account_of_a_stranger(site: Site, mail_site: MailSite) -> None:
    stranger, account = mail_site.signed_up()
    mail_site.link()  # to verify the address, which only its owner receives
    key, secret = factories.api_key(account)
    other = factories.api_key(account, "other")[0]
    bearer = {"authorization": f"Bearer {secret}", "accept": "application/json"}
    assert stranger.get("/v1/models", bearer).status == 200

    owner = mail_site.browser()
    assert owner.submit_form("/forgot-password", {"email": account.email}).status == 200
    path = mail_site.link()
    page = owner.get(path).body.decode()
    assert "never verified" in page
    assert key.prefix in page
    done = owner.submit_form(path, {"password": NEW})
    assert done.headers["location"] == "/account?done=password-changed-removed"
    assert b"What was set up before was removed" in owner.follow(done).body
    assert stranger.get("/v1/models", bearer).status == 401
    assert stranger.get("/account").status == 303
    mail_site.send()
    [mail] = mail_site.server.mails
    assert "2 API keys were revoked." in mail.part("plain")
    assert not any(row.prefix in mail.part("plain") for row in (key, other))


def test_the_owner_keeps_what_they_set_up_themselves(mail_site: MailSite) -> None:
    owner, account = mail_site.signed_up()
    mail_site.link()
    _, secret = factories.api_key(account)
    assert owner.submit_form("/forgot-password", {"email": account.email}).status == 200
    done = owner.submit_form(mail_site.link(), {"password": NEW, "keep": "yes"})
    assert done.headers["location"] == "/account?done=password-changed"
    assert owner.get("/v1/models", {"authorization": f"Bearer {secret}", "accept": "application/json"}).status == 200


def test_the_page_of_a_verification_link_says_what_to_do_with_anothers_account(mail_site: MailSite) -> None:
    owner, _ = mail_site.signed_up()
    link = mail_site.link()
    assert b"If you did not create this account" in mail_site.browser().get(link).body
    assert b"If you did not create this account" not in owner.get(link).body
