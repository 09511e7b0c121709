"""`POST /v1/chat/completions`: OpenAI's format is the canonical one, so chunks pass through unchanged."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from edge.call import requests
from edge.call.endpoint_adapter import Asked, LikeChats, Surface, spent, usage_of
from edge.call.exchange import Finished
from edge.http import fields
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

DONE = b"data: [DONE]\n\n"


class Chunks(LikeChats):
    """Renders OpenAI's chunks, with our `yout` object in the last one."""

    __slots__ = ("_include_usage",)

    relay = None

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage

    def ending(self, event: Finished) -> bytes:
        """Return the last chunk, the usage chunk if requested, and `[DONE]`."""
        if not self._include_usage:
            last = {**event.body, "yout": spent(event)}
            return b"data: " + orjson.dumps(last) + b"\n\n" + DONE
        usage = {**event.frame, "choices": [], "usage": usage_of(event), "yout": spent(event)}
        return b"data: " + orjson.dumps(event.body) + b"\n\ndata: " + orjson.dumps(usage) + b"\n\n" + DONE

    def whole(self, event: Finished) -> dict[str, Any]:
        """Return the completion."""
        return {**event.body, "usage": _reported_usage(event), "yout": spent(event)}


def _reported_usage(event: Finished) -> Any:
    """Return the provider's usage with all its details and OpenAI's required fields; our own count if it is implausible."""
    reported, ours = event.body.get("usage"), usage_of(event)
    if not isinstance(reported, dict) or event.usage.estimated:
        return ours
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = reported.get(name)
        ours[name] = {**details, **ours[name]} if isinstance(details, dict) else ours[name]
    return {**reported, **ours}


def _read(data: bytes, _: UUID) -> Asked:
    call = requests.chat(data)
    return Asked(call, Chunks(call.include_usage))


_TURN = open_wish({"role": one_of(*sorted(requests.ROLES)), "content": ANY}, required=("role", "content"))
CHAT_REQUEST = example(
    open_wish(
        {
            "model": text(fields.LONGEST_MODEL),
            "messages": array(_TURN, 1),
            "stream": BOOLEAN,
            "temperature": number(0, 2),
            "top_p": number(0, 1),
            "presence_penalty": number(-2, 2),
            "frequency_penalty": number(-2, 2),
            "max_tokens": whole(1, requests.MOST_TOKENS),
            "max_completion_tokens": whole(1, requests.MOST_TOKENS),
            "n": whole(1, requests.MOST_CHOICES),
            "stop": {"anyOf": [STRING, array(STRING, 0, requests.MOST_STOPS)]},
            "tools": array(OPEN),
            "tool_choice": ANY,
            "response_format": OPEN,
            "reasoning_effort": STRING,
            "user": STRING,
        },
        required=("model", "messages"),
    ),
    {"model": "$model", "messages": [{"role": "user", "content": "Hello"}]},
)
DECLARATION = declare_call(
    "Create a chat completion",
    Answer(
        record({"id": STRING, "object": STRING, "choices": array(OPEN), "usage": OPEN, "yout": SPENT}),
        "The completion, or its chunks with `stream: true`.",
        (JSON, EVENTS),
    ),
    body=CHAT_REQUEST,
    notes="Unlisted fields are forwarded to the provider, or rejected if it does not support them. `models` and `provider`"
    " control routing. The headers `Idempotency-Key` and `x-yout-max-credits` are optional.",
)
CHAT = Surface(_read, declaration=DECLARATION)
