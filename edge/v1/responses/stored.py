"""`/v1/responses/{id}`: what a key's account has stored, read and deleted."""

from __future__ import annotations

from functools import partial

import orjson
from quart import Blueprint, Response, request

from edge.current import key_caller, private, read, write
from edge.declare import BOOLEAN, KEY, OPEN, STRING, Answer, array, declare, one_of, record
from shared.errors import InvalidRequest, NotFound
from shared.operations.stored_responses import delete_response, find_response

stored_responses = Blueprint("stored_responses", __name__, url_prefix="/v1/responses/<id>")
_RESPONSE = record({"id": STRING, "object": one_of("response"), "status": STRING, "output": array(OPEN)})
_DELETED = record({"id": STRING, "object": one_of("response"), "deleted": BOOLEAN})


@stored_responses.get("")
@declare(
    "Read a stored response",
    callers=KEY,
    path={"id": STRING},
    query={"stream": BOOLEAN},
    answers={200: Answer(_RESPONSE, "As its call got it.")},
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
@stored_responses.post("/cancel")
@declare("Input items and background runs: there are none", callers=KEY, answers={}, refusals=(NotFound,))
async def refuse(**_: str) -> Response:
    """Neither is there for any response; a bad key is told first."""
    await key_caller()
    raise NotFound("Responses have no list of input items here, and are not run in the background.")
