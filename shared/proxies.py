"""Who is behind a proxy. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network


def caller_address(peer: str, forwarded_for: str, trusted: tuple[str, ...]) -> str:
    """The address that a request came from: `peer`, or what a trusted proxy says of it in `X-Forwarded-For`.

    The header is believed only from `trusted` addresses and networks, and read from its right end: the first address that is no
    trusted proxy is the caller's. Whatever stands left of that the caller could have written.
    """
    address = peer
    hops = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()] if trusted else []
    while hops and _is_trusted(address, trusted):
        address = hops.pop()
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
