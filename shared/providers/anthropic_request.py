"""A chat call as Anthropic's Messages API wants it: `anthropic.types.MessageCreateParams`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from shared.providers import parts
from shared.providers.anthropic_answer import JSON_TOOL
from shared.providers.anthropic_fields import FIELDS, MESSAGE_FIELDS, PART_FIELDS
from shared.providers.base import ChatCall, Target
from shared.providers.fields import check_fields, passed_on, refuse
from shared.providers.parts import SYSTEM_ROLES, Message

LEAST_BUDGET = 1_024  # tokens of thinking: the vendor takes no less
BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
LEAST_OUTPUT = 1
TIERS = {"auto": "auto", "default": "standard_only"}
_DROPPED_FROM_IDS = re.compile(r"[^A-Za-z0-9_-]")
Json = dict[str, Any]


def body_of(call: ChatCall, target: Target) -> Json:
    """The request's body. Raises `UnsupportedField`."""
    asked = call.body
    check_fields(asked, FIELDS)
    parts.check_options(asked)
    body: Json = {"model": target.route.upstream_model, **passed_on(asked, FIELDS)}
    system, body["messages"] = _messages(asked, in_place=_takes_system_in_place(target))
    if system:
        body["system"] = system
    body["max_tokens"] = _output_limit(asked, target)
    _sampling(body, asked)
    _tools(body, asked)
    _thinking(body, asked, target)
    _format(body, asked, target)
    _identity(body, asked, target)
    _caching(body, asked)
    if target.route.settings.get("body"):
        body.update(target.route.settings["body"])
    return body


def _output_limit(asked: Mapping[str, Any], target: Target) -> int:
    """What the caller asked for, or what the model may give; never more than the credits pay for."""
    limit = parts.output_limit(asked, None) or target.route.demanded or target.output_limit or LEAST_BUDGET
    return max(LEAST_OUTPUT, limit if target.clamp is None else min(limit, target.clamp))


