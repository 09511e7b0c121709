"""Web accounts: sign up, create and end sessions, switch the account, change the password.

Callers check and hash passwords before they call these functions (`shared.identity.passwords`): hashing takes tens of
milliseconds, too long for a transaction. In the audit log the actor is `account:` and the account's id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.errors import InvalidInput, InvalidSession, NotFound
from shared.identity.account_links import LASTS_MS, PASSWORD, make_token
from shared.identity.emails import normalize_for_lookup
from shared.identity.roles import OWNER
from shared.identity.web_sessions import NewSession, expiry, new_session
from shared.ledger.sql import execute
from shared.models import Account, AuditEntry, EmailChange, Member, Person, WebSession
from shared.operations.account_mails import queue_new_sign_in
from shared.operations.accounts import create_account, find_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import Membership, change_sign_in, current_sign_in, find_sign_in, memberships, sync_owner
from shared.operations.verification import queue_verification
from shared.text.translation import SOURCE_LANGUAGE, lazy_gettext

MAX_CREDITED_SIGN_UPS = 3  # per network and UTC day
SIGN_UP_CREDITS = "account.sign_up_credits"  # the action in the audit log
MAX_SESSIONS = 50  # per member; a new session replaces the one unused for longest


def account_actor(account: UUID | str) -> str:
    """Return the actor for the audit log when an account's first owner acts."""
    return f"account:{account}"


def member_actor(member: UUID, account: UUID) -> str:
    """Return the actor for the audit log when a member of an account acts."""
    return account_actor(account) if member == account else f"member:{member}"


def sign_up(
    email: str,
    password_hash: str | None,
    credits: int,
    *,
    network: str = "",
    address: str = "",
    language: str = SOURCE_LANGUAGE,
    verify: bool = False,
) -> Account:
    """Create an account, with a password or without (None). Raises `InvalidInput` if the email address is invalid or taken.

    `network` is the daily digest of the caller's network (`visitor_id.network_digest`): only the first `MAX_CREDITED_SIGN_UPS` of
    a network get the `credits`. If it is empty, there is no limit. With `verify`, an email in `language` asks the owner to verify
    the address, and the credits are granted after that.
    """
    with transaction():
        if credits and network and not _count_credited_sign_up(network, address):
            credits = 0
        exists = InvalidInput(lazy_gettext("An account with this email address already exists."))
        if find_sign_in(normalize_for_lookup(email)) is not None:
            raise exists
        account = create_account(email, 0 if verify else credits, origin=Origin("sign-up", address))
        if sync_owner(account.id).person.id != account.id:  # a person got this address concurrently: their password stays
            raise exists
        account.password_hash, account.language = password_hash, language
        account.pending_credits = credits if verify else 0
        account.save(only=[Account.password_hash, Account.language, Account.pending_credits])
        sync_owner(account.id)
        if verify:
            queue_verification(account.id, origin=Origin("sign-up", address))
        return account


def _count_credited_sign_up(network: str, address: str) -> bool:
    """Count a sign-up with credits for `network`. Returns False if the limit is reached. Run inside a transaction."""
    if not is_sqlite():  # otherwise two processes could count at the same time
        execute("SELECT pg_advisory_xact_lock(?)", [int(network[:15], 16)])
    counted = (AuditEntry.target == network) & (AuditEntry.action == SIGN_UP_CREDITS)
    if AuditEntry.select().where(counted).count() >= MAX_CREDITED_SIGN_UPS:
        return False
    record_audit_entry(Origin("sign-up", address), SIGN_UP_CREDITS, network)
    return True


