"""Restricts a key created by another key to that key's models, IP addresses and expiry. Pure.

Credits and rates need no check here, because both keys are counted together.
"""

from __future__ import annotations

from typing import Any

from shared.models import ApiKey
from shared.text.client_address import normalize_network

RESTRICTED_FIELDS = ("allowed_models", "allowed_ips", "expires_at")


def required_restrictions(child: ApiKey, parent: ApiKey) -> dict[str, Any]:
    """Return the fields of `child`, with new values, that must change so that it has no more access than `parent`."""
    moments = [moment for moment in (child.expires_at, parent.expires_at) if moment is not None]
    values = {
        "allowed_models": _fewer_models(child.allowed_models, parent.allowed_models),
        "allowed_ips": _fewer_networks(child.allowed_ips, parent.allowed_ips),
        "expires_at": min(moments, default=None),
    }
    return {field: value for field, value in values.items() if getattr(child, field) != value}


def _fewer_models(own: list[str] | None, allowed: list[str] | None) -> list[str] | None:
    if own is None or allowed is None:
        return allowed if own is None else own
    return [model for model in own if model in allowed]


def _fewer_networks(own: list[str] | None, allowed: list[str] | None) -> list[str] | None:
    """Return the networks that are in both lists."""
    if own is None or allowed is None:
        return allowed if own is None else own
    widest = [normalize_network(network) for network in allowed]
    common: list[str] = []
    for name in own:
        network = normalize_network(name)
        shared = [other for other in widest if network.version == other.version and network.overlaps(other)]
        if any(other.prefixlen <= network.prefixlen for other in shared):
            common.append(name)  # contained in one of the other networks: unchanged
        else:
            common += [str(other) for other in shared]
    return common
