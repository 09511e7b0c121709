"""`/api/chat/keys/`: an account's keys, seen and changed by one of them or by who is signed in."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response, request

from edge.api.key_request import MOST_ENTRIES, KeyRequest, bounds_of, read_key_request
from edge.current import AccountCaller, account_caller, count_request, private, read, services, write
from edge.declare import ID, MOMENT, OPEN, STRING, Answer, array, declare, example, or_null, record, text, whole, wish
from edge.responses import rate_headers
from shared.clock import now_ms
from shared.errors import InvalidRequest, NotFound, RateLimited, RequestTooLarge
from shared.ledger import month_spending
from shared.models import ApiKey, UsageLedger
from shared.moments import iso_moment
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
}
_LIMIT = whole(1, LARGEST_LIMIT)
_REQUEST = wish(
    {
        "name": text(100),
        "expires_at": MOMENT,
        "rpm": _LIMIT,
        "tpm": _LIMIT,
        "concurrency": _LIMIT,
        "monthly_credit_limit": _LIMIT,
        "allowed_models": array(STRING, 1, MOST_ENTRIES),
        "allowed_ips": array(STRING, 1, MOST_ENTRIES),
    },
    required=("name",),
)


@keys.get("/api/chat/keys/")
@declare("List the account's keys", answers={200: Answer(record({"keys": array(record(_KEY))}), "The active ones; no secret.")})
async def list_keys() -> Response:
    """The account's active keys, oldest first."""
    caller = await account_caller()
    return private({"keys": await read(partial(_list, caller.account))})


@keys.post("/api/chat/keys/")
@declare(
    "Make a key",
    body=example(_REQUEST, {"name": "production"}),
    answers={201: Answer(record({**_KEY, "secret": STRING}), "The key. Nothing shows its secret again.")},
    refusals=(InvalidRequest, RequestTooLarge, RateLimited),
    notes="What is left out is as the calling key has it; no key makes a wider one.",
)
async def make_key() -> Response:
    """A new key of the account, and its secret: no other answer holds it."""
    caller = await account_caller()
    data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    asked = read_key_request(data, bounds_of(caller.key), services().catalog.models, now_ms())
    standing = await count_request(caller.limits)
    created = await write(partial(create, caller, asked))
    response = private({**_document(created.row), "secret": created.secret}, 201)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    return response


@keys.post("/api/chat/keys/<key_id>/revoke/")
@declare(
    "Revoke a key",
    path={"key_id": ID},
    answers={200: Answer(record({"id": ID, "revoked_at": MOMENT}), "In force from the next request.")},
    refusals=(NotFound,),
)
async def revoke(key_id: str) -> Response:
    """Revoke a key of the account for good; a second time changes nothing."""
    row = await write(partial(revoke_own, await account_caller(), key_id))
    return private({"id": str(row.id), "revoked_at": iso_moment(row.revoked_at)})


def _active(account: UUID) -> Any:
    """The condition that a key is the account's and can be used."""
    unexpired = ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms())
    return (ApiKey.account == account) & ApiKey.revoked_at.is_null() & unexpired


def _list(account: UUID) -> list[dict[str, Any]]:
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == ApiKey.id)
    rows: Any = ApiKey.select(ApiKey, last_call.alias("last_call")).where(_active(account)).order_by(ApiKey.id)
    spent = month_spending(account, now_ms())
    return [_document(row, row.last_call, spent.get(row.id, 0)) for row in rows]


def create(caller: AccountCaller, asked: KeyRequest) -> CreatedKey:
    """Make the key that was asked for. Raises `InvalidRequest` when the account has too many."""
    if ApiKey.select().where(_active(caller.account)).count() >= MOST_KEYS:
        raise InvalidRequest(f"The account has {MOST_KEYS} active keys, which is the most. Revoke one that is not used.")
    fields = asked._asdict()
    return create_key(caller.account, fields.pop("name"), **fields, actor=caller.actor, address=caller.address)


def revoke_own(caller: AccountCaller, key_id: str) -> ApiKey:
    """Revoke a key of the caller's account. Raises `NotFound` as `find_own`."""
    return revoke_key(find_own(caller.account, key_id).id, actor=caller.actor, address=caller.address)


def find_own(account: UUID, key_id: str) -> ApiKey:
    """A key of the account, revoked or not. Raises `NotFound` for anybody else's, as for one that never was."""
    try:
        own = (ApiKey.id == UUID(key_id)) & (ApiKey.account == account)
    except ValueError:
        raise NotFound(NO_SUCH_KEY) from None
    row: ApiKey | None = ApiKey.get_or_none(own)
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
        "limits": {
            "rpm": row.rpm,
            "tpm": row.tpm,
            "concurrency": row.concurrency,
            "monthly_credit_limit": row.monthly_credit_limit,
            "allowed_models": row.allowed_models,
            "allowed_ips": row.allowed_ips,
        },
    }
