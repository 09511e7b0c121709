"""A forgotten password and emails about sign-ins over HTTP, with a real mail server."""

from __future__ import annotations

import pytest

from shared.models import OutgoingMail
from shared.operations.verification import confirm_email
from tests.edge.web.conftest import MailSite, Site
from tests.factories import ORIGIN

pytestmark = pytest.mark.parametrize("running_site", ["sqlite"], indirect=True)
NEW = "another correct horse battery"


def subjects(mail_site: MailSite) -> list[tuple[str, str]]:
    mail_site.send()
    found = [(mail.recipient, str(mail.message["Subject"])) for mail in mail_site.server.mails]
    mail_site.server.mails.clear()
    return found


def test_a_forgotten_password(mail_site: MailSite) -> None:
    _, account = mail_site.signed_up()
    confirm_email(account.id, account.email, origin=ORIGIN)
    subjects(mail_site)
    stranger = mail_site.browser()
    assert b'href="/forgot-password"' in stranger.get("/sign-in").body
    unknown = stranger.submit_form("/forgot-password", {"email": "nobody@example.com"})
    known = stranger.submit_form("/forgot-password", {"email": account.email})
    assert (unknown.status, known.status) == (200, 200)
    assert unknown.body.replace(b"nobody@example.com", b"") == known.body.replace(account.email.encode(), b"")
    mail_site.send()
    [mail] = mail_site.server.mails
    link = mail.link()
    mail_site.server.mails.clear()
    assert b"Set a password" in stranger.get(link).body
    assert stranger.submit_form(link, {"password": NEW}).status == 303
    assert mail_site.browser().get(link).status == 404
    for _ in range(2):
        stranger.submit_form("/forgot-password", {"email": account.email})
    assert stranger.submit_form("/forgot-password", {"email": account.email}).status == 429

    other = mail_site.browser()
    for expected in ([(account.email, "New sign-in")], []):  # then the browser is known
        assert other.sign_in(account.email, NEW).status == 303
        assert [found for found in subjects(mail_site) if found[1] == "New sign-in"] == expected
        other.submit_form("/sign-out", page="/account")


def test_without_a_mail_server_there_is_no_form(site: Site) -> None:
    browser = site.browser()
    assert browser.get("/forgot-password").status == 404
    assert b"Ask the operator" in browser.get("/sign-in").body
    owner = site.member()
    assert owner.account is not None
    before = OutgoingMail.select().count()
    site.browser().sign_in(owner.account.email)
    assert OutgoingMail.select().count() == before
