"""Percentiles from histogram buckets, compared with the exact times."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.latency_histogram import BOUNDS_MS, column_names, percentile


def counted(times: list[int]) -> list[int]:
    counts = [0] * len(BOUNDS_MS)
    for time in times:
        counts[bisect_right(BOUNDS_MS, time) - 1] += 1
    return counts


def test_an_empty_histogram_has_no_percentile():
    assert percentile([0] * len(BOUNDS_MS), 0.5) is None


def test_bounds_increase_from_0_and_name_the_columns():
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
    assert column_names("duration")[:3] == ("duration_0", "duration_10", "duration_20")


@given(st.lists(st.integers(0, 400_000), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_in_the_bucket_of_the_exact_one(times, share):
    real = sorted(times)[max(0, -(-len(times) * share // 1).__int__() - 1)]
    bucket = bisect_right(BOUNDS_MS, real) - 1
    high = BOUNDS_MS[bucket + 1] if bucket + 1 < len(BOUNDS_MS) else BOUNDS_MS[-1]
    found = percentile(counted(times), share)
    assert found is not None
    assert BOUNDS_MS[bucket] <= found <= high


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_times_beyond_the_last_bound_are_reported_as_the_bound(share):
    assert percentile(counted([900_000] * 7), share) == BOUNDS_MS[-1]
