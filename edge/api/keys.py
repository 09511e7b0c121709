"""`/api/chat/keys/`: list, create, update and revoke an account's keys, with an API key or a web session. `GET /api/key/`: the
calling key."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response

from edge.api.account_limits import rate_limits_document
from edge.api.key_request import KeyChanges, KeyRequest, NewKey, limits_for_new_keys, read_key_changes, read_key_request
from edge.call.responses import rate_headers
from edge.http.api_spec import (
    BOOLEAN,
    ID,
    INTEGER,
    KEY,
    OPEN_OBJECT,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    array,
    describe_route,
    nullable,
    response_schema,
)
from edge.request_context import (
    AccountCaller,
    account_caller,
    count_request,
    key_caller,
    manager_caller,
    read,
    read_body,
    require_manager,
    services,
    uncached_json,
    write,
)
from shared.core.billing_periods import month_start, next_month_start
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, NotFound, RateLimited, RequestTooLarge
from shared.core.timestamps import format_timestamp
from shared.identity.roles import may
from shared.ledger import month_meters
from shared.models import ApiKey, UsageLedger
from shared.operations.key_changes import update_key
from shared.operations.keys import CreatedKey, KeyOptions, create_key, of_member, revoke_key
from shared.rollup import last_days, month_spending, read_breakdown

MAX_KEYS = 100  # active keys of an account
DAY_MS = 24 * 3_600_000
NO_SUCH_KEY = "No such key. List your keys with GET /api/chat/keys/."

keys = Blueprint("keys", __name__)
KEY_FIELDS = {
    "id": ID,
    "name": STRING,
    "prefix": STRING,
    "created": TIMESTAMP,
    "last_used": nullable(TIMESTAMP),
    "expires_at": nullable(TIMESTAMP),
    "limits": OPEN_OBJECT,
    "can_manage": BOOLEAN,
    "created_by": nullable(ID),
    "member": ID,
}


@keys.get("/api/chat/keys/")
@describe_route(
    "List API keys",
    responses={
        200: ResponseSpec(
            response_schema({"keys": array(response_schema(KEY_FIELDS))}), "The active keys, without their secrets."
        )
    },
    notes="A key that has limits or lacks `can_manage` sees only itself and the keys that it created.",
)
async def list_keys() -> Response:
    """List the active keys visible to the caller, oldest first."""
    return uncached_json({"keys": await read(partial(_list, await account_caller()))})


@keys.get("/api/key/")
@describe_route(
    "Retrieve the calling key",
    callers=KEY,
    responses={
        200: ResponseSpec(
            response_schema(
                {
                    **KEY_FIELDS,
                    "spent_this_month": INTEGER,
                    "spent_total": INTEGER,
                    "left_this_month": nullable(INTEGER),
                    "resets_at": TIMESTAMP,
                    "rate_limits": OPEN_OBJECT,
                }
            ),
            "The key in the request, without its secret. Amounts are in credits.",
        )
    },
    notes="Spending includes the keys that it created. `left_this_month` is null if no monthly limit applies to the key.",
)
async def show_key() -> Response:
    """Return the calling key's limits, spending and remaining credits."""
    caller = await key_caller()
    return uncached_json(await services().slow_reader.read(partial(_calling_key, caller)))


@keys.post("/api/chat/keys/")
@describe_route(
    "Create an API key",
    body=NewKey,
    responses={201: ResponseSpec(response_schema({**KEY_FIELDS, "secret": STRING}), "The key. Its secret is not shown again.")},
    errors=(InvalidRequest, RequestTooLarge, RateLimited),
    notes="Omitted fields default to those of the calling key, whose limits the new key cannot exceed. Usage of the new key also"
    " counts toward the calling key's limits, and revoking the calling key revokes it too. The calling key needs `can_manage`.",
)
async def create_key_view() -> Response:
    """Create a key and return it with its secret. No other response contains the secret."""
    caller = await manager_caller()
    data = await read_body()
    requested = read_key_request(data, limits_for_new_keys(caller.key), services().catalog.models, now_ms())
    standing = await count_request(caller.limits)
    created = await write(partial(create, caller, requested))
    response = uncached_json({**_document(created.row), "secret": created.secret}, 201)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    return response


