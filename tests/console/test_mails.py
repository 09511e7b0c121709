"""Emails that the console shows because no mail server is set: who may read them, and what they contain."""

from __future__ import annotations

import re

import pytest

from console.app import create_app
from shared.core.clock import now_ms
from shared.identity.account_links import VERIFY_EMAIL, proves, read_token
from shared.models import Account, AuditEntry, OutgoingMail, StaffUser
from shared.operations.staff import create_staff
from shared.operations.verification import confirm_email
from shared.operations.web_accounts import sign_up
from tests.console.conftest import PASSWORD, Browser
from tests.factories import ORIGIN
from workers.mail import MailWork


@pytest.fixture
def reader(bound_database, make_settings):
    """`reader("support")`: a browser of a staff member, on a console that shows emails unless `smtp_url` says otherwise."""

    def enter(role: str, smtp_url: str = "console") -> Browser:
        email = f"{role}@yout.example"
        if not StaffUser.select().where(StaffUser.email == email).exists():
            create_staff(email, role, PASSWORD, origin=ORIGIN)
        browser = Browser(create_app(make_settings(smtp_url=smtp_url)).test_client())
        browser.sign_in(email)
        return browser

    return enter


@pytest.fixture
def account(bound_database) -> Account:
    return sign_up("ada@example.com", "hash", 500, verify=True)


def test_an_email_is_shown_with_a_working_link_instead_of_being_sent(reader, account: Account, make_settings) -> None:
    settings = make_settings(smtp_url="console")
    MailWork(settings).send_due()
    mail = OutgoingMail.get()
    assert (mail.status, mail.recipient) == ("sent", "ada@example.com")

    browser = reader("support")
    assert f'href="/mails/{mail.id}"' in browser.get("/mails/").text
    page = browser.get(f"/mails/{mail.id}").text
    [link] = set(re.findall(r'href="(http://[^"]+/verify-email/[^"]+)"', page))
    assert link.startswith(settings.edge_url)
    assert proves(read_token(link.rpartition("/")[2]), settings.secret_key, VERIFY_EMAIL, account.email, now_ms())
    html = browser.get(f"/mails/{mail.id}/html")
    assert "/verify-email/" in html.text
    assert "sandbox" in html.headers["Content-Security-Policy"]
    assert "script-src" not in html.headers["Content-Security-Policy"]

    reads = list(AuditEntry.select().where(AuditEntry.action == "mail.read"))
    assert [(row.actor, row.target) for row in reads] == [("support@yout.example", str(mail.id))] * 2
    assert reads[0].after == {"account": str(account.id), "kind": "verify_email"}
    assert mail.recipient not in str([row.after for row in reads])

    confirm_email(account.id, account.email, origin=ORIGIN)
    assert "no longer needed" in browser.get(f"/mails/{mail.id}").text
    assert browser.get(f"/mails/{mail.id}/html").status_code == 404
    assert AuditEntry.select().where(AuditEntry.action == "mail.read").count() == 2, "no text was shown"


@pytest.mark.parametrize(("role", "status"), [("owner", 200), ("support", 200), ("billing", 403), ("readonly", 403)])
def test_only_those_who_may_create_password_links_read_emails(reader, account: Account, role: str, status: int) -> None:
    browser, mail = reader(role), OutgoingMail.get()
    for path in ("/mails/", f"/mails/{mail.id}", f"/mails/{mail.id}/html"):
        assert browser.get(path).status_code == status
    assert ('href="/mails/"' in browser.get("/").text) == (status == 200)


def test_with_or_without_a_mail_server_there_is_no_page(reader, account: Account) -> None:
    browser = reader("owner", "")
    for path in ("/mails/", f"/mails/{OutgoingMail.get().id}"):
        assert browser.get(path).status_code == 404
    assert 'href="/mails/"' not in browser.get("/").text