def answers_by_tool(body: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether the answer's format is asked for by a tool: `json_object` is, and schemas where the channel has none of its own."""
    kind, _ = parts.json_format(body)
    return kind == "json_object" or (kind == "json_schema" and settings.get("structured_output") is False)


def _messages(asked: Mapping[str, Any], *, in_place: bool) -> tuple[list[Json], list[Json]]:
    """The system blocks, and the turns: messages of one side in a row are one turn, tool results belong to the user's.

    `in_place`: instructions that come later stay where they are, right after a user's turn as the vendor wants them. So what was
    said before is found in its cache, which a longer `system` would make useless.
    """
    system: list[Json] = []
    turns: list[Json] = []
    later: list[Json] = []  # instructions that wait for the end of the user's turn
    for message in parts.messages(asked, MESSAGE_FIELDS, PART_FIELDS):
        if message.role in SYSTEM_ROLES:
            told = later if in_place and turns else system
            told += _cached(message, [_text(message, where, part) for where, part in message.parts])
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _cached(message, _blocks(message))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            later = _instructed(turns, later)
            turns.append({"role": role, "content": blocks})
    return system + _instructed(turns, later), turns


def _instructed(turns: list[Json], later: list[Json]) -> list[Json]:
    """Put instructions after the user's turn that has ended; give back those that still wait for one."""
    if not later or turns[-1]["role"] != "user":
        return later
    turns.append({"role": "system", "content": later})
    return []


def _takes_system_in_place(target: Target) -> bool:
    told = target.route.settings.get("system_in_place")
    return target.route.upstream_model in told if isinstance(told, list) else bool(told)


def _blocks(message: Message) -> list[Json]:
    if message.role == "tool":
        content = [_block(message, where, part) for where, part in message.parts]
        id = tool_id(str(message.fields.get("tool_call_id") or ""))
        if not id:
            refuse(f"{message.where}.tool_call_id", "it names the call that this is the result of")
        return [{"type": "tool_result", "tool_use_id": id, "content": content}]
    blocks = [_block(message, where, part) for where, part in message.parts]
    if message.role == "assistant":
        thinking = message.fields.get("thinking_blocks")
        if isinstance(message.fields.get("refusal"), str) and message.fields["refusal"]:
            blocks.append({"type": "text", "text": message.fields["refusal"]})
        blocks = [*(thinking if isinstance(thinking, list) else ()), *blocks]
        for index, call in enumerate(message.fields.get("tool_calls") or ()):
            id, name, arguments = parts.arguments_of(f"{message.where}.tool_calls[{index}]", call)
            blocks.append({"type": "tool_use", "id": tool_id(id), "name": name, "input": arguments})
    return blocks


def _block(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    """One content block; `cache_control` stays on it."""
    match part["type"]:
        case "image_url":
            block = {"type": "image", "source": _source(f"{where}.image_url.url", parts.url_of(where, part, "image_url"))}
        case "file":
            url, name = parts.file_of(where, part)
            block = {"type": "document", "source": _document(f"{where}.file.file_data", url), **({"title": name} if name else {})}
        case "thinking":
            if message.role != "assistant" or not isinstance(part.get("signature"), str):
                refuse(f"{where}.signature", "only thinking that the vendor has signed, in a message of the assistant")
            block = {"type": "thinking", "thinking": part.get("thinking", ""), "signature": part["signature"]}
        case _:
            return _text(message, where, part)
    return {**block, **_cache_control(part)}


def _text(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    text = parts.text_of_part(part)
    if text is None:
        refuse(f"{where}.type", f"only text in a message of the role '{message.role}'")
    return {"type": "text", "text": text, **_cache_control(part)}


def _cache_control(part: Mapping[str, Any]) -> Json:
    return {"cache_control": part["cache_control"]} if part.get("cache_control") else {}


def _cached(message: Message, blocks: list[Json]) -> list[Json]:
    """A message's own `cache_control` marks its last block."""
    if blocks and message.fields.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": message.fields["cache_control"]}
    return blocks


def _source(where: str, url: str) -> Json:
    found = parts.inline(url)
    if found is None:
        return {"type": "url", "url": parts.require_https(where, url)}
    return {"type": "base64", "media_type": found.media_type, "data": found.data}


def _document(where: str, url: str) -> Json:
    found = parts.inline(url)
    if found is not None and found.media_type.startswith("text/"):
        try:
            text = base64.b64decode(found.data).decode()
        except (binascii.Error, UnicodeDecodeError):
            refuse(where, "a text file must be UTF-8, in base64")
        return {"type": "text", "media_type": "text/plain", "data": text}
    if found is not None and found.media_type != "application/pdf":
        refuse(where, "PDF or plain text")
    return _source(where, url)


def _sampling(body: Json, asked: Mapping[str, Any]) -> None:
    if asked.get("temperature") is not None:
        if asked["temperature"] > 1:
            refuse("temperature", "at most 1")
        body["temperature"] = asked["temperature"]
    if stops := parts.stops(asked):
        body["stop_sequences"] = stops
    if (tier := asked.get("service_tier")) is not None:
        if tier not in TIERS:
            refuse("service_tier", "auto or default")
        body["service_tier"] = TIERS[tier]


def _tools(body: Json, asked: Mapping[str, Any]) -> None:
    tools = [_tool(tool, function) for _, tool, function in parts.functions_of(asked)]
    name = parts.chosen_function(asked)
    if not tools:
        return
    body["tools"] = tools
    modes = {"required": {"type": "any"}, "none": {"type": "none"}, "auto": {"type": "auto"}}
    choice: Json | None = {"type": "tool", "name": name} if name else modes.get(asked.get("tool_choice") or "")
    if asked.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(tool: Mapping[str, Any], function: Mapping[str, Any]) -> Json:
    made: Json = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}
    if function.get("description"):
        made["description"] = function["description"]
    if function.get("strict"):
        made["strict"] = True
    return {**made, **_cache_control(tool), **_cache_control(function)}


def _thinking(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    """Thinking as the model takes it; what a caller says of `thinking` itself counts for whether, an effort for how much."""
    effort, own = asked.get("reasoning_effort"), body.get("thinking")
    if effort not in (None, "none", *EFFORTS):
        refuse("reasoning_effort", f"one of none, {', '.join(EFFORTS)}")
    style = parts.thinking_style(target.route.settings, target.route.upstream_model, "adaptive")
    if style == "none":
        body.pop("thinking", None)
    elif own is None and effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif style == "adaptive" and effort in EFFORTS:
        body.setdefault("thinking", {"type": "adaptive", "display": "summarized"})
        body["output_config"] = {"effort": EFFORTS[effort]}
    elif style == "budget" and (effort in EFFORTS if own is None else _is_adaptive(own)):
        _budget(body, effort or "high")  # the vendor's own default
    _fit_budget(body, target)


def _is_adaptive(thinking: object) -> bool:
    return isinstance(thinking, dict) and thinking.get("type") == "adaptive"


def _budget(body: Json, effort: str) -> None:
    budget = min(BUDGETS.get(effort, 0), body["max_tokens"] - 1)
    if budget >= LEAST_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:  # an answer as short as that has no room for thinking
        body.pop("thinking", None)


def _fit_budget(body: Json, target: Target) -> None:
    """A caller's own budget, below an output limit that the credits impose: the vendor refuses one that is not."""
    thinking = body.get("thinking")
    if target.clamp is None or not isinstance(thinking, dict):
        return
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < body["max_tokens"]:
        return
    fitting = body["max_tokens"] - 1
    body["thinking"] = {**thinking, "budget_tokens": fitting} if fitting >= LEAST_BUDGET else {"type": "disabled"}


def _format(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    kind, schema = parts.json_format(asked)
    if kind == "text":
        return
    if not answers_by_tool(asked, target.route.settings):
        body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}
        return
    if "tools" in body:
        refuse("response_format", "together with tools only with a json_schema that the model knows itself")
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        refuse("response_format", "together with reasoning only with a json_schema that the model knows itself")
    input_schema = schema or {"type": "object", "additionalProperties": True}
    body["tools"] = [{"name": JSON_TOOL, "description": "Give the answer as a JSON object.", "input_schema": input_schema}]
    body["tool_choice"] = {"type": "tool", "name": JSON_TOOL, "disable_parallel_tool_use": True}


def _identity(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    metadata = asked.get("metadata") or {}
    for value in (asked.get("safety_identifier"), metadata.get("user_id"), asked.get("user")):
        if value is not None:
            body["metadata"] = {"user_id": target.pseudonym(str(value))}
            return


def _caching(body: Json, asked: Mapping[str, Any]) -> None:
    if "cache_control" not in body and (asked.get("prompt_cache_key") or asked.get("prompt_cache_retention")):
        hour = {"ttl": "1h"} if asked.get("prompt_cache_retention") == "24h" else {}
        body["cache_control"] = {"type": "ephemeral", **hour}


def tool_id(id: str) -> str:
    """A call's id in the letters that the vendor allows; the same for the call and for its result."""
    return _DROPPED_FROM_IDS.sub("_", id)
