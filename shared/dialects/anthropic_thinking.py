"""Thinking and sampling parameters for Anthropic models, depending on the channel's settings and on each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.catalog.model_settings import nearest_effort, of_model
from shared.dialects.anthropic_search import has_searches
from shared.dialects.base import Target
from shared.dialects.field_support import raise_unsupported

MIN_BUDGET = 1_024  # thinking tokens, the provider's minimum
BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
MIN_TOP_P_THINKING = 0.95  # "Extended thinking: feature compatibility"
_THINKS = ("enabled", "adaptive")
Json = dict[str, Any]


def set_thinking(body: Json, request: Mapping[str, Any], target: Target) -> None:
    """Set `thinking` in the form that the model accepts. The caller's `thinking` decides whether to think, the effort decides how
    much."""
    effort, own = request.get("reasoning_effort"), body.get("thinking")
    if effort not in (None, "none", *EFFORTS):
        raise_unsupported("reasoning_effort", f"must be one of none, {', '.join(EFFORTS)}")
    if effort is not None:
        effort = nearest_effort(target.route.settings, target.route.upstream_model, effort)
    style = _setting(target, "thinking", "adaptive")
    if style == "adaptive_only" and _type(own) == "enabled":
        own = body["thinking"] = {"type": "adaptive", "display": "summarized"}
    if style == "none":
        body.pop("thinking", None)
    elif own is None and effort == "none":
        _turn_off(body, target)
    elif style in ("adaptive", "adaptive_only") and effort in EFFORTS:
        body.setdefault("thinking", {"type": "adaptive", "display": "summarized"})
        body["output_config"] = {"effort": EFFORTS[effort]}
    elif style == "budget" and (effort in EFFORTS if own is None else _type(own) == "adaptive"):
        _budget(body, effort or "high")  # the provider's own default
    if _type(own) == "disabled" and style != "none":
        _turn_off(body, target)
    _fit_budget(body, target)


def remove_incompatible(body: Json, request: Mapping[str, Any], target: Target) -> None:
    """Remove incompatible parameters: thinking with a forced tool or prefilled answer, and sampling with thinking.

    Raises `UnsupportedField` if a tool is forced and the model does not support that.
    """
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced and not supports_forced_tools(target):
        by_format = "tool_choice" not in request or not request.get("tools")
        raise_unsupported(
            "response_format" if by_format else "tool_choice", "must be a json_schema" if by_format else "must be auto or none"
        )
    last = body["messages"][-1]
    prefilled = last["role"] == "assistant" and not has_searches(last["content"][-1:])  # otherwise a paused turn continues
    always = _setting(target, "thinking", "adaptive") == "adaptive_only"
    if (forced or prefilled) and (requests_thinking(body) or (always and "thinking" not in body)):
        _turn_off(body, target)
    if _type(body.get("thinking")) == "enabled" and _continues_without_thinking(body["messages"]):
        del body["thinking"]
    _sampling(body, request, target)


def _sampling(body: Json, request: Mapping[str, Any], target: Target) -> None:
    takes = _setting(target, "sampling", "all")
    is_thinking = requests_thinking(body)
    temperature, top_p = request.get("temperature"), request.get("top_p")
    if temperature is not None and takes != "none" and not is_thinking:
        if temperature > 1:
            raise_unsupported("temperature", "must be at most 1")
        body["temperature"] = temperature
    too_low = is_thinking and top_p is not None and top_p < MIN_TOP_P_THINKING
    if takes == "none" or too_low or (takes == "one" and "temperature" in body):
        body.pop("top_p", None)
    if takes == "none" or is_thinking:
        body.pop("top_k", None)


def _turn_off(body: Json, target: Target) -> None:
    """Set the least thinking that the model supports: none, only between tool calls, or the lowest effort."""
    match _setting(target, "thinking_off", "disabled"):
        case "between_tools":
            body["thinking"] = {"type": "between_tools"}
        case "never":
            body.pop("thinking", None)
            body["output_config"] = {**body.get("output_config", {}), "effort": "low"}
        case _:
            body["thinking"] = {"type": "disabled"}
            if body.get("output_config", {}).get("effort") in ("xhigh", "max"):  # these require thinking
                body["output_config"] = {**body["output_config"], "effort": "high"}


def _continues_without_thinking(turns: list[Json]) -> bool:
    """Return whether tool results follow a turn that does not begin with signed thinking (for example another model's).

    With a thinking budget, the provider requires signed thinking there ("Extended thinking with tool use").
    """
    conversation = [turn for turn in turns[-3:] if turn["role"] != "system"]
    if len(conversation) < 2 or conversation[-1]["content"][0]["type"] != "tool_result":
        return False
    return conversation[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _budget(body: Json, effort: str) -> None:
    budget = min(BUDGETS.get(effort, 0), body["max_tokens"] - 1)
    if budget >= MIN_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:  # the output limit leaves no room for thinking
        body.pop("thinking", None)


def _fit_budget(body: Json, target: Target) -> None:
    """Reduce the caller's thinking budget below the output limit set by the credits, as the provider requires."""
    thinking = body.get("thinking")
    if target.max_output_tokens is None or not isinstance(thinking, dict):
        return
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < body["max_tokens"]:
        return
    fitting = body["max_tokens"] - 1
    body["thinking"] = {**thinking, "budget_tokens": fitting} if fitting >= MIN_BUDGET else {"type": "disabled"}


def supports_forced_tools(target: Target) -> bool:
    """Return whether the model accepts a `tool_choice` that forces a tool."""
    return bool(_setting(target, "forced_tools", True))


def requests_thinking(body: Json) -> bool:
    """Return whether the body requests thinking."""
    return _type(body.get("thinking")) in _THINKS


def _type(thinking: Any) -> Any:
    return thinking.get("type") if isinstance(thinking, dict) else None


def _setting(target: Target, name: str, default: Any) -> Any:
    return of_model(target.route.settings, name, target.route.upstream_model, default)
