"""The OpenAPI schemas of `/v1/responses`."""

from __future__ import annotations

from edge.call.requests import MAX_TOKENS
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    COST_SCHEMA,
    EVENTS,
    JSON,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    example,
    integer,
    number,
    open_request_schema,
    response_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH
from shared.core.errors import PurgeRunning

RESPONSE = response_schema(
    {"id": STRING, "object": enum("response"), "status": STRING, "output": array(OPEN_OBJECT), "yout": COST_SCHEMA}
)
DECLARATION = describe_model_call(
    "Create a response",
    ResponseSpec(RESPONSE, "The response, or its events with `stream: true`.", (JSON, EVENTS)),
    more=(PurgeRunning,),
    body=example(
        open_request_schema(
            {
                "model": string(MAX_MODEL_LENGTH),
                "input": ANY,
                "instructions": STRING,
                "stream": BOOLEAN,
                "temperature": number(0, 2),
                "top_p": number(0, 1),
                "max_output_tokens": integer(1, MAX_TOKENS),
                "tools": array(OPEN_OBJECT),
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
