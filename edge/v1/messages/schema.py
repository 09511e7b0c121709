"""The OpenAPI schemas of `/v1/messages`."""

from __future__ import annotations

from edge.call.requests import MOST_TOKENS
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    EVENTS,
    INTEGER,
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
)
from edge.http.fields import LONGEST_MODEL

TURN = open_wish({"role": one_of("user", "assistant", "system"), "content": ANY}, required=("role", "content"))
MESSAGES_REQUEST = example(
    open_wish(
        {
            "model": text(LONGEST_MODEL),
            "messages": array(TURN, 1),
            "max_tokens": {"type": "integer", "minimum": 0, "maximum": MOST_TOKENS},
            "system": ANY,
            "stream": BOOLEAN,
            "temperature": number(0, 1),
            "top_p": number(0, 1),
            "stop_sequences": array(STRING),
            "tools": array(OPEN),
            "tool_choice": OPEN,
        },
        required=("model", "messages"),
    ),
    {"model": "$model", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]},
)
_MESSAGE = record(
    {
        "id": STRING,
        "type": one_of("message"),
        "role": one_of("assistant"),
        "model": STRING,
        "content": array(OPEN),
        "usage": record({"input_tokens": INTEGER, "output_tokens": INTEGER}),
        "yout": SPENT,
    }
)
DECLARATION = declare_call(
    "Create a message",
    Answer(_MESSAGE, "The message, or its events with `stream: true`.", (JSON, EVENTS)),
    body=MESSAGES_REQUEST,
    shape="messages",
)
