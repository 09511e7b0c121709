"""API keys: create a key, revoke a key and the keys that it created, and validate a key's fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.api_key_format import new_key
from shared.ledger.sql import lock_accounts
from shared.models import AIModel, ApiKey
from shared.operations.accounts import find_account, require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.key_bounds import required_restrictions
from shared.operations.people import sync_owner
from shared.operations.validation import check_integer, check_text
from shared.text.client_address import normalize_network
from shared.text.translation import lazy_gettext

MAX_LIMIT = 10**12
YEAR_10000 = 253_402_300_800_000  # ms UTC
MAX_NAME_LENGTH = 100
# The fields of a key that are limits.
LIMIT_FIELDS = (
    *("rpm", "tpm", "concurrency", "monthly_credit_limit", "daily_credit_limit"),
    *("allowed_models", "allowed_ips"),
)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. Only here is the `secret` available: the database stores its digest."""

    row: ApiKey
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """Expiry, limits and rights of a new key. None means no expiry, the plan's limits, all models, all addresses.

    `expires_at` is in ms UTC and must be in the future. `allowed_ips` are addresses or networks (`10.0.0.0/8`, `2001:db8::/32`).
    `monthly_credit_limit` and `daily_credit_limit` are the maximum cost of its calls in a calendar month and day (UTC).
    `can_manage` allows it to manage keys and purge the account; by default only keys without limits can.
    """

    expires_at: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    allowed_models: Sequence[str] | None = None
    allowed_ips: Sequence[str] | None = None
    monthly_credit_limit: int | None = None
    can_manage: bool | None = None
    daily_credit_limit: int | None = None


NO_OPTIONS = KeyOptions()


def create_key(
    email_or_id: str | UUID,
    name: str,
    options: KeyOptions = NO_OPTIONS,
    *,
    parent: UUID | None = None,
    member: UUID | None = None,
    origin: Origin,
) -> CreatedKey:
    """Create a key for an account. `parent` is the key that creates this one, whose limits apply to both together.

    It belongs to `member`, or to the account's owner.

    Raises `InvalidInput`, and `NotFound` for an unknown account or a revoked parent.
    """
    values: dict[str, Any] = {"name": name, **asdict(options)}
    allowed_models, can_manage = values.pop("allowed_models"), values.pop("can_manage")
    values = {field: check_field(field, value) for field, value in values.items()}
    fresh = new_key()
    with transaction():
        account = find_account(email_or_id)
        require_customer_account(account)
        if account.status == "closed":
            raise InvalidInput(lazy_gettext("The account {email} is closed; its keys would be refused.", email=account.email))
        values["allowed_models"] = check_models(allowed_models)
        if can_manage is None:
            can_manage = parent is None and all(values[limit] is None for limit in LIMIT_FIELDS)
        if parent is not None:
            lock_accounts([account.id])()  # the parent could be changed or revoked concurrently
        owner = member or sync_owner(account.id).id
        row = ApiKey.create(
            account=account,
            digest=fresh.digest,
            prefix=fresh.prefix,
            can_manage=can_manage,
            parent=parent,
            member=None if owner == account.id else owner,
            **values,
        )
        if parent is not None:
            _require_good_parent(row, find_key(parent))
        after = {"account": str(account.id), **values, "can_manage": can_manage, "parent": str(parent) if parent else None}
        record_audit_entry(origin, "key.create", row.id, after=after)
        return CreatedKey(row, fresh.secret)


def _require_good_parent(row: ApiKey, parent: ApiKey) -> None:
    if parent.revoked_at is not None:
        raise NotFound(lazy_gettext("The key {parent} is revoked; it cannot create keys.", parent=parent.id))
    beyond = next(iter(required_restrictions(row, parent)), None)
    if beyond is not None:
        raise InvalidInput(
            lazy_gettext("The {what} must be within those of the key that creates this one.", what=beyond.replace("_", " "))
        )


def of_member(account: UUID, member: UUID) -> Any:
    """Return the query condition for the keys of a member. The first owner's have no member."""
    own = ApiKey.member == member
    return (own | ApiKey.member.is_null()) & (ApiKey.account == account) if member == account else own


def revoke_key(key_id: str | UUID, *, origin: Origin) -> ApiKey:
    """Revoke a key and the keys that it created. Revoking it again changes nothing. Raises `NotFound`."""
    with transaction():
        found = find_key(key_id)
        revoke_with_children([found.id], now_ms(), origin)
        return find_key(found.id)


def revoke_with_children(keys: Sequence[UUID], now: int, origin: Origin) -> int:
    """Revoke these keys and the keys that they created, each with an audit entry. Returns how many were active.

    Run inside a transaction.
    """
    ids = list(keys)
    accounts: Any = ApiKey.select(ApiKey.account).where(ApiKey.id.in_(ids)).tuples()
    lock_accounts({account for (account,) in accounts})()  # one of these keys could create a key concurrently
    family = ApiKey.id.in_(ids) | ApiKey.parent.in_(ids)
    query = ApiKey.update(revoked_at=now).where(family & ApiKey.revoked_at.is_null()).returning(ApiKey.id)
    revoked = [row.id for row in query.execute()]
    for id in revoked:
        record_audit_entry(origin, "key.revoke", id, after={"revoked_at": now})
    return len(revoked)


def find_key(key_id: str | UUID) -> ApiKey:
    """Return the key with this id, revoked or not. Raises `NotFound`."""
    try:
        key_id = key_id if isinstance(key_id, UUID) else UUID(key_id)
    except ValueError:
        raise NotFound(
            lazy_gettext("{key_id!r} is not a key id. Use the `id` printed by `yout key create`.", key_id=key_id)
        ) from None
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.id == key_id)
    if row is None:
        raise NotFound(lazy_gettext("No key {key_id}.", key_id=key_id))
    return row


def check_field(field: str, value: Any) -> Any:
    """Return the validated value for a key's `field`. Raises `InvalidInput`."""
    if field == "name":
        return check_text("name of the key", value, MAX_NAME_LENGTH)
    if value is None:
        return None
    if field == "expires_at":
        if not now_ms() < value < YEAR_10000:
            raise InvalidInput(lazy_gettext("The expiry must be in the future; omit it for a key that never expires."))
        return value
    if field == "allowed_models":
        return check_models(value)
    if field == "allowed_ips":
        return _check_networks(value)
    return check_integer(field.replace("_", " "), value, 1, MAX_LIMIT)


def check_models(models: Sequence[str] | None) -> list[str] | None:
    """Return the ids without duplicates, for a key or plan; None means all. Raises `InvalidInput` if empty or unknown."""
    if models is None:
        return None
    if not models:
        raise InvalidInput(lazy_gettext("An empty list would allow no model. Omit it to allow all models."))
    known = {row.id for row in AIModel.select(AIModel.id).where(AIModel.id.in_(list(models)))}
    unknown = next((model for model in models if model not in known), None)
    if unknown is not None:
        raise InvalidInput(lazy_gettext("No model {unknown!r} in the catalog. Create the model first.", unknown=unknown))
    return list(dict.fromkeys(models))


def _check_networks(addresses: Sequence[str] | None) -> list[str] | None:
    if addresses is None:
        return None
    if not addresses:
        raise InvalidInput(lazy_gettext("An empty list would allow no address. Omit it to allow all addresses."))
    try:
        return [str(normalize_network(address)) for address in addresses]
    except ValueError as error:
        raise InvalidInput(lazy_gettext("{error}; use an address or a network such as 10.0.0.0/8.", error=error)) from None
