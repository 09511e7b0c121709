"""The OpenAPI schemas of `/v1/messages`."""

from __future__ import annotations

from edge.call.requests import MAX_TOKENS
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    COST_SCHEMA,
    EVENTS,
    INTEGER,
    JSON,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    example,
    number,
    open_request_schema,
    response_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH

TURN = open_request_schema({"role": enum("user", "assistant", "system"), "content": ANY}, required=("role", "content"))
MESSAGES_REQUEST = example(
    open_request_schema(
        {
            "model": string(MAX_MODEL_LENGTH),
            "messages": array(TURN, 1),
            "max_tokens": {"type": "integer", "minimum": 0, "maximum": MAX_TOKENS},
            "system": ANY,
            "stream": BOOLEAN,
            "temperature": number(0, 1),
            "top_p": number(0, 1),
            "stop_sequences": array(STRING),
            "tools": array(OPEN_OBJECT),
            "tool_choice": OPEN_OBJECT,
        },
        required=("model", "messages"),
    ),
    {"model": "$model", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]},
)
_MESSAGE = response_schema(
    {
        "id": STRING,
        "type": enum("message"),
        "role": enum("assistant"),
        "model": STRING,
        "content": array(OPEN_OBJECT),
        "usage": response_schema({"input_tokens": INTEGER, "output_tokens": INTEGER}),
        "yout": COST_SCHEMA,
    }
)
DECLARATION = describe_model_call(
    "Create a message",
    ResponseSpec(_MESSAGE, "The message, or its events with `stream: true`.", (JSON, EVENTS)),
    body=MESSAGES_REQUEST,
    error_format="messages",
)
