"""Converts bodies of the Responses API to chat calls. Pure.

Each field is translated, echoed in the response, forwarded, or rejected; none is silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

from edge.call.requests import build_chat_call, with_model
from edge.http.body_types import check_body
from edge.http.json_body import parse_json_object
from edge.v1.error_field_names import response_field
from edge.v1.provider_fields import with_provider_fields
from edge.v1.responses.compaction import PROMPT_BYTES, TRIGGER, is_compaction, request_summary
from edge.v1.responses.items import convert_items
from edge.v1.responses.relayed_body import relayed_body
from edge.v1.responses.schema import ResponsesRequest
from edge.v1.responses.tools import ToolSet
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

Body = dict[str, Any]

# Unsupported fields, with what to do instead.
_REFUSED = {
    "conversation": "'conversation' is not supported. Send the earlier items in 'input', or use 'previous_response_id'.",
    "background": "'background' is not supported. Use 'stream' for long responses.",
    "prompt": "'prompt' templates are not supported. Send 'instructions' and 'input'.",
    "context_management": "'context_management' is not supported.",
    "moderation": "'moderation' is not supported. Use POST /v1/moderations.",
    "n": "'n' is not supported; a response has one answer.",
    "modalities": "'modalities' is not supported here; use POST /v1/chat/completions.",
    "functions": "Send 'tools' instead of 'functions'.",
    "messages": "Send 'input' instead of 'messages', or use POST /v1/chat/completions.",
    "max_tokens": "Send 'max_output_tokens' instead of 'max_tokens'.",
    "max_completion_tokens": "Send 'max_output_tokens' instead of 'max_completion_tokens'.",
    "response_format": "Send 'text.format' instead of 'response_format'.",
}
# Fields that are translated below, or only echoed.
_OWN = frozenset(
    {
        *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "max_tool_calls", "include"),
        *("metadata", "top_logprobs", "truncation", "stream_options", "prompt_cache_options", "prompt_cache_retention"),
        *("store", "previous_response_id"),
    }
)
# Sent by clients for OpenAI's analytics: ids of the installation and session, the path of the workspace. Never stored or sent on.
_DROPPED = frozenset({"client_metadata"})
_LOGPROBS = "message.output_text.logprobs"


class ResponseRequest(NamedTuple):
    """A parsed body, its call, and the caller's tools. `compacts` means that the response is a compaction."""

    body: Body
    call: ChatCall
    tools: ToolSet
    compacts: bool


def parse(data: bytes, *, compacts: bool = False) -> ResponseRequest:
    """Parse a body. With `compacts`, the response is a compaction, even if the input does not end with a trigger."""
    body = parse_json_object(data)
    if compacts and body.get("input") is None and body.get("previous_response_id"):
        body["input"] = [{"type": TRIGGER}]
    return _build(body, len(data), compacts=compacts or is_compaction(body.get("input")))


def with_items(request: ResponseRequest, items: list[Body], size: int) -> ResponseRequest:
    """Return a request with other `items` as its input. `size` is the resulting size in bytes."""
    return _build({**request.body, "input": items}, size, compacts=request.compacts)


def _build(body: Body, size: int, *, compacts: bool) -> ResponseRequest:
    _refuse(body)
    requested = check_body(with_model(body), ResponsesRequest)
    excluded = _OWN | _DROPPED | _REFUSED.keys()
    chat = {name: value for name, value in body.items() if name not in excluded}
    tools = ToolSet()
    tools.add(body.get("tools") or [], "tools")
    chat["messages"] = _messages(body, tools, may_be_empty=compacts and bool(body.get("previous_response_id")))
    _add_tools(chat, body, tools)
    _add_text(chat, body.get("text") or {})
    _add_reasoning(chat, body.get("reasoning") or {})
    _add_logprobs(chat, body)
    if requested.max_output_tokens is not None:
        chat["max_completion_tokens"] = requested.max_output_tokens
    if compacts:
        chat = request_summary(chat)
    size += tools.added_bytes + (PROMPT_BYTES if compacts else 0)  # text that the caller did not send
    call = with_provider_fields(chat, lambda portable: build_chat_call(portable, size))
    relayed = None if compacts else cache(partial(relayed_body, body))
    tag = requested.metadata.tag if requested.metadata else None
    call = call._replace(field_name=_field_namer(tools), responses_body=relayed, tag=tag)
    return ResponseRequest(body, call, tools, compacts)


def _field_namer(tools: ToolSet) -> Callable[[str], str]:
    return lambda param: tools.caller_path(param) or response_field(param)


def _refuse(body: Mapping[str, Any]) -> None:
    for name, advice in _REFUSED.items():
        if body.get(name):
            raise InvalidRequest(advice, name)


def _messages(body: Mapping[str, Any], tools: ToolSet, *, may_be_empty: bool) -> list[Body]:
    messages = convert_items(body["input"], tools, may_be_empty=may_be_empty)
    instructions = body.get("instructions")
    if instructions is None:
        return messages
    return [{"role": "system", "content": instructions}, *messages]


def _add_tools(chat: Body, body: Mapping[str, Any], tools: ToolSet) -> None:
    choice, chat_tools = tools.choose(body.get("tool_choice"))
    if chat_tools:
        chat["tools"] = chat_tools
        if choice is not None:
            chat["tool_choice"] = choice
    else:
        chat.pop("parallel_tool_calls", None)  # providers reject it without tools


def _add_text(chat: Body, text: Mapping[str, Any]) -> None:
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    format = text.get("format")
    if format is None:
        return
    kind = format["type"]
    if kind == "json_schema":
        schema = {name: value for name, value in format.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        chat["response_format"] = {"type": "json_object"}


def _add_reasoning(chat: Body, reasoning: Mapping[str, Any]) -> None:
    if reasoning.get("effort") is not None:
        chat["reasoning_effort"] = reasoning["effort"]


def _add_logprobs(chat: Body, body: Mapping[str, Any]) -> None:
    include = body.get("include") or []
    if body.get("top_logprobs"):
        chat["top_logprobs"] = body["top_logprobs"]
    if _LOGPROBS in include or body.get("top_logprobs"):
        chat["logprobs"] = True
