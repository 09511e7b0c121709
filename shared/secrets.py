"""Secrets at rest: sealed with a key that is derived from SECRET_KEY, so that a copy of the database alone opens none.

One secret key of the installation gives a separate key for each purpose by HKDF-SHA256 (RFC 5869): what leaks from one
purpose says nothing about another.
"""

from __future__ import annotations

import base64
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.errors import SettingsError

# Labels, not secrets: changing one makes everything that was sealed under it unreadable.
CHANNEL_SECRET = "channel-secret"
MEDIA_REQUEST = "media-request"
WEBHOOK_SECRET = "webhook-secret"
SECOND_FACTOR = "second-factor"


def derive_key(secret_key: str, purpose: str, length: int = 32) -> bytes:
    """`length` bytes (at most 8,160) that only `secret_key` and `purpose` determine."""
    info = b"yout/" + purpose.encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret_key.encode())


def seal(secret: str, secret_key: str, purpose: str = CHANNEL_SECRET) -> str:
    """Encrypt and authenticate a secret for one purpose. The empty one (an upstream that asks for none) stays empty."""
    return _cipher(secret_key, purpose).encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str, secret_key: str, purpose: str = CHANNEL_SECRET) -> str:
    """The secret that `seal` was given.

    Raises `SettingsError` when `secret_key` is not the one it was sealed with, or the text was damaged.
    """
    if not sealed:
        return ""
    try:
        return _cipher(secret_key, purpose).decrypt(sealed.encode()).decode()
    except InvalidToken:
        what = purpose.replace("-", " ")
        raise SettingsError(
            f"A {what} was encrypted with another SECRET_KEY. Set SECRET_KEY to the former value, or enter the {what} again."
        ) from None


@lru_cache(maxsize=16)
def _cipher(secret_key: str, purpose: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(secret_key, purpose)))
