"""Converts bodies of the Responses API to chat calls. Pure.

Each field is translated, echoed in the response, forwarded, or rejected; none is silently ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from edge.call.requests import build_chat_call
from edge.http.body_types import check_body
from edge.http.json_body import parse_json_object
from edge.v1.error_field_names import response_field
from edge.v1.provider_fields import with_provider_fields
from edge.v1.responses.items import convert_items
from edge.v1.responses.relayed_body import relayed_body
from edge.v1.responses.schema import ResponsesRequest
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
_LOGPROBS = "message.output_text.logprobs"


def parse(data: bytes) -> tuple[Body, ChatCall]:
    """Parse a body. Return the body unchanged, with its call."""
    body = parse_json_object(data)
    return body, build_call(body, len(data))


def with_items(body: Body, items: list[Body], size: int) -> ChatCall:
    """Return the call of a parsed body with other `items` as its input. `size` is the resulting size in bytes."""
    return build_call({**body, "input": items}, size)


def build_call(body: Body, size: int) -> ChatCall:
    """Return the call of a parsed body of `size` bytes."""
    requested = check_body(body, ResponsesRequest)
    _refuse(body)
    chat = {name: value for name, value in body.items() if name not in _OWN and name not in _REFUSED}
    chat["messages"] = _messages(body)
    _add_tools(chat, body)
    _add_text(chat, body.get("text") or {})
    _add_reasoning(chat, body.get("reasoning") or {})
    _add_logprobs(chat, body)
    if requested.max_output_tokens is not None:
        chat["max_completion_tokens"] = requested.max_output_tokens
    call = with_provider_fields(chat, lambda portable: build_chat_call(portable, size))
    return call._replace(field_name=response_field, responses_body=partial(relayed_body, body))


def _refuse(body: Mapping[str, Any]) -> None:
    for name, advice in _REFUSED.items():
        if body.get(name):
            raise InvalidRequest(advice, name)


def _messages(body: Mapping[str, Any]) -> list[Body]:
    instructions = body.get("instructions")
    if instructions is None:
        return convert_items(body["input"])
    return [{"role": "system", "content": instructions}, *convert_items(body["input"])]


def _add_tools(chat: Body, body: Mapping[str, Any]) -> None:
    converted = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.get("tools") or ())]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        choice, converted = _choose(choice, converted)
    if converted:
        chat["tools"] = converted
        if choice is not None:
            chat["tool_choice"] = choice
    else:
        chat.pop("parallel_tool_calls", None)  # providers reject it without tools


def _tool(tool: Body, where: str) -> Body:
    if tool.get("type") != "function":
        raise InvalidRequest("Hosted tools are not supported. Send tools of type 'function'.", f"{where}.type")
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"'{where}.name' must be a string.", f"{where}.name")
    fields = ("name", "description", "parameters", "strict")
    return {"type": "function", "function": {name: tool[name] for name in fields if tool.get(name) is not None}}


def _choose(choice: Mapping[str, Any], tools: list[Body]) -> tuple[Any, list[Body]]:
    """Convert an object `tool_choice`. With `allowed_tools` the other tools are removed. Return the choice and the tools."""
    kind = choice.get("type")
    if kind == "function" and isinstance(choice.get("name"), str):
        return {"type": "function", "function": {"name": choice["name"]}}, tools
    allowed = choice.get("tools")
    if kind == "allowed_tools" and isinstance(allowed, list):
        names = {tool.get("name") for tool in allowed if isinstance(tool, dict)}
        return choice.get("mode", "auto"), [tool for tool in tools if tool["function"]["name"] in names]
    raise InvalidRequest("'tool_choice' must be 'auto', 'none', 'required', or an object that names a function.", "tool_choice")


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
