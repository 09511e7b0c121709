"""Pseudonyms: what a vendor sees instead of a caller's own user id. Pure."""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID

PURPOSE = "pseudonym"  # of the key, for `shared.secrets.derive_key`


def pseudonym(key: bytes, account: UUID, channel: UUID, user: str) -> str:
    """The same for the same user of an account at one channel; unrelatable between accounts and between channels."""
    message = account.bytes + channel.bytes + user.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
