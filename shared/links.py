"""Links that expire: a path, when it ends, and a signature over both. Whoever has the link may use it until then. Pure.

The key is derived from SECRET_KEY for this purpose alone, so that no other signature of the installation passes as a link.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from functools import lru_cache

from shared.secrets import derive_key

PURPOSE = "expiring-link"


def sign(path: str, expires_at: int, secret_key: str) -> str:
    """`path` (no query) with `?expires=…&signature=…`, good until `expires_at` (milliseconds UTC)."""
    return f"{path}?expires={expires_at}&signature={_signature(path, expires_at, secret_key)}"


def check(path: str, expires: str, signature: str, secret_key: str, now: int) -> bool:
    """Whether the two query values are those that `sign` put on `path`, and `now` (milliseconds UTC) is not past them."""
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 15):
        return False
    expires_at = int(expires)
    genuine = hmac.compare_digest(_signature(path, expires_at, secret_key).encode(), signature.encode())
    return genuine and str(expires_at) == expires and now < expires_at


def _signature(path: str, expires_at: int, secret_key: str) -> str:
    # The number comes first and ends at the line break, so that no two pairs give the same text.
    digest = hmac.digest(_key(secret_key), f"{expires_at}\n{path}".encode(), "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


@lru_cache(maxsize=4)
def _key(secret_key: str) -> bytes:
    return derive_key(secret_key, PURPOSE)
