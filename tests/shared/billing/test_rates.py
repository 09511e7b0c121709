"""Rates by kind of token, prompt length, service tier and unit: tables of cases, and properties of every price list."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.pricing import RequestCosts, affordable_output, billed_tier, call_charge, quote
from shared.billing.rates import INPUT_KINDS, OUTPUT_KINDS, TOKEN_KINDS, PriceList, Rate, cost_of, token_counts
from shared.billing.token_usage import ExtraUsage, TokenUsage


def price(*rates: tuple[str, int, int], cached: int | None = 100, written: int | None = 1_250, minimum: int = 0) -> PriceList:
    listed = tuple(sorted(Rate(*rate) for rate in rates))
    return PriceList(UUID(int=1), 0, 1_000, 4_000, cached, 0, minimum, credits_per_1k_cache_write=written, rates=listed)


def extra(**counts: Any) -> ExtraUsage:
    return ExtraUsage(**counts)


@pytest.mark.parametrize(
    ("rates", "used", "credits"),
    [
        # A kind without a rate of its own is charged as its fallback.
        ([], TokenUsage(1_000, 0, extra=extra(audio_input_tokens=400)), 1_000),
        ([("web_search", 0, 7)], TokenUsage(1_000, 0, extra=extra(audio_input_tokens=400)), 1_000),
        ([("web_search", 0, 7)], TokenUsage(0, 0, cache_write_tokens=0, extra=extra(web_searches=3)), 21),
        ([("audio_input", 0, 3_000)], TokenUsage(1_000, 0, extra=extra(audio_input_tokens=400)), 1_800),
        ([("audio_output", 0, 9_000)], TokenUsage(0, 1_000, extra=extra(audio_output_tokens=400)), 6_000),
        ([("image_input", 0, 2_000)], TokenUsage(1_000, 0, extra=extra(image_input_tokens=500)), 1_500),
        ([("image_output", 0, 30_000)], TokenUsage(0, 1_290, extra=extra(image_output_tokens=1_290)), 38_700),
        ([("reasoning", 0, 1_000)], TokenUsage(0, 1_000, reasoning_tokens=600), 2_200),
        # An hour's cache: part of the writes. Without its own rate it costs as much as the others.
        ([("cache_write_1h", 0, 2_000)], TokenUsage(1_000, 0, 0, 0, False, 800, extra(cache_write_1h_tokens=500)), 1_575),
        ([("web_search", 0, 1)], TokenUsage(1_000, 0, 0, 0, False, 800, extra(cache_write_1h_tokens=500)), 1_200),
        # Cached audio: a part of the audio and of the cached tokens; otherwise cached tokens are text first.
        (
            [("audio_input", 0, 3_000), ("cached_audio_input", 0, 300)],
            TokenUsage(1_000, 0, 300, extra=extra(audio_input_tokens=400, cached_audio_tokens=200)),
            600 + 60 + 500 + 10,
        ),
        ([("audio_input", 0, 3_000)], TokenUsage(1_000, 0, 900, extra=extra(audio_input_tokens=400)), 1_200 + 60),
        # Longer prompts: the rate applies to all tokens of the call, output included.
        ([("input", 200, 2_000), ("output", 200, 6_000)], TokenUsage(200, 100), 600),
        ([("input", 200, 2_000), ("output", 200, 6_000)], TokenUsage(201, 100), 402 + 600),
        ([("input", 200, 2_000), ("input", 500, 3_000)], TokenUsage(1_000, 0, cached_tokens=400), 1_800 + 40),
        # Service tiers multiply the tokens, not the searches.
        ([("tier:flex", 0, 500), ("web_search", 0, 10)], TokenUsage(1_000, 1_000, extra=extra(service_tier="flex")), 2_500),
        (
            [("tier:priority", 0, 2_000), ("web_search", 0, 10)],
            TokenUsage(1_000, 0, extra=extra(service_tier="priority", web_searches=2)),
            2_020,
        ),
        ([("tier:flex", 0, 500)], TokenUsage(1_000, 0, extra=extra(service_tier="scale")), 1_000),
        ([("tier:flex", 0, 333)], TokenUsage(1, 0, extra=extra(service_tier="flex")), 1),  # 0.333 credits, rounded up once
        ([("second", 0, 100)], TokenUsage(0, 0, extra=extra(seconds=61)), 6_100),
    ],
)
def test_the_charge_by_kind(rates: list[tuple[str, int, int]], used: TokenUsage, credits: int) -> None:
    assert call_charge(price(*rates), used) == credits


@pytest.mark.parametrize(
    ("requested", "reported", "billed"),
    [
        ("", None, ""),
        ("", "flex", "flex"),
        ("flex", None, ""),  # a discount must be confirmed
        ("flex", "flex", "flex"),
        ("flex", "", ""),
        ("priority", None, "priority"),
        ("", "priority", ""),  # the caller did not request it
        ("flex", "priority", ""),
        ("priority", "flex", "flex"),
        ("priority", "", ""),  # the provider served the standard tier
        ("unknown", None, ""),
    ],
)
def test_the_tier_that_is_charged(requested: str, reported: str | None, billed: str) -> None:
    assert billed_tier(price(("tier:flex", 0, 500), ("tier:priority", 0, 2_000)), requested, reported) == billed


amounts = st.integers(0, 10**4) | st.integers(0, 5)


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    """Draw a price list whose rates do not fall for longer prompts, as the operations check."""
    columns = {name: draw(amounts) for name in ("input", "cached_input", "cache_write", "output")}
    rates = []
    for kind in draw(st.sets(st.sampled_from((*TOKEN_KINDS, "web_search", "tier:flex", "tier:priority")))):
        latest = columns.get(kind)
        if latest is None:
            latest = draw(amounts)
            rates.append(Rate(kind, 0, latest))
        if not kind.startswith("tier:"):
            for above in sorted(draw(st.sets(st.integers(1, 3_000), max_size=2))):
                latest += draw(amounts)
                rates.append(Rate(kind, above, latest))
    return PriceList(
        *(UUID(int=1), 0, columns["input"], columns["output"], columns["cached_input"], draw(amounts), draw(amounts)),
        credits_per_1k_cache_write=columns["cache_write"],
        rates=tuple(sorted(rates)),
    )


@st.composite
def usages(draw: st.DrawFn, max_input: int = 5_000, max_output: int = 5_000) -> TokenUsage:
    input_tokens, output_tokens = draw(st.integers(0, max_input)), draw(st.integers(0, max_output))
    cached = draw(st.integers(0, input_tokens))
    written = draw(st.integers(0, input_tokens - cached))
    audio, audio_output = draw(st.integers(0, input_tokens)), draw(st.integers(0, output_tokens))
    return TokenUsage(
        *(input_tokens, output_tokens, cached, draw(st.integers(0, output_tokens)), False, written),
        extra=ExtraUsage(
            cache_write_1h_tokens=draw(st.integers(0, written)),
            audio_input_tokens=audio,
            image_input_tokens=draw(st.integers(0, input_tokens - audio)),
            cached_audio_tokens=draw(st.integers(0, min(audio, cached))),
            audio_output_tokens=audio_output,
            image_output_tokens=draw(st.integers(0, output_tokens - audio_output)),
            web_searches=draw(st.integers(0, 5)),
            service_tier=draw(st.sampled_from(("", "flex", "priority"))),
        ),
    )


@given(price_lists(), usages())
def test_every_token_is_in_exactly_one_line(rates: PriceList, used: TokenUsage) -> None:
    counts = dict(token_counts(rates, used))
    assert all(count >= 0 for count in counts.values())
    assert sum(counts.get(kind, 0) for kind in INPUT_KINDS) == used.input_tokens
    assert sum(counts.get(kind, 0) for kind in OUTPUT_KINDS) == used.output_tokens


@given(price_lists(), usages())
def test_charges_are_the_exact_sum_rounded_up_once(rates: PriceList, used: TokenUsage) -> None:
    cost = cost_of(rates, used)
    tokens = sum(Fraction(line.quantity * line.rate, 1_000) for line in cost.lines if line.per == 1_000)
    units = sum(line.quantity * line.rate for line in cost.lines if line.per == 1)
    exact = tokens * Fraction(cost.permille, 1_000) + units
    expected = 0 if rates.is_zero else max(rates.minimum_credits, rates.credits_per_call + ceil(exact))
    assert call_charge(rates, used) == expected


@given(price_lists(), usages(), st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 5))
def test_more_usage_never_costs_less(rates: PriceList, used: TokenUsage, input: int, output: int, searches: int) -> None:
    assert used.extra is not None
    more = used._replace(
        input_tokens=used.input_tokens + input,
        output_tokens=used.output_tokens + output,
        extra=used.extra._replace(web_searches=used.extra.web_searches + searches),
    )
    assert call_charge(rates, more) >= call_charge(rates, used)


ALL_KINDS = RequestCosts(kinds=TOKEN_KINDS, service_tier="priority", web_searches=5)


@given(price_lists(), st.data())
def test_no_charge_within_the_limits_exceeds_the_bound(rates: PriceList, data: st.DataObject) -> None:
    bound, limit = data.draw(st.integers(0, 5_000)), data.draw(st.integers(0, 5_000))
    quoted = quote(rates, input_bound=bound, input_estimate=bound // 4 + 1, output_limit=limit, costs=ALL_KINDS)
    used = data.draw(usages(bound, limit))
    assert used.extra is not None
    tier = billed_tier(rates, ALL_KINDS.service_tier, used.extra.service_tier)
    assert call_charge(rates, used._replace(extra=used.extra._replace(service_tier=tier))) <= quoted.bound
    assert quoted.minimum <= quoted.bound


@given(price_lists(), st.data())
def test_the_bound_covers_what_the_request_may_use(rates: PriceList, data: st.DataObject) -> None:
    """A request for text alone is not billed for the other kinds of input, for audio, for searches or for a tier."""
    quoted = quote(rates, input_bound=5_000, input_estimate=1_250, output_limit=5_000)
    used = data.draw(usages())
    assert used.extra is not None
    text = ExtraUsage(image_output_tokens=used.extra.image_output_tokens)
    assert call_charge(rates, used._replace(extra=text)) <= quoted.bound


@given(price_lists(), st.integers(1, 5_000), st.integers(0, 10**6))
def test_affordable_output_can_be_paid(rates: PriceList, limit: int, credits: int) -> None:
    quoted = quote(rates, input_bound=4_000, input_estimate=1_000, output_limit=limit, costs=RequestCosts(("audio_output",)))
    affordable = affordable_output(quoted, credits)
    assert 0 <= affordable <= limit
    audio = ExtraUsage(audio_output_tokens=affordable)
    if affordable and credits >= quoted.minimum:
        assert call_charge(rates, TokenUsage(quoted.input_tokens, affordable, extra=audio)) <= credits
