"""Sessions of staff, kept on the server: begun after a proof, found by the digest of their secret, ended at any moment."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import NotFound
from shared.models import StaffSession, StaffUser
from shared.operations.audit import Origin, record

SESSION_MS = 12 * 3600 * 1000  # from the sign-in on, however busy the session is
IDLE_MS = 2 * 3600 * 1000  # without a request for so long, a session is over
SEEN_EVERY_MS = 60_000  # how exactly a session knows when it was last used: one write a minute, not one a page
KEEP_ENDED_MS = 7 * 24 * 3600 * 1000


def begin_session(person: StaffUser, *, address: str = "", agent: str = "") -> str:
    """Begin a session for somebody who has proved who they are, and give its secret. The sign-in is on record."""
    secret, now = secrets.token_urlsafe(32), now_ms()
    with transaction():
        StaffSession.delete().where(StaffSession.expires_at < now - KEEP_ENDED_MS).execute()
        StaffSession.create(
            digest=digest_of(secret),
            staff=person,
            address=address[:64],
            agent=agent[:64],
            created_at=now,
            seen_at=now,
            expires_at=now + SESSION_MS,
        )
        StaffUser.update(last_sign_in_at=now).where(StaffUser.id == person.id).execute()
        record(Origin(person.email, address), "staff.sign_in", person.id)
    return secret


def find_session(secret: str) -> StaffSession | None:
    """The living session of this secret with its person, or None: unknown, ended, too old, idle, or the person is disabled."""
    now = now_ms()
    row: StaffSession | None = (
        StaffSession.select(StaffSession, StaffUser).join(StaffUser).where(StaffSession.digest == digest_of(secret)).first()
    )
    if row is None or row.revoked_at is not None or row.staff.status != "active":
        return None
    if row.expires_at <= now or row.seen_at + IDLE_MS <= now:
        return None
    if row.seen_at + SEEN_EVERY_MS <= now:
        with transaction():
            StaffSession.update(seen_at=now).where(StaffSession.digest == row.digest).execute()
    return row


def living_sessions(person: UUID) -> list[StaffSession]:
    """Those that can still be used, the newest first."""
    now = now_ms()
    living = StaffSession.revoked_at.is_null() & (StaffSession.expires_at > now) & (StaffSession.seen_at > now - IDLE_MS)
    return list(StaffSession.select().where((StaffSession.staff == person) & living).order_by(StaffSession.created_at.desc()))


def end_session(digest: str) -> None:
    """End one session. A second time changes nothing."""
    with transaction():
        StaffSession.update(revoked_at=now_ms()).where(
            (StaffSession.digest == digest) & StaffSession.revoked_at.is_null()
        ).execute()


def end_sessions(person: UUID, *, but: str = "", actor: str, address: str = "") -> int:
    """End every session of a person on the next request, except the one with the digest `but`; give their number.

    Raises `NotFound` for an unknown person.
    """
    with transaction():
        if StaffUser.get_or_none(StaffUser.id == person) is None:
            raise NotFound(f"No staff member {person}.")
        ended = revoke_sessions(person, but)
        record(Origin(actor, address), "staff.sign_out", person, after={"sessions_ended": ended})
        return ended


def revoke_sessions(person: UUID, but: str = "") -> int:
    """The part of ending sessions that goes into another operation's transaction."""
    mine = (StaffSession.staff == person) & StaffSession.revoked_at.is_null() & (StaffSession.digest != but)
    ended: int = StaffSession.update(revoked_at=now_ms()).where(mine).execute()
    return ended


def digest_of(secret: str) -> str:
    """What the database knows a session's secret by."""
    return hashlib.sha256(secret.encode()).hexdigest()