def create_session(
    person: UUID,
    agent: str,
    *,
    password_hash: str | None,
    address: str = "",
    creates_account: bool = False,
    notifies: bool = False,
) -> NewSession:
    """Create a session for a person who has proved who they are while `password_hash` was the hash of their password.

    It is for the account that they last chose, or their own. Raises `InvalidSession` if the password was changed since then, and
    `InvalidInput` if they no longer belong to an account, unless `creates_account` gives them a new one without credits, which it
    does not do for the address of a closed account. If it `notifies`, an email tells the person about the sign-in.
    """
    with transaction():
        try:
            current = current_sign_in(person)
        except NotFound:
            raise InvalidSession from None
        if current.password_hash != password_hash:
            raise InvalidSession
        kept = Account.select().where(Account.email == current.email)  # of a closed account
        if creates_account and not memberships(person) and not kept.exists():
            create_account(current.email, origin=Origin("sign-in", address))
        fresh, chosen = open_session(person, agent)
        record_audit_entry(Origin(member_actor(chosen.member, chosen.account), address), "account.sign_in", chosen.account)
        if notifies:
            queue_new_sign_in(chosen.account, person, agent)
        return fresh


def open_session(person: UUID, agent: str, account: UUID | None = None) -> tuple[NewSession, Membership]:
    """Create a session of a person for `account`, or for the one they last chose or own. Run inside a transaction.

    Raises `NotFound` if they do not belong to `account`, `InvalidInput` if they belong to none.
    """
    found = [one for one in memberships(person) if not one.suspended]
    if account is not None:
        found = [one for one in found if one.account == account]
        if not found:
            raise NotFound(lazy_gettext("There is no such account."))
    if not found:
        raise InvalidInput(lazy_gettext("You no longer belong to an account. Ask for an invitation."))
    last = account or Person.get_by_id(person).last_account
    chosen = next((one for one in found if one.account == last), found[0])
    if last != chosen.account or account is not None:
        Person.update(last_account=chosen.account).where(Person.id == person).execute()
    return _insert_session(chosen, agent), chosen


def switch_account(session: str, person: UUID, account: UUID, agent: str, *, address: str = "") -> NewSession:
    """Replace the session with this digest by one for another account of the person. Raises `NotFound`, `InvalidInput`."""
    with transaction():
        fresh, chosen = open_session(person, agent, account)
        end_session(session)
        record_audit_entry(Origin(member_actor(chosen.member, chosen.account), address), "account.switch", chosen.account)
        return fresh


def end_session(digest: str) -> bool:
    """End a session by its digest. Returns whether it was open."""
    open_one = (WebSession.digest == digest) & WebSession.revoked_at.is_null()
    return bool(WebSession.update(revoked_at=now_ms()).where(open_one).execute())


def end_own_session(person: UUID, digest: str) -> None:
    """End one of the person's sessions. Raises `NotFound` for unknown sessions and those of others."""
    own = WebSession.select().where((WebSession.digest == digest) & sessions_of(person))
    if not own.exists():
        raise NotFound(lazy_gettext("No such session."))
    end_session(digest)


def sessions_of(person: UUID) -> Any:
    """Return the query condition for a person's sessions, in all their accounts. The first owner has the id of the account."""
    members = Member.select(Member.id).where(Member.person == person)
    unnamed = WebSession.member.is_null()
    return WebSession.member.in_(members) | (unnamed & (WebSession.account.in_(members) | (WebSession.account == person)))


def end_sessions(person: UUID, *, except_digest: str = "") -> int:
    """End all sessions of a person except the one with the digest `except_digest`. Returns their number."""
    return _end(sessions_of(person) & (WebSession.digest != except_digest))


def end_account_sessions(account: UUID) -> int:
    """End all sessions for an account. Returns their number."""
    return _end(WebSession.account == account)


def end_member_sessions(account: UUID, member: UUID) -> int:
    """End a member's sessions for an account. Returns their number."""
    return _end((WebSession.account == account) & _of_member(account, member))


def _end(condition: Any) -> int:
    return int(WebSession.update(revoked_at=now_ms()).where(condition & WebSession.revoked_at.is_null()).execute())


def _of_member(account: UUID, member: UUID) -> Any:
    own = WebSession.member == member
    return own | WebSession.member.is_null() if member == account else own


def end_all_sessions(account: UUID, *, origin: Origin) -> int:
    """End all sessions for an account, as staff or operator. Its API keys stay valid. Returns the number of sessions."""
    with transaction():
        ended = end_account_sessions(account)
        record_audit_entry(origin, "account.sign_out", account, after={"sessions_ended": ended})
        return ended


