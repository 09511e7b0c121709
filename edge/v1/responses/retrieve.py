"""`/v1/responses/{id}`: what a key's account has stored, read and deleted."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from edge.http.api_spec import BOOLEAN, KEY, STRING, Answer, array, declare, one_of, or_null, record, whole
from edge.http.paging import MOST, USUAL, whole_number
from edge.request_context import key_caller, private, read, write
from edge.v1.responses.schema import RESPONSE
from shared.core.errors import InvalidRequest, NotFound
from shared.operations.stored_items import Item, input_items
from shared.operations.stored_responses import delete_response, find_response

stored_responses = Blueprint("stored_responses", __name__, url_prefix="/v1/responses/<id>")
_ITEMS = record(
    {
        "object": one_of("list"),
        "data": array(record({"id": STRING, "type": STRING})),
        "first_id": or_null(STRING),
        "last_id": or_null(STRING),
        "has_more": BOOLEAN,
    }
)
_DELETED = record({"id": STRING, "object": one_of("response"), "deleted": BOOLEAN})


@stored_responses.get("")
@declare(
    "Read a stored response",
    callers=KEY,
    path={"id": STRING},
    query={"stream": BOOLEAN},
    answers={200: Answer(RESPONSE, "As its call got it.")},
    refusals=(InvalidRequest, NotFound),
)
async def show_response(id: str) -> Response:
    """One that was stored. It is given whole: its events are not kept."""
    key, _ = await key_caller()
    if request.args.get("stream") == "true":
        raise InvalidRequest("A stored response is given whole. Leave out 'stream'.", "stream")
    row = await read(partial(find_response, key.account, id))
    return private(orjson.loads(row.response))


@stored_responses.delete("")
@declare(
    "Delete a stored response",
    callers=KEY,
    path={"id": STRING},
    answers={200: Answer(_DELETED, "It can't be continued any more.")},
    refusals=(NotFound,),
)
async def remove_response(id: str) -> Response:
    """Delete one for good."""
    key, _ = await key_caller()
    await write(partial(delete_response, key.account, id))
    return private({"id": id, "object": "response", "deleted": True})


@stored_responses.get("/input_items")
@declare(
    "List the input items of a stored response",
    callers=KEY,
    path={"id": STRING},
    query={"order": one_of("asc", "desc"), "after": STRING, "limit": whole(1, MOST)},
    answers={200: Answer(_ITEMS, "The latest first, unless `order` is `asc`; `last_id` is what to send as `after`.")},
    refusals=(InvalidRequest, NotFound),
)
async def list_input_items(id: str) -> Response:
    """What its call sent as `input`; of one that continued another, that alone."""
    key, _ = await key_caller()
    order = request.args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be asc or desc.", "order")
    limit = whole_number("limit", 1, MOST, USUAL)
    items = await read(partial(_input_items, key.account, id))
    if order == "desc":
        items.reverse()
    start = _place_after(items, request.args.get("after"))
    page = items[start : start + limit]
    return private(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": start + limit < len(items),
        }
    )


def _input_items(account: UUID, id: str) -> list[Item]:
    return input_items(find_response(account, id))


def _place_after(items: list[Item], id: str | None) -> int:
    if id is None:
        return 0
    place = next((place for place, item in enumerate(items) if item["id"] == id), None)
    if place is None:
        raise InvalidRequest("'after' must be the id of an item of this list.", "after")
    return place + 1


@stored_responses.post("/cancel")
@declare("Background runs: there are none", callers=KEY, answers={}, refusals=(NotFound,))
async def refuse(**_: str) -> Response:
    """No response has one; a bad key is told first."""
    await key_caller()
    raise NotFound("Responses are not run in the background here.")
