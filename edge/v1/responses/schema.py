"""The OpenAPI schemas of `/v1/responses`."""

from __future__ import annotations

from edge.call.requests import MOST_TOKENS
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    EVENTS,
    JSON,
    OPEN,
    SPENT,
    STRING,
    Answer,
    array,
    declare_call,
    example,
    number,
    one_of,
    open_wish,
    record,
    text,
    whole,
)
from edge.http.fields import LONGEST_MODEL
from shared.core.errors import PurgeRunning

RESPONSE = record({"id": STRING, "object": one_of("response"), "status": STRING, "output": array(OPEN), "yout": SPENT})
DECLARATION = declare_call(
    "Create a response",
    Answer(RESPONSE, "The response, or its events with `stream: true`.", (JSON, EVENTS)),
    more=(PurgeRunning,),
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
    notes="Responses are stored only with `store: true`, if your plan includes it; `previous_response_id` continues a stored"
    " response. Otherwise send the earlier items in `input`.",
)
