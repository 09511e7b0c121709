"""Sign-in of people with an identity at an OpenID provider: finds, links or creates the person.

An identity is known by its issuer and subject. The email address only decides which person a new identity belongs to.

An identity is linked to the person with its address only if the provider has verified the address, the operator allows it, and
nobody else can have signed in as that person: their address was verified here as well, or they have no way to sign in yet (no
password, identity or passkey). Otherwise someone could sign up with another's address, wait for its owner to sign in through the
provider, and share their account.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound, SignInFailed
from shared.identity.emails import normalize_email, require_domain
from shared.identity.web_sessions import NewSession
from shared.models import Person, PersonIdentity, PersonPasskey
from shared.openid.identity import Identity
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.invitations import accept_as_new, find_invitation
from shared.operations.passkeys import PEOPLE as PASSKEYS
from shared.operations.people import SignIn, change_sign_in, current_sign_in, find_sign_in, find_sign_in_by_id, owned_account
from shared.operations.verification import confirm_email
from shared.operations.web_accounts import create_session, end_sessions, open_session, sign_up
from shared.text.translation import SOURCE_LANGUAGE, lazy_gettext

MAX_IDENTITIES = 10  # per person


class SignInRules(NamedTuple):
    """The rules for sign-ins through the provider. `may_sign_up` creates accounts; `sends_mail` verifies their addresses.

    `network` is the daily digest of the caller's network, as for `sign_up`. `domains` are those that may sign up, if not all.
    `notifies` sends an email about the sign-in. Without `may_join`, a new person cannot accept an invitation either; with
    `joining_domains` only those with such an address can.
    """

    may_link: bool
    may_sign_up: bool
    may_join: bool = True
    joining_domains: tuple[str, ...] = ()
    sign_up_credits: int = 0
    sends_mail: bool = False
    network: str = ""
    language: str = SOURCE_LANGUAGE
    domains: tuple[str, ...] = ()
    notifies: bool = False


class SignedIn(NamedTuple):
    """The person of an identity, and a new session for them, or None if they must enter a second-factor code first.

    `is_new`: their account was created. `invited`: they joined one.
    """

    person: UUID
    email: str
    session: NewSession | None
    is_new: bool = False
    invited: bool = False


def sign_in(
    identity: Identity, agent: str, rules: SignInRules, *, invitation: str = "", secret_key: str, origin: Origin
) -> SignedIn:
    """Create a session for the person of an identity, who is linked or created if the rules allow it.

    `invitation` is the token of the invitation from whose page the sign-in began: it admits a new person with its address. Raises
    `SignInFailed`, and `InvalidInput` like `create_session`.
    """
    with transaction():
        row = PersonIdentity.get_or_none(
            (PersonIdentity.issuer == identity.issuer) & (PersonIdentity.subject == identity.subject)
        )
        if row is not None:
            return _open(row.person.id, agent, rules, origin)
        email = _email(identity)
        found = find_sign_in(email)
        if found is not None:
            _require_link(found, identity, rules)
            link(found.person, identity, origin=origin)
            owned = owned_account(found.person)
            if owned is not None and owned.email == email:
                confirm_email(owned.id, email, origin=origin)
            return _open(found.person, agent, rules, origin)
        invited = find_invitation(invitation, secret_key) if invitation and identity.email_verified else None
        if invited is not None and invited.email == email and rules.may_join:
            _require_domain(email, rules.joining_domains)
            member = accept_as_new(invited.id, None, verified=True, language=rules.language, origin=origin)
            link(member.person.id, identity, origin=origin)
            return SignedIn(member.person.id, email, open_session(member.person.id, agent, invited.account.id)[0], invited=True)
        return _sign_up(email, identity, agent, rules, origin)


def link(person: UUID, identity: Identity, *, origin: Origin) -> None:
    """Let the identity sign in as this person. Raises `SignInFailed` if it is another person's, or they have too many."""
    with transaction():
        current_sign_in(person)  # adds the person if the previous release created their account
        mine = PersonIdentity.select().where(PersonIdentity.person == person)
        if mine.count() >= MAX_IDENTITIES:
            raise SignInFailed(lazy_gettext("Too many identities are connected. Disconnect one first."))
        try:
            with transaction():  # a savepoint
                PersonIdentity.create(person=person, issuer=identity.issuer, subject=identity.subject, email=identity.email[:254])
        except peewee.IntegrityError:
            known = (PersonIdentity.issuer == identity.issuer) & (PersonIdentity.subject == identity.subject)
            if PersonIdentity.get(known).person.id == person:
                return
            raise SignInFailed(lazy_gettext("This identity is connected to another login.")) from None
        record_audit_entry(origin, "person.connect", person, after={"issuer": identity.issuer, "email": identity.email})


