"""Pseudonyms: what providers see instead of a caller's own identifiers. Pure."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

PURPOSE = "pseudonym"  # for `shared.core.secrets.derive_key`
_DAY_MS = 86_400_000


def pseudonym(key: bytes, account: UUID, channel: UUID, period: int, identifier: str) -> str:
    """Return a pseudonym. It is stable within one period, and cannot be linked across accounts, channels or periods."""
    message = account.bytes + channel.bytes + period.to_bytes(8) + identifier.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]


def period_of(channel: UUID, days: int, now_ms: int) -> int:
    """Return the number of a channel's current period of `days` days. With 0 days, one period lasts forever.

    Periods of channels begin at different times, so that providers cannot match users by simultaneous changes.
    """
    length_ms = days * _DAY_MS
    return (now_ms + channel.int % length_ms) // length_ms if length_ms else 0
