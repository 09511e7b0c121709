"""Where a request came from, for the audit trail and the throttle."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from flask import current_app, request


def client_address() -> str:
    """The address of the person behind the current request, "" when there is none (a Unix socket).

    `X-Forwarded-For` is believed from trusted proxies only, and from its right end: what stands left of the first address that
    is no trusted proxy, anybody could have written.
    """
    trusted = current_app.extensions["yout_settings"].trusted_proxies
    hops = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",") if hop.strip()]
    address = request.remote_addr or ""
    while hops and _is_trusted(address, trusted):
        address = hops.pop()
    return address


def network_of(address: str) -> str:
    """What to throttle together: an IPv4 address, or the /64 that an IPv6 customer is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)


def _is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in _networks(trusted))


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(entry, strict=False) for entry in trusted)
