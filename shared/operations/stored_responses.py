"""Stored responses: continue, store, read and delete.

As with conversations, content is stored only on request, after the call is settled, and only if no purge of the account started
since the call began. A row contains only its own input; earlier turns are found by following `previous`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import orjson

from shared.core.database import transaction
from shared.core.errors import InvalidRequest, NotFound
from shared.models import StoredResponse
from shared.operations.conversations import plan_stores_content
from shared.operations.purges import count_purges, lock_content, require_no_purge
from shared.operations.stored_items import Item, find_items

MAX_CHAIN_LENGTH = 100  # maximum number of previous responses
PREFIX = "resp_"
NO_SUCH_RESPONSE = "No such response. Responses are only stored if the request has 'store': true."
PLAN_REQUIRED = {
    "previous_response_id": "Your plan does not store responses. Send the earlier items in 'input' instead.",
    "store": "Your plan does not store responses. Omit 'store' or set it to false.",
}
NO_ITEMS: Mapping[str, Item] = MappingProxyType({})


class ResponseState(NamedTuple):
    """State that a call reads before it stores or continues a response, or references items.

    purge_count     the account's number of purges so far
    earlier         items of the previous responses, oldest first
    earlier_bytes   minimum size as JSON of these items and the referenced ones
    plan_stores     whether the plan stores content
    found           the referenced items that exist, by id
    """

    account: UUID
    previous: UUID | None
    store: bool
    purge_count: int
    earlier: list[Item]
    earlier_bytes: int
    plan_stores: bool = True
    found: Mapping[str, Item] = NO_ITEMS


def begin_response(
    account: UUID, previous: str | None, *, stores: bool, max_bytes: int, references: Sequence[str] = ()
) -> ResponseState:
    """Read the state for a call that continues from `previous` and references items; `max_bytes` limits their total size.

    Raises `InvalidRequest` if the plan does not store responses, if `previous` is not the account's, and if there are too many
    earlier turns or bytes. Raises `PurgeRunning`.
    """
    included = plan_stores_content(account)
    for param, requested in (("store", stores), ("previous_response_id", previous is not None)):
        if requested and not included:
            raise InvalidRequest(PLAN_REQUIRED[param], param)
    if stores:
        require_no_purge(account)
    purges = count_purges(account)
    id, items, size = None, [], 0
    if previous is not None:
        id = _id_of(previous)
        chain, size = _chain(account, id, max_bytes)
        items = [item for row in reversed(chain) for item in (*orjson.loads(row.input), *orjson.loads(row.response)["output"])]
    found = find_items(account, references, max_bytes) if included else NO_ITEMS
    sizes = {name: len(orjson.dumps(item)) for name, item in found.items()}
    size += sum(sizes.get(name, 0) for name in references)  # once per reference
    if size > max_bytes:
        raise InvalidRequest(f"Earlier turns exceed the limit of {max_bytes} bytes. Start a new chain.", "input")
    return ResponseState(account, id, stores, purges, items, size, included, found)


def store_response(state: ResponseState, call: UUID, items: Sequence[Item], response: Item, *, model: str) -> bool:
    """Store a call's own input `items` and its `response`. Returns False if a purge started since the call began."""
    with transaction():
        lock_content(state.account)
        if count_purges(state.account) != state.purge_count:
            return False
        StoredResponse.create(
            id=call,
            account=state.account,
            previous=state.previous,
            model=model,
            input=orjson.dumps(items).decode(),
            response=orjson.dumps(response).decode(),
        )
        return True


def find_response(account: UUID, response: str) -> StoredResponse:
    """Return the account's response with this public id. Raises `NotFound`, also for another account's."""
    row = _find(account, _id_of(response))
    if row is None:
        raise NotFound(NO_SUCH_RESPONSE)
    return row


def delete_response(account: UUID, response: str) -> None:
    """Delete a response. Responses that continue from it cannot be continued any more. Raises `NotFound`."""
    find_response(account, response).delete_instance()


def _chain(account: UUID, newest: UUID | None, most_bytes: int) -> tuple[list[StoredResponse], int]:
    """Return the responses from `newest` back to the first, and their bytes. Raises `InvalidRequest` if one was deleted."""
    chain: list[StoredResponse] = []
    size, id = 0, newest
    while id is not None or not chain:
        row = _find(account, id)
        if row is None:
            raise InvalidRequest(
                "The previous response, or one before it, is not stored. Send the earlier items in 'input'.",
                "previous_response_id",
                "previous_response_not_found",
            )
        chain.append(row)
        size += len(row.input.encode()) + len(row.response.encode())
        if len(chain) > MAX_CHAIN_LENGTH or size > most_bytes:
            raise InvalidRequest(
                f"A response can continue from at most {MAX_CHAIN_LENGTH} responses with {most_bytes} bytes. Start a new one"
                " and send what still matters in 'input'.",
                "previous_response_id",
            )
        id = row.previous
    return chain, size


def _find(account: UUID, id: UUID | None) -> StoredResponse | None:
    row: StoredResponse | None = StoredResponse.get_or_none((StoredResponse.id == id) & (StoredResponse.account == account))
    return row


def _id_of(response: str) -> UUID | None:
    """Return the call's id from a response's public id, or None if it is malformed."""
    digits = response.removeprefix(PREFIX)
    try:
        id = UUID(hex=digits)
    except ValueError:
        return None
    return id if response == PREFIX + id.hex else None
