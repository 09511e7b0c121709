"""Visitors: people without an account, told apart from day to day by a hash that cannot be turned back. Pure.

The hash is keyed with the installation's secret and the UTC day, so that nobody can try addresses against it, and tomorrow's
cannot be related to today's. Neither address nor user agent is stored anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from shared.proxies import network_of
from shared.secrets import derive_key

DAY_MS = 24 * 3600 * 1000


def visitor_digest(secret_key: str, address: str, user_agent: str, now: int) -> str:
    """64 hex characters for who calls from `address` (of an IPv6 one its /64) with `user_agent` on the UTC day of `now`."""
    message = f"{network_of(address)}\n{user_agent}"
    return hmac.new(_salt(secret_key, now // DAY_MS), message.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()


@lru_cache(maxsize=2)
def _salt(secret_key: str, day: int) -> bytes:
    return derive_key(secret_key, f"visitor/{day}")
