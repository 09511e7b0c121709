"""`/api/chat/keys/`: an account's keys, seen and changed by one of them or by who is signed in."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response

from edge.api.key_request import MOST_ENTRIES, KeyRequest, bounds_of, read_key_changes, read_key_request
from edge.call.responses import rate_headers
from edge.http.api_spec import (
    BOOLEAN,
    ID,
    MOMENT,
    OPEN,
    STRING,
    Answer,
    array,
    declare,
    example,
    or_null,
    record,
    text,
    whole,
    wish,
)
from edge.request_context import (
    AccountCaller,
    account_caller,
    count_request,
    managing_caller,
    private,
    read,
    read_body,
    require_manager,
    services,
    write,
)
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, NotFound, RateLimited, RequestTooLarge
from shared.core.timestamps import iso_moment
from shared.ledger import month_spending
from shared.models import ApiKey, UsageLedger
from shared.operations.key_changes import update_key
from shared.operations.keys import LARGEST_LIMIT, CreatedKey, create_key, revoke_key

MOST_KEYS = 100  # active ones of an account
NO_SUCH_KEY = "There is no such key. GET /api/chat/keys/ lists yours."

keys = Blueprint("keys", __name__)
_KEY = {
    "id": ID,
    "name": STRING,
    "prefix": STRING,
    "created": MOMENT,
    "last_used": or_null(MOMENT),
    "expires_at": or_null(MOMENT),
    "limits": OPEN,
    "can_manage": BOOLEAN,
    "created_by": or_null(ID),
}
_LIMIT = whole(1, LARGEST_LIMIT)
_FIELDS = {
    "name": text(100),
    "expires_at": MOMENT,
    "rpm": _LIMIT,
    "tpm": _LIMIT,
    "concurrency": _LIMIT,
    "monthly_credit_limit": _LIMIT,
    "allowed_models": array(STRING, 1, MOST_ENTRIES),
    "allowed_ips": array(STRING, 1, MOST_ENTRIES),
    "can_manage": BOOLEAN,
}
_REQUEST = wish(_FIELDS, required=("name",))
_CHANGES = {**wish(_FIELDS, required=()), "minProperties": 1}


@keys.get("/api/chat/keys/")
@declare(
    "List the account's keys",
    answers={200: Answer(record({"keys": array(record(_KEY))}), "The active ones; no secret.")},
    notes="A key that cannot manage the account, or has limits, sees itself and the keys that it created.",
)
async def list_keys() -> Response:
    """The active keys that the caller may see, oldest first."""
    return private({"keys": await read(partial(_list, await account_caller()))})


@keys.post("/api/chat/keys/")
@declare(
    "Create a key",
    body=example(_REQUEST, {"name": "production"}),
    answers={201: Answer(record({**_KEY, "secret": STRING}), "The key. Nothing shows its secret again.")},
    refusals=(InvalidRequest, RequestTooLarge, RateLimited),
    notes="Omitted fields are copied from the calling key; the new key cannot exceed its limits. A key and the keys that it"
    " created are counted together toward its limits, and revoking it revokes them. The calling key needs `can_manage`.",
)
async def make_key() -> Response:
    """A new key of the account, and its secret: no other answer holds it."""
    caller = await managing_caller()
    data = await read_body()
    asked = read_key_request(data, bounds_of(caller.key), services().catalog.models, now_ms())
    standing = await count_request(caller.limits)
    created = await write(partial(create, caller, asked))
    response = private({**_document(created.row), "secret": created.secret}, 201)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    return response


@keys.patch("/api/chat/keys/<key_id>/")
@declare(
    "Update a key",
    path={"key_id": ID},
    body=example(_CHANGES, {"name": "staging", "rpm": 60}),
    answers={200: Answer(record(_KEY), "The updated key. Changes apply from the next request.")},
    refusals=(InvalidRequest, RequestTooLarge, RateLimited, NotFound),
    notes="Only the fields in the body change; null removes a limit. The calling key needs `can_manage`.",
)
async def change_key(key_id: str) -> Response:
    """Change the fields in the body."""
    caller = await managing_caller()
    data = await read_body()
    changes = read_key_changes(data, bounds_of(caller.key), services().catalog.models, now_ms())
    await count_request(caller.limits)
    row = await write(partial(update_own, caller, key_id, changes))
    return private(_document(row))


@keys.post("/api/chat/keys/<key_id>/revoke/")
@declare(
    "Revoke a key",
    path={"key_id": ID},
    answers={200: Answer(record({"id": ID, "revoked_at": MOMENT}), "In force from the next request.")},
    refusals=(NotFound,),
    notes="Also revokes the keys that it created. A key may always revoke itself; others only with `can_manage`.",
)
async def revoke(key_id: str) -> Response:
    """Revoke a key permanently. Revoking it again changes nothing."""
    caller = await account_caller()
    if caller.key is None or str(caller.key.key) != key_id.lower():
        require_manager(caller)
    row = await write(partial(revoke_own, caller, key_id))
    return private({"id": str(row.id), "revoked_at": iso_moment(row.revoked_at)})


def _visible(caller: AccountCaller) -> Any:
    """The query condition for the keys that the caller may see, and change with `can_manage`: the account's, or its own
    family."""
    own = ApiKey.account == caller.account
    key = caller.key
    if key is None or (key.can_manage and not key.limited):
        return own
    return own & ((ApiKey.id == key.key) | (ApiKey.parent == key.key))


def _active(account: UUID) -> Any:
    """The condition that a key is the account's and can be used."""
    unexpired = ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms())
    return (ApiKey.account == account) & ApiKey.revoked_at.is_null() & unexpired


