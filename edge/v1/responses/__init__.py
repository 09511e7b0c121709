"""`POST /v1/responses`: OpenAI's Responses, for any model, without a memory on this side."""

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
from edge.v1.responses.answer import Response
from edge.v1.responses.request import read
from shared.clock import now_ms


def _open(data: bytes, call_id: UUID) -> Asked:
    body, call = read(data)
    return Asked(call, Response(call_id, now_ms() // 1000, body, call))


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
    (*CALL, *IDENTITY),
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
            },
            required=("model", "input"),
        ),
        {"model": "$model", "input": "Hello"},
    ),
    notes="Nothing is stored: send the earlier items in `input`.",
)
RESPONSES = Surface(_open, declaration=DECLARATION)
