"""Token usage of a call, in one form for all providers. Pure.

As in OpenAI's API, `TokenUsage` includes cached tokens in the input and reasoning tokens in the output. Dialects of providers
that count differently convert first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

# A count above this multiple of the plausible maximum is a provider's error, not usage.
IMPLAUSIBLE_FACTOR = 10
_MAX_SECONDS = 1_000_000
MAX_SEARCHES = 1_000  # a higher count of searches is a provider's error


class ExtraUsage(NamedTuple):
    """Usage that only some calls have, and that a price may charge separately. Counts are never negative.

    cache_write_1h_tokens  part of `cache_write_tokens`: written to a cache that is kept for an hour
    audio_input_tokens, image_input_tokens    disjoint parts of `input_tokens`
    cached_audio_tokens    part of both `cached_tokens` and `audio_input_tokens`
    audio_output_tokens, image_output_tokens  disjoint parts of `output_tokens`
    web_searches           calls of a provider's search tool
    seconds                started seconds of audio, for models that are billed by time
    service_tier           the tier by which the provider bills the call; "" is the standard tier
    search_units           search units of a rerank if more than one: the price per call is charged for each
    """

    cache_write_1h_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    cached_audio_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    web_searches: int = 0
    seconds: int = 0
    service_tier: str = ""
    search_units: int = 0


NO_EXTRA = ExtraUsage()
_STANDARD_TIER = {"service_tier": ""}  # what most answers report


def stored_extra(value: Any) -> ExtraUsage | None:
    """Return the extras of the column `extra_usage`, which contains the fields that are not zero; None if there are none."""
    known = {name: value[name] for name in ExtraUsage._fields if name in value} if isinstance(value, dict) else {}
    return ExtraUsage(**known) if known else None


class TokenUsage(NamedTuple):
    """Token counts of one call.

    `cached_tokens` and `cache_write_tokens` are disjoint parts of `input_tokens`: tokens read from and written to the provider's
    prompt cache. `reasoning_tokens` is part of `output_tokens`. `extra` is None for most calls.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cache_write_tokens: int = 0
    extra: ExtraUsage | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class PartialUsage(NamedTuple):
    """Usage reported so far by the chunks of a stream; None means not reported yet. `extra` has the fields of `ExtraUsage`.

    `cost_nano_usd` is what the provider charges for the call, in billionths of a USD. Customers never see it.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_nano_usd: int | None = None
    extra: Mapping[str, Any] | None = None

    def merge(self, newer: PartialUsage) -> PartialUsage:
        """Return the merged usage: fields of `newer` replace older ones, unless they are None."""
        fields: Any = [new if new is not None else old for old, new in zip(self, newer, strict=True)]
        if self.extra is not None and newer.extra is not None:
            fields[-1] = {**self.extra, **newer.extra}
        return PartialUsage(*fields)


# Where providers of OpenAI's format report the counts of `ExtraUsage`: details of the prompt and of the completion. Sources:
# OpenAI, API reference, "CompletionUsage" (audio tokens); OpenAI, "Usage" of the Images API (image tokens). The dialects of
# other providers convert to these names.
_PROMPT_EXTRAS = (
    ("cache_write_1h_tokens", "cache_write_1h_tokens"),
    ("audio_tokens", "audio_input_tokens"),
    ("image_tokens", "image_input_tokens"),
    ("cached_audio_tokens", "cached_audio_tokens"),
)
_COMPLETION_EXTRAS = (("audio_tokens", "audio_output_tokens"), ("image_tokens", "image_output_tokens"))
# Counts of searches. Sources: Anthropic, "Messages", `usage.server_tool_use`, also in OpenRouter's usage; Perplexity, "Chat
# Completions", `usage.num_search_queries`; xAI, "Live Search", `usage.num_sources_used`.
_SEARCHES = ("web_search_requests", "num_search_queries", "num_sources_used")
_SEARCHES_OR_DETAILS = frozenset({*_SEARCHES, "server_tool_use"})
# Fields of a usage in which providers report what they charge us. Customers do not get them. Sources: OpenRouter, "Usage
# Accounting" (`cost` in USD; with the operator's own provider key it is only OpenRouter's fee); Perplexity, "Chat Completions"
# (`cost.total_cost`); xAI, "Cost Tracking" (ticks of a ten-billionth of a USD); DeepInfra, "OpenAI API" (`estimated_cost`).
PROVIDER_COST_FIELDS = frozenset({"cost", "cost_details", "is_byok", "cost_in_usd_ticks", "estimated_cost"})
_TICKS_PER_NANO_USD = 10
MAX_COST_USD = 1_000_000  # a higher cost of a call is a provider's error
# Tiers that are billed at the plain rates. OpenAI reports `default`, Anthropic `standard`.
STANDARD_TIERS = frozenset({"default", "standard", "auto", "standard_only", "on_demand"})
MAX_TIER_LENGTH = 32


def read_openai_usage(value: object, service_tier: object = None) -> PartialUsage:
    """Parse an OpenAI-style `usage` object. Fields that are not non-negative integers count as missing.

    `service_tier` is the field of that name beside the usage.
    """
    if not isinstance(value, dict):
        return PartialUsage(extra=_tier_alone(service_tier))
    input_details = _details(value, "prompt_tokens_details", "input_tokens_details")
    output_details = _details(value, "completion_tokens_details", "output_tokens_details")
    input_tokens = _first_count(value, "prompt_tokens", "input_tokens")
    output_tokens = _first_count(value, "completion_tokens", "output_tokens")
    reasoning_tokens = _first_count(output_details, "reasoning_tokens")
    # xAI, "Reasoning": `completion_tokens` leaves out reasoning, which is billed as output and counted in the total.
    sums = (input_tokens or 0) + (output_tokens or 0) + (reasoning_tokens or 0)
    if reasoning_tokens and output_tokens is not None and value.get("total_tokens") == sums:
        output_tokens += reasoning_tokens
    return PartialUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=_first_count(input_details, "cached_tokens"),
        reasoning_tokens=reasoning_tokens,
        cache_write_tokens=_first_count(input_details, "cache_write_tokens"),
        extra=_extra(value, input_details, output_details, service_tier),
        cost_nano_usd=None if PROVIDER_COST_FIELDS.isdisjoint(value) else _reported_cost(value),
    )


def reported_cost(body: Mapping[str, Any]) -> int | None:
    """Return the cost in the usage of a response, in billionths of a USD rounded up; None if there is none."""
    usage = body.get("usage")
    return _reported_cost(usage) if isinstance(usage, Mapping) else None


def without_provider_cost(body: dict[str, Any]) -> dict[str, Any]:
    """Return a response without the cost that its usage may report to us."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping) or PROVIDER_COST_FIELDS.isdisjoint(usage):
        return body
    return {**body, "usage": {name: value for name, value in usage.items() if name not in PROVIDER_COST_FIELDS}}


