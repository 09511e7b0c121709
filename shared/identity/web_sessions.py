"""Web sessions: secrets, digests and lifetimes. Pure.

The browser's cookie has a secret of 256 random bits; the database only has its SHA-256, so a copy of it opens no session.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

IDLE_TIMEOUT_MS = 7 * 24 * 3600 * 1000  # maximum time without use
MAX_LIFETIME_MS = 30 * 24 * 3600 * 1000  # maximum lifetime
TOUCH_INTERVAL_MS = 5 * 60 * 1000  # interval of updates to `seen_at`
MAX_SECRET_LENGTH = 64
MEMBER_MARK = "m."  # not in the alphabet of other secrets

# The first match counts: Edge and Opera also contain "Chrome", and Chrome contains "Safari".
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    *(("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "macOS")),
    *(("CrOS", "ChromeOS"), ("Linux", "Linux")),
)


class NewSession(NamedTuple):
    """A new session: `secret` goes into the cookie, `digest` (64 hex characters) into the database."""

    secret: str
    digest: str


def new_session(*, of_owner: bool = True) -> NewSession:
    """Create a session secret from the system's random source.

    The secret of a member other than the first owner is marked, which changes its digest: the previous release has no roles,
    and must not find these sessions.
    """
    secret = secrets.token_urlsafe(32) if of_owner else MEMBER_MARK + secrets.token_urlsafe(32)
    return NewSession(secret, digest(secret))


def digest(secret: str) -> str:
    """Return the digest by which a session is stored."""
    salt = "member session:" if secret.startswith(MEMBER_MARK) else ""
    return hashlib.sha256((salt + secret).encode()).hexdigest()


def expiry(created_at: int, seen_at: int) -> int:
    """Return when a session that was last used at `seen_at` ends. All times in milliseconds UTC."""
    return min(created_at + MAX_LIFETIME_MS, seen_at + IDLE_TIMEOUT_MS)


def agent_label(user_agent: str) -> str:
    """Return a short name of a browser for its owner: `Firefox on Linux`.

    Versions are left out, so that the stored text does not identify a person.
    """
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser or 'A browser'} on {system}" if system else browser or "An unknown browser"