def _list(caller: AccountCaller) -> list[dict[str, Any]]:
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == ApiKey.id)
    query: Any = ApiKey.select(ApiKey, last_call.alias("last_call"))
    rows = query.where(_active(caller.account) & _visible(caller)).order_by(ApiKey.id)
    spent = month_spending(caller.account, now_ms())
    return [_document(row, row.last_call, spent.get(row.id, 0)) for row in rows]


def create(caller: AccountCaller, asked: KeyRequest) -> CreatedKey:
    """Create the requested key. Raises `InvalidRequest` if the account has too many."""
    if ApiKey.select().where(_active(caller.account)).count() >= MOST_KEYS:
        raise InvalidRequest(f"The account has {MOST_KEYS} active keys, which is the most. Revoke one that is not used.")
    fields = asked._asdict()
    parent = caller.key.key if caller.key is not None else None
    return create_key(caller.account, fields.pop("name"), **fields, parent=parent, actor=caller.actor, address=caller.address)


def update_own(caller: AccountCaller, key_id: str, changes: dict[str, Any]) -> ApiKey:
    """Change a key that the caller may change. Raises `NotFound` as `find_own`, `InvalidInput` as `update_key`."""
    return update_key(_find(caller, key_id).id, changes, actor=caller.actor, address=caller.address)


def revoke_own(caller: AccountCaller, key_id: str) -> ApiKey:
    """Revoke a key that the caller may revoke. Raises `NotFound` as `find_own`."""
    return revoke_key(_find(caller, key_id).id, actor=caller.actor, address=caller.address)


def find_own(account: UUID, key_id: str) -> ApiKey:
    """A key of the account, revoked or not. Raises `NotFound` for an unknown key and for another account's."""
    return _one(key_id, ApiKey.account == account)


def _find(caller: AccountCaller, key_id: str) -> ApiKey:
    return _one(key_id, _visible(caller))


def _one(key_id: str, condition: Any) -> ApiKey:
    try:
        condition = (ApiKey.id == UUID(key_id)) & condition
    except ValueError:
        raise NotFound(NO_SUCH_KEY) from None
    row: ApiKey | None = ApiKey.get_or_none(condition)
    if row is None:
        raise NotFound(NO_SUCH_KEY)
    return row


def _document(row: ApiKey, last_call: int | None = None, spent: int = 0) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "created": iso_moment(row.created_at),
        "last_used": iso_moment(last_call),
        "expires_at": iso_moment(row.expires_at),
        "spent_this_month": spent,
        "can_manage": row.can_manage,
        "created_by": str(row.parent) if row.parent is not None else None,
        "limits": {
            "rpm": row.rpm,
            "tpm": row.tpm,
            "concurrency": row.concurrency,
            "monthly_credit_limit": row.monthly_credit_limit,
            "allowed_models": row.allowed_models,
            "allowed_ips": row.allowed_ips,
        },
    }
