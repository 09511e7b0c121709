"""Which person an identity at an OpenID provider signs in as, and when it may not."""

from __future__ import annotations

from uuid import UUID

import pytest

from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, NotFound, SignInFailed
from shared.identity.web_sessions import digest
from shared.models import Account, AuditEntry, OutgoingMail, Person, PersonIdentity, PersonPasskey, WebSession
from shared.openid.identity import Identity
from shared.operations.account_closing import close_account
from shared.operations.accounts import create_account
from shared.operations.identities import SignedIn, SignInRules, identities_of, link, remove_passkey, sign_in, unlink
from shared.operations.invitations import invitation_token, invite
from shared.operations.members import MemberTerms, set_member_suspended
from shared.operations.people import change_sign_in, memberships
from shared.operations.web_accounts import sign_up
from tests.factories import ORIGIN

SECRET_KEY = "k" * 32
ISSUER = "https://accounts.example"
OPEN = SignInRules(may_link=True, may_sign_up=True, sign_up_credits=500)
pytestmark = [
    pytest.mark.usefixtures("bound_database"),
    pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True),  # tests/edge/web runs it on PostgreSQL
]


def identity(email: str = "ida@example.com", subject: str = "ida", *, verified: bool = True) -> Identity:
    return Identity(ISSUER, subject, email, verified)


def enter(who: Identity, rules: SignInRules = OPEN, invitation: str = "") -> SignedIn:
    return sign_in(who, "Firefox on Linux", rules, invitation=invitation, secret_key=SECRET_KEY, origin=ORIGIN)


def account_of(found: SignedIn) -> UUID:
    return UUID(str(WebSession.get(WebSession.digest == digest(found.session.secret)).account.id))


def with_password(email: str = "ida@example.com", *, verified: bool) -> Account:
    account = sign_up(email, "a hash", 0)
    if verified:
        change_sign_in(account.id, email_verified_at=now_ms())
    return account


def test_a_new_person_gets_an_account_and_comes_back_to_it() -> None:
    first = enter(identity("Ida@Example.com"))
    again = enter(identity("moved@example.com"))  # the provider's address may change

    account = Account.get_by_id(account_of(first))
    assert first.is_new
    assert not again.is_new
    assert again.person == first.person
    assert account_of(again) == account.id
    assert (account.email, account.balance, account.password_hash) == ("ida@example.com", 500, None)
    assert account.email_verified_at is not None
    assert Person.get_by_id(first.person).email_verified_at is not None
    assert enter(identity("eve@example.com", "eve")).person != first.person
    assert AuditEntry.select().where(AuditEntry.action == "person.connect").count() == 2


def test_an_unverified_address_gets_its_credits_after_verification() -> None:
    found = enter(identity(verified=False), OPEN._replace(sends_mail=True))

    account = Account.get_by_id(account_of(found))
    assert (account.balance, account.pending_credits, account.email_verified_at) == (0, 500, None)
    assert OutgoingMail.select().count() == 1


@pytest.mark.parametrize(
    ("verified_there", "verified_here", "has_password", "allowed", "links"),
    [
        (True, True, True, True, True),
        (True, False, False, True, True),  # created by staff; nobody can have signed in
        (True, False, True, True, False),  # somebody may have signed up with another's address
        (False, True, True, True, False),
        (False, False, False, True, False),
        (True, True, True, False, False),
    ],
)
def test_when_an_existing_person_is_linked(
    verified_there: bool, verified_here: bool, has_password: bool, allowed: bool, links: bool
) -> None:
    account = with_password(verified=verified_here) if has_password else create_account("ida@example.com", origin=ORIGIN)
    who = identity(verified=verified_there)
    rules = OPEN._replace(may_link=allowed)

    if links:
        assert account_of(enter(who, rules)) == account.id
        assert Account.get_by_id(account.id).email_verified_at is not None
    else:
        with pytest.raises(SignInFailed, match="already exists"):
            enter(who, rules)
        assert PersonIdentity.select().count() == 0


@pytest.mark.parametrize("way", ["identity", "passkey"])
def test_an_unverified_person_without_a_password_may_be_somebody_else(way: str) -> None:
    stranger = enter(identity(subject="stranger", verified=False))
    if way == "passkey":
        PersonPasskey.create(person=stranger.person, credential="c", public_key=b"k", sign_count=0, name="")
        PersonIdentity.delete().execute()
    with pytest.raises(SignInFailed, match="already exists"):
        enter(identity())
    assert not PersonIdentity.select().where(PersonIdentity.subject == "ida").exists()


def test_a_link_made_by_the_person_needs_no_verification() -> None:
    account = with_password(verified=False)
    link(account.id, identity("work@other.example", verified=False), origin=ORIGIN)

    assert account_of(enter(identity("work@other.example", verified=False))) == account.id


def test_an_identity_belongs_to_one_person() -> None:
    mine, other = with_password("a@example.com", verified=True), with_password("b@example.com", verified=True)
    link(mine.id, identity(), origin=ORIGIN)
    link(mine.id, identity(), origin=ORIGIN)  # again

    with pytest.raises(SignInFailed, match="another login"):
        link(other.id, identity(), origin=ORIGIN)
    assert len(identities_of(mine.id)) == 1


