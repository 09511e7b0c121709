"""Stored responses: continue from one, keep, read and delete them.

As with conversations, content is kept only because its owner asked, after the call is settled, and only if no purge of the
account has begun since the call did. A response holds its own input alone; what came before is found by the chain of `previous`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

import orjson

from shared.database import transaction
from shared.errors import InvalidRequest, NotFound
from shared.models import StoredResponse
from shared.operations.conversations import plan_stores
from shared.operations.purges import lock_account, purges_begun, refuse_while_purging
from shared.operations.stored_items import Item, find_items

LONGEST_CHAIN = 100  # responses that one call may look back on
PREFIX = "resp_"
NO_SUCH_RESPONSE = "There is no such response. Only responses are kept that were asked for with 'store': true."
PLAN_REQUIRED = {
    "previous_response_id": "Your plan does not store responses. Send the earlier items in 'input' instead.",
    "store": "Your plan does not store responses. Leave out 'store', or set it to false.",
}
NO_ITEMS: Mapping[str, Item] = MappingProxyType({})


class Looking(NamedTuple):
    """What a call that stores or continues a response, or refers to items, needs to know before it begins.

    `purges` is how many purges the account had begun by then; `earlier` are the items of the chain, the oldest first, and
    `earlier_bytes` how long they and the items referred to are as JSON, at least. `included` tells whether the plan stores
    content; if so, `found` are those of the items that were referred to and are there.
    """

    account: UUID
    previous: UUID | None
    stores: bool
    purges: int
    earlier: list[Item]
    earlier_bytes: int
    included: bool = True
    found: Mapping[str, Item] = NO_ITEMS


def begin_response(
    account: UUID, previous: str | None, *, stores: bool, most_bytes: int, references: Sequence[str] = ()
) -> Looking:
    """Read what a call needs that continues from `previous` and refers to items, with at most `most_bytes` of earlier turns.

    Raises `InvalidRequest` for an account whose plan stores nothing, for a `previous` that is not the account's and for a chain
    that is too long; and `PurgeRunning`.
    """
    included = plan_stores(account)
    for param, asked in (("store", stores), ("previous_response_id", previous is not None)):
        if asked and not included:
            raise InvalidRequest(PLAN_REQUIRED[param], param)
    if stores:
        refuse_while_purging(account)
    purges = purges_begun(account)
    id, items, size = None, [], 0
    if previous is not None:
        id = _id_of(previous)
        chain, size = _chain(account, id, most_bytes)
        items = [item for row in reversed(chain) for item in (*orjson.loads(row.input), *orjson.loads(row.response)["output"])]
    found = find_items(account, references, most_bytes) if included else NO_ITEMS
    sizes = {name: len(orjson.dumps(item)) for name, item in found.items()}
    size += sum(sizes.get(name, 0) for name in references)  # each time that it is referred to
    if size > most_bytes:
        raise InvalidRequest(f"Earlier turns may have {most_bytes} bytes at most. Begin anew, with what still matters.", "input")
    return Looking(account, id, stores, purges, items, size, included, found)


def keep_response(looking: Looking, call: UUID, items: Sequence[Item], response: Item, *, model: str) -> bool:
    """Keep a call's own input `items` and its `response`; give whether it was: not when a purge has begun since the call did."""
    with transaction():
        lock_account(looking.account)
        if purges_begun(looking.account) != looking.purges:
            return False
        StoredResponse.create(
            id=call,
            account=looking.account,
            previous=looking.previous,
            model=model,
            input=orjson.dumps(items).decode(),
            response=orjson.dumps(response).decode(),
        )
        return True


def find_response(account: UUID, response: str) -> StoredResponse:
    """The account's own response of this public id. Raises `NotFound`, for somebody else's too."""
    row = _find(account, _id_of(response))
    if row is None:
        raise NotFound(NO_SUCH_RESPONSE)
    return row


def delete_response(account: UUID, response: str) -> None:
    """Delete one; what was continued from it can't be continued any more. Raises `NotFound`."""
    find_response(account, response).delete_instance()


def _chain(account: UUID, newest: UUID | None, most_bytes: int) -> tuple[list[StoredResponse], int]:
    """The responses from the `newest` back to the first, and their bytes. One that was deleted leaves no hole in silence."""
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
        if len(chain) > LONGEST_CHAIN or size > most_bytes:
            raise InvalidRequest(
                f"A response may look back on {LONGEST_CHAIN} responses with {most_bytes} bytes at most. Begin anew, with what"
                " still matters in 'input'.",
                "previous_response_id",
            )
        id = row.previous
    return chain, size


def _find(account: UUID, id: UUID | None) -> StoredResponse | None:
    row: StoredResponse | None = StoredResponse.get_or_none((StoredResponse.id == id) & (StoredResponse.account == account))
    return row


def _id_of(response: str) -> UUID | None:
    """The call's id in a response's public one; None if it can be none."""
    digits = response.removeprefix(PREFIX)
    try:
        id = UUID(hex=digits)
    except ValueError:
        return None
    return id if response == PREFIX + id.hex else None
