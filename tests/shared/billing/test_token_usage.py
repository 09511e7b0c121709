"""Usage: read from whatever vendors send, merged over a stream, and believed only where it can be true."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.billing.token_usage import IMPLAUSIBLE_FACTOR, PartialUsage, Usage, read_openai_usage, settle_usage

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
def test_what_is_read_of_a_usage_object(sent: Any, read: PartialUsage) -> None:
    assert read_openai_usage(sent) == read


told = st.builds(PartialUsage, *(st.none() | st.integers(0, 10**20) for _ in range(4)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
names = st.sampled_from(["prompt_tokens", "completion_tokens", "input_tokens", "prompt_tokens_details", "output_tokens_details"])


@given(st.dictionaries(names, json_values))
def test_no_object_gives_a_count_that_is_none(sent: dict[str, Any]) -> None:
    assert all(count is None or (type(count) is int and count >= 0) for count in read_openai_usage(sent))


@given(told, told)
def test_the_last_word_of_a_stream_counts(older: PartialUsage, newer: PartialUsage) -> None:
    for before, after, merged in zip(older, newer, older.merge(newer), strict=True):
        assert merged == (before if after is None else after)


@given(told, told, told)
def test_merging_is_associative(first: PartialUsage, second: PartialUsage, third: PartialUsage) -> None:
    assert first.merge(second).merge(third) == first.merge(second.merge(third))


def settled(told: PartialUsage, *, input: int = 10, output: int = 20, delivered: bool = True, plausible: int = 100) -> Usage:
    return settle_usage(told, input_estimate=input, output_estimate=output, delivered=delivered, plausible_output=plausible)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (PartialUsage(7, 3), Usage(7, 3)),
        (PartialUsage(7, 3, 5, 2), Usage(7, 3, 5, 2)),
        (NOTHING, Usage(10, 20, estimated=True)),
        (PartialUsage(7, None), Usage(7, 20, estimated=True)),
        (PartialUsage(None, 3), Usage(10, 3, estimated=True)),
        (PartialUsage(0, 0), Usage(10, 20, estimated=True)),  # a zero is not believed once something was delivered
        (PartialUsage(10_101, 3), Usage(10, 3, estimated=True)),  # above ten times what the input can be
        (PartialUsage(10_100, 3), Usage(10_100, 3)),
        (PartialUsage(7, 1_001), Usage(7, 20, estimated=True)),
        (PartialUsage(7, 1_000), Usage(7, 1_000)),
        (PartialUsage(7, 3, 9, 9), Usage(7, 3, 7, 3)),  # a part is never more than the whole
    ],
)
def test_what_is_settled(told: PartialUsage, usage: Usage) -> None:
    assert settled(told) == usage


def test_a_zero_is_believed_when_nothing_was_delivered() -> None:
    assert settled(PartialUsage(7, 0), delivered=False) == Usage(7, 0)


def test_what_was_delivered_is_a_token_at_least() -> None:
    assert settled(NOTHING, output=0).output_tokens == 1


def test_a_call_that_can_give_no_output_has_none() -> None:
    for told in (PartialUsage(7), PartialUsage(7, 0), PartialUsage(7, 5)):
        assert settled(told, plausible=0) == Usage(7, 0)


estimates = st.integers(0, 10**6)


@given(told, estimates, estimates, st.booleans(), st.integers(1, 10**6))
def test_settled_usage_is_always_possible(told: PartialUsage, input: int, output: int, delivered: bool, plausible: int) -> None:
    used = settled(told, input=input, output=output, delivered=delivered, plausible=plausible)
    assert 0 <= used.cached_tokens <= used.input_tokens <= IMPLAUSIBLE_FACTOR * (input + 1_000)
    assert 0 <= used.reasoning_tokens <= used.output_tokens <= IMPLAUSIBLE_FACTOR * max(plausible, output, 1)
    assert used.estimated or (used.input_tokens, used.output_tokens) == told[:2]
    assert not delivered or used.output_tokens > 0
    assert used.total_tokens == used.input_tokens + used.output_tokens
