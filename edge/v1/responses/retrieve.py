"""`/v1/responses/{id}`: retrieve and delete stored responses, list their input items."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from edge.http.api_spec import BOOLEAN, KEY, STRING, ResponseSpec, array, describe_route, enum, integer, nullable, response_schema
from edge.http.paging import DEFAULT_LIMIT, MAX_LIMIT, query_integer
from edge.request_context import key_caller, read, uncached_json, write
from edge.v1.responses.schema import RESPONSE
from shared.core.errors import InvalidRequest, NotFound
from shared.operations.stored_items import Item, input_items
from shared.operations.stored_responses import delete_response, find_response

stored_responses = Blueprint("stored_responses", __name__, url_prefix="/v1/responses/<id>")
_ITEMS = response_schema(
    {
        "object": enum("list"),
        "data": array(response_schema({"id": STRING, "type": STRING})),
        "first_id": nullable(STRING),
        "last_id": nullable(STRING),
        "has_more": BOOLEAN,
    }
)
_DELETED = response_schema({"id": STRING, "object": enum("response"), "deleted": BOOLEAN})


@stored_responses.get("")
@describe_route(
    "Retrieve a stored response",
    callers=KEY,
    path={"id": STRING},
    query={"stream": BOOLEAN},
    responses={200: ResponseSpec(RESPONSE, "The response, as it was returned when it was created.")},
    errors=(InvalidRequest, NotFound),
)
async def show_response(id: str) -> Response:
    """Return a stored response. It cannot be streamed, because its events are not stored."""
    caller = await key_caller()
    if request.args.get("stream") == "true":
        raise InvalidRequest("'stream' is not supported for stored responses.", "stream")
    row = await read(partial(find_response, caller.account, id))
    return uncached_json(orjson.loads(row.response))


@stored_responses.delete("")
@describe_route(
    "Delete a stored response",
    callers=KEY,
    path={"id": STRING},
    responses={200: ResponseSpec(_DELETED, "Deleted. It can no longer be continued.")},
    errors=(NotFound,),
)
async def remove_response(id: str) -> Response:
    """Permanently delete a stored response."""
    caller = await key_caller()
    await write(partial(delete_response, caller.account, id))
    return uncached_json({"id": id, "object": "response", "deleted": True})


@stored_responses.get("/input_items")
@describe_route(
    "List input items",
    callers=KEY,
    path={"id": STRING},
    query={"order": enum("asc", "desc"), "after": STRING, "limit": integer(1, MAX_LIMIT)},
    responses={200: ResponseSpec(_ITEMS, "A page of items. Pass `last_id` as `after` to get the next one.")},
    errors=(InvalidRequest, NotFound),
)
async def list_input_items(id: str) -> Response:
    """List the `input` items of the call itself, newest first unless `order` is `asc`."""
    caller = await key_caller()
    order = request.args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", "order")
    limit = query_integer("limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
    items = await read(partial(_input_items, caller.account, id))
    if order == "desc":
        items.reverse()
    start = _start_after(items, request.args.get("after"))
    page = items[start : start + limit]
    return uncached_json(
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


def _start_after(items: list[Item], id: str | None) -> int:
    if id is None:
        return 0
    place = next((place for place, item in enumerate(items) if item["id"] == id), None)
    if place is None:
        raise InvalidRequest("'after' must be the id of an item in this list.", "after")
    return place + 1


@stored_responses.post("/cancel")
@describe_route("Cancel a background response (not supported)", callers=KEY, responses={}, errors=(NotFound,))
async def refuse(**_: str) -> Response:
    """Raise `NotFound`: no response runs in the background. An invalid key gets its own error."""
    await key_caller()
    raise NotFound("Background responses are not supported.")
