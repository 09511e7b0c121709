"""Where a request came from, for the audit trail and the throttle."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network

from flask import current_app, request

from shared.proxies import caller_address


def client_address() -> str:
    """The address of the person behind the current request, "" when there is none (a Unix socket)."""
    trusted = current_app.extensions["yout_settings"].trusted_proxies
    return caller_address(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""), trusted)


def network_of(address: str) -> str:
    """What to throttle together: an IPv4 address, or the /64 that an IPv6 customer is given."""
    try:
        found = ip_address(address)
    except ValueError:
        return address[:64]
    return str(ip_network((found, 64), strict=False)) if isinstance(found, IPv6Address) else str(found)
