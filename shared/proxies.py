"""Who is behind a proxy, and which addresses are one customer's. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


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


def network_of(address: str) -> str:
    """What to count together: an IPv4 address, or the /64 that an IPv6 customer is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    if not isinstance(found, IPv6Address):
        return str(found)
    inner = found.ipv4_mapped  # an IPv4 peer of a socket that takes both kinds
    return str(inner) if inner is not None else str(IPv6Network((found, 64), strict=False))


def _is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in _networks(trusted))


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(entry, strict=False) for entry in trusted)
