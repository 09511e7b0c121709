"""Visitor ids: a keyed hash that identifies a caller without an account for one day. Pure.

The key is derived from SECRET_KEY and the UTC day. So ids cannot be reversed by trying addresses, and ids of several days cannot
be linked. Neither address nor user agent is stored.

Clients can send any user agent, so it only selects one of a fixed number of slots per network. This limits the number of visitors
per network.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from shared.core.secrets import derive_key
from shared.text.client_address import network_of

DAY_MS = 24 * 3600 * 1000


def visitor_digest(secret_key: str, address: str, user_agent: str, now: int, per_network: int) -> str:
    """Return a visitor's id: 64 hex characters from the network of `address`, `user_agent` and the day of `now` (ms UTC).

    A network has at most `per_network` visitors: further user agents share an existing allowance.
    """
    salt = _salt(secret_key, now // DAY_MS)
    slot = int.from_bytes(_keyed(salt, f"agent\n{user_agent}")[:8], "big") % per_network
    return _keyed(salt, f"visitor\n{network_of(address)}\n{slot}").hex()


def network_digest(secret_key: str, address: str, now: int) -> str:
    """Return 64 hex characters for the network of `address` (an IPv4 address or IPv6 /64) on the UTC day of `now`."""
    return _keyed(_salt(secret_key, now // DAY_MS), f"network\n{network_of(address)}").hex()


def _keyed(salt: bytes, message: str) -> bytes:
    return hmac.new(salt, message.encode(errors="surrogateescape"), hashlib.sha256).digest()


@lru_cache(maxsize=2)
def _salt(secret_key: str, day: int) -> bytes:
    return derive_key(secret_key, f"visitor/{day}")
