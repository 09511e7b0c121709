"""Changes an existing key: name, limits, models, addresses and expiry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.ledger.allowances import init_key_counter
from shared.ledger.sql import lock_accounts
from shared.models import ApiKey
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.key_bounds import RESTRICTED_FIELDS, required_restrictions
from shared.operations.keys import LIMIT_FIELDS, check_field, find_key, revoke_with_children
from shared.text.translation import lazy_gettext

CHANGEABLE = ("name", "expires_at", *LIMIT_FIELDS, "can_manage")


def update_key(key_id: str | UUID, changes: Mapping[str, Any], *, origin: Origin) -> ApiKey:
    """Change the fields in `changes` (of `CHANGEABLE`, values as for `create_key`), effective with the next call.

    A new limit of credits includes this month's or day's charges and the holds of running calls. Keys created by this one are
    restricted to its models, addresses and expiry; those left without a model or address are revoked. Changed limits also apply
    to the keys that this one replaced. Raises `NotFound`, and `InvalidInput` for a revoked key or invalid values.
    """
    with transaction():
        found = find_key(key_id)
        lock_accounts([found.account.id])()
        key = find_key(found.id)
        values = {field: _check(key, field, value) for field, value in changes.items()}
        changed = {field: value for field, value in values.items() if getattr(key, field) != value}
        if changed:
            _store(key, changed, origin)
            _require_within_parent(key)
            _narrow_children(key, changed, origin)
            _limit_replaced(key, changed, origin)
        return find_key(key.id)


def _check(key: ApiKey, field: str, value: Any) -> Any:
    if key.revoked_at is not None:
        raise InvalidInput(lazy_gettext("This key is revoked and cannot be changed. Create a new one."))
    if field == "can_manage":
        if value and key.parent is not None:
            raise InvalidInput(lazy_gettext("A key that was created by another key cannot manage the account."))
        return bool(value)
    return value if value == getattr(key, field) else check_field(field, value)


def _store(key: ApiKey, changed: Mapping[str, Any], origin: Origin) -> None:
    record_audit_entry(
        origin, "key.update", key.id, before={field: getattr(key, field) for field in changed}, after=dict(changed)
    )
    for field, value in changed.items():
        setattr(key, field, value)
    key.save(only=list(changed))
    for limit, daily in ((changed.get("monthly_credit_limit"), False), (changed.get("daily_credit_limit"), True)):
        if limit is not None:
            init_key_counter(key.account.id, key.meter or key.id, limit, now_ms(), daily=daily)


def _narrow_children(key: ApiKey, changed: Mapping[str, Any], origin: Origin) -> None:
    """Copy the key's models, addresses and expiry to its children. Rates and credits are counted together anyway."""
    if not set(RESTRICTED_FIELDS) & set(changed):
        return
    for child in ApiKey.select().where((ApiKey.parent == key.id) & ApiKey.revoked_at.is_null()):
        fewer = required_restrictions(child, key)
        if [] in fewer.values():
            revoke_with_children([child.id], now_ms(), origin)
        elif fewer:
            _store(child, fewer, origin)


def _limit_replaced(key: ApiKey, changed: Mapping[str, Any], origin: Origin) -> None:
    """Apply changed limits to the keys that this one replaced: they work until their grace period ends."""
    limits = {field: value for field, value in changed.items() if field in LIMIT_FIELDS}
    meter = key.meter or key.id
    replaced = ((ApiKey.meter == meter) | (ApiKey.id == meter)) & (ApiKey.id != key.id) & ApiKey.revoked_at.is_null()
    for other in ApiKey.select().where(replaced) if limits else ():
        differing = {field: value for field, value in limits.items() if getattr(other, field) != value}
        if differing:
            _store(other, differing, origin)


def _require_within_parent(key: ApiKey) -> None:
    if key.parent is None:
        return
    beyond = next(iter(required_restrictions(key, find_key(key.parent))), None)
    if beyond is not None:
        raise InvalidInput(
            lazy_gettext("The {what} must be within those of the key that created this one.", what=beyond.replace("_", " "))
        )
