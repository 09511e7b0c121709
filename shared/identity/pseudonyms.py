"""Pseudonyms: what providers see instead of a caller's own user id. Pure."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

PURPOSE = "pseudonym"  # for `shared.core.secrets.derive_key`


def pseudonym(key: bytes, account: UUID, channel: UUID, user: str) -> str:
    """Return a stable pseudonym of an account's user at one channel. Different accounts and channels cannot be linked."""
    message = account.bytes + channel.bytes + user.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
