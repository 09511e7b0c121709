"""Emails about sign-ins, keys and payments: who gets them, when, and that no cause sends two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.mail.payment_mails import queue_receipt_mail, queue_top_up_failed_mail
from shared.mail.preferences import set_muted_kinds
from shared.models import Account, ApiKey, OutgoingMail, Payment, Person
from shared.operations.account_mails import (
    EXPIRY_NOTICE_MS,
    LONG_KEY_MS,
    MAX_RESETS_A_DAY,
    queue_expiring_keys,
    queue_new_sign_in,
    queue_password_reset,
)
from shared.operations.accounts import change_email, change_person_email
from shared.operations.keys import revoke_key
from shared.operations.members import MemberTerms, add_member
from shared.operations.web_accounts import change_password, create_session, sign_up
from tests import factories
from tests.factories import ORIGIN
from tests.servers.smtp import SmtpServer
from tests.threads import run_threads
from workers.mail import MailWork

pytestmark = pytest.mark.usefixtures("bound_database")
SQLITE = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
CANARY = "canary of a prompt"


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    server = SmtpServer()
    yield server
    server.close()


@pytest.fixture
def deliver(make_settings: Callable[..., Settings], smtp: SmtpServer) -> Callable[[], list[Any]]:
    """Send all queued emails with two workers, and return what the server received since the last call."""
    settings = make_settings(smtp_url=smtp.url, mail_from="no-reply@yout.example", public_url="https://yout.example")
    workers = [MailWork(settings), MailWork(settings)]

    def run() -> list[Any]:
        before = len(smtp.mails)
        for worker in workers:
            worker.send_due()
        return smtp.mails[before:]

    return run


def person(email: str = "ada@example.com", *, verified: bool = True, language: str = "en") -> Account:
    """A new account whose owner may be verified."""
    owner = sign_up(email, "hash", 0, language=language)
    for table in (Account, Person):
        table.update(email_verified_at=1 if verified else None, language=language).where(table.email == email).execute()
    return owner


def queued() -> list[tuple[str, str]]:
    return sorted((row.kind, row.recipient) for row in OutgoingMail.select().where(OutgoingMail.status == "queued"))


@SQLITE
def test_a_forgotten_password_is_set_by_the_link_once(deliver: Callable[[], list[Any]]) -> None:
    owner = person(verified=False)
    assert not queue_password_reset("nobody@example.com", origin=ORIGIN)
    assert queue_password_reset("ADA@example.com ", origin=ORIGIN)
    assert queue_password_reset("ada@example.com", origin=ORIGIN)  # replaces the first
    [mail] = deliver()
    assert (mail.message["Subject"], mail.recipient) == ("Set a new password", "ada@example.com")
    assert mail.link().startswith("/password/")
    for _ in range(MAX_RESETS_A_DAY):
        queue_password_reset("ada@example.com", origin=ORIGIN)
    assert len(deliver()) == 1
    assert not queue_password_reset("ada@example.com", origin=ORIGIN)
    queue_new_sign_in(owner.id, owner.id, "Firefox on Linux")
    assert queued() == []  # the address is not verified


@SQLITE
def test_a_password_email_is_cancelled_when_the_address_changes(deliver: Callable[[], list[Any]]) -> None:
    owner = person()
    queue_password_reset("ada@example.com", origin=ORIGIN)
    OutgoingMail.update(recipient="former@example.com").execute()
    assert (deliver(), OutgoingMail.get().status) == ([], "cancelled")
    change_password(owner.id, "hash", "new hash", "")
    assert queued() == []


@SQLITE
def test_a_new_sign_in_is_told_to_the_person_without_an_address(deliver: Callable[[], list[Any]]) -> None:
    owner = person()
    create_session(owner.id, "Firefox on Linux", password_hash="hash", address="203.0.113.9")
    assert queued() == []
    create_session(owner.id, "Firefox on Linux", password_hash="hash", address="203.0.113.9", notifies=True)
    [mail] = deliver()
    assert mail.message["Subject"] == "New sign-in"
    assert "ada@example.com was used to sign in with Firefox on Linux on " in mail.part("plain")
    assert "203.0.113" not in mail.part("plain") + mail.part("html")
    assert "203.0.113" not in str(list(OutgoingMail.select().dicts()))


@SQLITE
def test_a_changed_address_is_told_to_the_former_one_if_it_was_verified(deliver: Callable[[], list[Any]]) -> None:
    owner = person()
    change_email(owner.id, "new@example.com", notifies=True, origin=ORIGIN)
    change_email(owner.id, "newer@example.com", notifies=True, origin=ORIGIN)  # the last one was not verified
    [mail] = deliver()
    assert mail.recipient == "ada@example.com"
    assert "was changed to new@example.com" in mail.part("plain")
    member = add_member(owner.id, "ben@example.com", MemberTerms("viewer"), origin=ORIGIN).member
    Person.update(email_verified_at=1).where(Person.id == member.person.id).execute()
    change_person_email(member.person.id, "benjamin@example.com", notifies=True, origin=ORIGIN)
    assert queued() == [("email_changed", "ben@example.com")]


def expiring(owner: Account, ahead: int, *, age: int = LONG_KEY_MS, **options: Any) -> ApiKey:
    key, _ = factories.api_key(owner, **options)
    now = now_ms()
    ApiKey.update(created_at=now + ahead - age, expires_at=now + ahead).where(ApiKey.id == key.id).execute()
    return ApiKey.get_by_id(key.id)


def test_an_expiring_key_is_told_once_by_two_workers(bound_database: peewee.Database) -> None:
    owner = person()
    key = expiring(owner, EXPIRY_NOTICE_MS - 60_000, name="production")
    expiring(owner, EXPIRY_NOTICE_MS + 60_000)  # later
    expiring(owner, EXPIRY_NOTICE_MS - 60_000, age=LONG_KEY_MS - 1)  # meant to expire
    expiring(owner, -1)
    revoke_key(str(expiring(owner, 60_000).id), origin=ORIGIN)

    def work(_: int) -> None:
        queue_expiring_keys(now_ms())
        bound_database.close()

    run_threads(work, 4)
    queue_expiring_keys(now_ms())
    [mail] = OutgoingMail.select()
    assert (mail.kind, mail.recipient, mail.subject) == ("key_expiring", "ada@example.com", str(key.id))
    ApiKey.update(expires_at=key.expires_at - 1, created_at=0).where(ApiKey.id == key.id).execute()  # changed: told again
    queue_expiring_keys(now_ms())
    assert len(queued()) == 1
    assert OutgoingMail.select().count() == 2


@SQLITE
def test_an_expiring_key_is_told_to_its_member_unless_turned_off(deliver: Callable[[], list[Any]]) -> None:
    owner = person()
    member = add_member(owner.id, "ben@example.com", MemberTerms("developer"), origin=ORIGIN).member
    Person.update(email_verified_at=1).where(Person.id == member.person.id).execute()
    key = expiring(owner, 60_000, name="laptop")
    ApiKey.update(member=member.id).where(ApiKey.id == key.id).execute()
    queue_expiring_keys(now_ms())
    [mail] = deliver()
    assert mail.recipient == "ben@example.com"
    assert f"The API key laptop ({key.prefix}…) expires on " in mail.part("plain")
    set_muted_kinds(member.person.id, ["key_expiring"])
    ApiKey.update(notified_expiry=None).execute()
    queue_expiring_keys(now_ms())
    assert queued() == []


@SQLITE
@pytest.mark.parametrize("language", ["en", "de"])
def test_receipts_and_failed_top_ups_go_to_those_who_pay(deliver: Callable[[], list[Any]], language: str) -> None:
    owner = person(verified=False, language=language)
    add_member(owner.id, "dev@example.com", MemberTerms("developer"), origin=ORIGIN)
    billing = add_member(owner.id, "bill@example.com", MemberTerms("billing"), origin=ORIGIN).member
    set_muted_kinds(billing.person.id, ["receipt"])
    Payment.create(provider="stripe", reference="pi_1:x", account=owner.id, credits=25_000)
    queue_receipt_mail(owner.id, "stripe", "pi_1:x")
    queue_top_up_failed_mail(owner.id, 5_000)
    assert queued() == [
        ("receipt", "ada@example.com"),
        ("top_up_failed", "ada@example.com"),
        ("top_up_failed", "bill@example.com"),
    ]
    mails = {(mail.recipient, mail.message["Subject"]): mail for mail in deliver()}
    assert len(mails) == 3
    texts = "".join(mail.part("plain") + mail.part("html") for mail in mails.values())
    assert {"pi_1:x" in texts, "25\u202f000" in texts, "5\u202f000" in texts, CANARY in texts} == {True, False}
    own = {mail.message["Content-Language"] for mail in mails.values() if mail.recipient == "ada@example.com"}
    assert own == {language}
    if language == "en":
        assert ("ada@example.com", "Receipt for 25\u202f000 credits") in mails
