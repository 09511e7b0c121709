"""Builds requests for OpenAI's Responses API from chat calls, and completes relayed ones (`responses_relay`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.catalog.model_settings import nearest_effort, of_model
from shared.dialects import content_parts
from shared.dialects.base import ChatCall, Target
from shared.dialects.content_parts import SYSTEM_ROLES, Message
from shared.dialects.deferred_tools import load_tools
from shared.dialects.field_support import check_fields, passed_fields, raise_unsupported
from shared.dialects.identity import CACHE_KEY, IDENTITY_FIELDS, pseudonymize
from shared.dialects.openai_quirks import fit_schemas
from shared.dialects.responses_fields import FIELDS, MESSAGE_FIELDS, PART_FIELDS
from shared.dialects.responses_reasoning import reasoning_items

ENCRYPTED = "reasoning.encrypted_content"
_IDENTIFIERS = (*IDENTITY_FIELDS, CACHE_KEY, "metadata")
_LOGPROBS = "message.output_text.logprobs"
MIN_OUTPUT_TOKENS = 16  # API reference: `max_output_tokens`
Json = dict[str, Any]


def build_body(call: ChatCall, target: Target) -> Json:
    """Return the request body. Raises `UnsupportedField`."""
    request = dict(load_tools(call.body))
    check_fields(request, FIELDS)
    content_parts.check_options(request)
    fit_schemas(request)
    body: Json = {**passed_fields(request, FIELDS), "model": target.route.upstream_model, "store": False}
    body["input"] = _input(request)
    if not body["input"]:
        raise_unsupported("messages", "at least one message must have content")
    _add_tools(body, request)
    _add_text(body, request)
    _add_reasoning(body, request, target)
    if request.get("logprobs"):
        body["include"] = [*body.get("include", ()), _LOGPROBS]
    limit = content_parts.output_limit(request, target.max_output_tokens)
    if limit is not None:
        body["max_output_tokens"] = max(limit, MIN_OUTPUT_TOKENS)
    body.update({name: request[name] for name in _IDENTIFIERS if request.get(name) is not None})
    return finish_body(body, target)


def finish_body(body: Json, target: Target) -> Json:
    """Apply pseudonyms and the channel's settings to a body, in place."""
    settings, model = target.route.settings, target.route.upstream_model
    pseudonymize(body, target)
    sampling = of_model(settings, "sampling", model, "all")
    effort = (body.get("reasoning") or {}).get("effort")
    no_reasoning = (None, "none") if sampling == "by_default_without_reasoning" else ("none",)
    if sampling == "none" or (sampling != "all" and effort not in no_reasoning):
        for name in ("temperature", "top_p"):
            body.pop(name, None)
    if isinstance(settings.get("roles"), list):
        body["input"] = [_with_role(item, settings["roles"]) for item in body["input"]]
    if settings.get("body"):
        body.update(settings["body"])
    return body


def reasons(target: Target, effort: Any) -> bool:
    """Return whether the model reasons: its channel has a list of efforts for it, or the call has an effort."""
    efforts = of_model(target.route.settings, "efforts", target.route.upstream_model, None)
    return bool(efforts) if isinstance(efforts, list) else effort not in (None, "none")


def supported_effort(effort: Any, target: Target) -> Any:
    """Return the nearest effort that the model accepts; None if it accepts none."""
    return nearest_effort(target.route.settings, target.route.upstream_model, effort) if isinstance(effort, str) else effort


def _add_reasoning(body: Json, request: Mapping[str, Any], target: Target) -> None:
    effort = supported_effort(request.get("reasoning_effort"), target)
    reasoning = {"effort": effort} if effort is not None else {}
    if reasons(target, effort):
        body["include"] = [ENCRYPTED]
        summary = of_model(target.route.settings, "reasoning_summary", target.route.upstream_model, None)
        if summary is not None and effort != "none":
            reasoning["summary"] = summary
    if reasoning:
        body["reasoning"] = reasoning


def _add_text(body: Json, request: Mapping[str, Any]) -> None:
    kind, schema = content_parts.response_format(request)
    text: Json = {}
    if kind == "json_object":
        text["format"] = {"type": kind}
    elif kind == "json_schema":
        named = request["response_format"]["json_schema"]
        fields = {name: named[name] for name in ("name", "description", "strict") if named.get(name) is not None}
        text["format"] = {"type": kind, **fields, "schema": schema}
    if request.get("verbosity") is not None:
        text["verbosity"] = request["verbosity"]
    if text:
        body["text"] = text


def _add_tools(body: Json, request: Mapping[str, Any]) -> None:
    tools = [_tool(f"tools[{index}]", tool) for index, tool in enumerate(request.get("tools") or ())]
    if not tools:
        return
    body["tools"] = tools
    if request.get("tool_choice") is not None:
        body["tool_choice"] = _choice(request["tool_choice"])
    if request.get("parallel_tool_calls") is not None:
        body["parallel_tool_calls"] = request["parallel_tool_calls"]


def _tool(where: str, tool: Mapping[str, Any]) -> Json:
    kind = tool.get("type", "function")
    fields = tool.get(kind) if kind in ("function", "custom") else None
    if not isinstance(fields, dict):
        raise_unsupported(f"{where}.type", "only function and custom tools are supported")
    if not isinstance(fields.get("name"), str):
        raise_unsupported(f"{where}.{kind}.name", "must be a string")
    made: Json = {"type": kind, "name": fields["name"]}
    if fields.get("description"):
        made["description"] = fields["description"]
    if kind == "custom":
        return {**made, "format": _format(fields["format"])} if fields.get("format") else made
    # Functions are strict by default in this API, and not in chat completions.
    parameters = fields.get("parameters") or {"type": "object", "properties": {}}
    return {**made, "parameters": parameters, "strict": bool(fields.get("strict"))}


