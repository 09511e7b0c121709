"""Changes of the email address that wait for confirmation: in parallel, ended by other changes, and of members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peewee
import pytest

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound
from shared.models import Account, AuditEntry, EmailChange, Person
from shared.operations import accounts, web_accounts
from shared.operations.account_closing import close_account
from shared.operations.accounts import change_email, create_account
from shared.operations.email_changes import (
    MAX_A_DAY,
    cancel_change,
    confirm_change,
    forget_expired_changes,
    pending_change,
    request_change,
)
from shared.operations.members import MemberTerms, add_member
from shared.operations.web_accounts import sign_up
from tests.factories import ORIGIN
from tests.threads import run_threads

IDA, NEW = "ida@example.com", "new@example.com"
pytestmark = pytest.mark.usefixtures("bound_database")


def requested(person: Any, email: str = NEW) -> EmailChange:
    found = request_change(person, email, origin=ORIGIN)
    assert found is not None
    return found


def test_only_one_of_many_confirmations_and_cancellations_takes_effect(bound_database: peewee.Database) -> None:
    change = requested(sign_up(IDA, "hash", 0).id)
    results = []

    def end(number: int) -> None:
        with bound_database.connection_context():
            try:
                (confirm_change if number % 2 else cancel_change)(change.id, origin=ORIGIN)
                results.append(number)
            except NotFound:
                pass

    run_threads(end, 6)
    assert len(results) == 1
    assert Person.get().email == (NEW if results[0] % 2 else IDA)


def test_parallel_requests_leave_one(bound_database: peewee.Database) -> None:
    person = sign_up(IDA, "hash", 0).id

    def ask(number: int) -> None:
        with bound_database.connection_context():
            request_change(person, f"new-{number}@example.com", origin=ORIGIN)

    run_threads(ask, MAX_A_DAY)
    assert EmailChange.select().count() == 1
    with pytest.raises(InvalidInput, match="several times today"):
        request_change(person, NEW, origin=ORIGIN)
    assert pending_change(person) is not None  # the refused one replaced nothing
    actions = AuditEntry.select().where((AuditEntry.target == str(person)) & (AuditEntry.action == "person.request_email"))
    assert actions.count() == MAX_A_DAY


def test_other_changes_end_it() -> None:
    account = sign_up(IDA, "hash", 0)
    requested(account.id)
    change_email(account.id, "staff@example.com", origin=ORIGIN)
    assert pending_change(account.id) is None
    requested(account.id)
    assert request_change(account.id, "staff@example.com", origin=ORIGIN) is None  # the address that they have
    assert pending_change(account.id) is None
    change = requested(account.id)
    close_account(account.id, origin=ORIGIN)
    with pytest.raises(NotFound):
        confirm_change(change.id, origin=ORIGIN)


def test_a_member_without_an_account_of_their_own_changes_it_too() -> None:
    host = create_account("host@example.com", origin=ORIGIN)
    person = add_member(host.id, IDA, MemberTerms("viewer"), origin=ORIGIN).member.person.id
    assert confirm_change(requested(person).id, origin=ORIGIN) == NEW
    row = Person.get_by_id(person)
    assert (row.email, row.email_verified_at is not None) == (NEW, True)


def test_a_taken_address_is_refused_and_expired_changes_are_deleted() -> None:
    person = sign_up(IDA, "hash", 0).id
    create_account(NEW, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="already exists"):
        request_change(person, NEW, origin=ORIGIN)
    change = requested(person, "newer@example.com")
    forget_expired_changes()
    assert pending_change(person) is not None
    EmailChange.update(expires_at=now_ms()).execute()
    with pytest.raises(NotFound):
        confirm_change(change.id, origin=ORIGIN)
    forget_expired_changes()
    assert not EmailChange.select().exists()


def in_a_thread(database: peewee.Database, work: Callable[[], Any]) -> None:
    """Run `work` in a transaction of its own, and wait for it."""

    def connected(_: int) -> None:
        with database.connection_context():
            work()

    run_threads(connected, 1)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_sign_up_during_the_confirmation_is_refused_or_refuses_it(
    bound_database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = create_account("host@example.com", origin=ORIGIN)
    person = add_member(host.id, IDA, MemberTerms("viewer"), origin=ORIGIN).member.person.id
    change = requested(person)
    with monkeypatch.context() as during:
        during.setattr(
            accounts, "require_free_address", lambda email: in_a_thread(bound_database, lambda: sign_up(NEW, "hash", 0))
        )
        with pytest.raises(InvalidInput, match="already exists"):
            confirm_change(change.id, origin=ORIGIN)
    assert (Person.get_by_id(person).email, pending_change(person) is not None) == (IDA, True)

    change = requested(person, "newer@example.com")

    def find_sign_in(email: str) -> None:  # free at this time, and confirmed by another process directly after
        in_a_thread(bound_database, lambda: confirm_change(change.id, origin=ORIGIN))

    monkeypatch.setattr(web_accounts, "find_sign_in", find_sign_in)
    with pytest.raises(InvalidInput, match="already exists"):
        sign_up("newer@example.com", "a stranger's hash", 0)
    row = Person.get_by_id(person)
    assert (row.email, row.password_hash) == ("newer@example.com", None)
    assert not Account.select().where(Account.email == "newer@example.com").exists()