def unlink(person: UUID, identity: UUID, *, session: str = "", origin: Origin) -> None:
    """Remove one of a person's identities, and end their sessions except the one with the digest `session`.

    Raises `NotFound`, and `InvalidInput` if they could no longer sign in.
    """
    with transaction():
        row = PersonIdentity.get_or_none((PersonIdentity.id == identity) & (PersonIdentity.person == person))
        if row is None:
            raise NotFound(lazy_gettext("There is no such identity."))
        row.delete_instance()
        _require_way(person)
        end_sessions(person, except_digest=session)  # one may belong to someone who signed in with it
        record_audit_entry(origin, "person.disconnect", person, before={"issuer": row.issuer, "email": row.email})


def remove_passkey(person: UUID, passkey: UUID, *, session: str = "", origin: Origin) -> None:
    """Remove one of a person's passkeys. Ends sessions and raises like `unlink`."""
    with transaction():
        PASSKEYS.remove(person, passkey, origin=origin)
        _require_way(person)
        end_sessions(person, except_digest=session)


def identities_of(person: UUID) -> list[PersonIdentity]:
    """Return a person's identities, oldest first."""
    return list(PersonIdentity.select().where(PersonIdentity.person == person).order_by(PersonIdentity.id))


def never_used(person: UUID) -> bool:
    """Return whether nobody can sign in as a person yet: they have no password, identity or passkey."""
    found = find_sign_in_by_id(person)
    return found is not None and found.password_hash is None and not _has_other_way(person)


def _email(identity: Identity) -> str:
    if not identity.email:
        raise SignInFailed(lazy_gettext("The identity provider did not send your email address, which an account needs."))
    try:
        return normalize_email(identity.email)
    except InvalidInput as error:
        raise SignInFailed(str(error)) from None


def _require_link(found: SignIn, identity: Identity, rules: SignInRules) -> None:
    person = Person.get_or_none(Person.id == current_sign_in(found.person).person)
    verified_here = person is not None and person.email_verified_at is not None
    if not (identity.email_verified and rules.may_link and (verified_here or never_used(found.person))):
        raise SignInFailed(
            lazy_gettext(
                "A login with the address {email} already exists. Sign in with its password, then connect the identity provider"
                " on the page Security of your account.",
                email=found.email,
            )
        )


def _has_other_way(person: UUID) -> bool:
    """Return whether a person can sign in without a password."""
    identities = PersonIdentity.select().where(PersonIdentity.person == person)
    return identities.exists() or PersonPasskey.select().where(PersonPasskey.person == person).exists()


def _require_way(person: UUID) -> None:
    """Raise `InvalidInput`, which rolls back the caller's transaction, if a person can no longer sign in."""
    if current_sign_in(person).password_hash is None and not _has_other_way(person):
        raise InvalidInput(lazy_gettext("This is your only way to sign in. Set a password first."))


def _require_domain(email: str, domains: tuple[str, ...]) -> None:
    try:
        require_domain(email, domains)
    except InvalidInput as error:
        raise SignInFailed(str(error)) from None


def _sign_up(email: str, identity: Identity, agent: str, rules: SignInRules, origin: Origin) -> SignedIn:
    if not rules.may_sign_up:
        raise SignInFailed(
            lazy_gettext("There is no account for {email}. Ask the operator of this service for one.", email=email)
        )
    if rules.domains and not identity.email_verified:
        raise SignInFailed(lazy_gettext("A first sign-in needs an email address that the identity provider has verified."))
    mails = rules.sends_mail and not identity.email_verified
    try:
        require_domain(email, rules.domains)
        account = sign_up(
            email,
            None,
            rules.sign_up_credits,
            network=rules.network,
            address=origin.address,
            language=rules.language,
            verify=mails,
        )
    except InvalidInput as error:  # another domain, or the address of a closed account
        raise SignInFailed(str(error)) from None
    if identity.email_verified:
        change_sign_in(account.id, email_verified_at=now_ms())
    link(account.id, identity, origin=origin)
    return _open(account.id, agent, rules._replace(notifies=False), origin)._replace(is_new=True)


def _open(person: UUID, agent: str, rules: SignInRules, origin: Origin) -> SignedIn:
    current = find_sign_in_by_id(person) or current_sign_in(person)
    if Person.select().where((Person.id == person) & (Person.sealed_totp != "")).exists():
        return SignedIn(person, current.email, None)
    session = create_session(
        person,
        agent,
        password_hash=current.password_hash,
        address=origin.address,
        creates_account=rules.may_sign_up,
        notifies=rules.notifies,
    )
    return SignedIn(person, current.email, session)
