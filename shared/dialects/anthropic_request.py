"""Builds requests for Anthropic's Messages API (`anthropic.types.MessageCreateParams`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.dialects import content_parts
from shared.dialects.anthropic_fields import FIELDS
from shared.dialects.anthropic_messages import convert_messages
from shared.dialects.anthropic_response import JSON_TOOL
from shared.dialects.anthropic_search import is_web_search, search_tool
from shared.dialects.anthropic_thinking import (
    MIN_BUDGET,
    remove_incompatible,
    requests_thinking,
    set_thinking,
    supports_forced_tools,
)
from shared.dialects.base import ChatCall, Target
from shared.dialects.custom_tools import as_functions
from shared.dialects.deferred_tools import can_defer, load_tools
from shared.dialects.field_support import check_fields, passed_fields, raise_unsupported
from shared.dialects.json_schema import ANTHROPIC, Unconvertible, WorkBudget, convert, object_at_root

MIN_OUTPUT_TOKENS = 1
TIERS = {"auto": "auto", "default": "standard_only"}
Json = dict[str, Any]


def build_body(call: ChatCall, target: Target) -> Json:
    """Return the request body. Raises `UnsupportedField`."""
    defers = target.route.settings.get("tool_search") is not False and can_defer(call.body)
    request = as_functions(call.body if defers else load_tools(call.body))
    check_fields(request, FIELDS)
    content_parts.check_options(request)
    body: Json = {"model": target.route.upstream_model, **passed_fields(request, FIELDS)}
    system, body["messages"] = convert_messages(request, target)
    if system:
        body["system"] = system
    body["max_tokens"] = _output_limit(request, target)
    _limits(body, request)
    _tools(body, request, is_web_search if call.server_tool is not None else None)
    set_thinking(body, request, target)
    _format(body, request, target)
    remove_incompatible(body, request, target)
    _identity(body, request, target)
    _caching(body, request)
    if target.route.settings.get("body"):
        body.update(target.route.settings["body"])
    return body


def _output_limit(request: Mapping[str, Any], target: Target) -> int:
    """Return the caller's limit, or else the model's, limited to what the credits pay for."""
    limit = content_parts.output_limit(request, None) or target.route.required_output_limit or target.output_limit or MIN_BUDGET
    return max(MIN_OUTPUT_TOKENS, limit if target.max_output_tokens is None else min(limit, target.max_output_tokens))


def _limits(body: Json, request: Mapping[str, Any]) -> None:
    if stops := content_parts.stop_sequences(request):
        if not all(stop.strip() for stop in stops):
            raise_unsupported("stop", "stop sequences must not be only whitespace")
        body["stop_sequences"] = stops
    if (tier := request.get("service_tier")) is not None:
        if not isinstance(tier, str) or tier not in TIERS:
            raise_unsupported("service_tier", "must be auto or default")
        body["service_tier"] = TIERS[tier]


def _tools(body: Json, request: Mapping[str, Any], is_search: Callable[[Mapping[str, Any]], bool] | None) -> None:
    work = WorkBudget()
    tools = [_tool(where, tool, function, work) for where, tool, function in content_parts.function_tools(request, is_search)]
    if is_search is not None:
        tools += [search_tool(tool) for tool in request["tools"] if is_search(tool)]
    name = content_parts.chosen_function(request)
    if not tools:
        return
    body["tools"] = tools
    modes = {"required": {"type": "any"}, "none": {"type": "none"}, "auto": {"type": "auto"}}
    choice: Json | None = {"type": "tool", "name": name} if name else modes.get(request.get("tool_choice") or "")
    if request.get("parallel_tool_calls") is False and (choice is None or choice["type"] != "none"):
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    if choice is not None:
        body["tool_choice"] = choice


def _tool(where: str, tool: Mapping[str, Any], function: Mapping[str, Any], work: WorkBudget) -> Json:
    strict = bool(function.get("strict"))
    schema = _input_schema(f"{where}.function.parameters", function.get("parameters") or {}, work, strict=strict)
    made: Json = {"name": function["name"], "input_schema": schema}
    if function.get("description"):
        made["description"] = function["description"]
    if strict:
        made["strict"] = True
    marks = {name: owner[name] for owner in (tool, function) for name in ("cache_control", "defer_loading") if owner.get(name)}
    return {**made, **marks}


def _input_schema(where: str, schema: Mapping[str, Any], work: WorkBudget, *, strict: bool) -> Mapping[str, Any]:
    """Return a tool's input schema: any JSON Schema with an object root, or for strict tools, one in the provider's subset."""
    if not isinstance(schema, dict):
        raise_unsupported(where, "must be an object")
    if strict:
        return content_parts.convert_schema(where, schema, ANTHROPIC, object_root=True, work=work)
    if not schema:
        return {"type": "object", "properties": {}}
    try:
        return object_at_root(schema, work)
    except Unconvertible as error:
        raise_unsupported(".".join(filter(None, (where, error.where))), error.why)


def _format(body: Json, request: Mapping[str, Any], target: Target) -> None:
    """Use the provider's format for a schema. For `json_object` and unsupported schemas, use a tool that must be called."""
    kind, schema = content_parts.response_format(request)
    if kind == "text":
        return
    where = "response_format.json_schema.schema"
    if schema is not None and target.route.settings.get("structured_output") is not False:
        try:
            made = convert(schema, ANTHROPIC)
        except Unconvertible as error:
            strict = request["response_format"]["json_schema"].get("strict")
            if strict or "tools" in body or requests_thinking(body) or not supports_forced_tools(target):
                raise_unsupported(".".join(filter(None, (where, error.where))), error.why)
        else:
            body["output_config"] = {**body.get("output_config", {}), "format": {"type": "json_schema", "schema": made}}
            return
    if "tools" in body:
        raise_unsupported("response_format", "with tools, it must be a json_schema that the model supports natively")
    if requests_thinking(body):
        raise_unsupported("response_format", "with reasoning, it must be a json_schema that the model supports natively")
    input_schema = (
        _input_schema(where, schema, WorkBudget(), strict=False) if schema else {"type": "object", "additionalProperties": True}
    )
    body["tools"] = [{"name": JSON_TOOL, "description": "Return the answer as a JSON object.", "input_schema": input_schema}]
    body["tool_choice"] = {"type": "tool", "name": JSON_TOOL, "disable_parallel_tool_use": True}


def _identity(body: Json, request: Mapping[str, Any], target: Target) -> None:
    metadata = request.get("metadata") or {}
    for value in (request.get("safety_identifier"), metadata.get("user_id"), request.get("user")):
        if value is not None:
            body["metadata"] = {"user_id": target.pseudonym(str(value))}
            return


def _caching(body: Json, request: Mapping[str, Any]) -> None:
    if "cache_control" not in body and (request.get("prompt_cache_key") or request.get("prompt_cache_retention")):
        hour = {"ttl": "1h"} if request.get("prompt_cache_retention") == "24h" else {}
        body["cache_control"] = {"type": "ephemeral", **hour}
