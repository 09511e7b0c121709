"""What a call costs the operator: as the provider reports it, otherwise at the cost prices of the route."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.pricing import MediaUnits, call_charge
from shared.billing.provider_cost import cost_prices, media_cost, provider_cost
from shared.billing.token_usage import (
    ExtraUsage,
    PartialUsage,
    TokenUsage,
    read_openai_usage,
    reported_cost,
    without_provider_cost,
)

USD = 1_000_000  # credits


@pytest.mark.parametrize(
    ("usage", "nano_usd"),
    [
        ({"cost": 0.95}, 950_000_000),
        ({"cost": 0}, 0),
        ({"cost": 0.29}, 290_000_000),  # 0.29 * 1e9 is above it in floats
        ({"cost": 1e-12}, 1),  # rounded up
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.0}}, 1_050_000_000),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": None}}, None),
        ({"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 1.0}}, 50_000_000),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.25}}, 250_000_000),
        ({"cost_in_usd_ticks": 37_756_001}, 3_775_601),
        ({"estimated_cost": 0.000268}, 268_000),
        ({"cost": None}, None),
        ({"cost": "0.95"}, None),
        ({"cost": True}, None),
        ({"cost": -0.1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": 10**400}, None),
        ({"cost": {}}, None),
        ({"cost_in_usd_ticks": -1}, None),
        ({"cost_in_usd_ticks": 10**30}, None),
        ({}, None),
    ],
)
def test_reading_a_reported_cost(usage: dict[str, Any], nano_usd: int | None) -> None:
    assert read_openai_usage(usage).cost_nano_usd == nano_usd
    assert reported_cost({"usage": usage}) == nano_usd


def test_the_last_chunk_with_a_cost_counts() -> None:
    merged = PartialUsage(cost_nano_usd=5).merge(PartialUsage(3, 4, extra={"seconds": 1}, cost_nano_usd=9)).merge(PartialUsage())
    assert (merged.cost_nano_usd, merged.input_tokens, merged.extra) == (9, 3, {"seconds": 1})


def test_customers_do_not_get_the_cost() -> None:
    body = {"id": "x", "usage": {"total_tokens": 3, "cost": 1.5, "cost_in_usd_ticks": 3, "estimated_cost": 2, "is_byok": True}}
    assert without_provider_cost(body) == {"id": "x", "usage": {"total_tokens": 3}}
    for other in ({"usage": None}, {"usage": {"total_tokens": 3}}, {}):
        assert without_provider_cost(other) is other


FURTHER = [["cached_input", 0, 10], ["input", 200_000, 300], ["web_search", 0, 5_000], ["per_call", 0, 7]]


@pytest.mark.parametrize(
    ("costs", "usage", "expected"),
    [
        ((100, 400, ()), TokenUsage(1_000, 500), 300),
        ((100, 400, ()), TokenUsage(1, 0), 1),  # rounded up
        ((100, 400, ()), TokenUsage(1_000, 0, cached_tokens=900), 100),  # no other rate is known
        ((100, 400, FURTHER), TokenUsage(1_000, 0, cached_tokens=900), 7 + 10 + 9),
        ((100, 400, FURTHER), TokenUsage(300_000, 0), 7 + 90_000),
        ((100, 400, FURTHER), TokenUsage(0, 0, extra=ExtraUsage(web_searches=2)), 7 + 10_000),
        ((None, None, [["per_call", 0, 7]]), TokenUsage(0, 0), 7),
        ((0, 0, ()), TokenUsage(10, 10), 0),
        ((None, None, ()), TokenUsage(10, 10), None),
        ((100, None, ()), TokenUsage(10, 0), None),
        ((None, 100, FURTHER), TokenUsage(10, 0), None),
    ],
)
def test_cost_prices(costs: Any, usage: TokenUsage, expected: int | None) -> None:
    assert provider_cost(None, cost_prices(*costs), usage, USD) == expected


kinds = st.sampled_from(["cached_input", "cache_write", "cache_write_1h", "audio_input", "reasoning", "web_search", "tier:flex"])
lengths = st.sampled_from([1_000, 200_000])
steps = st.tuples(kinds, st.just(0)) | st.tuples(st.sampled_from(["input", "output"]), lengths)
further = st.dictionaries(steps, st.integers(0, 500))
extra = st.none() | st.builds(
    lambda searches, tier: ExtraUsage(web_searches=searches, service_tier=tier), st.integers(0, 3), st.sampled_from(["", "flex"])
)


@given(further, st.integers(0, 300_000), st.integers(0, 9_999), st.integers(0, 900), st.integers(0, 99), extra)
def test_the_fast_prices_of_text_give_the_same_cost(
    rates: dict[tuple[str, int], int], input: int, output: int, cached: int, reasoning: int, extra: ExtraUsage | None
) -> None:
    costs = cost_prices(100, 400, [[*step, credits] for step, credits in rates.items()])
    usage = TokenUsage(input, output, min(cached, input), min(reasoning, output), extra=extra)
    assert costs is not None
    assert provider_cost(None, costs, usage, USD) == call_charge(costs.prices, usage)


@given(st.integers(0, 10**15), st.integers(1, 10**12))
def test_a_reported_cost_is_rounded_up_to_credits(nano_usd: int, credits_per_usd: int) -> None:
    credits = provider_cost(nano_usd, cost_prices(100, 400), TokenUsage(10, 10), credits_per_usd)
    assert credits is not None
    exact = nano_usd * credits_per_usd
    assert (credits - 1) * 10**9 < exact <= credits * 10**9 or credits == 10**15


def test_media_costs() -> None:
    prices = cost_prices(None, None, [["per_call", 0, 40], ["per_5_seconds", 0, 500], ["per_1k_characters", 0, 30]])
    assert media_cost(None, prices, MediaUnits(3), USD) == 120
    assert media_cost(None, prices, MediaUnits(1, seconds=6), USD) == 1_040
    assert media_cost(None, prices, MediaUnits(1, characters=100), USD) == 43
    assert media_cost(None, None, MediaUnits(1), USD) is None
    assert media_cost(20_000_000, prices, MediaUnits(1), USD) == 20_000
