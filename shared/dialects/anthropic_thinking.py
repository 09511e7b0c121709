"""Thinking and sampling of a call to Anthropic, as the model takes them and as they go together. By the channel's settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.dialects.base import Target
from shared.dialects.field_support import refuse
from shared.dialects.model_settings import nearest_effort, of_model

MIN_BUDGET = 1_024  # tokens of thinking: the provider takes no less
BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_768, "max": 32_768}
EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
MIN_TOP_P_THINKING = 0.95  # "Extended thinking: feature compatibility"
_THINKS = ("enabled", "adaptive")
Json = dict[str, Any]


def think(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    """Thinking as the model takes it; what a caller says of `thinking` itself counts for whether, an effort for how much."""
    effort, own = asked.get("reasoning_effort"), body.get("thinking")
    if effort not in (None, "none", *EFFORTS):
        refuse("reasoning_effort", f"one of none, {', '.join(EFFORTS)}")
    if effort is not None:
        effort = nearest_effort(target.route.settings, target.route.upstream_model, effort)
    style = _word(target, "thinking", "adaptive")
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


def fit(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    """Leave out what does not go together: thinking beside a tool that must be called, or an answer that has begun, and sampling
    beside thinking.

    Raises `UnsupportedField` where the model takes no choice that forces a tool.
    """
    forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
    if forced and not takes_forced_tools(target):
        by_format = "tool_choice" not in asked or not asked.get("tools")
        refuse("response_format" if by_format else "tool_choice", "a json_schema" if by_format else "auto or none")
    begun = body["messages"][-1]["role"] == "assistant"
    always = _word(target, "thinking", "adaptive") == "adaptive_only"
    if (forced or begun) and (thinks(body) or (always and "thinking" not in body)):
        _turn_off(body, target)
    if _type(body.get("thinking")) == "enabled" and _continues_without_thinking(body["messages"]):
        del body["thinking"]
    _sampling(body, asked, target)


def _sampling(body: Json, asked: Mapping[str, Any], target: Target) -> None:
    takes = _word(target, "sampling", "all")
    is_thinking = thinks(body)
    temperature, top_p = asked.get("temperature"), asked.get("top_p")
    if temperature is not None and takes != "none" and not is_thinking:
        if temperature > 1:
            refuse("temperature", "at most 1")
        body["temperature"] = temperature
    too_low = is_thinking and top_p is not None and top_p < MIN_TOP_P_THINKING
    if takes == "none" or too_low or (takes == "one" and "temperature" in body):
        body.pop("top_p", None)
    if takes == "none" or is_thinking:
        body.pop("top_k", None)


def _turn_off(body: Json, target: Target) -> None:
    """As little thinking as the model can do: none, only between calls of tools, or that of the lowest effort."""
    match _word(target, "thinking_off", "disabled"):
        case "between_tools":
            body["thinking"] = {"type": "between_tools"}
        case "never":
            body.pop("thinking", None)
            body["output_config"] = {**body.get("output_config", {}), "effort": "low"}
        case _:
            body["thinking"] = {"type": "disabled"}
            if body.get("output_config", {}).get("effort") in ("xhigh", "max"):  # which demand thinking
                body["output_config"] = {**body["output_config"], "effort": "high"}


def _continues_without_thinking(turns: list[Json]) -> bool:
    """Whether results of tools follow a turn that does not begin with signed thinking, as one of another model.

    With a budget of thinking, the provider demands it ("Extended thinking with tool use").
    """
    spoken = [turn for turn in turns[-3:] if turn["role"] != "system"]
    if len(spoken) < 2 or spoken[-1]["content"][0]["type"] != "tool_result":
        return False
    return spoken[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _budget(body: Json, effort: str) -> None:
    budget = min(BUDGETS.get(effort, 0), body["max_tokens"] - 1)
    if budget >= MIN_BUDGET:
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:  # an answer as short as that has no room for thinking
        body.pop("thinking", None)


def _fit_budget(body: Json, target: Target) -> None:
    """A caller's own budget, below an output limit that the credits impose: the provider refuses one that is not."""
    thinking = body.get("thinking")
    if target.clamp is None or not isinstance(thinking, dict):
        return
    budget = thinking.get("budget_tokens")
    if type(budget) is not int or budget < body["max_tokens"]:
        return
    fitting = body["max_tokens"] - 1
    body["thinking"] = {**thinking, "budget_tokens": fitting} if fitting >= MIN_BUDGET else {"type": "disabled"}


def takes_forced_tools(target: Target) -> bool:
    """Whether the model takes a `tool_choice` that forces a tool."""
    return bool(_word(target, "forced_tools", True))


def thinks(body: Json) -> bool:
    """Whether the body asks for thinking."""
    return _type(body.get("thinking")) in _THINKS


def _type(thinking: Any) -> Any:
    return thinking.get("type") if isinstance(thinking, dict) else None


def _word(target: Target, name: str, default: Any) -> Any:
    return of_model(target.route.settings, name, target.route.upstream_model, default)
