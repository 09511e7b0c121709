"""Web accounts: sign up, create and end sessions, change the password.

Callers check and hash passwords before they call these functions (`shared.identity.passwords`): hashing takes tens of
milliseconds, too long for a transaction. In the audit log the actor is `account:` and the account's id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.errors import InvalidInput, InvalidSession, NotFound
from shared.identity.account_links import LASTS_MS, PASSWORD, make_token
from shared.identity.web_sessions import NewSession, expiry, new_session
from shared.ledger.sql import execute
from shared.models import Account, AuditEntry, WebSession
from shared.operations.accounts import create_account, find_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.verification import queue_verification
from shared.text.translation import SOURCE_LANGUAGE, lazy_gettext

MAX_CREDITED_SIGN_UPS = 3  # per network and UTC day
SIGN_UP_CREDITS = "account.sign_up_credits"  # the action in the audit log
MAX_SESSIONS = 50  # per account; a new session replaces the one unused for longest


def account_actor(account: UUID | str) -> str:
    """Return the actor for the audit log when a customer acts."""
    return f"account:{account}"


def sign_up(
    email: str,
    password_hash: str,
    credits: int,
    *,
    network: str = "",
    address: str = "",
    language: str = SOURCE_LANGUAGE,
    verify: bool = False,
) -> Account:
    """Create an account with a password. Raises `InvalidInput` if the email address is invalid or taken.

    `network` is the daily digest of the caller's network (`visitor_id.network_digest`): only the first `MAX_CREDITED_SIGN_UPS` of
    a network get the `credits`. If it is empty, there is no limit. With `verify`, an email in `language` asks the owner to verify
    the address, and the credits are granted after that.
    """
    with transaction():
        if credits and network and not _count_credited_sign_up(network, address):
            credits = 0
        account = create_account(email, 0 if verify else credits, origin=Origin("sign-up", address))
        account.password_hash, account.language = password_hash, language
        account.pending_credits = credits if verify else 0
        account.save(only=[Account.password_hash, Account.language, Account.pending_credits])
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


def create_session(account: UUID, agent: str, *, password_hash: str, address: str = "") -> NewSession:
    """Create a session for a user who has proved knowledge of the password with the hash `password_hash`.

    Raises `InvalidSession` if the password was changed or the account closed since then.
    """
    with transaction():
        current = (Account.id == account) & (Account.password_hash == password_hash) & (Account.status != "closed")
        if not Account.select().where(current).exists():
            raise InvalidSession
        fresh = _insert_session(account, agent)
        record_audit_entry(Origin(account_actor(account), address), "account.sign_in", account)
        return fresh


def end_session(digest: str) -> bool:
    """End a session by its digest. Returns whether it was open."""
    open_one = (WebSession.digest == digest) & WebSession.revoked_at.is_null()
    return bool(WebSession.update(revoked_at=now_ms()).where(open_one).execute())


def end_own_session(account: UUID, digest: str) -> None:
    """End one of the account's sessions. Raises `NotFound` for unknown sessions and those of other accounts."""
    own = WebSession.select().where((WebSession.digest == digest) & (WebSession.account == account))
    if not own.exists():
        raise NotFound(lazy_gettext("No such session."))
    end_session(digest)


def end_sessions(account: UUID, *, except_digest: str = "") -> int:
    """End all sessions of the account except the one with the digest `except_digest`. Returns their number."""
    others = (WebSession.account == account) & WebSession.revoked_at.is_null() & (WebSession.digest != except_digest)
    return int(WebSession.update(revoked_at=now_ms()).where(others).execute())


def end_all_sessions(account: UUID, *, origin: Origin) -> int:
    """End all sessions of an account, as staff or operator. Its API keys stay valid. Returns the number of sessions."""
    with transaction():
        ended = end_sessions(account)
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


def renew_hash(account: UUID, former_hash: str, password_hash: str) -> None:
    """Replace an outdated hash, unless the password was changed concurrently."""
    Account.update(password_hash=password_hash).where((Account.id == account) & (Account.password_hash == former_hash)).execute()


def change_password(account: UUID, former_hash: str | None, password_hash: str, agent: str, *, address: str = "") -> NewSession:
    """Replace the password, end all sessions, and create a new one for the caller.

    `former_hash` is the hash that the caller proved (by password or link; None if there was no password). Raises `InvalidInput`
    if it is no longer the account's, because of a concurrent change.
    """
    with transaction():
        unchanged = Account.password_hash.is_null() if former_hash is None else Account.password_hash == former_hash
        changed = Account.update(password_hash=password_hash).where((Account.id == account) & unchanged).execute()
        if not changed:
            raise InvalidInput(lazy_gettext("The password was changed in the meantime. Sign in with the new one."))
        end_sessions(account)
        record_audit_entry(Origin(account_actor(account), address), "account.password", account)
        return _insert_session(account, agent)


@dataclass(frozen=True, slots=True)
class NewPasswordLink:
    """A new password link's token. It is not stored."""

    account: Account
    token: str = field(repr=False)
    expires_at: int


def create_password_link(email_or_id: str, secret_key: str, *, origin: Origin) -> NewPasswordLink:
    """Create a link for setting the account's password, valid until the password changes. Raises `NotFound`, `InvalidInput`."""
    with transaction():
        account = find_account(email_or_id)
        if account.status == "closed":
            raise InvalidInput(lazy_gettext("The account {email} is closed and cannot be signed in to.", email=account.email))
        expires_at = now_ms() + LASTS_MS
        record_audit_entry(origin, "account.password_link", account.id, after={"expires_at": expires_at})
        return NewPasswordLink(
            account, make_token(secret_key, PASSWORD, account.id, account.password_hash, expires_at), expires_at
        )


def _insert_session(account: UUID, agent: str) -> NewSession:
    now, fresh = now_ms(), new_session()
    _forget_ended(account, now)
    WebSession.create(
        digest=fresh.digest, account=account, agent=agent[:64], created_at=now, seen_at=now, expires_at=expiry(now, now)
    )
    return fresh


def _forget_ended(account: UUID, now: int) -> None:
    """Delete the account's ended sessions, and the least recently used ones if there are `MAX_SESSIONS` or more."""
    own = WebSession.account == account
    WebSession.delete().where(own & (WebSession.revoked_at.is_null(False) | (WebSession.expires_at <= now))).execute()
    newest = WebSession.select(WebSession.digest).where(own).order_by(WebSession.seen_at.desc()).limit(MAX_SESSIONS - 1)
    kept = [row.digest for row in newest]
    WebSession.delete().where(own & WebSession.digest.not_in(kept)).execute()
