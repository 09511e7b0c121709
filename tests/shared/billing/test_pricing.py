"""Charges: equal to exact fractions rounded up, never below the minimum charge, and never above the quoted bound."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.pricing import MIN_USEFUL_OUTPUT_TOKENS, PriceList, Quote, affordable_output, call_charge, quote
from shared.billing.token_usage import TokenUsage


def price(
    input: int = 0, output: int = 0, cached: int | None = None, per_call: int = 0, minimum: int = 10, written: int | None = None
) -> PriceList:
    return PriceList(uuid4(), 0, input, output, cached, per_call, minimum, credits_per_1k_cache_write=written)


@pytest.mark.parametrize(
    ("rates", "used", "credits"),
    [
        (price(100, 300), TokenUsage(15, 2), 10),  # the contract's example: the minimum charge
        (price(1_000, 2_000), TokenUsage(7, 3), 13),
        (price(1_000, 2_000, minimum=0), TokenUsage(0, 0), 0),
        (price(1, 0, minimum=0), TokenUsage(1, 0), 1),  # a thousandth of a credit rounds up
        (price(1, 0, minimum=0), TokenUsage(1_000, 0), 1),
        (price(1, 0, minimum=0), TokenUsage(1_001, 0), 2),
        (price(1, 1, minimum=0), TokenUsage(500, 500), 1),  # rounded once, at the end
        (price(1_000, 0, cached=100, minimum=0), TokenUsage(1_000, 0, cached_tokens=800), 280),
        (price(1_000, 0, cached=None, minimum=0), TokenUsage(1_000, 0, cached_tokens=800), 1_000),
        (price(1_000, 0, cached=0, minimum=0), TokenUsage(1_000, 0, cached_tokens=1_000), 0),
        (
            price(1_000, 0, cached=100, minimum=0, written=1_250),
            TokenUsage(1_000, 0, cached_tokens=500, cache_write_tokens=400),
            650,
        ),
        (price(1_000, 0, minimum=0), TokenUsage(1_000, 0, cache_write_tokens=400), 1_000),
        (price(1_000, 0, minimum=0, written=0), TokenUsage(1_000, 0, cache_write_tokens=400), 600),
        (price(0, 1_000, minimum=0), TokenUsage(5, 9, reasoning_tokens=7), 9),  # reasoning tokens are output tokens
        (price(per_call=1_000), TokenUsage(10**6, 10**6), 1_000),
        (price(1_000, per_call=500), TokenUsage(20, 0), 520),
        (price(), TokenUsage(10**6, 10**6), 0),  # a free model, whatever its minimum charge
        (price(cached=1_000), TokenUsage(10, 0, cached_tokens=10), 10),  # not free: only uncached tokens are
        (price(10**12, 10**12), TokenUsage(10**9, 10**9), 2 * 10**18),
    ],
)
def test_the_charge_of_a_call(rates: PriceList, used: TokenUsage, credits: int) -> None:
    assert call_charge(rates, used) == credits


rates = st.integers(0, 10**12) | st.integers(0, 5)
prices = st.builds(price, rates, rates, st.none() | rates, rates, st.integers(0, 10**6), st.none() | rates)
counts = st.integers(0, 10**7)


@st.composite
def usages(draw: st.DrawFn, max_input: int = 10**7, max_output: int = 10**7) -> TokenUsage:
    input_tokens = draw(st.integers(0, max_input))
    cached = draw(st.integers(0, input_tokens))
    written = draw(st.integers(0, input_tokens - cached))
    return TokenUsage(input_tokens, draw(st.integers(0, max_output)), cached, cache_write_tokens=written)


@given(prices, usages())
def test_charges_are_exact(rates: PriceList, used: TokenUsage) -> None:
    cached = rates.credits_per_1k_input if rates.credits_per_1k_cached_input is None else rates.credits_per_1k_cached_input
    written = rates.credits_per_1k_input if rates.credits_per_1k_cache_write is None else rates.credits_per_1k_cache_write
    exact = (
        Fraction(used.input_tokens - used.cached_tokens - used.cache_write_tokens) * rates.credits_per_1k_input
        + Fraction(used.cached_tokens) * cached
        + Fraction(used.cache_write_tokens) * written
        + Fraction(used.output_tokens) * rates.credits_per_1k_output
    ) / 1000
    free = not any((rates.credits_per_1k_input, rates.credits_per_1k_output, cached, written, rates.credits_per_call))
    expected = 0 if free else max(rates.minimum_credits, rates.credits_per_call + ceil(exact))
    assert call_charge(rates, used) == expected


@given(prices, usages(), counts, counts)
def test_more_usage_never_costs_less(rates: PriceList, used: TokenUsage, more_input: int, more_output: int) -> None:
    more = used._replace(input_tokens=used.input_tokens + more_input, output_tokens=used.output_tokens + more_output)
    assert call_charge(rates, more) >= call_charge(rates, used) >= 0


@given(prices, usages())
def test_a_model_with_a_price_never_costs_less_than_its_minimum(rates: PriceList, used: TokenUsage) -> None:
    assert rates.is_zero or call_charge(rates, used) >= rates.minimum_credits


calls = st.fixed_dictionaries(
    {
        "input_bound": counts,
        "input_estimate": counts,
        "output_limit": st.integers(1, 10**6),
        "choices": st.integers(1, 128),
        "reasoning_limit": st.sampled_from((0, 1, 32_000)),
    }
)


@given(prices, calls, st.data())
def test_no_charge_within_the_bounds_exceeds_the_bound(rates: PriceList, call: dict[str, int], data: st.DataObject) -> None:
    quoted = quote(rates, **call)
    used = data.draw(usages(call["input_bound"], (call["output_limit"] + call["reasoning_limit"]) * call["choices"]))
    assert call_charge(rates, used) <= quoted.bound


@given(prices, calls)
def test_the_minimum_is_within_the_bound(rates: PriceList, call: dict[str, int]) -> None:
    quoted = quote(rates, **call)
    assert 0 <= quoted.minimum <= quoted.bound


@given(prices, calls, st.integers(0, 10**12))
def test_a_cap_bounds_the_hold(rates: PriceList, call: dict[str, int], cap: int) -> None:
    capped, free = quote(rates, **call, cap=cap), quote(rates, **call)
    assert capped.bound == min(free.bound, cap)
    assert capped.minimum == free.minimum


@given(prices, calls, st.integers(0, 10**18))
def test_affordable_tokens_can_be_paid(rates: PriceList, call: dict[str, int], credits: int) -> None:
    quoted = quote(rates, **call)
    output = affordable_output(quoted, credits)
    assert 0 <= output <= quoted.output_tokens
    assert output == 0 or call_charge(rates, TokenUsage(quoted.input_tokens, output + quoted.reasoning_tokens)) <= credits


@given(prices, calls, st.integers(0, 10**18))
def test_one_token_more_than_affordable_cannot_be_paid(rates: PriceList, call: dict[str, int], credits: int) -> None:
    quoted = quote(rates, **call)
    output = affordable_output(quoted, credits)
    more = TokenUsage(quoted.input_tokens, output + quoted.reasoning_tokens + 1)
    assert output == quoted.output_tokens or call_charge(rates, more) > credits


@given(prices, calls)
def test_the_minimum_pays_for_a_useful_answer(rates: PriceList, call: dict[str, int]) -> None:
    quoted = quote(rates, **call)
    sensible = min(quoted.output_tokens, MIN_USEFUL_OUTPUT_TOKENS * call["choices"])
    assert affordable_output(quoted, quoted.minimum) >= sensible


def test_reasoning_that_the_limit_does_not_count_is_paid_in_addition() -> None:
    quoted = quote(
        price(input=0, output=1_000), input_bound=0, input_estimate=0, output_limit=100, choices=2, reasoning_limit=500
    )
    assert (quoted.bound, quoted.output_tokens, quoted.paid_tokens) == (1_200, 200, 1_200)
    assert quoted.minimum == 2 * (500 + MIN_USEFUL_OUTPUT_TOKENS)
    assert [affordable_output(quoted, credits) for credits in (999, 1_000, 1_050, 5_000)] == [0, 0, 50, 200]


def test_free_output_is_affordable_once_the_rest_is_paid() -> None:
    quoted: Quote = quote(price(per_call=1_000), input_bound=10, input_estimate=5, output_limit=100)
    assert [affordable_output(quoted, credits) for credits in (999, 1_000)] == [0, 100]
