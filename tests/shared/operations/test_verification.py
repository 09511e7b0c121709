"""Verifying an email address: the waiting credits are granted once, in any order of operations."""

from __future__ import annotations

from typing import Any

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.identity.account_links import VERIFY_EMAIL, is_genuine, read_token
from shared.ledger.verify import verify_ledger
from shared.models import Account, AuditEntry, LedgerEntry, OutgoingMail
from shared.operations.accounts import change_email, remember_language
from shared.operations.audit import Origin
from shared.operations.purges import begin_purge
from shared.operations.verification import MAX_A_DAY, compose, confirm_email, request_verification, resend_verification
from shared.operations.web_accounts import MAX_CREDITED_SIGN_UPS, sign_up
from shared.text.translation import current_language
from tests import factories
from tests.factories import ORIGIN
from tests.servers.edge import SECRET_KEY
from tests.threads import run_threads

ADA, IDA = "ada@example.com", "ida@example.com"


def again(account: Account) -> Account:
    found: Account = Account.get_by_id(account.id)
    return found


def test_credits_wait_for_the_verification(bound_database: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 500, verify=True)
    waiting = again(account)
    assert (waiting.balance, waiting.pending_credits, waiting.email_verified_at) == (0, 500, None)
    assert [(mail.kind, mail.recipient, mail.status) for mail in OutgoingMail.select()] == [("verify_email", ADA, "queued")]
    assert confirm_email(account.id, ADA, origin=ORIGIN) == (ADA, 500)
    assert confirm_email(account.id, ADA, origin=ORIGIN) == (ADA, 0)
    done = again(account)
    assert (done.balance, done.pending_credits) == (500, 0)
    assert done.email_verified_at <= now_ms()
    entry = LedgerEntry.get(LedgerEntry.account == account)
    assert (entry.kind, entry.amount, entry.reason) == ("grant", 500, "opening credits")
    assert AuditEntry.get(AuditEntry.action == "account.verify_email").after == {"email": ADA, "credits": 500}


def test_without_mail_they_are_granted_at_once(bound_database: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 500)
    assert (again(account).balance, again(account).pending_credits, OutgoingMail.select().count()) == (500, 0, 0)


def test_a_network_has_as_many_sign_ups_with_credits_as_without_mail(bound_database: peewee.Database) -> None:
    made = [sign_up(f"p-{number}@example.com", "hash", 500, network="a" * 64, verify=True) for number in range(5)]
    assert [again(account).pending_credits for account in made] == [500] * MAX_CREDITED_SIGN_UPS + [0, 0]


def test_clicks_at_once_grant_once(bound_postgres: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 500, verify=True)

    def click(_: int) -> int:
        with bound_postgres.connection_context():
            return confirm_email(account.id, ADA, origin=ORIGIN).credits

    assert sorted(run_threads(click, 6)) == [0] * 5 + [500]
    assert (again(account).balance, verify_ledger(now_ms()).problems) == (500, ())


STEPS = st.lists(st.sampled_from(["confirm ada", "confirm ida", "change to ada", "change to ida", "resend"]), max_size=8)


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_whatever_happens_they_are_granted_once_and_to_the_address_of_the_link(bound_database: peewee.Database) -> None:
    @given(STEPS)
    def property(steps: list[str]) -> None:
        with bound_database.atomic() as all_of_it:
            account = sign_up(ADA, "hash", 500, verify=True)
            email, verified = ADA, False
            for step in steps:
                verb, _, name = step.rpartition(" ")
                if verb == "change to":
                    verified &= f"{name}@example.com" == email
                    email = f"{name}@example.com"
                    change_email(account.id, email, origin=ORIGIN)
                elif verb == "confirm":
                    try:
                        confirm_email(account.id, f"{name}@example.com", origin=ORIGIN)
                        verified = True
                    except NotFound:
                        assert f"{name}@example.com" != email
                else:
                    request_verification(account.id, origin=ORIGIN)
                row = again(account)
                assert (row.email_verified_at is not None) == verified
                assert row.balance + row.pending_credits == 500
                assert row.balance == 500 or not verified
                waiting = [mail.recipient for mail in OutgoingMail.select().where(OutgoingMail.status == "queued")]
                assert waiting in ([], [email])
            all_of_it.rollback()

    property()


def test_a_new_address_is_not_verified_and_brings_no_credits_again(bound_database: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 500, verify=True)
    confirm_email(account.id, ADA, origin=ORIGIN)
    change_email(account.id, IDA, origin=ORIGIN)
    assert again(account).email_verified_at is None
    with pytest.raises(NotFound):
        confirm_email(account.id, ADA, origin=ORIGIN)
    assert confirm_email(account.id, IDA, origin=ORIGIN).credits == 0
    assert again(account).balance == 500


def test_a_closed_account_is_not_verified(bound_database: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 500, verify=True)
    Account.update(status="closed").execute()
    with pytest.raises(NotFound):
        confirm_email(account.id, ADA, origin=ORIGIN)
    assert not request_verification(account.id, origin=ORIGIN)
    assert again(account).balance == 0


def test_an_account_gets_a_few_mails_a_day_whatever_it_does(bound_database: peewee.Database) -> None:
    account = sign_up(ADA, "hash", 0, verify=True)
    asked = [request_verification(account.id, origin=ORIGIN) for _ in range(MAX_A_DAY + 1)]
    assert asked == [True] * (MAX_A_DAY - 1) + [False] * 2
    OutgoingMail.delete().execute()  # as a purge does
    begin_purge(account.id, origin=ORIGIN)
    change_email(account.id, IDA, origin=ORIGIN)
    assert not request_verification(account.id, origin=ORIGIN)
    assert resend_verification(account.id, origin=Origin("staff@yout.example")).email == IDA


def test_what_needs_no_mail_gets_none(bound_database: peewee.Database) -> None:
    account = factories.account(email=ADA)
    confirm_email(account.id, ADA, origin=ORIGIN)
    assert not request_verification(account.id, origin=ORIGIN)
    with pytest.raises(InvalidInput):
        resend_verification(ADA, origin=ORIGIN)
    odd = factories.account(email="a,b@example.com")
    with pytest.raises(InvalidInput):
        request_verification(odd.id, origin=ORIGIN)
    assert OutgoingMail.select().count() == 0


def test_the_mail_has_a_fresh_link_for_its_address(bound_database: peewee.Database) -> None:
    account = sign_up("ada+b@example.com", "hash", 1_500, verify=True)

    def text() -> Any:
        return compose(account.id, account.email, secret_key=SECRET_KEY, edge_url="https://yout.example")

    [link] = [line for line in text().text.splitlines() if line.startswith("https://yout.example/verify-email/")]
    read = read_token(link.rpartition("/")[2])
    assert (read.account, is_genuine(read, SECRET_KEY, VERIFY_EMAIL, account.email)) == (account.id, True)
    assert "1\u202f500 credits" in text().text
    for language, greeting in (("de", "1\u202f500 Credits"), ("en", "1\u202f500 credits"), ("xx", "1\u202f500 credits")):
        remember_language(account.id, language)
        assert greeting in text().text
        assert current_language() == "en"
    confirm_email(account.id, account.email, origin=ORIGIN)
    assert text() is None
