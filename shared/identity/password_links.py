"""Password links: signed tokens for setting an account's password, valid once and for a short time.

Nothing is stored. The signature covers the current password hash, so a link becomes invalid when the password is set, by the link
or otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple
from uuid import UUID

from shared.core.errors import InvalidInput
from shared.core.secrets import derive_key

LASTS_MS = 24 * 3600 * 1000
_SIGNATURE_BYTES = 24
_LENGTH = 16 + 8 + _SIGNATURE_BYTES


class PasswordLink(NamedTuple):
    """A parsed token. `proves` checks whether it is genuine, which needs the account's hash."""

    account: UUID
    expires_at: int
    signature: bytes


def make_token(secret_key: str, account: UUID, password_hash: str | None, expires_at: int) -> str:
    """Return the token: 64 characters that are safe in a URL path. `expires_at` is in milliseconds UTC."""
    signature = _sign(secret_key, account, password_hash, expires_at)
    return base64.urlsafe_b64encode(account.bytes + expires_at.to_bytes(8, "big") + signature).decode()


def read_token(token: str) -> PasswordLink:
    """Parse a token. Raises `InvalidInput` if it is malformed."""
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if len(data) != _LENGTH:
        raise InvalidInput("The link is incomplete. Copy the entire link.")
    return PasswordLink(UUID(bytes=data[:16]), int.from_bytes(data[16:24], "big"), data[24:])


def proves(link: PasswordLink, secret_key: str, password_hash: str | None, now: int) -> bool:
    """Return whether a token is genuine for the account with this hash, and not expired."""
    expected = _sign(secret_key, link.account, password_hash, link.expires_at)
    return hmac.compare_digest(expected, link.signature) and now < link.expires_at


def _sign(secret_key: str, account: UUID, password_hash: str | None, expires_at: int) -> bytes:
    message = account.bytes + expires_at.to_bytes(8, "big") + (password_hash or "").encode()
    key = derive_key(secret_key, "password-link")
    return hmac.new(key, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
