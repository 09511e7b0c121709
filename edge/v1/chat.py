"""`POST /v1/chat/completions`: OpenAI's format is the canonical one, so chunks pass through unchanged."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from edge.call import requests
from edge.call.endpoint_adapter import ChatStreamDefaults, EndpointAdapter, ParsedRequest, cost_fields, openai_usage
from edge.call.exchange import Finished
from edge.http.api_spec import (
    ACCOUNT,
    COST_SCHEMA,
    EVENTS,
    JSON,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    response_schema,
)
from shared.billing.token_usage import PROVIDER_COST_FIELDS

DONE = b"data: [DONE]\n\n"


class ChatRenderer(ChatStreamDefaults):
    """Renders OpenAI's chunks, with our `yout` object in the last one."""

    __slots__ = ("_include_usage",)

    transform_chunks = None

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage

    def finish(self, event: Finished) -> bytes:
        """Return the last chunk, the usage chunk if requested, and `[DONE]`."""
        if not self._include_usage:
            last = {**event.body, "yout": cost_fields(event)}
            return b"data: " + orjson.dumps(last) + b"\n\n" + DONE
        usage = {**event.frame, "choices": [], "usage": openai_usage(event), "yout": cost_fields(event)}
        return b"data: " + orjson.dumps(event.body) + b"\n\ndata: " + orjson.dumps(usage) + b"\n\n" + DONE

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the completion."""
        return {**event.body, "usage": _reported_usage(event), "yout": cost_fields(event)}


def _reported_usage(event: Finished) -> Any:
    """Return the provider's usage with all its details and OpenAI's required fields; if it is implausible, our own count."""
    reported, ours = event.body.get("usage"), openai_usage(event)
    if not isinstance(reported, dict) or event.usage.estimated:
        return ours
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = reported.get(name)
        ours[name] = {**details, **ours[name]} if isinstance(details, dict) else ours[name]
    if not PROVIDER_COST_FIELDS.isdisjoint(reported):
        reported = {name: value for name, value in reported.items() if name not in PROVIDER_COST_FIELDS}
    return {**reported, **ours}


def _read(data: bytes, _: UUID) -> ParsedRequest:
    call = requests.parse_chat_request(data)
    return ParsedRequest(call, ChatRenderer(call.include_usage))


DECLARATION = describe_model_call(
    "Create a chat completion",
    ResponseSpec(
        response_schema(
            {"id": STRING, "object": STRING, "choices": array(OPEN_OBJECT), "usage": OPEN_OBJECT, "yout": COST_SCHEMA}
        ),
        "The completion, or its chunks with `stream: true`.",
        (JSON, EVENTS),
    ),
    body=requests.ChatRequest,
    notes="Other fields of OpenAI's API are forwarded to the provider, or rejected if it does not support them or the model's"
    ' price does not cover them. `models` and `provider` control routing; `usage: {"include": true}` requests the cost in USD.'
    " The headers `Idempotency-Key`, `x-yout-safe-retries` and `x-yout-max-credits` are optional. The playground calls this with"
    " a web session.",
)._replace(callers=ACCOUNT)
CHAT = EndpointAdapter(_read, allows_pages=True, declaration=DECLARATION)
