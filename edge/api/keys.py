"""`/api/chat/keys/`: an account's keys, seen and changed by one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from peewee import fn
from quart import Blueprint, Response, request

from edge.api.key_request import KeyRequest, read_key_request
from edge.current import KeyCaller, key_caller, private, read, services
from edge.moments import iso_moment
from edge.responses import rate_headers
from shared.clock import new_id, now_ms
from shared.database import transaction
from shared.errors import InvalidInput, InvalidRequest, NotFound, YoutError
from shared.limits import Standing
from shared.models import ApiKey, UsageLedger
from shared.operations.keys import CreatedKey, create_key, revoke_key

MOST_KEYS = 100  # active ones of an account
NO_SUCH_KEY = "There is no such key. GET /api/chat/keys/ lists yours."

keys = Blueprint("keys", __name__)
T = TypeVar("T")


@keys.get("/api/chat/keys/")
async def list_keys() -> Response:
    """The account's active keys, oldest first."""
    key, _ = await key_caller()
    return private({"keys": await read(partial(_list, key.account))})


@keys.post("/api/chat/keys/")
async def make_key() -> Response:
    """A new key of the account, and its secret: no other answer holds it."""
    caller = await key_caller()
    data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    asked = read_key_request(data, caller.key, services().catalog.models, now_ms())
    standing = await _count_request(caller)
    created = await _write(partial(_create, caller, asked))
    response = private({**_document(created.row), "secret": created.secret}, 201)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    return response


@keys.post("/api/chat/keys/<key_id>/revoke/")
async def revoke(key_id: str) -> Response:
    """Revoke a key of the account for good; a second time changes nothing."""
    row = await _write(partial(_revoke, await key_caller(), key_id))
    return private({"id": str(row.id), "revoked_at": iso_moment(row.revoked_at)})


async def _count_request(caller: KeyCaller) -> Standing:
    """Take one request from the key's rate limit, for what it writes stays. Raises `RateLimited`."""
    key, limiter = caller.key, services().limiter
    ticket = await limiter.take(new_id(), services().keys.in_force(key.account, key.key, key.own), 0)
    limiter.give(ticket, 0)
    return ticket.standing


async def _write(job: Callable[[], T]) -> T:
    """Run `job` in the thread that writes, in a transaction. Raises what it raised."""
    result = await services().ledger.run(partial(_attempt, job))
    if isinstance(result, InvalidInput):
        raise InvalidRequest(str(result))
    if isinstance(result, Exception):
        raise result
    written: T = result
    return written


def _attempt(job: Callable[[], T]) -> T | YoutError:
    """What `job` gives, or its refusal as a value: an exception would count as the database's."""
    try:
        with transaction():
            return job()
    except YoutError as refusal:
        return refusal


def _active(account: UUID) -> Any:
    """The condition that a key is the account's and can be used."""
    unexpired = ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms())
    return (ApiKey.account == account) & ApiKey.revoked_at.is_null() & unexpired


def _list(account: UUID) -> list[dict[str, Any]]:
    last_call = UsageLedger.select(fn.MAX(UsageLedger.created_at)).where(UsageLedger.api_key == ApiKey.id)
    rows: Any = ApiKey.select(ApiKey, last_call.alias("last_call")).where(_active(account)).order_by(ApiKey.id)
    return [_document(row, row.last_call) for row in rows]


def _create(caller: KeyCaller, asked: KeyRequest) -> CreatedKey:
    if ApiKey.select().where(_active(caller.key.account)).count() >= MOST_KEYS:
        raise InvalidRequest(f"The account has {MOST_KEYS} active keys, which is the most. Revoke one that is not used.")
    fields = asked._asdict()
    return create_key(caller.key.account, fields.pop("name"), **fields, actor=_actor(caller), address=caller.address)


def _revoke(caller: KeyCaller, key_id: str) -> ApiKey:
    try:
        own = (ApiKey.id == UUID(key_id)) & (ApiKey.account == caller.key.account)
    except ValueError:
        raise NotFound(NO_SUCH_KEY) from None
    if not ApiKey.select().where(own).exists():
        raise NotFound(NO_SUCH_KEY)
    return revoke_key(key_id, actor=_actor(caller), address=caller.address)


def _actor(caller: KeyCaller) -> str:
    return f"key:{caller.key.prefix}"


def _document(row: ApiKey, last_call: int | None = None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name,
        "prefix": row.prefix,
        "created": iso_moment(row.created_at),
        "last_used": iso_moment(last_call),
        "expires_at": iso_moment(row.expires_at),
        "limits": {
            "rpm": row.rpm,
            "tpm": row.tpm,
            "concurrency": row.concurrency,
            "allowed_models": row.allowed_models,
            "allowed_ips": row.allowed_ips,
        },
    }
