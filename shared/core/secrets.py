"""Encryption of stored secrets with keys derived from SECRET_KEY. A copy of the database alone reveals no secret.

HKDF-SHA256 (RFC 5869) derives a separate key for each purpose, so a leaked key does not affect other purposes.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.core.errors import SettingsError
from shared.core.secret_key import decryption_keys

# Labels, not secrets. Changing a label makes everything that was encrypted under it unreadable.
CHANNEL_SECRET = "channel-secret"
MEDIA_REQUEST = "media-request"
MEDIA_INPUT = "media-input"
WEBHOOK_SECRET = "webhook-secret"
SECOND_FACTOR = "second-factor"


def derive_key(secret_key: str, purpose: str, length: int = 32) -> bytes:
    """Derive a key of `length` bytes (at most 8,160) from `secret_key` for one purpose."""
    info = b"yout/" + purpose.encode()
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(secret_key.encode())


def seal(secret: str, secret_key: str, purpose: str = CHANNEL_SECRET) -> str:
    """Encrypt and authenticate a secret for one purpose. An empty secret (for an upstream without authentication) stays empty."""
    return _cipher(secret_key, purpose).encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str, secret_key: str, purpose: str = CHANNEL_SECRET) -> str:
    """Decrypt a secret, with `secret_key` or one of the keys that it replaces (`SecretKey`).

    Raises `SettingsError` if it was encrypted with another key, or is damaged.
    """
    return unseal_bytes(sealed.encode(), secret_key, purpose).decode() if sealed else ""


def seal_bytes(data: bytes, secret_key: str, purpose: str) -> bytes:
    """Encrypt and authenticate a file for one purpose."""
    return _cipher(secret_key, purpose).encrypt(data)


def unseal_bytes(sealed: bytes, secret_key: str, purpose: str) -> bytes:
    """Decrypt what `seal_bytes` returned. Raises like `unseal`."""
    for key in decryption_keys(secret_key):
        with suppress(InvalidToken):
            return _cipher(key, purpose).decrypt(sealed)
    what = purpose.replace("-", " ")
    raise SettingsError(
        f"A {what} was encrypted with another SECRET_KEY. Set SECRET_KEY_FALLBACK to that key, or enter the {what} again."
    )


def can_decrypt(sealed: str, secret_key: str, purpose: str = CHANNEL_SECRET) -> bool:
    """Return whether `unseal` decrypts `sealed`."""
    try:
        unseal(sealed, secret_key, purpose)
    except SettingsError:
        return False
    return True


@lru_cache(maxsize=16)
def _cipher(secret_key: str, purpose: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive_key(secret_key, purpose)))
