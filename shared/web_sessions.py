"""Web sessions: the secret in a browser's cookie, what the server knows of it, and how long it lasts. Pure.

The secret is 256 random bits; the database has its SHA-256, so that a copy of the database opens no session.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import NamedTuple

IDLE_MS = 7 * 24 * 3600 * 1000  # a session that is not used ends
LONGEST_MS = 30 * 24 * 3600 * 1000  # and so does one that is, at last
TOUCH_MS = 5 * 60 * 1000  # use is written down so often, not with each request
LONGEST_SECRET = 64

# The first that is found counts: Edge and Opera call themselves Chrome too, and Chrome calls itself Safari.
_BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrom", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    *(("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS X", "macOS")),
    *(("CrOS", "ChromeOS"), ("Linux", "Linux")),
)


class NewSession(NamedTuple):
    """A fresh session: `secret` goes into the cookie, `digest` (64 hex characters) into the database."""

    secret: str
    digest: str


def new_session() -> NewSession:
    """Make one from the system's random source."""
    secret = secrets.token_urlsafe(32)
    return NewSession(secret, digest(secret))


def digest(secret: str) -> str:
    """What the database knows a cookie by."""
    return hashlib.sha256(secret.encode()).hexdigest()


def ends_at(created_at: int, seen_at: int) -> int:
    """When a session ends that was last used at `seen_at`; all in milliseconds UTC."""
    return min(created_at + LONGEST_MS, seen_at + IDLE_MS)


def agent_label(user_agent: str) -> str:
    """What its owner may know a browser by, and no more than that: `Firefox on Linux`."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{browser or 'A browser'} on {system}" if system else browser or "An unknown browser"