@keys.patch("/api/chat/keys/<key_id>/")
@describe_route(
    "Update an API key",
    path={"key_id": ID},
    body=KeyChanges,
    responses={200: ResponseSpec(response_schema(KEY_FIELDS), "The updated key. Changes take effect with the next request.")},
    errors=(InvalidRequest, RequestTooLarge, RateLimited, NotFound),
    notes="Only the fields in the body change. Null removes a limit, or resets it to the calling key's."
    " The calling key needs `can_manage`.",
)
async def update_key_view(key_id: str) -> Response:
    """Update the fields in the body."""
    caller = await manager_caller()
    data = await read_body()
    changes = read_key_changes(data, limits_for_new_keys(caller.key), services().catalog.models, now_ms())
    await count_request(caller.limits)
    row = await write(partial(update_own, caller, key_id, changes))
    return uncached_json(_document(row))


@keys.post("/api/chat/keys/<key_id>/revoke/")
@describe_route(
    "Revoke an API key",
    path={"key_id": ID},
    responses={200: ResponseSpec(response_schema({"id": ID, "revoked_at": TIMESTAMP}), "Takes effect with the next request.")},
    errors=(NotFound,),
    notes="Also revokes the keys that it created. A key can always revoke itself; to revoke other keys it needs `can_manage`.",
)
async def revoke(key_id: str) -> Response:
    """Revoke a key permanently. Idempotent."""
    caller = await account_caller()
    if caller.key is None or str(caller.key.key) != key_id.lower():
        require_manager(caller)
    row = await write(partial(revoke_own, caller, key_id))
    return uncached_json({"id": str(row.id), "revoked_at": format_timestamp(row.revoked_at)})


def visible(caller: AccountCaller) -> Any:
    """Return the query condition for the keys that the caller may see (and change with `can_manage`).

    These are all the account's keys, or the member's, as the role allows; for a key with limits or without `can_manage`, itself
    and the keys it created.
    """
    own = ApiKey.account == caller.account
    if not may(caller.row.role, "all_keys"):
        own &= of_member(caller.account, caller.member)
    family = _family(caller)
    return own if family is None else own & family


def _family(caller: AccountCaller) -> Any:
    """Return the query condition for the key and the keys it created, or None if it sees all the account's keys."""
    key = caller.key
    if key is None or (key.can_manage and not key.has_limits):
        return None
    return (ApiKey.id == key.key) | (ApiKey.parent == key.key)


def visible_keys(caller: AccountCaller) -> list[UUID] | None:
    """Return the ids of the keys that the caller may see, revoked ones included, or None for the whole account."""
    family = _family(caller)
    return None if family is None else [row.id for row in ApiKey.select(ApiKey.id).where(visible(caller))]


def _active(account: UUID) -> Any:
    """Return the query condition for the account's usable keys."""
    unexpired = ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms())
    return (ApiKey.account == account) & ApiKey.revoked_at.is_null() & unexpired


def _list(caller: AccountCaller) -> list[dict[str, Any]]:
    return [document for _, document in read_keys(caller.account, _active(caller.account) & visible(caller))]


def read_keys(account: UUID, condition: Any, limit: int | None = None) -> list[tuple[ApiKey, dict[str, Any]]]:
    """Return the account's keys that match, oldest first, each with its document."""
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == ApiKey.id)
    query: Any = ApiKey.select(ApiKey, last_call.alias("last_call")).where((ApiKey.account == account) & condition)
    rows = list(query.order_by(ApiKey.id).limit(limit))
    spent = month_spending(account, now_ms())
    days = last_days(account) if any(row.last_call is None for row in rows) else {}
    return [(row, _document(row, row.last_call or days.get(row.id), spent.get(row.id, 0))) for row in rows]


