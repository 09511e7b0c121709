"""Token usage of a call, in one form for all providers. Pure.

As in OpenAI's API, `TokenUsage` includes cached tokens in the input and reasoning tokens in the output. Dialects of providers
that count differently convert first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# A count above this multiple of the plausible maximum is a provider's error, not usage.
IMPLAUSIBLE_FACTOR = 10


class TokenUsage(NamedTuple):
    """Token counts of one call.

    `cached_tokens` and `cache_write_tokens` are disjoint parts of `input_tokens`: tokens read from and written to the provider's
    prompt cache. `reasoning_tokens` is part of `output_tokens`.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    cache_write_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class PartialUsage(NamedTuple):
    """Usage reported so far by the chunks of a stream; None means not reported yet."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None

    def merge(self, newer: PartialUsage) -> PartialUsage:
        """Return the merged usage: fields of `newer` replace older ones, unless they are None."""
        return PartialUsage(*(new if new is not None else old for old, new in zip(self, newer, strict=True)))


def read_openai_usage(value: object) -> PartialUsage:
    """Parse an OpenAI-style `usage` object. Fields that are not non-negative integers count as missing."""
    if not isinstance(value, Mapping):
        return PartialUsage()
    input_details = _details(value, "prompt_tokens_details", "input_tokens_details")
    return PartialUsage(
        input_tokens=_first_count(value, "prompt_tokens", "input_tokens"),
        output_tokens=_first_count(value, "completion_tokens", "output_tokens"),
        cached_tokens=_first_count(input_details, "cached_tokens"),
        reasoning_tokens=_first_count(_details(value, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens"),
        cache_write_tokens=_first_count(input_details, "cache_write_tokens"),
    )


def _details(value: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(value.get(name), Mapping):
            found: Mapping[str, Any] = value[name]
            return found
    return {}


def _first_count(value: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        count = value.get(name)
        if type(count) is int and count >= 0:  # `isinstance` would accept bools
            return count
    return None


def resolve_usage(
    reported: PartialUsage, *, input_estimate: int, output_estimate: int, delivered: bool, plausible_output: int
) -> TokenUsage:
    """Decide a call's usage: the provider's counts if plausible, otherwise local estimates.

    `input_estimate` and `output_estimate` are local token counts; `plausible_output` is the maximum output of the call. Delivered
    output counts as at least one token, even if it is not text; a call without output has none. A count above
    `IMPLAUSIBLE_FACTOR` times the plausible maximum is an error, and an explicit zero is accepted only if nothing was delivered.
    `estimated` is set if the input or output count is an estimate.
    """
    estimated = False
    input_tokens = reported.input_tokens
    limit = IMPLAUSIBLE_FACTOR * (input_estimate + 1_000)
    if input_tokens is None or (input_tokens == 0 and delivered) or input_tokens > limit:
        input_tokens, estimated = input_estimate, True
    output_tokens = reported.output_tokens if plausible_output else 0
    limit = IMPLAUSIBLE_FACTOR * max(plausible_output, output_estimate, 1)
    if output_tokens is None or (output_tokens == 0 and delivered and plausible_output) or output_tokens > limit:
        output_tokens, estimated = max(output_estimate, 1 if delivered else 0), True
    cached_tokens = min(reported.cached_tokens or 0, input_tokens)
    return TokenUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=min(reported.reasoning_tokens or 0, output_tokens),
        estimated=estimated,
        cache_write_tokens=min(reported.cache_write_tokens or 0, input_tokens - cached_tokens),
    )
