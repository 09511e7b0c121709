"""Computes the maximum and the actual cost of a call. Integers only, rounded up once at the end. Pure.

    charge = max(minimum, per_call + ⌈(input·p_in + cached·p_cached + written·p_written + output·p_out) / 1000⌉)

where `input` are input tokens that were neither read from nor written to the provider's cache. If all prices are zero (a free
model), the charge is 0.

    media: charge = max(minimum, per_call · units + per_5_seconds · ⌈seconds/5⌉ + ⌈per_1k_characters · characters / 1000⌉)

where `units` is the number of images delivered, or 1 for video and speech.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.billing.token_usage import TokenUsage

# A shorter output is useless, so a call is refused if the pool cannot pay for this many tokens.
MIN_USEFUL_OUTPUT_TOKENS = 16
# Video is billed per started step of this length.
VIDEO_STEP_SECONDS = 5
# The output limit if neither the catalog nor the caller sets one.
DEFAULT_OUTPUT_TOKENS = 4_096


class PriceList(NamedTuple):
    """Prices of a model from `effective_at` on, in credits. None for cached input or cache writes means the input price."""

    id: UUID
    effective_at: int
    credits_per_1k_input: int
    credits_per_1k_output: int
    credits_per_1k_cached_input: int | None
    credits_per_call: int
    minimum_credits: int
    credits_per_5_seconds: int | None = None
    credits_per_1k_characters: int | None = None
    credits_per_1k_cache_write: int | None = None

    @property
    def is_zero(self) -> bool:
        tokens = (self.credits_per_1k_input, self.credits_per_1k_output, self.credits_per_1k_cached_input)
        media = (self.credits_per_5_seconds, self.credits_per_1k_characters)
        return not any((*tokens, self.credits_per_1k_cache_write, self.credits_per_call, *media))


class Quote(NamedTuple):
    """Limits of a call's cost before it is made.

    bound           maximum cost in credits: the amount of the hold
    minimum         cost in credits of the estimated input and a useful minimum of output
    input_tokens    estimated input tokens, at most the input's upper bound
    output_tokens   output limit that `bound` pays for, over all choices
    cap             the caller's own limit in credits, or None
    reasoning_tokens  maximum reasoning that `bound` pays for in addition, where a provider's output limit does not count it
    """

    price: PriceList
    bound: int
    minimum: int
    input_tokens: int
    output_tokens: int
    cap: int | None = None
    reasoning_tokens: int = 0

    @property
    def paid_tokens(self) -> int:
        """All output tokens that `bound` pays for, over all choices."""
        return self.output_tokens + self.reasoning_tokens


def call_charge(price: PriceList, usage: TokenUsage) -> int:
    """Return the credits for `usage` at `price`."""
    cached_rate = price.credits_per_1k_cached_input
    if cached_rate is None:
        cached_rate = price.credits_per_1k_input
    thousandths = (
        (usage.input_tokens - usage.cached_tokens) * price.credits_per_1k_input
        + usage.cached_tokens * cached_rate
        + usage.output_tokens * price.credits_per_1k_output
    )
    if usage.cache_write_tokens and price.credits_per_1k_cache_write is not None:
        thousandths += usage.cache_write_tokens * (price.credits_per_1k_cache_write - price.credits_per_1k_input)
    return _total(price, thousandths)


class MediaUnits(NamedTuple):
    """Amount of media: images (or 1), seconds of video, characters of speech. Integers, zero or above."""

    units: int = 1
    seconds: int = 0
    characters: int = 0


def media_charge(price: PriceList, delivered: MediaUnits) -> int:
    """Return the credits for delivered media. If nothing was delivered (no `units`), the charge is 0."""
    if price.is_zero or delivered.units == 0:
        return 0
    seconds = -(-delivered.seconds // VIDEO_STEP_SECONDS) * (price.credits_per_5_seconds or 0)
    characters = -(-delivered.characters * (price.credits_per_1k_characters or 0) // 1000)
    return max(price.minimum_credits, price.credits_per_call * delivered.units + seconds + characters)


def media_quote(price: PriceList, requested: MediaUnits, cap: int | None = None) -> Quote:
    """Quote a media job. Bound and minimum are both the cost of the full output."""
    cost = media_charge(price, requested)
    return Quote(price, cost, cost, 0, 0, cap)


def _total(price: PriceList, thousandths: int) -> int:
    if price.is_zero:
        return 0
    return max(price.minimum_credits, price.credits_per_call - (-thousandths // 1000))


def _max_input_rate(price: PriceList) -> int:
    return max(price.credits_per_1k_input, price.credits_per_1k_cached_input or 0, price.credits_per_1k_cache_write or 0)


def quote(
    price: PriceList,
    *,
    input_bound: int,
    input_estimate: int,
    output_limit: int,
    choices: int = 1,
    cap: int | None = None,
    reasoning_limit: int = 0,
) -> Quote:
    """Quote a call with at most `input_bound` input tokens (`input_estimate` likely) and `output_limit` output tokens per choice.

    `reasoning_limit` is the number of reasoning tokens per choice that the provider does not count toward that limit. They come
    before the answer, so `minimum` includes them. `cap` is the caller's limit in credits, which `bound` never exceeds. Compare
    `minimum` with it before taking the hold.
    """
    output_tokens, reasoning_tokens = output_limit * choices, reasoning_limit * choices
    paid_output = output_tokens + reasoning_tokens
    bound = _total(price, input_bound * _max_input_rate(price) + paid_output * price.credits_per_1k_output)
    least_output = min(output_tokens, MIN_USEFUL_OUTPUT_TOKENS * choices) + reasoning_tokens
    least_input = min(input_estimate, input_bound)
    minimum = _total(price, least_input * price.credits_per_1k_input + least_output * price.credits_per_1k_output)
    if cap is not None:
        bound = max(min(bound, cap), 0)
    return Quote(price, bound, minimum, least_input, output_tokens, cap, reasoning_tokens)


def affordable_output(quote: Quote, credits: int) -> int:
    """Return how many output tokens `credits` can pay for after the estimated input and reasoning, at most the quote's limit."""
    price = quote.price
    if price.is_zero:
        return quote.output_tokens
    if credits < price.minimum_credits:
        return 0
    if price.credits_per_1k_output == 0:
        return quote.output_tokens if credits >= quote.minimum else 0
    thousandths = (credits - price.credits_per_call) * 1000 - quote.input_tokens * price.credits_per_1k_input
    affordable = thousandths // price.credits_per_1k_output - quote.reasoning_tokens
    return max(0, min(quote.output_tokens, affordable))