def _reported_cost(value: Mapping[str, Any]) -> int | None:
    cost = value.get("cost")
    if cost is None:
        ticks = _first_count(value, "cost_in_usd_ticks")
        if ticks is not None:
            return -(-ticks // _TICKS_PER_NANO_USD) if ticks <= MAX_COST_USD * 10**10 else None
        cost = value.get("estimated_cost")
    elif isinstance(cost, Mapping):
        cost = cost.get("total_cost")
    elif value.get("is_byok") is True:
        return _sum_of(_nano_usd(cost), _nano_usd(_details(value, "cost_details").get("upstream_inference_cost")))
    return _nano_usd(cost)


def _nano_usd(usd: object) -> int | None:
    """Return an amount in billionths of a USD, rounded up; None unless it is a number from 0 to `MAX_COST_USD`."""
    if type(usd) not in (int, float) or not 0 <= usd <= MAX_COST_USD:  # type: ignore[operator]
        return None
    return ceil(round(usd * 1e9, 3))  # type: ignore[operator]  # a product such as 0.29 * 1e9 may be slightly too large


def _sum_of(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


def _extra(
    value: Mapping[str, Any], input_details: Mapping[str, Any], output_details: Mapping[str, Any], service_tier: object
) -> dict[str, Any] | None:
    """Return the reported fields of `ExtraUsage`, or None if there are none."""
    found: dict[str, Any] = {}
    for details, names in ((input_details, _PROMPT_EXTRAS), (output_details, _COMPLETION_EXTRAS)):
        for theirs, ours in names if len(details) > 1 else ():
            if count := _first_count(details, theirs):
                found[ours] = count
    if not _SEARCHES_OR_DETAILS.isdisjoint(value):
        searches = _first_count(_details(value, "server_tool_use") or value, *_SEARCHES)
        if searches is not None:
            found["web_searches"] = searches
    seconds = value.get("seconds")  # OpenAI, "Create transcription": usage of the type `duration`
    if seconds is not None and isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < _MAX_SECONDS:
        found["seconds"] = ceil(seconds)
    tier = _tier(service_tier if service_tier is not None else value.get("service_tier"))
    if tier is not None:
        found["service_tier"] = tier
    return found or None


def _tier_alone(service_tier: object) -> dict[str, Any] | None:
    tier = _tier(service_tier)
    return {"service_tier": tier} if tier is not None else None


def _tier(value: object) -> str | None:
    """Return a reported tier, "" for the standard one, or None if it is missing."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TIER_LENGTH:
        return None
    return "" if value in STANDARD_TIERS else value


def _details(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(found := value.get(name), dict):
            return found
    return {}


def _first_count(value: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        count = value.get(name)
        if type(count) is int and count >= 0:  # `isinstance` would accept bools
            return count
    return None


def resolve_usage(
    reported: PartialUsage,
    *,
    input_estimate: int,
    output_estimate: int,
    delivered: bool,
    plausible_output: int,
    plausible_input: int = 0,
) -> TokenUsage:
    """Decide a call's usage: the provider's counts if plausible, otherwise local estimates.

    `input_estimate` and `output_estimate` are local token counts; `plausible_output` is the maximum output of the call, and
    `plausible_input` the maximum of an input whose size is not known from the request. Delivered output counts as at least one
    token, even if it is not text; a call without output has none. A count above `IMPLAUSIBLE_FACTOR` times the plausible maximum
    is an error, and an explicit zero is accepted only if nothing was delivered. `estimated` is set if the input or output count
    is an estimate.
    """
    estimated = False
    input_tokens = reported.input_tokens
    limit = max(IMPLAUSIBLE_FACTOR * (input_estimate + 1_000), plausible_input)
    if input_tokens is None or (input_tokens == 0 and delivered) or input_tokens > limit:
        input_tokens, estimated = input_estimate, True
    output_tokens = reported.output_tokens if plausible_output else 0
    limit = IMPLAUSIBLE_FACTOR * max(plausible_output, output_estimate, 1)
    if output_tokens is None or (output_tokens == 0 and delivered and plausible_output) or output_tokens > limit:
        # counted by the stream's reader
        audio_output = min((reported.extra or {}).get("audio_output_tokens", 0), plausible_output)
        output_tokens, estimated = max(output_estimate + audio_output, 1 if delivered else 0), True
    cached_tokens = min(reported.cached_tokens or 0, input_tokens)
    cache_write_tokens = min(reported.cache_write_tokens or 0, input_tokens - cached_tokens)
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=min(reported.reasoning_tokens or 0, output_tokens),
        estimated=estimated,
        cache_write_tokens=cache_write_tokens,
        extra=_resolve_extra(reported.extra, input_tokens, cached_tokens, cache_write_tokens, output_tokens),
    )


def _resolve_extra(
    reported: Mapping[str, Any] | None, input_tokens: int, cached_tokens: int, cache_write_tokens: int, output_tokens: int
) -> ExtraUsage | None:
    """Return the reported extras within the counts that they are parts of; None if nothing is left."""
    if not reported or reported == _STANDARD_TIER:
        return None
    extra = ExtraUsage(**reported)
    audio_input = min(extra.audio_input_tokens, input_tokens)
    audio_output = min(extra.audio_output_tokens, output_tokens)
    extra = extra._replace(
        cache_write_1h_tokens=min(extra.cache_write_1h_tokens, cache_write_tokens),
        audio_input_tokens=audio_input,
        image_input_tokens=min(extra.image_input_tokens, input_tokens - audio_input),
        cached_audio_tokens=min(extra.cached_audio_tokens, audio_input, cached_tokens),
        audio_output_tokens=audio_output,
        image_output_tokens=min(extra.image_output_tokens, output_tokens - audio_output),
        web_searches=min(extra.web_searches, MAX_SEARCHES),
    )
    return extra if extra != NO_EXTRA else None
