"""The caller's address: the peer's, or what a trusted proxy says of it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any


def peer_address(scope: dict[str, Any], forwarded_for: bytes | None, trusted: tuple[str, ...]) -> str:
    """The address that a call came from, as text; "" when there is none (a Unix socket).

    `X-Forwarded-For` is believed only from `trusted` proxies, and read from its right end: the first address that is no trusted
    proxy is the caller's. Whatever stands left of that the caller could have written.
    """
    client = scope.get("client")
    address = client[0] if client else ""
    if not trusted or forwarded_for is None or not _is_trusted(address, trusted):
        return address
    for hop in reversed(forwarded_for.decode("latin-1").split(",")):
        address = hop.strip()
        if not _is_trusted(address, trusted):
            break
    return address


def _is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in _networks(trusted))


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(entry, strict=False) for entry in trusted)
