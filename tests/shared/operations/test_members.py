"""Members of an account: roles, suspension, removal, ownership; invitations; and accounts of the previous release."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from uuid import UUID

import pytest

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, InvalidSession, NotFound, YoutError
from shared.identity import web_sessions
from shared.identity.roles import OWNER
from shared.mail.outbox import recent_mails
from shared.models import Account, ApiKey, AuditEntry, Invitation, Member, Person, WebSession
from shared.operations.account_closing import close_account
from shared.operations.accounts import change_email
from shared.operations.invitations import (
    LASTS_MS,
    accept,
    accept_as_new,
    compose,
    find_invitation,
    invitation_token,
    invite,
    resend_invitation,
    revoke_invitation,
)
from shared.operations.keys import create_key
from shared.operations.members import (
    MemberTerms,
    add_member,
    change_member,
    find_member,
    list_members,
    remove_member,
    set_member_suspended,
    transfer_ownership,
)
from shared.operations.people import find_sign_in, memberships, sync_owner
from shared.operations.verification import confirm_email
from shared.operations.web_accounts import create_session, end_sessions, sign_up, switch_account
from tests import factories
from tests.factories import ORIGIN

pytestmark = pytest.mark.usefixtures("bound_database")
KEY = "a secret key for tests"
ADA, BEN, EVE = "ada@example.com", "ben@example.com", "eve@example.com"
DEVELOPER = MemberTerms("developer")


def join(account: Account, email: str = BEN, terms: MemberTerms = DEVELOPER) -> Member:
    return add_member(account.id, email, terms, origin=ORIGIN).member


def roles(account: Account) -> dict[str, str]:
    return {row.member.person.email: row.member.role for row in list_members(account.id)}


def actions(account: Account) -> list[str]:
    entries = AuditEntry.select().where(AuditEntry.target == str(account.id)).order_by(AuditEntry.created_at, AuditEntry.id)
    return [entry.action for entry in entries if entry.action.startswith("member.")]


def test_an_account_has_one_owner_and_members() -> None:
    account = factories.account(email=ADA)
    member = join(account)
    assert roles(account) == {ADA: OWNER, BEN: "developer"}
    with pytest.raises(InvalidInput, match="already a member"):
        join(account)
    changed = change_member(account.id, member.id, MemberTerms("viewer", 500, 50), origin=ORIGIN)
    assert (changed.role, changed.monthly_credit_limit, changed.daily_credit_limit) == ("viewer", 500, 50)
    assert actions(account) == ["member.add", "member.change"]


@pytest.mark.parametrize(
    "terms", [MemberTerms(OWNER), MemberTerms("king"), MemberTerms("viewer", 0), MemberTerms("viewer", None, -1)]
)
def test_invalid_terms_are_refused(terms: MemberTerms) -> None:
    account = factories.account(email=ADA)
    member = join(account)
    for attempt in (lambda: join(account, EVE, terms), lambda: change_member(account.id, member.id, terms, origin=ORIGIN)):
        with pytest.raises(InvalidInput):
            attempt()
    assert roles(account) == {ADA: OWNER, BEN: "developer"}


def test_the_owner_can_be_neither_changed_nor_suspended_nor_removed() -> None:
    account = factories.account(email=ADA)
    owner = find_member(account.id, ADA).id
    attempts: list[Callable[[], object]] = [
        lambda: change_member(account.id, owner, DEVELOPER, origin=ORIGIN),
        lambda: set_member_suspended(account.id, owner, True, origin=ORIGIN),
        lambda: remove_member(account.id, owner, origin=ORIGIN),
        lambda: transfer_ownership(account.id, owner, origin=ORIGIN),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidInput, match="owner"):
            attempt()
    assert roles(account) == {ADA: OWNER}


def test_a_member_of_another_account_is_unknown() -> None:
    account, other = factories.account(email=ADA), factories.account(email=EVE)
    stranger = join(other)
    for member in (stranger.id, str(stranger.id), BEN, "no-id", other.id):
        with pytest.raises(NotFound) as error:
            find_member(account.id, member)
        assert str(error.value) == "There is no such member."


def test_a_removed_member_loses_keys_and_sessions_and_can_return() -> None:
    account = factories.account(email=ADA)
    member = join(account)
    key = create_key(account.id, "laptop", member=member.id, origin=ORIGIN).row
    owners = create_key(account.id, "server", origin=ORIGIN).row
    session = create_session(member.person.id, "", password_hash=with_password(member)).digest
    remove_member(account.id, member.id, origin=ORIGIN)
    assert ApiKey.get_by_id(key.id).revoked_at is not None
    assert ApiKey.get_by_id(owners.id).revoked_at is None
    assert WebSession.get_by_id(session).revoked_at is not None
    assert roles(account) == {ADA: OWNER}
    assert memberships(member.person.id) == []
    assert join(account, BEN, MemberTerms("viewer")).id == member.id
    assert roles(account) == {ADA: OWNER, BEN: "viewer"}


def with_password(member: Member, password_hash: str = "hash") -> str:
    Person.update(password_hash=password_hash).where(Person.id == member.person.id).execute()
    return password_hash


def test_ownership_moves_with_the_sign_in() -> None:
    account = sign_up(ADA, "hash of ada", 0)
    ada = find_member(account.id, ADA)
    member = join(account, BEN, MemberTerms("admin", 100, 10))
    with_password(member, "hash of ben")
    session = create_session(ada.person.id, "", password_hash="hash of ada").digest
    key = create_key(account.id, "ada's", origin=ORIGIN).row
    transfer_ownership(account.id, member.id, origin=ORIGIN)
    assert roles(account) == {BEN: OWNER, ADA: "admin"}
    row = Account.get_by_id(account.id)
    assert (row.email, row.password_hash) == (BEN, "hash of ben")  # what the previous release signs in with
    assert find_member(account.id, BEN).monthly_credit_limit is None
    assert WebSession.get_by_id(session).revoked_at is not None
    assert ApiKey.get_by_id(key.id).revoked_at is None
    assert find_sign_in(ADA) == (ada.person.id, ADA, "hash of ada")
    create_session(ada.person.id, "", password_hash="hash of ada")
    with pytest.raises(InvalidInput, match="owns another account"):
        transfer_ownership(account.id, join(account, factories.account(email=EVE).email).id, origin=ORIGIN)


def test_a_person_switches_between_accounts() -> None:
    own, other = sign_up(BEN, "hash", 0), factories.account(email=ADA)
    member = join(other)
    first = create_session(member.person.id, "", password_hash="hash")
    assert WebSession.get_by_id(first.digest).account.id == own.id
    second = switch_account(first.digest, member.person.id, other.id, "")
    row = WebSession.get_by_id(second.digest)
    assert (row.account.id, row.member) == (other.id, member.id)
    assert WebSession.get_by_id(first.digest).revoked_at is not None
    assert WebSession.get_by_id(create_session(own.id, "", password_hash="hash").digest).account.id == other.id  # the last one
    for unknown in (factories.account(email=EVE).id, member.id):
        with pytest.raises(NotFound, match="no such account"):
            switch_account(second.digest, member.person.id, unknown, "")
    assert end_sessions(member.person.id, except_digest=second.digest) == 1


def test_the_previous_release_does_not_find_sessions_of_members() -> None:
    """It has no roles, and looks sessions up by the SHA-256 of the whole cookie."""
    account = sign_up(ADA, "hash of ada", 0)
    member = join(account)
    owners = create_session(account.id, "", password_hash="hash of ada").secret
    members = create_session(member.person.id, "", password_hash=with_password(member)).secret
    found = {secret: hashlib.sha256(secret.encode()).hexdigest() == web_sessions.digest(secret) for secret in (owners, members)}
    assert found == {owners: True, members: False}


def test_a_person_without_an_account_gets_a_new_one_if_sign_up_is_open() -> None:
    account = factories.account(email=ADA)
    member = join(account)
    hashed = with_password(member)
    remove_member(account.id, member.id, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="no longer belong to an account"):
        create_session(member.person.id, "", password_hash=hashed)
    session = create_session(member.person.id, "", password_hash=hashed, creates_account=True)
    own = WebSession.get_by_id(session.digest).account
    assert (own.email, own.balance, roles(own)) == (BEN, 0, {BEN: OWNER})


def test_an_invited_address_cannot_sign_up_again() -> None:
    join(factories.account(email=ADA))
    with pytest.raises(InvalidInput):
        sign_up(BEN, "hash", 0)


def test_closing_keeps_the_sign_in_of_an_owner_who_belongs_to_other_accounts() -> None:
    own, other = sign_up(BEN, "hash", 0), factories.account(email=ADA)
    member = join(other)
    close_account(own.id, origin=ORIGIN)
    found = find_sign_in(BEN)
    assert found is not None
    session = create_session(found.person, "", password_hash="hash")
    assert WebSession.get_by_id(session.digest).account.id == other.id
    remove_member(other.id, member.id, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="no longer belong to an account"):  # the closed account keeps the address
        create_session(found.person, "", password_hash="hash", creates_account=True)
    alone = sign_up(EVE, "hash", 0)
    close_account(alone.id, origin=ORIGIN)
    with pytest.raises(InvalidSession):
        create_session(alone.id, "", password_hash="hash")


# Accounts of the previous release, which writes only `account`.


def test_an_account_of_the_previous_release_gets_its_owner_when_it_is_used() -> None:
    account = Account.create(email=ADA, password_hash="hash")
    assert find_sign_in(ADA) == (account.id, ADA, "hash")
    create_session(account.id, "", password_hash="hash")
    create_session(account.id, "", password_hash="hash")
    assert roles(account) == {ADA: OWNER}
    assert find_member(account.id, ADA).id == account.id


def test_changes_by_the_previous_release_win() -> None:
    account = sign_up(ADA, "old hash", 0)
    Account.update(email=EVE, password_hash="new hash").where(Account.id == account.id).execute()
    assert find_sign_in(ADA) is None
    found = find_sign_in(EVE)
    assert found == (account.id, EVE, "new hash")
    with pytest.raises(InvalidSession):
        create_session(account.id, "", password_hash="old hash")
    create_session(account.id, "", password_hash="new hash")
    assert (Person.get().email, Person.get().password_hash) == (EVE, "new hash")


def test_an_account_that_the_previous_release_creates_for_an_invited_address_does_not_take_their_place() -> None:
    member = join(factories.account(email=ADA))
    hashed = with_password(member)
    account = Account.create(email=BEN, password_hash="of somebody else")
    assert find_sign_in(BEN) == (member.person.id, BEN, hashed)
    with transaction():
        sync_owner(account.id)
    assert (Account.get_by_id(account.id).password_hash, roles(account)) == (hashed, {BEN: OWNER})


def test_an_address_in_use_is_refused() -> None:
    account = factories.account(email=ADA)
    join(account)
    with pytest.raises(InvalidInput, match="already exists"):
        change_email(account.id, BEN, origin=ORIGIN)


# Invitations


def invited(account: Account, email: str = BEN, terms: MemberTerms = DEVELOPER) -> Invitation:
    return invite(account.id, email, terms, sends_mail=True, origin=ORIGIN)


def test_a_new_person_accepts_once() -> None:
    account = factories.account(email=ADA)
    row = invited(account, BEN, MemberTerms("viewer", 70))
    token = invitation_token(row, KEY)
    assert find_invitation(token, KEY) == row
    accept_as_new(row.id, "hash", verified=True, origin=ORIGIN)
    member = find_member(account.id, BEN)
    assert (member.role, member.monthly_credit_limit, member.person.email_verified_at is not None) == ("viewer", 70, True)
    assert find_invitation(token, KEY) is None
    with pytest.raises(NotFound):
        accept_as_new(row.id, "hash", verified=True, origin=ORIGIN)


def test_only_the_invited_person_accepts() -> None:
    account = factories.account(email=ADA)
    ben, eve = sign_up(BEN, "hash", 0), sign_up(EVE, "hash", 0)
    row = invited(account)
    for attempt in (
        lambda: accept(row.id, eve.id, origin=ORIGIN),
        lambda: accept_as_new(row.id, "other hash", verified=True, origin=ORIGIN),
    ):
        with pytest.raises(NotFound):
            attempt()
    accept(row.id, ben.id, origin=ORIGIN)
    assert roles(account) == {ADA: OWNER, BEN: "developer"}


def test_a_link_ends_when_it_is_replaced_revoked_expired_or_the_account_closes() -> None:
    account = factories.account(email=ADA)
    row = invited(account)
    first = invitation_token(row, KEY)
    again = resend_invitation(account.id, row.id, sends_mail=True, origin=ORIGIN)
    second = invitation_token(again, KEY)
    assert (find_invitation(first, KEY), find_invitation(second, KEY)) == (None, again)
    assert find_invitation(second, "another key") is None
    Invitation.update(expires_at=now_ms() - 1).execute()
    assert find_invitation(invitation_token(Invitation.get(), KEY), KEY) is None
    Invitation.update(expires_at=now_ms() + LASTS_MS).execute()
    fresh = Invitation.get()
    revoke_invitation(account.id, fresh.id, origin=ORIGIN)
    assert find_invitation(invitation_token(fresh, KEY), KEY) is None
    other = invited(account, EVE)
    close_account(account.id, origin=ORIGIN)
    assert find_invitation(invitation_token(other, KEY), KEY) is None
    with pytest.raises(YoutError):
        accept_as_new(other.id, "hash", verified=True, origin=ORIGIN)


def test_an_open_invitation_ends_with_the_membership() -> None:
    """The person was added without it."""
    account = factories.account()
    token = invitation_token(invite(account.id, BEN, MemberTerms("admin"), sends_mail=False, origin=ORIGIN), KEY)
    member = join(account)
    remove_member(account.id, member.id, origin=ORIGIN)
    assert find_invitation(token, KEY) is None


def leave(account: UUID, member: UUID) -> None:
    remove_member(account, member, origin=ORIGIN)


def suspend(account: UUID, member: UUID) -> None:
    set_member_suspended(account, member, True, origin=ORIGIN)


def demote(account: UUID, member: UUID) -> None:
    change_member(account, member, DEVELOPER, origin=ORIGIN)


@pytest.mark.parametrize("end", [leave, suspend, demote])
def test_an_invitation_ends_with_its_senders_right_to_invite(end: Callable[[UUID, UUID], None]) -> None:
    account = factories.account(email=ADA)
    member = add_member(account.id, BEN, MemberTerms("admin"), origin=ORIGIN).member
    row = invite(account.id, EVE, MemberTerms("admin"), inviter=member.id, sends_mail=False, origin=ORIGIN)
    token = invitation_token(row, KEY)
    assert find_invitation(token, KEY) == row
    end(account.id, member.id)
    assert (find_invitation(token, KEY), compose(account.id, EVE, secret_key=KEY, edge_url="")) == (None, None)
    with pytest.raises(NotFound):
        accept_as_new(row.id, "hash", verified=True, origin=ORIGIN)
    assert EVE not in roles(account)
    if end is not leave:  # the owner adopts it
        again = resend_invitation(account.id, row.id, inviter=account.id, sends_mail=False, origin=ORIGIN)
        assert find_invitation(invitation_token(again, KEY), KEY) == again


def test_only_a_verified_person_sends_invitations_by_email() -> None:
    account = factories.account(email=ADA)
    by_owner = {"inviter": account.id, "origin": ORIGIN}
    row = invite(account.id, BEN, DEVELOPER, sends_mail=False, **by_owner)  # a link on the page
    with pytest.raises(InvalidInput, match="Verify your own email address"):
        invite(account.id, EVE, DEVELOPER, sends_mail=True, **by_owner)
    with pytest.raises(InvalidInput, match="Verify your own email address"):
        resend_invitation(account.id, row.id, sends_mail=True, **by_owner)
    assert recent_mails(account.id) == []
    confirm_email(account.id, ADA, origin=ORIGIN)
    invite(account.id, EVE, DEVELOPER, sends_mail=True, **by_owner)
    assert [mail.recipient for mail in recent_mails(account.id)] == [EVE]


def test_an_invitation_sends_one_email_per_recipient_without_its_token() -> None:
    account = factories.account(email=ADA)
    first = invited(account)
    invited(account, EVE)
    resend_invitation(account.id, first.id, sends_mail=True, origin=ORIGIN)
    queued = [mail for mail in recent_mails(account.id) if mail.status == "queued"]
    assert sorted((mail.kind, mail.recipient) for mail in queued) == [("invitation", BEN), ("invitation", EVE)]
    text = compose(account.id, BEN, secret_key=KEY, edge_url="https://yout.example")
    token = invitation_token(Invitation.get_by_id(first.id), KEY)
    assert text is not None
    assert f"https://yout.example/invitation/{token}" in text.text
    revoke_invitation(account.id, first.id, origin=ORIGIN)
    assert compose(account.id, BEN, secret_key=KEY, edge_url="https://yout.example") is None
    change_email(account.id, "new@example.com", origin=ORIGIN)
    assert [mail.recipient for mail in recent_mails(account.id) if mail.status == "queued"] == [EVE]


def test_members_and_invited_addresses_are_not_invited_again() -> None:
    account = factories.account(email=ADA)
    invited(account)
    for email in (BEN, ADA):
        with pytest.raises(InvalidInput, match="already"):
            invited(account, email)
    other = factories.account(email=EVE)
    for unknown in (Invitation.get().id, str(other.id), "no-id"):
        with pytest.raises(NotFound, match="no such invitation"):
            revoke_invitation(other.id, unknown, origin=ORIGIN)