def _format(format: Any) -> Any:
    """Return the format of a custom tool: a grammar's fields are nested in chat completions only."""
    if isinstance(format, dict) and isinstance(format.get("grammar"), dict):
        return {"type": format.get("type"), **format["grammar"]}
    return format


def _choice(choice: Any) -> Any:
    if isinstance(choice, str):
        return choice
    kind = choice.get("type")
    if kind == "allowed_tools" and isinstance(choice.get(kind), dict):
        allowed = choice[kind]
        tools = [_choice(tool) for tool in allowed.get("tools") or () if isinstance(tool, dict)]
        return {"type": kind, "mode": allowed.get("mode", "auto"), "tools": tools}
    named = choice.get(kind) if kind in ("function", "custom") else None
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        raise_unsupported("tool_choice", "must be auto, none, required, a function, a custom tool, or allowed_tools")
    return {"type": kind, "name": named["name"]}


def _input(request: Mapping[str, Any]) -> list[Json]:
    items: list[Json] = []
    custom: set[str] = set()  # ids of calls of custom tools
    for message in content_parts.messages(request, MESSAGE_FIELDS, PART_FIELDS):
        if message.role == "tool":
            items.append(_output(message, custom))
        elif message.role == "assistant":
            items += _assistant(message, custom)
        elif content := _content(message):
            items.append({"type": "message", "role": message.role, "content": content})
    return items


def _output(message: Message, custom: set[str]) -> Json:
    id = str(message.fields.get("tool_call_id") or "")
    if not id:
        raise_unsupported(f"{message.path}.tool_call_id", "the id of the call with this result is required")
    is_text = all(part["type"] == "text" for _, part in message.parts)
    output = content_parts.plain_text(message) if is_text else _content(message)
    return {"type": "custom_tool_call_output" if id in custom else "function_call_output", "call_id": id, "output": output}


def _assistant(message: Message, custom: set[str]) -> list[Json]:
    items = reasoning_items(message.fields.get("thinking_blocks"))
    texts: list[str] = []
    for where, part in message.parts:
        if part["type"] == "thinking":
            continue
        text = content_parts.text_of_part(part)
        if text is None:
            raise_unsupported(f"{where}.type", "messages with the role 'assistant' can only contain text")
        texts.append(text)
    if isinstance(message.fields.get("refusal"), str):
        texts.append(message.fields["refusal"])
    if any(texts):
        # A string, because parts of an assistant message require the id of a stored item ("EasyInputMessage").
        items.append({"type": "message", "role": "assistant", "content": "".join(texts)})
    for index, call in enumerate(message.fields.get("tool_calls") or ()):
        items.append(_call(f"{message.path}.tool_calls[{index}]", call, custom))
    # The provider refuses reasoning that is not followed by another item.
    return items if items and items[-1]["type"] != "reasoning" else []


def _call(where: str, call: Mapping[str, Any], custom: set[str]) -> Json:
    id = call.get("id")
    if not isinstance(id, str) or not id:
        raise_unsupported(f"{where}.id", "an id is required, because the result refers to it")
    own = call.get("custom")
    if isinstance(own, dict) and isinstance(own.get("name"), str):
        custom.add(id)
        return {"type": "custom_tool_call", "call_id": id, "name": own["name"], "input": str(own.get("input") or "")}
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise_unsupported(f"{where}.function", "only calls with a name are supported")
    arguments = function.get("arguments") or "{}"
    if not isinstance(arguments, str):
        raise_unsupported(f"{where}.function.arguments", "must be a JSON object as a string")
    return {"type": "function_call", "call_id": id, "name": function["name"], "arguments": arguments}


def _content(message: Message) -> list[Json]:
    return [converted for where, part in message.parts if (converted := _part(where, part)) is not None]


def _part(where: str, part: Mapping[str, Any]) -> Json | None:
    match part["type"]:
        case "image_url":
            return _image(where, part)
        case "file":
            url, name = content_parts.file_url(where, part)
            kind = "file_data" if url.startswith("data:") else "file_url"
            if kind == "file_url":
                content_parts.require_https(f"{where}.file.file_data", url)
            return {"type": "input_file", kind: url, **({"filename": name} if name else {})}
        case "thinking":
            return None
        case _:
            text = content_parts.text_of_part(part)
            if text is None:
                raise_unsupported(where, "must have text")
            return {"type": "input_text", "text": text} if text else None


def _image(where: str, part: Mapping[str, Any]) -> Json:
    value = part.get("image_url")
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url.startswith(("data:", "https://")):
        raise_unsupported(f"{where}.image_url.url", "must be a base64 data URL or an https URL")
    detail = value.get("detail") if isinstance(value, dict) else None
    return {"type": "input_image", "image_url": url, "detail": detail or "auto"}


def _with_role(item: Json, roles: list[Any]) -> Json:
    """Return a message, with the role for instructions (`system` or `developer`) that the provider accepts."""
    role = item.get("role") if isinstance(item, dict) else None
    if role not in SYSTEM_ROLES or role in roles:
        return item
    return {**item, "role": "developer" if role == "system" else "system"}
