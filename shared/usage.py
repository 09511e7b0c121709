"""What a call used, in one canonical record, read from whatever shape a vendor sends. Pure.

OpenAI-shaped vendors count cached tokens inside the input and reasoning tokens inside the output; so does `Usage`. A dialect
whose vendor counts otherwise converts before it builds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

# More than this many times what could plausibly have been used is a vendor's mistake, not usage.
IMPLAUSIBLE_FACTOR = 10


class Usage(NamedTuple):
    """Token counts of one call. `cached_tokens` and `cache_write_tokens` are disjoint parts of `input_tokens`: read from and
    written to the vendor's prompt cache. `reasoning_tokens` ⊂ `output_tokens`."""

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
    """Usage as the chunks of a stream tell it, field by field; `None` is "not told yet"."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None

    def merge(self, newer: PartialUsage) -> PartialUsage:
        """Fields of `newer` win where it has them: the last word of a stream counts, an absent field keeps the earlier one."""
        return PartialUsage(*(new if new is not None else old for old, new in zip(self, newer, strict=True)))


def read_openai_usage(value: object) -> PartialUsage:
    """Read an OpenAI-shaped `usage` object. Fields that are not non-negative integers count as missing."""
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
        if type(count) is int and count >= 0:  # `type`, for a bool is an int to isinstance
            return count
    return None


def settle_usage(
    told: PartialUsage, *, input_estimate: int, output_estimate: int, delivered: bool, plausible_output: int
) -> Usage:
    """Decide what a call used: the vendor's word where it is believable, the local count where it is not.

    `input_estimate` and `output_estimate` are local counts (tokens); `plausible_output` is the most that the call could give.
    What was delivered is a token at least, also when it is no text that could be counted; a call that can give none has none.
    A count above `IMPLAUSIBLE_FACTOR` times the plausible is a mistake, and an explicit zero is believed only if nothing was
    delivered. `estimated` is set as soon as one of the two main counts is ours.
    """
    estimated = False
    input_tokens = told.input_tokens
    most = IMPLAUSIBLE_FACTOR * (input_estimate + 1_000)
    if input_tokens is None or (input_tokens == 0 and delivered) or input_tokens > most:
        input_tokens, estimated = input_estimate, True
    output_tokens = told.output_tokens if plausible_output else 0
    most = IMPLAUSIBLE_FACTOR * max(plausible_output, output_estimate, 1)
    if output_tokens is None or (output_tokens == 0 and delivered and plausible_output) or output_tokens > most:
        output_tokens, estimated = max(output_estimate, 1 if delivered else 0), True
    cached_tokens = min(told.cached_tokens or 0, input_tokens)
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        reasoning_tokens=min(told.reasoning_tokens or 0, output_tokens),
        estimated=estimated,
        cache_write_tokens=min(told.cache_write_tokens or 0, input_tokens - cached_tokens),
    )
