"""Computes the maximum and the actual cost of a call. Integers only, rounded up once at the end. Pure.

    charge = max(minimum, per_call + ⌈(Σ tokens·rate · tier + 1000 · Σ units·rate) / 1000⌉)

over the kinds of tokens and units in `shared.billing.rates`; `tier` is the service tier's factor, 1 for most calls. A rerank
costs `per_call` for each search unit. If all prices are zero (a free model), the charge is 0.

    media: charge = max(minimum, per_call · units + per_5_seconds · ⌈seconds/5⌉ + ⌈per_1k_characters · characters / 1000⌉)

where `units` is the number of images delivered, or 1 for video and speech.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from shared.billing.rates import (
    INPUT_KINDS,
    OUTPUT_KINDS,
    STANDARD_PERMILLE,
    cost_thousandths,
    max_rate,
    own_rate,
    rate_of,
    tier_permille,
)
from shared.billing.rates import PriceList as PriceList
from shared.billing.token_usage import ExtraUsage, PartialUsage, TokenUsage

# A shorter output is useless, so a call is refused if the pool cannot pay for this many tokens.
MIN_USEFUL_OUTPUT_TOKENS = 16
# For the hold: searches per answer. OpenAI's search models make one; other providers report how many they made.
MAX_SEARCHES_PER_CHOICE = 5
# Video is billed per started step of this length.
VIDEO_STEP_SECONDS = 5
# The output limit if neither the catalog nor the caller sets one.
DEFAULT_OUTPUT_TOKENS = 4_096


class RequestCosts(NamedTuple):
    """What a request may cost in addition to text within its limits (`shared.billing.cost_effects` reads it from the fields).

    kinds          kinds of tokens, in addition to text and the provider's cache
    service_tier   the requested tier; "" is the standard tier
    web_searches   maximum number of searches
    output_tokens  output that is not subject to the output limit, over all choices
    unbounded_input  the request does not show the size of the input: it has a linked file, or searches
    search_units   maximum number of search units of a rerank
    seconds        maximum seconds of audio to transcribe
    """

    kinds: tuple[str, ...] = ()
    service_tier: str = ""
    web_searches: int = 0
    output_tokens: int = 0
    unbounded_input: bool = False
    search_units: int = 1
    seconds: int = 0


PLAIN = RequestCosts()


class Quote(NamedTuple):
    """Limits of a call's cost before it is made.

    bound           maximum cost in credits: the amount of the hold
    minimum         cost in credits of the estimated input and a useful minimum of output
    input_tokens    estimated input tokens, at most the input's upper bound
    output_tokens   output limit that `bound` pays for, over all choices
    cap             the caller's own limit in credits, or None
    reasoning_tokens  maximum reasoning that `bound` pays for in addition, where a provider's output limit does not count it
    input_bound     maximum input tokens that `bound` pays for
    costs           other possible costs of the call
    """

    price: PriceList
    bound: int
    minimum: int
    input_tokens: int
    output_tokens: int
    cap: int | None = None
    reasoning_tokens: int = 0
    input_bound: int = 0
    costs: RequestCosts = PLAIN

    @property
    def paid_tokens(self) -> int:
        """All output tokens that `bound` pays for, over all choices."""
        return self.output_tokens + self.reasoning_tokens


def call_charge(price: PriceList, usage: TokenUsage) -> int:
    """Return the credits for `usage` at `price`."""
    calls = usage.extra.search_units if usage.extra is not None else 1
    return _total(price, cost_thousandths(price, usage), calls or 1)


def billed_tier(price: PriceList, requested: str, reported: str | None) -> str:
    """Return the service tier to charge: the reported one, or the requested one if none is reported.

    A requested discount is given only if the provider reports it, and a more expensive tier is charged only if it was requested.
    """
    max_permille = max(tier_permille(price, requested), STANDARD_PERMILLE)
    if reported is not None and tier_permille(price, reported) <= max_permille:
        return reported
    return requested if max_permille > STANDARD_PERMILLE else ""


def add_requested_costs(reported: PartialUsage, price: PriceList, costs: RequestCosts) -> PartialUsage:
    """Add the requested service tier and searches to the usage, if the provider does not report them.

    OpenAI, "Web search" in Chat Completions: search models search once for each answer, and do not report it.
    """
    if not (costs.service_tier or costs.web_searches or (reported.extra and reported.extra.get("service_tier"))):
        return reported
    extra = dict(reported.extra or {})
    extra["service_tier"] = billed_tier(price, costs.service_tier, extra.get("service_tier"))
    if costs.web_searches:
        extra.setdefault("web_searches", costs.web_searches // MAX_SEARCHES_PER_CHOICE)
    return reported._replace(extra=extra)


def transcribed_usage(reported: PartialUsage, price: PriceList, costs: RequestCosts) -> TokenUsage:
    """Return the usage of a transcription: its seconds if the price has a rate for them, or else none.

    If the provider does not report the seconds, those of the file count, or the maximum for a file of this size.
    """
    if not (costs.seconds and own_rate(price, "second", 0)):
        return TokenUsage(0, 0)
    seconds = (reported.extra or {}).get("seconds")
    extra = ExtraUsage(seconds=costs.seconds if seconds is None else seconds)
    return TokenUsage(0, 0, estimated=seconds is None, extra=extra)


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


def _total(price: PriceList, thousandths: int, calls: int = 1) -> int:
    if price.is_zero:
        return 0
    return max(price.minimum_credits, price.credits_per_call * calls - (-thousandths // 1000))


_TEXT_INPUT = ("input", "cached_input", "cache_write")
# Kinds of output that models may generate without a request for them.
_DEFAULT_OUTPUT = ("output", "reasoning", "image_output")


class _Rates(Struct, frozen=True, gc=False):
    """The rates of a quote in millionths of a credit per token, and its cost of units in thousandths of a credit.

    `max_input` and `output` are the highest rates that may apply. `input` is the rate of the estimated input.
    """

    max_input: int
    input: int
    output: int
    units: int


def _quoted_rates(price: PriceList, costs: RequestCosts, input_bound: int, input_estimate: int) -> _Rates:
    if not price.rates:  # most models
        cached, written = price.credits_per_1k_cached_input or 0, price.credits_per_1k_cache_write or 0
        per_input, per_output = price.credits_per_1k_input, price.credits_per_1k_output
        return _Rates(max(per_input, cached, written) * 1_000, per_input * 1_000, per_output * 1_000, 0)
    # The provider may bill the standard tier although another was requested, so a discount does not lower the hold.
    permille = max(tier_permille(price, costs.service_tier), STANDARD_PERMILLE)
    inputs = [kind for kind in costs.kinds if kind in INPUT_KINDS]
    outputs = [kind for kind in costs.kinds if kind in OUTPUT_KINDS]
    return _Rates(
        max_input=max_rate(price, (*_TEXT_INPUT, *inputs), input_bound) * permille,
        input=rate_of(price, "input", input_estimate) * permille,
        output=max_rate(price, (*_DEFAULT_OUTPUT, *outputs), input_bound) * permille,
        units=sum(
            count * (own_rate(price, kind, input_bound) or 0) * 1_000
            for kind, count in (("web_search", costs.web_searches), ("second", costs.seconds))
        ),
    )


def quote(
    price: PriceList,
    *,
    input_bound: int,
    input_estimate: int,
    output_limit: int,
    choices: int = 1,
    cap: int | None = None,
    reasoning_limit: int = 0,
    costs: RequestCosts = PLAIN,
) -> Quote:
    """Quote a call with at most `input_bound` input tokens (`input_estimate` likely) and `output_limit` output tokens per choice.

    `reasoning_limit` is the number of reasoning tokens per choice that the provider does not count toward that limit. They come
    before the answer, so `minimum` includes them. `cap` is the caller's limit in credits, which `bound` never exceeds. Compare
    `minimum` with it before taking the hold. `costs` are other possible costs.
    """
    output_tokens, reasoning_tokens = output_limit * choices, reasoning_limit * choices + costs.output_tokens
    least_input = min(input_estimate, input_bound)
    rates = _quoted_rates(price, costs, input_bound, least_input)
    paid_output = output_tokens + reasoning_tokens
    max_tokens_cost = -(-(input_bound * rates.max_input + paid_output * rates.output) // 1_000)
    bound = _total(price, rates.units + max_tokens_cost, costs.search_units)
    least_output = min(output_tokens, MIN_USEFUL_OUTPUT_TOKENS * choices) + reasoning_tokens
    minimum = _total(price, rates.units - (-(least_input * rates.input + least_output * rates.output) // 1_000))
    if cap is not None:
        bound = max(min(bound, cap), 0)
    return Quote(price, bound, minimum, least_input, output_tokens, cap, reasoning_tokens, input_bound, costs)


def affordable_output(quote: Quote, credits: int) -> int:
    """Return how many output tokens `credits` can pay for after the estimated input and reasoning, at most the quote's limit."""
    price = quote.price
    if price.is_zero:
        return quote.output_tokens
    if credits < price.minimum_credits:
        return 0
    rates = _quoted_rates(price, quote.costs, quote.input_bound, quote.input_tokens)
    if rates.output == 0:
        return quote.output_tokens if credits >= quote.minimum else 0
    thousandths = (credits - price.credits_per_call) * 1000 - rates.units
    affordable = (thousandths * 1_000 - quote.input_tokens * rates.input) // rates.output - quote.reasoning_tokens
    return max(0, min(quote.output_tokens, affordable))