def create(caller: AccountCaller, requested: KeyRequest) -> CreatedKey:
    """Create the requested key. Raises `InvalidRequest` if the account has reached the limit."""
    if ApiKey.select().where(_active(caller.account)).count() >= MAX_KEYS:
        raise InvalidRequest(f"The account has reached the limit of {MAX_KEYS} active keys. Revoke an unused key first.")
    fields = requested._asdict()
    parent = caller.key.key if caller.key is not None else None
    name, member = fields.pop("name"), caller.member
    return create_key(caller.account, name, KeyOptions(**fields), parent=parent, member=member, origin=caller.origin)


def update_own(caller: AccountCaller, key_id: str, changes: dict[str, Any]) -> ApiKey:
    """Update a key visible to the caller. Raises `NotFound`, and `InvalidInput` as `update_key` does."""
    return update_key(find_visible(caller, key_id).id, changes, origin=caller.origin)


def revoke_own(caller: AccountCaller, key_id: str) -> ApiKey:
    """Revoke a key visible to the caller. Raises `NotFound`."""
    return revoke_key(find_visible(caller, key_id).id, origin=caller.origin)


def find_visible(caller: AccountCaller, key_id: str) -> ApiKey:
    """Return a key that the caller may see, revoked or not. Raises `NotFound`."""
    condition = visible(caller)
    try:
        condition = (ApiKey.id == UUID(key_id)) & condition
    except ValueError:
        raise NotFound(NO_SUCH_KEY) from None
    row: ApiKey | None = ApiKey.get_or_none(condition)
    if row is None:
        raise NotFound(NO_SUCH_KEY)
    return row


def _calling_key(caller: AccountCaller) -> dict[str, Any]:
    assert caller.key is not None  # noqa: S101  (`key_caller`)
    key, now = caller.key, now_ms()
    found: Any = ApiKey.select().where((ApiKey.id == key.key) | (ApiKey.parent == key.key)).where(ApiKey.account == key.account)
    family = {row.id: row for row in found}
    today = now - now % DAY_MS + DAY_MS
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == key.key).scalar()
    last_call = last_call or last_days(key.account).get(key.key)
    month, total = (
        sum(sums.credits for sums in read_breakdown(key.account, since, today, "model", list(family)).values())
        for since in (month_start(now), 0)
    )
    own, parent = key.own_limits.meter or key.key, key.own_limits.parent
    limits = {own: key.monthly_credit_limit} if key.monthly_credit_limit is not None else {}
    if parent is not None and parent.monthly_limit is not None:
        limits[parent.meter] = parent.monthly_limit
    meters = month_meters(key.account, limits, now)
    if own in meters:
        month = max(month, meters[own].used)  # includes replaced keys, and calls that were purged
    return {
        **_document(family[key.key], last_call, month),
        "spent_total": total,
        "left_this_month": min((meter.available for meter in meters.values()), default=None),
        "resets_at": format_timestamp(next_month_start(now)),
        "rate_limits": rate_limits_document(caller.limits.key_limits),
    }


def _document(row: ApiKey, last_call: int | None = None, spent: int = 0) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "created": format_timestamp(row.created_at),
        "last_used": format_timestamp(last_call),
        "expires_at": format_timestamp(row.expires_at),
        "spent_this_month": spent,
        "can_manage": row.can_manage,
        "created_by": str(row.parent) if row.parent is not None else None,
        "member": str(row.member or row.__data__["account"]),
        "limits": {
            "rpm": row.rpm,
            "tpm": row.tpm,
            "concurrency": row.concurrency,
            "monthly_credit_limit": row.monthly_credit_limit,
            "daily_credit_limit": row.daily_credit_limit,
            "allowed_models": row.allowed_models,
            "allowed_ips": row.allowed_ips,
        },
    }
