"""Change what a key may do after it was created: its name, limits, models, addresses and expiry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput
from shared.ledger.allowances import count_key
from shared.ledger.rows import lock_accounts
from shared.models import ApiKey
from shared.operations.audit import Origin, record
from shared.operations.keys import LIMITS, check_field, find_key, revoke_families
from shared.proxies import canonical_network

CHANGEABLE = ("name", "expires_at", *LIMITS, "can_manage")


def update_key(key_id: str | UUID, changes: Mapping[str, Any], *, actor: str, address: str = "") -> ApiKey:
    """Change the fields in `changes` (of `CHANGEABLE`, values as for `create_key`); in force from the next call on.

    A new monthly limit counts what the month's calls have cost, and what running calls hold. Keys that this one created are
    narrowed to its models, addresses and expiry; one that is left without a model or an address is revoked. Raises `NotFound`,
    and `InvalidInput` for a revoked key and for values that cannot be used.
    """
    with transaction():
        found = find_key(key_id)
        lock_accounts([found.account.id])()
        key = find_key(found.id)
        values = {field: _check(key, field, value) for field, value in changes.items()}
        changed = {field: value for field, value in values.items() if getattr(key, field) != value}
        if changed:
            _store(key, changed, Origin(actor, address))
            _require_within_parent(key)
            _narrow_children(key, changed, Origin(actor, address))
        return find_key(key.id)


def _check(key: ApiKey, field: str, value: Any) -> Any:
    if key.revoked_at is not None:
        raise InvalidInput("This key is revoked, for good; create a new one.")
    if field == "can_manage":
        if value and key.parent is not None:
            raise InvalidInput("A key that was created by a key cannot manage the account.")
        return bool(value)
    return value if value == getattr(key, field) else check_field(field, value)


def _store(key: ApiKey, changed: Mapping[str, Any], origin: Origin) -> None:
    record(origin, "key.update", key.id, before={field: getattr(key, field) for field in changed}, after=dict(changed))
    for field, value in changed.items():
        setattr(key, field, value)
    key.save(only=list(changed))
    limit = changed.get("monthly_credit_limit")
    if limit is not None:
        count_key(key.account.id, key.meter or key.id, limit, now_ms())


def _narrow_children(key: ApiKey, changed: Mapping[str, Any], origin: Origin) -> None:
    """Rates and credits of a family are counted together; the other limits of the parent are copied to its children."""
    if not set(_COPIED) & set(changed):
        return
    for child in ApiKey.select().where((ApiKey.parent == key.id) & ApiKey.revoked_at.is_null()):
        narrowed = _narrowed(child, key)
        if [] in narrowed.values():
            revoke_families([child.id], now_ms(), origin)
        elif narrowed:
            _store(child, narrowed, origin)


def _require_within_parent(key: ApiKey) -> None:
    if key.parent is None:
        return
    beyond = next(iter(_narrowed(key, find_key(key.parent))), None)
    if beyond is not None:
        raise InvalidInput(f"The {beyond.replace('_', ' ')} must lie within those of the key that created this one.")


_COPIED = ("allowed_models", "allowed_ips", "expires_at")


def _narrowed(child: ApiKey, parent: ApiKey) -> dict[str, Any]:
    """What must change of `child` to lie within `parent`."""
    moments = [moment for moment in (child.expires_at, parent.expires_at) if moment is not None]
    values = {
        "allowed_models": _fewer_models(child.allowed_models, parent.allowed_models),
        "allowed_ips": _fewer_networks(child.allowed_ips, parent.allowed_ips),
        "expires_at": min(moments, default=None),
    }
    return {field: value for field, value in values.items() if getattr(child, field) != value}


def _fewer_models(own: list[str] | None, most: list[str] | None) -> list[str] | None:
    if own is None or most is None:
        return most if own is None else own
    return [model for model in own if model in most]


def _fewer_networks(own: list[str] | None, most: list[str] | None) -> list[str] | None:
    """The addresses that lie in both lists of networks."""
    if own is None or most is None:
        return most if own is None else own
    widest = [canonical_network(network) for network in most]
    common: list[str] = []
    for name in own:
        network = canonical_network(name)
        shared = [other for other in widest if network.version == other.version and network.overlaps(other)]
        if any(other.prefixlen <= network.prefixlen for other in shared):
            common.append(name)  # whole, as it is: smaller networks beside the one that holds it change nothing
        else:
            common += [str(other) for other in shared]
    return common
