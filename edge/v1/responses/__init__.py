"""`POST /v1/responses`: OpenAI's Responses, for any model, without a memory on this side unless the call asks for one."""

from __future__ import annotations

from uuid import UUID

from edge.declare import (
    ANY,
    BOOLEAN,
    CALL,
    EVENTS,
    IDENTITY,
    JSON,
    KEY,
    OPEN,
    STRING,
    Answer,
    Declaration,
    array,
    example,
    number,
    one_of,
    open_wish,
    record,
    text,
    whole,
)
from edge.requests import LONGEST_MODEL, MOST_TOKENS
from edge.surface import Asked, Surface
from edge.v1.responses.answer import KeptResponse, Response
from edge.v1.responses.items import items_of
from edge.v1.responses.memory import Memory
from edge.v1.responses.references import references_of
from edge.v1.responses.request import read
from shared.clock import now_ms
from shared.errors import PurgeRunning


def _open(data: bytes, call_id: UUID) -> Asked:
    body, call = read(data)
    began = now_ms() // 1000
    if not (body.get("store") or body.get("previous_response_id") or references_of(items_of(body["input"]))):
        return Asked(call, Response(call_id, began, body, call))
    renderer = KeptResponse(call_id, began, body, call)
    return Asked(call, renderer, Memory(call_id, body, len(data), renderer))


DECLARATION = Declaration(
    "Create a response, as OpenAI's Responses API does",
    KEY,
    {
        200: Answer(
            record({"id": STRING, "object": one_of("response"), "status": STRING, "output": array(OPEN)}),
            "The response, or with `stream: true` its events.",
            (JSON, EVENTS),
        )
    },
    (*CALL, PurgeRunning, *IDENTITY),
    body=example(
        open_wish(
            {
                "model": text(LONGEST_MODEL),
                "input": ANY,
                "instructions": STRING,
                "stream": BOOLEAN,
                "temperature": number(0, 2),
                "top_p": number(0, 1),
                "max_output_tokens": whole(1, MOST_TOKENS),
                "tools": array(OPEN),
                "store": BOOLEAN,
                "previous_response_id": STRING,
            },
            required=("model", "input"),
        ),
        {"model": "$model", "input": "Hello"},
    ),
    notes="Nothing is stored unless `store: true` asks for it, on a plan that includes it; `previous_response_id` then continues"
    " from a stored response. Else send the earlier items in `input`.",
)
RESPONSES = Surface(_open, declaration=DECLARATION)
