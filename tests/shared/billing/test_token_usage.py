"""Token usage: parsed from any provider's format, merged over a stream, and replaced by local counts if implausible."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.token_usage import IMPLAUSIBLE_FACTOR, ExtraUsage, PartialUsage, TokenUsage, read_openai_usage, resolve_usage

NOTHING = PartialUsage()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}, PartialUsage(7, 3)),
        ({"input_tokens": 7, "output_tokens": 3}, PartialUsage(7, 3)),
        (
            {
                "prompt_tokens": 7,
                "completion_tokens": 3,
                "prompt_tokens_details": {"cached_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
            PartialUsage(7, 3, 5, 2),
        ),
        (
            {"input_tokens_details": {"cached_tokens": 5}, "output_tokens_details": {"reasoning_tokens": 2}},
            PartialUsage(None, None, 5, 2),
        ),
        ({"prompt_tokens": 7, "prompt_tokens_details": None}, PartialUsage(7)),
        ({"prompt_tokens": 7, "prompt_tokens_details": [5]}, PartialUsage(7)),
        ({"prompt_tokens": None, "input_tokens": 7}, PartialUsage(7)),
        ({"prompt_tokens": -1, "completion_tokens": 3}, PartialUsage(None, 3)),
        ({"prompt_tokens": 7.0, "completion_tokens": "3"}, NOTHING),
        ({"prompt_tokens": True, "completion_tokens": False}, NOTHING),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, NOTHING),
        ({}, NOTHING),
        (None, NOTHING),
        ([7, 3], NOTHING),
        ("7", NOTHING),
    ],
)
def test_parsing_a_usage_object(sent: Any, read: PartialUsage) -> None:
    assert read_openai_usage(sent) == read


count = st.integers(0, 10**20)
extras = st.fixed_dictionaries(
    {}, optional={name: st.text(max_size=5) if name == "service_tier" else count for name in ExtraUsage._fields}
)
reported = st.builds(PartialUsage, *(st.none() | count for _ in range(5)), extra=st.none() | extras)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
names = st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens", "prompt_tokens_details", "output_tokens_details"])


@given(st.dictionaries(names, json_values))
def test_no_input_gives_an_invalid_count(sent: dict[str, Any]) -> None:
    assert all(count is None or (type(count) is int and count >= 0) for count in read_openai_usage(sent))


@given(reported, reported)
def test_the_last_usage_of_a_stream_wins(older: PartialUsage, newer: PartialUsage) -> None:
    for before, after, merged in zip(older[:-1], newer[:-1], older.merge(newer)[:-1], strict=True):
        assert merged == (before if after is None else after)


@given(reported, reported, reported)
def test_merging_is_associative(first: PartialUsage, second: PartialUsage, third: PartialUsage) -> None:
    assert first.merge(second).merge(third) == first.merge(second.merge(third))


def settled(
    reported: PartialUsage, *, input: int = 10, output: int = 20, delivered: bool = True, plausible: int = 100
) -> TokenUsage:
    return resolve_usage(reported, input_estimate=input, output_estimate=output, delivered=delivered, plausible_output=plausible)


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        (PartialUsage(7, 3), TokenUsage(7, 3)),
        (PartialUsage(7, 3, 5, 2), TokenUsage(7, 3, 5, 2)),
        (NOTHING, TokenUsage(10, 20, estimated=True)),
        (PartialUsage(7, None), TokenUsage(7, 20, estimated=True)),
        (PartialUsage(None, 3), TokenUsage(10, 3, estimated=True)),
        (PartialUsage(0, 0), TokenUsage(10, 20, estimated=True)),  # zero is implausible after output was delivered
        (PartialUsage(10_101, 3), TokenUsage(10, 3, estimated=True)),  # more than ten times the possible input
        (PartialUsage(10_100, 3), TokenUsage(10_100, 3)),
        (PartialUsage(7, 1_001), TokenUsage(7, 20, estimated=True)),
        (PartialUsage(7, 1_000), TokenUsage(7, 1_000)),
        (PartialUsage(7, 3, 9, 9), TokenUsage(7, 3, 7, 3)),  # a part never exceeds the whole
    ],
)
def test_settled_usage(reported: PartialUsage, usage: TokenUsage) -> None:
    assert settled(reported) == usage


def test_zero_is_accepted_if_nothing_was_delivered() -> None:
    assert settled(PartialUsage(7, 0), delivered=False) == TokenUsage(7, 0)


def test_delivered_output_counts_as_at_least_one_token() -> None:
    assert settled(NOTHING, output=0).output_tokens == 1


def test_a_call_without_possible_output_has_no_output_tokens() -> None:
    for reported in (PartialUsage(7), PartialUsage(7, 0), PartialUsage(7, 5)):
        assert settled(reported, plausible=0) == TokenUsage(7, 0)


estimates = st.integers(0, 10**6)


@given(reported, estimates, estimates, st.booleans(), st.integers(1, 10**6))
def test_settled_usage_is_always_possible(
    reported: PartialUsage, input: int, output: int, delivered: bool, plausible: int
) -> None:
    used = settled(reported, input=input, output=output, delivered=delivered, plausible=plausible)
    assert 0 <= used.cached_tokens <= used.input_tokens <= IMPLAUSIBLE_FACTOR * (input + 1_000)
    assert 0 <= used.reasoning_tokens <= used.output_tokens <= IMPLAUSIBLE_FACTOR * max(plausible, output, 1)
    assert used.estimated or (used.input_tokens, used.output_tokens) == reported[:2]
    assert not delivered or used.output_tokens > 0
    assert used.total_tokens == used.input_tokens + used.output_tokens
