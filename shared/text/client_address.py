"""Client IP addresses: normalization, the client behind a proxy, and networks that count as one customer. Pure.

Addresses have many spellings (RFC 7239, section 6, and those of load balancers): with a port, in brackets, quoted, with a zone,
or as IPv4 inside IPv6 from a dual-stack socket. They are normalized before they are compared.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

MAX_ADDRESS_LENGTH = 64  # enough for an IPv6 address with zone, brackets and port
_MAPPED_BITS = 96  # ::ffff:0:0/96 contains the IPv4 addresses (RFC 4291, section 2.5.5.2)
_PORT = r"(?::(?:\d{1,5}|_[\w.-]+))?"
_SPELLINGS = re.compile(rf"\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\]{_PORT}|([0-9.]+){_PORT}|([0-9A-Fa-f:.]+)(?:%.*)?", re.ASCII)


def normalize_address(text: str) -> str:
    """Return the canonical form of the address in `text`, without port, brackets, quotes and zone; "" if it is invalid."""
    return _canonical_address(text) if len(text) <= MAX_ADDRESS_LENGTH else ""


def normalize_network(text: str) -> Network:
    """Return the network (or single address) in `text`; IPv4 inside IPv6 becomes IPv4. Raises `ValueError`."""
    text = text.strip()
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which is valid on one machine only")
    return _canonical_network(text)


def caller_address(peer: str, forwarded_for: str, trusted: tuple[str, ...]) -> str:
    """Return the address that a request came from: `peer`, or the client in `X-Forwarded-For` behind a trusted proxy.

    The header is used only if `peer` is in the `trusted` addresses and networks. It is read from the right: the first address
    that is not a trusted proxy is the caller's; the caller could have forged everything to its left. Reading stops at an invalid
    address. Returns "" if `peer` is "".
    """
    address = normalize_address(peer)
    if not trusted or not forwarded_for:
        return address
    hops = [hop for hop in forwarded_for.split(",") if hop.strip()]
    while hops and is_trusted(address, trusted):
        hop = normalize_address(hops.pop())
        if not hop:
            break
        address = hop
    return address


def network_of(address: str) -> str:
    """Return the network that counts as one customer: an IPv4 address, or an IPv6 /64."""
    canonical = normalize_address(address)
    if ":" not in canonical:
        return canonical or address[:MAX_ADDRESS_LENGTH]
    return str(IPv6Network((canonical, 64), strict=False))


def is_loopback(address: str) -> bool:
    """Return whether `address`, in any spelling, is a loopback address."""
    canonical = normalize_address(address)
    return canonical != "" and ip_address(canonical).is_loopback


def is_trusted(address: str, trusted: tuple[str, ...]) -> bool:
    """Return whether `address` is in one of the `trusted` addresses and networks."""
    canonical = normalize_address(address)
    if not canonical:
        return False
    found = ip_address(canonical)
    return any(found in network for network in _networks(trusted))


@lru_cache(maxsize=4096)
def _canonical_address(text: str) -> str:
    match = _SPELLINGS.fullmatch(text.strip(' \t"'))
    if match is None:
        return ""
    try:
        found = ip_address(next(filter(None, match.groups())))
    except ValueError:
        return ""
    inner = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(inner or found)


@lru_cache(maxsize=4096)
def _canonical_network(text: str) -> Network:
    network = ip_network(text, strict=False)
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if inner is None or network.prefixlen < _MAPPED_BITS:
        return network
    return IPv4Network((inner, network.prefixlen - _MAPPED_BITS), strict=False)


@lru_cache(maxsize=4)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(map(normalize_network, trusted))
