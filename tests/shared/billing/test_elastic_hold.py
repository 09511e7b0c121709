"""Holds in a tight pool: pure functions."""

from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.elastic_hold import expected_cost, max_tokenizer_percent, paid_output, retry_after_ms, spendable
from shared.billing.output_histogram import BOUNDS, bucket_of, percentile
from shared.billing.pricing import PriceList, Quote, call_charge, quote
from shared.billing.token_usage import TokenUsage

rates = st.integers(0, 5_000)


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    price = PriceList(uuid4(), 0, draw(rates), draw(rates), draw(st.none() | rates), draw(st.integers(0, 50)), draw(rates))
    bound = draw(st.integers(1, 200_000))
    return quote(
        price,
        input_bound=bound,
        input_estimate=bound // 4,
        output_limit=draw(st.integers(0, 40_000)),
        cap=draw(st.none() | st.integers(1, 10**6)),
    )


@given(quotes(), st.integers(0, 200_000), st.integers(0, 100_000))
def test_the_expected_cost_is_between_minimum_and_bound(quoted: Quote, input_tokens: int, output_tokens: int) -> None:
    held = expected_cost(quoted, input_tokens, output_tokens)
    assert min(quoted.minimum, quoted.bound) <= held <= quoted.bound
    usage = TokenUsage(input_tokens, min(output_tokens, quoted.paid_tokens))
    assert held >= min(call_charge(quoted.price, usage), quoted.bound)
    all_cached = usage._replace(cached_tokens=input_tokens)
    assert held >= min(call_charge(quoted.price, all_cached), quoted.bound)


@given(quotes(), st.integers(0, 200_000), st.integers(0, 10**7))
def test_paid_output_costs_no_more_than_the_hold(quoted: Quote, input_tokens: int, credits: int) -> None:
    paid = paid_output(quoted, input_tokens, credits)
    assert 0 <= paid <= quoted.paid_tokens
    if paid and quoted.price.credits_per_1k_output:
        assert (
            call_charge(quoted.price, TokenUsage(input_tokens, paid)) <= max(credits, quoted.price.minimum_credits) + 1
        )  # rounded up


@given(quotes(), st.integers(0, 10**6), st.integers(-100, 10**6))
def test_an_answer_without_streaming_may_spend_at_most_twice_its_hold(quoted: Quote, held: int, free: int) -> None:
    credits = spendable(quoted, held, free)
    assert held <= credits <= max(held, min(2 * held, held + max(free, 0), quoted.bound))


@pytest.mark.parametrize(("age", "pick", "expected"), [(0, 0.5, 500), (2, 0.5, 2_000), (2, 0, 1_500), (60, 0.9, 5_000)])
def test_retries_are_spread_between_half_a_second_and_five(age: float, pick: float, expected: int) -> None:
    assert retry_after_ms(age, lambda: pick) == expected


def test_an_unknown_tokenizer_gets_the_largest_margin() -> None:
    known = max_tokenizer_percent(["openai/gpt-4o-mini"])
    assert known < max_tokenizer_percent(["in-house-7b"])
    assert max_tokenizer_percent(["gpt-4o", "in-house-7b"]) == max_tokenizer_percent([])


@pytest.mark.parametrize(("tokens", "low"), [(0, 0), (15, 0), (16, 16), (22, 16), (23, 23), (1_024, 1_024), (10**9, 2**20)])
def test_buckets(tokens: int, low: int) -> None:
    assert BOUNDS[bucket_of(tokens)] == low


@given(st.lists(st.integers(0, 2**21), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_within_its_bucket(sizes: list[int], fraction: float) -> None:
    counts = [0] * len(BOUNDS)
    for size in sizes:
        counts[bucket_of(size)] += 1
    exact = sorted(sizes)[max(0, -int(-fraction * len(sizes) // 1) - 1)]
    found = percentile(counts, fraction)
    assert found is not None
    low = BOUNDS[bucket_of(exact)]
    assert low <= found <= 2 * max(low, 16)


def test_no_counts_have_no_percentile() -> None:
    assert percentile([0] * len(BOUNDS), 0.9) is None
