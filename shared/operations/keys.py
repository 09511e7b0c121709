"""API keys: make one and show its secret once, revoke one for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.keys import new_key
from shared.ledger.allowances import count_key
from shared.ledger.rows import lock_accounts
from shared.models import AIModel, ApiKey
from shared.operations.accounts import find_account, refuse_pool
from shared.operations.audit import Origin, record
from shared.operations.validation import check_text, check_whole

LARGEST_LIMIT = 10**12
YEAR_10000 = 253_402_300_800_000  # ms UTC


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A key just made. `secret` is known here and nowhere else: only its digest is stored."""

    row: ApiKey
    secret: str = field(repr=False)


def create_key(
    email_or_id: str | UUID,
    name: str,
    *,
    actor: str,
    address: str = "",
    expires_at: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    allowed_models: Sequence[str] | None = None,
    allowed_ips: Sequence[str] | None = None,
    monthly_credit_limit: int | None = None,
) -> CreatedKey:
    """Make a key of an account. None means the plan's limits, all models, all addresses, no end.

    `expires_at` is in ms UTC and must lie ahead; `allowed_ips` are addresses or networks (`10.0.0.0/8`, `2001:db8::/32`);
    `monthly_credit_limit` is what its calls may cost in a calendar month (UTC).
    """
    name = check_text("name of the key", name, 100)
    limits = {"rpm": rpm, "tpm": tpm, "concurrency": concurrency, "monthly_credit_limit": monthly_credit_limit}
    for what, limit in limits.items():
        if limit is not None:
            check_whole(what.replace("_", " "), limit, 1, LARGEST_LIMIT)
    if expires_at is not None and not now_ms() < expires_at < YEAR_10000:
        raise InvalidInput("The key would be expired from the start, or never expire; give a later moment, or none.")
    networks = _check_networks(allowed_ips)
    fresh = new_key()
    with transaction():
        account = find_account(email_or_id)
        refuse_pool(account)
        if account.status == "closed":
            raise InvalidInput(f"The account {account.email} is closed; a key of it would be refused.")
        row = ApiKey.create(
            account=account,
            name=name,
            digest=fresh.digest,
            prefix=fresh.prefix,
            expires_at=expires_at,
            allowed_models=check_models(allowed_models),
            allowed_ips=networks,
            **limits,
        )
        record(Origin(actor, address), "key.create", row.id, after={"account": str(account.id), "name": name, **limits})
        return CreatedKey(row, fresh.secret)


def revoke_key(key_id: str | UUID, *, actor: str, address: str = "") -> ApiKey:
    """Revoke a key for good. A second time changes nothing: the first moment stays. Raises `NotFound`."""
    with transaction():
        found = find_key(key_id)
        revoked = ApiKey.update(revoked_at=now_ms()).where((ApiKey.id == found.id) & ApiKey.revoked_at.is_null()).execute()
        row = find_key(found.id)
        if revoked:
            record(Origin(actor, address), "key.revoke", row.id, after={"revoked_at": row.revoked_at})
        return row


def set_key_limit(key_id: str | UUID, monthly_credit_limit: int | None, *, actor: str, address: str = "") -> ApiKey:
    """Change what a key's calls may cost in a calendar month; None takes the limit away. In force at the next call.

    Calls of this month that were made without a limit count, and those that run now. Raises `NotFound`.
    """
    if monthly_credit_limit is not None:
        check_whole("monthly credit limit", monthly_credit_limit, 1, LARGEST_LIMIT)
    with transaction():
        found = find_key(key_id)
        lock_accounts([found.account.id])()
        row = find_key(found.id)
        if row.monthly_credit_limit != monthly_credit_limit:
            before, after = ({"monthly_credit_limit": limit} for limit in (row.monthly_credit_limit, monthly_credit_limit))
            record(Origin(actor, address), "key.limit", row.id, before=before, after=after)
            row.monthly_credit_limit = monthly_credit_limit
            row.save(only=[ApiKey.monthly_credit_limit])
            if monthly_credit_limit is not None:
                count_key(row.account.id, row.id, monthly_credit_limit, now_ms())
        return row


def find_key(key_id: str | UUID) -> ApiKey:
    """The key with this id, revoked or not. Raises `NotFound`."""
    try:
        key_id = key_id if isinstance(key_id, UUID) else UUID(key_id)
    except ValueError:
        raise NotFound(f"{key_id!r} is not a key's id; give the `id` that `yout key create` printed.") from None
    row: ApiKey | None = ApiKey.get_or_none(ApiKey.id == key_id)
    if row is None:
        raise NotFound(f"No key {key_id}.")
    return row


def check_models(models: Sequence[str] | None) -> list[str] | None:
    """The ids without repetitions, for a key or a plan; None means all. Raises `InvalidInput` for none or an unknown one."""
    if models is None:
        return None
    if not models:
        raise InvalidInput("An empty list of models would allow none; leave it out to allow all.")
    known = {row.id for row in AIModel.select(AIModel.id).where(AIModel.id.in_(list(models)))}
    unknown = next((model for model in models if model not in known), None)
    if unknown is not None:
        raise InvalidInput(f"No model {unknown!r} in the catalogue; create it before anything is limited to it.")
    return list(dict.fromkeys(models))


def _check_networks(addresses: Sequence[str] | None) -> list[str] | None:
    if addresses is None:
        return None
    if not addresses:
        raise InvalidInput("An empty list of addresses would allow none; leave it out to allow all.")
    try:
        return [str(ip_network(address.strip(), strict=False)) for address in addresses]
    except ValueError as problem:
        raise InvalidInput(f"{problem}; write an address or a network such as 10.0.0.0/8.") from None
