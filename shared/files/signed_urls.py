"""Signed URLs: a path with an expiry time and a signature over both. Anyone with the link can use it until then. Pure.

The signing key is derived from SECRET_KEY for this purpose only, so no other signature of the installation is valid here.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from functools import lru_cache

from shared.core.secrets import derive_key

PURPOSE = "expiring-link"


def sign_url(path: str, expires_at: int, secret_key: str) -> str:
    """Return `path` (no query) with `?expires=…&signature=…`, valid until `expires_at` (milliseconds UTC)."""
    return f"{path}?expires={expires_at}&signature={_signature(path, expires_at, secret_key)}"


def verify_url(path: str, expires: str, signature: str, secret_key: str, now: int) -> bool:
    """Return whether the query values are a signature of `path` that is still valid at `now` (milliseconds UTC)."""
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 15):
        return False
    expires_at = int(expires)
    valid = hmac.compare_digest(_signature(path, expires_at, secret_key).encode(), signature.encode())
    return valid and str(expires_at) == expires and now < expires_at


def _signature(path: str, expires_at: int, secret_key: str) -> str:
    # The line break ends the number, so that different pairs never give the same text.
    digest = hmac.digest(_key(secret_key), f"{expires_at}\n{path}".encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


@lru_cache(maxsize=4)
def _key(secret_key: str) -> bytes:
    return derive_key(secret_key, PURPOSE)