def test_the_last_way_to_sign_in_stays() -> None:
    found = enter(identity())
    first = identities_of(found.person)[0]
    with pytest.raises(InvalidInput, match="only way"):
        unlink(found.person, first.id, origin=ORIGIN)
    link(found.person, identity(subject="second"), origin=ORIGIN)
    other = with_password("b@example.com", verified=True)
    with pytest.raises(NotFound):
        unlink(other.id, first.id, origin=ORIGIN)

    kept = digest(enter(identity()).session.secret)
    unlink(found.person, first.id, session=kept, origin=ORIGIN)

    assert [row.subject for row in identities_of(found.person)] == ["second"]
    assert [row.digest for row in WebSession.select().where(WebSession.revoked_at.is_null())] == [kept]
    with pytest.raises(SignInFailed, match="already exists"):
        enter(identity(), OPEN._replace(may_link=False))


def test_the_last_passkey_of_a_person_without_a_password_stays() -> None:
    found = enter(identity())
    passkey = PersonPasskey.create(person=found.person, credential="c", public_key=b"k", sign_count=0, name="")
    unlink(found.person, identities_of(found.person)[0].id, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="only way"):
        remove_passkey(found.person, passkey.id, origin=ORIGIN)
    assert PersonPasskey.select().count() == 1
    change_sign_in(found.person, password_hash="a hash")
    remove_passkey(found.person, passkey.id, origin=ORIGIN)
    assert PersonPasskey.select().count() == 0


@pytest.mark.parametrize(
    ("who", "rules", "message"),
    [
        (identity(""), OPEN, "did not send your email"),
        (identity("nobody"), OPEN, "not a valid email"),
        (identity(), OPEN._replace(may_sign_up=False), "no account"),
        (identity(), OPEN._replace(domains=("example.org",)), "Only addresses of example.org"),
        (identity("ida@mail.example.org"), OPEN._replace(domains=("example.org",)), "Only addresses of example.org"),
        (identity(verified=False), OPEN._replace(domains=("example.com",)), "has verified"),
    ],
)
def test_who_cannot_sign_up(who: Identity, rules: SignInRules, message: str) -> None:
    with pytest.raises(SignInFailed, match=message):
        enter(who, rules)
    assert Account.select().where(Account.email != "visitors").count() == 0


@pytest.mark.parametrize(
    ("who", "joins"),
    [
        (identity("new@example.com"), True),
        (identity("other@example.com"), False),
        (identity("new@example.com", verified=False), False),
    ],
)
def test_an_invitation_admits_its_address_only(who: Identity, joins: bool) -> None:
    owner = with_password("owner@example.com", verified=True)
    row = invite(owner.id, "new@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    token = invitation_token(row, SECRET_KEY)
    closed = OPEN._replace(may_sign_up=False)

    if not joins:
        with pytest.raises(SignInFailed, match="no account"):
            enter(who, closed, token)
        return
    found = enter(who, closed, token)
    assert found.invited
    assert account_of(found) == owner.id
    assert [one.role for one in memberships(found.person)] == ["viewer"]
    assert enter(who, closed).person == found.person


def test_a_closed_account_forgets_its_identities() -> None:
    found = enter(identity())
    close_account(account_of(found), origin=ORIGIN)

    assert PersonIdentity.select().count() == 0
    with pytest.raises(InvalidInput, match="no longer belong"):
        enter(identity())
    assert PersonIdentity.select().count() == 0


def test_a_person_without_an_account_is_refused() -> None:
    owner = with_password("owner@example.com", verified=True)
    row = invite(owner.id, "new@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    who = identity("new@example.com")
    found = enter(who, OPEN, invitation_token(row, SECRET_KEY))
    close_account(owner.id, origin=ORIGIN)

    with pytest.raises(InvalidInput, match="no longer belong"):
        enter(who, OPEN._replace(may_sign_up=False))
    assert enter(who).person == found.person  # with an account of their own


def test_a_suspended_member_is_refused() -> None:
    owner = with_password("owner@example.com", verified=True)
    row = invite(owner.id, "new@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    found = enter(identity("new@example.com"), OPEN, invitation_token(row, SECRET_KEY))
    set_member_suspended(owner.id, memberships(found.person)[0].member, True, origin=ORIGIN)
    with pytest.raises(InvalidInput):
        enter(identity("new@example.com"), OPEN._replace(may_sign_up=False))


def test_a_new_person_joins_only_if_the_rules_allow_it() -> None:
    owner = with_password("owner@example.com", verified=True)
    row = invite(owner.id, "new@example.com", MemberTerms("viewer"), sends_mail=False, origin=ORIGIN)
    token, closed = invitation_token(row, SECRET_KEY), OPEN._replace(may_sign_up=False)
    for rules, message in (
        (closed._replace(may_join=False), "no account"),
        (closed._replace(joining_domains=("a.org",)), "a.org"),
    ):
        with pytest.raises(SignInFailed, match=message):
            enter(identity("new@example.com"), rules, token)
    assert enter(identity("new@example.com"), closed._replace(joining_domains=("example.com",)), token).invited
