"""Converts bodies of the Messages API to chat calls. Pure.

Each field is translated, forwarded, rejected, or ignored if it is in `_WITHOUT_EFFECT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.call.requests import build_chat_call, with_model
from edge.http.body_types import BodyType, check_body
from edge.http.json_body import parse_json_object
from edge.v1.error_field_names import message_field
from edge.v1.messages.message_conversion import convert_messages
from edge.v1.messages.schema import MessagesRequest
from edge.v1.provider_fields import with_provider_fields
from shared.core.errors import InvalidRequest
from shared.dialects.anthropic_search import SEARCH_FIELDS, is_web_search
from shared.dialects.base import ChatCall
from shared.dialects.json_schema import OPENAI, Unconvertible, convert

Json = dict[str, Any]

_OWN = frozenset(
    {
        *("messages", "system", "max_tokens", "stop_sequences", "tools", "tool_choice", "metadata", "output_config"),
        *("output_format", "thinking", "service_tier", "speed"),
    }
)
# Hints for Anthropic's own infrastructure; they do not affect the correctness of an answer.
_WITHOUT_EFFECT = frozenset({"context_management", "diagnostics"})
_REFUSED = {
    "container": "'container' is not supported; code execution is not available.",
    "mcp_servers": "'mcp_servers' is not supported. Send 'tools' instead.",
    "inference_geo": "'inference_geo' is not supported.",
    "n": "'n' is not supported; a message has one answer.",
    "modalities": "'modalities' is not supported.",
    "functions": "Send 'tools' instead of 'functions'.",
    "max_completion_tokens": "Send 'max_tokens' instead of 'max_completion_tokens'.",
    "response_format": "Send 'output_config.format' instead of 'response_format'.",
    "stream_options": "'stream_options' is not supported; usage is always included.",
}


def parse(data: bytes) -> ChatCall:
    """Parse a body. Raises `InvalidRequest`."""
    body = parse_json_object(data)
    requested = check_request(body, MessagesRequest)
    rich = chat_body(body)
    rich["max_tokens"] = requested.max_tokens
    call = with_provider_fields(rich, lambda portable: build_chat_call(portable, len(data)))
    search = next((index for index, tool in enumerate(rich.get("tools", ())) if is_web_search(tool)), None)
    return call._replace(
        field_name=message_field,
        tag=requested.metadata.tag if requested.metadata else None,
        server_tool=None if search is None else f"tools[{search}].type",
    )


def check_request(body: Mapping[str, Any], declared: type[BodyType]) -> BodyType:
    """Return the declared fields of a body. Raises `InvalidRequest`, with advice for a field of another API."""
    for name, advice in _REFUSED.items():
        if body.get(name):
            raise InvalidRequest(advice, name)
    return check_body(with_model(body), declared)


def chat_body(body: Mapping[str, Any]) -> Json:
    """Convert a checked body to a chat body without an output limit. It may have fields that only some dialects support."""
    excluded = _OWN | _WITHOUT_EFFECT | _REFUSED.keys()
    chat = {name: value for name, value in body.items() if name not in excluded and value is not None}
    chat["messages"] = convert_messages(body.get("system"), body["messages"])
    _add_tools(chat, body)
    _add_format(chat, body)
    _add_thinking(chat, body)
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None:
        chat["user"] = user
    return chat


def _add_tools(chat: Json, body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    if not tools:
        return
    chat["tools"] = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if not choice:
        return
    kind, name = choice.get("type"), choice.get("name")
    if kind == "tool" and isinstance(name, str):
        chat["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif kind in ("auto", "any", "none"):
        chat["tool_choice"] = "required" if kind == "any" else kind
    else:
        raise InvalidRequest("'tool_choice.type' must be 'auto', 'any', 'none', or 'tool' with a 'name'.", "tool_choice.type")
    if choice.get("disable_parallel_tool_use") is True:
        chat["parallel_tool_calls"] = False


def _tool(tool: Json, where: str) -> Json:
    if is_web_search(tool):
        limit = tool.get("max_uses")
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidRequest(f"'{where}.max_uses' must be a positive integer.", f"{where}.max_uses")
        return {name: value for name, value in tool.items() if name in SEARCH_FIELDS and value is not None}
    if tool.get("type") not in (None, "custom"):
        raise InvalidRequest(
            "Server tools other than web search are not supported. Send custom tools with an 'input_schema'.", f"{where}.type"
        )
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"'{where}.name' must be a string.", f"{where}.name")
    if not isinstance(tool.get("input_schema"), dict):
        raise InvalidRequest(f"'{where}.input_schema' must be an object.", f"{where}.input_schema")
    function = {"name": tool["name"], "parameters": tool["input_schema"]}
    function.update({name: tool[name] for name in ("description", "strict") if tool.get(name) is not None})
    marked = {name: tool[name] for name in ("cache_control", "defer_loading") if tool.get(name)}
    return {"type": "function", "function": function, **marked}


def _add_format(chat: Json, body: Mapping[str, Any]) -> None:
    config = body.get("output_config") or {}
    requested = config.get("format") or body.get("output_format")
    if requested is not None:
        if requested.get("type") != "json_schema" or not isinstance(requested.get("schema"), dict):
            raise InvalidRequest(
                "'output_config.format' must have the type 'json_schema' and a 'schema'.", "output_config.format"
            )
        schema = {"name": "answer", "schema": requested["schema"], "strict": _is_strict(requested["schema"])}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    effort = config.get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort


def _is_strict(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema can be strict at OpenAI, where strict schemas have no optional properties.

    Anthropic enforces all schemas.
    """
    try:
        convert(schema, OPENAI)
    except Unconvertible:
        return False
    return True


def _add_thinking(chat: Json, body: Mapping[str, Any]) -> None:
    """Add `thinking`, which only Anthropic's dialect forwards; other models use `output_config.effort`."""
    thinking = body.get("thinking")
    if not thinking:
        return
    if not isinstance(thinking.get("type"), str):
        raise InvalidRequest("'thinking.type' must be a string.", "thinking.type")
    chat["thinking"] = thinking
