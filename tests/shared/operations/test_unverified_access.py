"""Access that someone set up on a login whose address they never verified, and the password link that takes it from them."""

from __future__ import annotations

from uuid import UUID

import peewee
import pytest

from shared.core.clock import now_ms
from shared.mail.outbox import recent_mails
from shared.models import Account, ApiKey, Invitation, Member, PersonIdentity, PersonPasskey
from shared.operations.accounts import create_account
from shared.operations.invitations import invite
from shared.operations.members import MemberTerms, add_member
from shared.operations.people import change_sign_in
from shared.operations.unverified_access import find_access, set_password_by_link
from shared.operations.web_accounts import sign_up
from tests import factories
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")
IDA = "ida@example.com"


@pytest.fixture
def signed_up() -> Account:
    """An account with everything that gives access to it, and two keys, of which one created the other."""
    account = sign_up(IDA, "hash", 0)
    key, _ = factories.api_key(account)
    factories.api_key(account, parent=key.id)
    factories.api_key(account, "revoked")[0].delete_instance()
    PersonIdentity.create(person=account.id, issuer="https://accounts.example", subject="eve", email="eve@example.com")
    PersonPasskey.create(person=account.id, credential="c", public_key=b"k", sign_count=0, name="phone")
    add_member(account.id, "eve@example.com", MemberTerms("admin"), origin=ORIGIN)
    invite(account.id, "second@example.com", MemberTerms("admin"), sends_mail=False, origin=ORIGIN)
    return account


def remaining(account: UUID) -> tuple[int, ...]:
    """The numbers of active keys, passkeys, identities, active colleagues and open invitations."""
    return (
        ApiKey.select().where((ApiKey.account == account) & ApiKey.revoked_at.is_null()).count(),
        PersonPasskey.select().where(PersonPasskey.person == account).count(),
        PersonIdentity.select().where(PersonIdentity.person == account).count(),
        Member.select().where((Member.account == account) & (Member.role != "owner") & Member.suspended_at.is_null()).count(),
        Invitation.select().where((Invitation.account == account) & Invitation.revoked_at.is_null()).count(),
    )


@pytest.mark.parametrize(
    ("verified", "keeps", "removed"), [(False, False, True), (False, True, False), (True, False, False), (True, True, False)]
)
def test_a_password_link_removes_what_an_unverified_person_set_up(
    signed_up: Account, verified: bool, keeps: bool, removed: bool
) -> None:
    if verified:
        change_sign_in(signed_up.id, email_verified_at=now_ms())
    access = find_access(signed_up.id)
    assert (access is None) == verified
    if access is not None:
        assert [len(rows) for rows in access] == [2, 1, 1, 1, 1]
    before = remaining(signed_up.id)

    options = {"keeps": keeps, "notifies": True}
    session, told = set_password_by_link(signed_up.id, "hash", "new hash", "", **options, origin=ORIGIN)

    assert session.secret
    assert told == removed
    assert remaining(signed_up.id) == ((0,) * 5 if removed else before)
    assert [(mail.kind, mail.recipient, mail.subject) for mail in recent_mails(signed_up.id)] == (
        [("access_removed", IDA, "2 1 1 1 1")] if removed else []
    )


def test_what_an_operator_set_up_stays(bound_database: peewee.Database) -> None:
    account = create_account(IDA, origin=ORIGIN)
    factories.api_key(account)
    assert find_access(account.id) is None
    _, removed = set_password_by_link(account.id, None, "hash", "", keeps=False, notifies=False, origin=ORIGIN)
    assert (removed, remaining(account.id)[0]) == (False, 1)


def test_keys_of_others_and_of_other_accounts_stay(bound_database: peewee.Database) -> None:
    host = create_account("host@example.com", origin=ORIGIN)
    theirs, _ = factories.api_key(host)
    account = sign_up(IDA, "hash", 0)
    member = add_member(host.id, IDA, MemberTerms("developer"), origin=ORIGIN).member
    own = ApiKey.create(account=host, name="own", digest="d" * 64, prefix="p", member=member.id)

    set_password_by_link(account.id, "hash", "new hash", "", keeps=False, notifies=False, origin=ORIGIN)

    assert ApiKey.get_by_id(theirs.id).revoked_at is None
    assert ApiKey.get_by_id(own.id).revoked_at is not None
    assert Member.get_by_id(member.id).suspended_at is None
    assert not recent_mails(host.id)
    assert find_access(account.id) is None
