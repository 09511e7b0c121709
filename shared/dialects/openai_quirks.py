"""Adapts a request to a provider of OpenAI's format, by its channel's settings: roles, names, ids, sampling. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from shared.catalog.model_settings import of_model
from shared.dialects.content_parts import convert_schema
from shared.dialects.field_support import raise_unsupported
from shared.dialects.json_schema import OPENAI, WorkBudget
from shared.dialects.strip_foreign_fields import reasoning_of
from shared.dialects.tool_ids import rewrite_ids

Json = dict[str, Any]
_SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_OTHER_ROLES = {"developer": "system", "system": "developer"}
_OF_MESSAGES = ("roles", "named_roles", "tool_ids", "required_history")


def adapt_request(body: Json, settings: Mapping[str, Any], model: str) -> None:
    """Change `body`, a copy of the caller's, to what the provider accepts. Raises `UnsupportedField`."""
    if any(name in settings for name in _OF_MESSAGES):
        body["messages"] = _messages(body, settings)
    if body.get("tools") and "effort_with_tools" in settings:
        _fit_tools(body, of_model(settings, "effort_with_tools", model, None))
    off = settings.get("no_thinking")
    if off and (body.get("reasoning_effort") == "none" or _forces_tool(body)):
        body.pop("reasoning_effort", None)
        body.update(off)
    if "sampling" in settings and any(name in body for name in _SAMPLING):
        takes = of_model(settings, "sampling", model, "all")
        effort = body.get("reasoning_effort")
        without = (None, "none") if takes == "by_default_without_reasoning" else ("none",)
        if takes == "none" or (takes != "all" and effort not in without):
            for name in _SAMPLING:
                body.pop(name, None)
    if settings.get("strict_schemas"):
        fit_schemas(body)


def _fit_tools(body: Json, effort: Any) -> None:
    if effort is False:
        raise_unsupported("tools", "use a model that accepts tools")
    if isinstance(effort, str):
        body["reasoning_effort"] = effort


def _forces_tool(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return bool(body.get("tools")) and (choice == "required" or isinstance(choice, dict))


def fit_schemas(body: Json) -> None:
    """Convert strict schemas to the subset that OpenAI documents."""
    response_format = body.get("response_format") or {}
    named = response_format.get("json_schema")
    if isinstance(named, dict) and named.get("strict") and isinstance(named.get("schema"), dict):
        schema = convert_schema("response_format.json_schema.schema", named["schema"], OPENAI)
        body["response_format"] = {**response_format, "json_schema": {**named, "schema": schema}}
    if any(_is_strict(tool) for tool in body.get("tools") or ()):
        work = WorkBudget()
        body["tools"] = [
            _convert_tool(tool, index, work) if _is_strict(tool) else tool for index, tool in enumerate(body["tools"])
        ]


def _is_strict(tool: Mapping[str, Any]) -> bool:
    function = tool.get("function")
    return isinstance(function, dict) and bool(function.get("strict")) and isinstance(function.get("parameters"), dict)


def _convert_tool(tool: Json, index: int, work: WorkBudget) -> Json:
    function = tool["function"]
    where = f"tools[{index}].function.parameters"
    schema = convert_schema(where, function["parameters"], OPENAI, object_root=True, work=work)
    return {**tool, "function": {**function, "parameters": schema}}


def _messages(body: Json, settings: Mapping[str, Any]) -> list[Json]:
    roles, named, required = settings.get("roles"), settings.get("named_roles"), settings.get("required_history")
    has_calls = any("tool_calls" in message or "tool_call_id" in message for message in body["messages"])
    ids = rewrite_ids(body["messages"], settings["tool_ids"]) if has_calls and settings.get("tool_ids") else {}
    if not ids and roles is None and named is None and not required:
        return list(body["messages"])
    has_tools = bool(body.get("tools"))
    made = []
    for index, message in enumerate(body["messages"]):
        changed: Json = {}
        role = message["role"]
        if roles is not None and role not in roles:
            changed["role"] = _role(role, roles, index)
        if named is not None and message.get("name") and role not in named:
            changed["name"] = None
            changed["content"] = _with_name(message["name"], message.get("content"))
        if ids:
            changed.update(_with_ids(message, ids))
        if required and role == "assistant" and (has_tools or message.get("tool_calls")):
            changed.update(
                {name: reasoning_of(message) or instead for name, instead in required.items() if not message.get(name)}
            )
        made.append(
            {name: value for name, value in {**message, **changed}.items() if name != "name" or value} if changed else message
        )
    return made


def _role(role: str, roles: Collection[str], index: int) -> str:
    other = _OTHER_ROLES.get(role)
    if other is None or other not in roles:
        why = "use the role 'tool'" if role == "function" and "tool" in roles else f"must be one of {', '.join(roles)}"
        raise_unsupported(f"messages[{index}].role", why)
    return other


def _with_name(name: str, content: Any) -> Any:
    """Return content with the name prefixed to its text."""
    if isinstance(content, str):
        return f"{name}: {content}"
    if not isinstance(content, list):
        return content
    if content and content[0].get("type") == "text":
        return [{**content[0], "text": f"{name}: {content[0]['text']}"}, *content[1:]]
    return [{"type": "text", "text": f"{name}:"}, *content]


def _with_ids(message: Mapping[str, Any], ids: Mapping[str, str]) -> Json:
    changed: Json = {}
    if message.get("tool_calls"):
        changed["tool_calls"] = [
            {**call, "id": ids.get(call["id"], call["id"])} if "id" in call else call for call in message["tool_calls"]
        ]
    if message.get("tool_call_id") in ids:
        changed["tool_call_id"] = ids[message["tool_call_id"]]
    return changed
