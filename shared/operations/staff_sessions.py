"""Console sessions, stored on the server: created after sign-in, found by the digest of their secret, revocable at any time."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import NotFound
from shared.models import StaffSession, StaffUser
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

MAX_LIFETIME_MS = 12 * 3600 * 1000  # maximum lifetime since sign-in
IDLE_MS = 2 * 3600 * 1000  # a session ends after this long without a request
SEEN_INTERVAL_MS = 60_000  # precision of `seen_at`: one write per minute, not per page
KEEP_ENDED_MS = 7 * 24 * 3600 * 1000


def create_session(person: StaffUser, *, address: str = "", agent: str = "") -> str:
    """Create a session for an authenticated staff member and return its secret. Writes an audit entry."""
    secret, now = secrets.token_urlsafe(32), now_ms()
    with transaction():
        StaffSession.delete().where(StaffSession.expires_at < now - KEEP_ENDED_MS).execute()
        StaffSession.create(
            digest=session_digest(secret),
            staff=person,
            address=address[:64],
            agent=agent[:64],
            created_at=now,
            seen_at=now,
            expires_at=now + MAX_LIFETIME_MS,
        )
        StaffUser.update(last_sign_in_at=now).where(StaffUser.id == person.id).execute()
        record_audit_entry(Origin(person.email, address), "staff.sign_in", person.id)
    return secret


def find_session(secret: str) -> StaffSession | None:
    """Return the valid session of this secret with its staff member. None if unknown, ended, expired, idle or disabled."""
    now = now_ms()
    row: StaffSession | None = (
        StaffSession.select(StaffSession, StaffUser).join(StaffUser).where(StaffSession.digest == session_digest(secret)).first()
    )
    if row is None or row.revoked_at is not None or row.staff.status != "active":
        return None
    if row.expires_at <= now or row.seen_at + IDLE_MS <= now:
        return None
    if row.seen_at + SEEN_INTERVAL_MS <= now:
        with transaction():
            StaffSession.update(seen_at=now).where(StaffSession.digest == row.digest).execute()
    return row


def active_sessions(person: UUID) -> Any:
    """Return a query for the person's valid sessions, to be paged by `created_at`."""
    now = now_ms()
    living = StaffSession.revoked_at.is_null() & (StaffSession.expires_at > now) & (StaffSession.seen_at > now - IDLE_MS)
    return StaffSession.select().where((StaffSession.staff == person) & living)


def end_session(digest: str) -> None:
    """End one session, if it is open."""
    with transaction():
        StaffSession.update(revoked_at=now_ms()).where(
            (StaffSession.digest == digest) & StaffSession.revoked_at.is_null()
        ).execute()


def end_session_of(person: UUID, began_at: int) -> None:
    """End the person's session that was created at this millisecond, if there is one."""
    with transaction():
        StaffSession.update(revoked_at=now_ms()).where(
            (StaffSession.staff == person) & (StaffSession.created_at == began_at) & StaffSession.revoked_at.is_null()
        ).execute()


def end_sessions(person: UUID, *, except_digest: str = "", origin: Origin) -> int:
    """End all sessions of a person except the one with the digest `except_digest`. Returns their number.

    Raises `NotFound` for an unknown person.
    """
    with transaction():
        if StaffUser.get_or_none(StaffUser.id == person) is None:
            raise NotFound(lazy_gettext("No staff member {person}.", person=person))
        ended = revoke_sessions(person, except_digest)
        record_audit_entry(origin, "staff.sign_out", person, after={"sessions_ended": ended})
        return ended


def revoke_sessions(person: UUID, except_digest: str = "") -> int:
    """End sessions inside another operation's transaction. See `end_sessions`."""
    mine = (StaffSession.staff == person) & StaffSession.revoked_at.is_null() & (StaffSession.digest != except_digest)
    ended: int = StaffSession.update(revoked_at=now_ms()).where(mine).execute()
    return ended


def session_digest(secret: str) -> str:
    """Return the digest by which a session's secret is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()
