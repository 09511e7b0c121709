"""Account links: signed tokens for one action on an account without signing in, such as setting its password. Pure.

Nothing is stored. A token is signed for one purpose and expires. The signature also covers the current state (the password
hash, the email address), so a link becomes invalid when that changes, by the link or otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple
from uuid import UUID

from shared.core.errors import InvalidInput
from shared.core.secrets import derive_key
from shared.text.translation import lazy_gettext

PASSWORD = "password-link"  # labels of the signing keys; changing one invalidates its links
ACCOUNT_INVITATION = "account-invitation-link"  # sets the first password, and verifies the address
VERIFY_EMAIL = "verify-email-link"
CONFIRM_EMAIL = "confirm-email-link"  # for the id of a change of the address
CANCEL_EMAIL = "cancel-email-link"
CLOSED = "closed-account-link"
INVITATION = "invitation-link"  # for the invitation's id
LASTS_MS = 24 * 3600 * 1000
_SIGNATURE_BYTES = 24
_LENGTH = 16 + 8 + _SIGNATURE_BYTES


class AccountLink(NamedTuple):
    """A parsed token. `is_genuine` and `proves` check it; they need the account's state."""

    account: UUID
    expires_at: int
    signature: bytes


def make_token(secret_key: str, purpose: str, account: UUID, state: str | None, expires_at: int) -> str:
    """Return the token: 64 characters that are safe in a URL path. `expires_at` is in milliseconds UTC."""
    signature = _sign(secret_key, purpose, account, state, expires_at)
    return base64.urlsafe_b64encode(account.bytes + expires_at.to_bytes(8, "big") + signature).decode()


def read_token(token: str) -> AccountLink:
    """Parse a token. Raises `InvalidInput` if it is malformed."""
    try:
        data = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    if len(data) != _LENGTH:
        raise InvalidInput(lazy_gettext("The link is incomplete. Copy the entire link."))
    return AccountLink(UUID(bytes=data[:16]), int.from_bytes(data[16:24], "big"), data[24:])


def is_genuine(link: AccountLink, secret_key: str, purpose: str, state: str | None) -> bool:
    """Return whether a token was made for the account in this state. It may have expired."""
    return hmac.compare_digest(_sign(secret_key, purpose, link.account, state, link.expires_at), link.signature)


def proves(link: AccountLink, secret_key: str, purpose: str, state: str | None, now: int) -> bool:
    """Return whether a token is genuine and not expired."""
    return is_genuine(link, secret_key, purpose, state) and now < link.expires_at


def _sign(secret_key: str, purpose: str, account: UUID, state: str | None, expires_at: int) -> bytes:
    message = account.bytes + expires_at.to_bytes(8, "big") + (state or "").encode()
    key = derive_key(secret_key, purpose)
    return hmac.new(key, message, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
