"""Visitors: people without an account, told apart from day to day by a hash that cannot be turned back. Pure.

The hash is keyed with the installation's secret and the UTC day, so that nobody can try addresses against it, and tomorrow's
cannot be related to today's. Neither address nor user agent is stored anywhere.

A client chooses its user agent freely, so the user agent only picks one of a few places that its network has: a network never
counts as more visitors than that, however often a client changes its name.
"""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from shared.proxies import network_of
from shared.secrets import derive_key

DAY_MS = 24 * 3600 * 1000


def visitor_digest(secret_key: str, address: str, user_agent: str, now: int, per_network: int) -> str:
    """64 hex characters for who calls from the network of `address` with `user_agent` on the UTC day of `now` (milliseconds).

    A network has `per_network` visitors at most: user agents beyond that share the allowance of another.
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
