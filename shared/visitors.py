"""Visitors: callers without an account, identified for one day by a keyed hash. Pure.

The hash is keyed with the installation's secret and the UTC day, so that it cannot be reversed by trying addresses, and hashes
of different days cannot be linked. Neither address nor user agent is stored.

A client can send any user agent, so the user agent only selects one of a fixed number of slots of its network: one network
never counts as more visitors than that.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from shared.proxies import network_of
from shared.secrets import derive_key

DAY_MS = 24 * 3600 * 1000


def visitor_digest(secret_key: str, address: str, user_agent: str, now: int, per_network: int) -> str:
    """The visitor's id: 64 hex characters from the network of `address`, `user_agent` and the UTC day of `now` (milliseconds).

    A network has at most `per_network` visitors: further user agents share an existing allowance.
    """
    salt = _salt(secret_key, now // DAY_MS)
    place = int.from_bytes(_keyed(salt, f"agent\n{user_agent}")[:8], "big") % per_network
    return _keyed(salt, f"visitor\n{network_of(address)}\n{place}").hex()


def network_digest(secret_key: str, address: str, now: int) -> str:
    """64 hex characters for the network of `address` on the UTC day of `now`: an IPv4 address, or the /64 of an IPv6 one."""
    return _keyed(_salt(secret_key, now // DAY_MS), f"network\n{network_of(address)}").hex()


def _keyed(salt: bytes, message: str) -> bytes:
    return hmac.new(salt, message.encode(errors="surrogateescape"), hashlib.sha256).digest()


@lru_cache(maxsize=2)
def _salt(secret_key: str, day: int) -> bytes:
    return derive_key(secret_key, f"visitor/{day}")