def touch_session(digest: str) -> None:
    """Record the use of a session, which extends its expiry."""
    session = WebSession.get_or_none(WebSession.digest == digest)
    if session is None:
        return
    now = now_ms()
    later = {WebSession.seen_at: now, WebSession.expires_at: expiry(session.created_at, now)}
    WebSession.update(later).where((WebSession.digest == digest) & WebSession.revoked_at.is_null()).execute()


def renew_hash(person: UUID, former_hash: str, password_hash: str) -> None:
    """Replace an outdated hash, unless the password was changed concurrently."""
    with transaction():
        if current_sign_in(person).password_hash == former_hash:
            change_sign_in(person, password_hash=password_hash)


def change_password(
    person: UUID,
    former_hash: str | None,
    password_hash: str,
    agent: str,
    *,
    account: UUID | None = None,
    address: str = "",
) -> NewSession:
    """Replace the password, end all sessions of the person, and create a new one for the caller. Cancels a change of the address.

    `former_hash` is the hash that the caller proved (by password or link; None if there was no password). The new session is for
    `account`.

    Raises `InvalidInput` if the hash is no longer the person's, because of a concurrent change, and like `open_session`.
    """
    with transaction():
        if current_sign_in(person).password_hash != former_hash:
            raise InvalidInput(lazy_gettext("The password was changed in the meantime. Sign in with the new one."))
        change_sign_in(person, password_hash=password_hash)
        end_sessions(person)
        EmailChange.delete().where(EmailChange.person == person).execute()  # perhaps requested by someone else
        fresh, chosen = open_session(person, agent, account)
        record_audit_entry(Origin(member_actor(chosen.member, chosen.account), address), "account.password", chosen.account)
        return fresh


@dataclass(frozen=True, slots=True)
class NewPasswordLink:
    """A new password link's token. It is not stored."""

    account: Account
    token: str = field(repr=False)
    expires_at: int


def create_password_link(email_or_id: str, secret_key: str, *, origin: Origin) -> NewPasswordLink:
    """Create a link for setting the password of the account's owner, valid until the password changes.

    Raises `NotFound`, `InvalidInput`.
    """
    with transaction():
        account = find_account(email_or_id)
        if account.status == "closed":
            raise InvalidInput(lazy_gettext("The account {email} is closed and cannot be signed in to.", email=account.email))
        expires_at = now_ms() + LASTS_MS
        record_audit_entry(origin, "account.password_link", account.id, after={"expires_at": expires_at})
        person = sync_owner(account.id).person.id
        return NewPasswordLink(account, make_token(secret_key, PASSWORD, person, account.password_hash, expires_at), expires_at)


def _insert_session(chosen: Membership, agent: str) -> NewSession:
    """Insert a session. Other members' sessions than the first owner's have digests that the previous release does not find."""
    now, first_owner = now_ms(), chosen.role == OWNER and chosen.member == chosen.account
    fresh = new_session(of_owner=first_owner)
    _forget_ended(chosen, now)
    WebSession.create(
        digest=fresh.digest,
        account=chosen.account,
        member=None if first_owner else chosen.member,
        agent=agent[:64],
        created_at=now,
        seen_at=now,
        expires_at=expiry(now, now),
    )
    return fresh


def _forget_ended(chosen: Membership, now: int) -> None:
    """Delete the member's ended sessions, and the least recently used ones if there are `MAX_SESSIONS` or more."""
    own = (WebSession.account == chosen.account) & _of_member(chosen.account, chosen.member)
    WebSession.delete().where(own & (WebSession.revoked_at.is_null(False) | (WebSession.expires_at <= now))).execute()
    newest = WebSession.select(WebSession.digest).where(own).order_by(WebSession.seen_at.desc()).limit(MAX_SESSIONS - 1)
    kept = [row.digest for row in newest]
    WebSession.delete().where(own & WebSession.digest.not_in(kept)).execute()
