"""`/api/admin/accounts/<id>/keys/`: the API keys of an account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from quart import Blueprint

from edge.admin.accounts import ACCOUNT_PATH, customer_account
from edge.admin.route import AdminCall, Document, admin_route
from edge.api.key_request import UNLIMITED, KeyChanges, NewKey, check_key_changes, check_key_request
from edge.api.keys import KEY_FIELDS, read_keys
from edge.http.api_spec import ID, PAGE, STRING, TIMESTAMP, described, enum, nullable, page_of, response_schema
from edge.http.paging import split_page
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import AIModel, ApiKey
from shared.operations.key_changes import update_key
from shared.operations.keys import KeyOptions, create_key, revoke_key
from shared.operations.members import find_member
from shared.text.translation import lazy_gettext

keys = Blueprint("admin_keys", __name__)

PATH = "/accounts/<account_id>/keys/"
KEY = f"{PATH}<key_id>/"
KEY_PATH = {**ACCOUNT_PATH, "key_id": ID}
_FIELDS = {
    **KEY_FIELDS,
    "account": ID,
    "revoked_at": described(nullable(TIMESTAMP), "When the key was revoked; null if it was not."),
}
_KEY = response_schema(_FIELDS)


class NewAccountKey(NewKey):
    """An API key to create for an account."""

    EXAMPLE = {"name": "production", "monthly_credit_limit": 500_000}

    member: Annotated[
        Annotated[str, Meta(min_length=1, max_length=254)] | None,
        Meta(description="Id or email address of the member whose key it is. Default: the owner."),
    ] = None


@admin_route(
    keys,
    "GET",
    PATH,
    "keys:read",
    "List the API keys of an account",
    path=ACCOUNT_PATH,
    query={**PAGE, "status": described(enum("active", "revoked"), "Only keys that are revoked, or that are not.")},
    returns=page_of("keys", _KEY),
    description="The keys without their secrets, oldest first.",
)
def list_all(call: AdminCall, account_id: str) -> Document:
    """List the account's keys."""
    limit, after = call.page
    condition = ApiKey.id.is_null(False) if after is None else ApiKey.id > after
    if "status" in call.query:
        condition &= ApiKey.revoked_at.is_null(call.query["status"] == "active")
    page, last = split_page(read_keys(customer_account(account_id).id, condition, limit + 1), limit)
    return {"keys": [_document(*found) for found in page], "next": str(last[0].id) if last is not None else None}


@admin_route(
    keys,
    "POST",
    PATH,
    "keys:write",
    "Create an API key for an account",
    status=201,
    path=ACCOUNT_PATH,
    body=NewAccountKey,
    returns=response_schema({**_FIELDS, "secret": STRING}),
    description="The key. Its secret is not shown again.",
    notes=lazy_gettext("Without `can_manage`, a key without limits can manage keys, and one with limits cannot."),
)
def create(call: AdminCall, account_id: str) -> Document:
    """Create a key and return it with its secret."""
    account = customer_account(account_id).id
    sent = dict(call.changes)
    member = sent.pop("member", None)
    fields = check_key_request(sent, UNLIMITED, _models(), now_ms())._asdict()
    name = fields.pop("name")
    owner = find_member(account, member).id if member is not None else None
    created = create_key(account, name, KeyOptions(**fields), member=owner, origin=call.origin)
    return {**_read(account, created.row.id), "secret": created.secret}


@admin_route(keys, "GET", KEY, "keys:read", "Retrieve an API key of an account", path=KEY_PATH, returns=_KEY)
def show(_: AdminCall, account_id: str, key_id: str) -> Document:
    """Return a key, revoked or not."""
    return _read(customer_account(account_id).id, key_id)


@admin_route(
    keys,
    "PATCH",
    KEY,
    "keys:write",
    "Update an API key of an account",
    path=KEY_PATH,
    body=KeyChanges,
    returns=_KEY,
    notes=lazy_gettext("Only the fields in the body change, effective with the next request. Null removes a limit."),
)
def update(call: AdminCall, account_id: str, key_id: str) -> Document:
    """Update the fields in the body."""
    account = customer_account(account_id).id
    key = UUID(_read(account, key_id)["id"])
    update_key(key, _changes(call.changes), origin=call.origin)
    return _read(account, key)


@admin_route(
    keys,
    "DELETE",
    KEY,
    "keys:write",
    "Revoke an API key of an account",
    path=KEY_PATH,
    returns=_KEY,
    notes=lazy_gettext("Permanent. Also revokes the keys that it created. Revoking it again changes nothing."),
)
def revoke(call: AdminCall, account_id: str, key_id: str) -> Document:
    """Revoke a key permanently."""
    account = customer_account(account_id).id
    key = UUID(_read(account, key_id)["id"])
    revoke_key(key, origin=call.origin)
    return _read(account, key)


def _changes(sent: Mapping[str, Any]) -> dict[str, Any]:
    return check_key_changes(sent, UNLIMITED, _models(), now_ms())


def _models() -> set[str]:
    return {row.id for row in AIModel.select(AIModel.id)}


def _read(account: UUID, key: str | UUID) -> Document:
    """Return the key in the format of the API. Raises `NotFound`, also for keys of other accounts."""
    try:
        id = key if isinstance(key, UUID) else UUID(key)
    except ValueError:
        id = None
    found = read_keys(account, ApiKey.id == id) if id is not None else []
    if not found:
        raise NotFound("No such key of this account.")
    return _document(*found[0])


def _document(row: ApiKey, document: Document) -> Document:
    fields = {name: document[name] for name in KEY_FIELDS}
    return {**fields, "account": str(row.__data__["account"]), "revoked_at": format_timestamp(row.revoked_at)}
