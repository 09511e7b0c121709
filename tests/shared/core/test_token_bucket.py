"""The arithmetic of rate limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.token_bucket import (
    MAX_RETRY_AFTER_MS,
    WINDOW_MS,
    Bucket,
    RateLimits,
    bucket_level,
    effective_limits,
    ms_until_available,
    ms_until_full,
)


@pytest.mark.parametrize(
    ("bucket", "now", "level"),
    [
        (None, 5, 60.0),
        (Bucket(0, 0), 0, 0.0),
        (Bucket(0, 0), 1_000, 1.0),
        (Bucket(0, 0), WINDOW_MS, 60.0),
        (Bucket(0, 0), 10 * WINDOW_MS, 60.0),  # never above its capacity
        (Bucket(-30, 0), WINDOW_MS, 30.0),  # a negative level is refilled first
        (Bucket(10, 1_000), 0, 10.0),  # setting the clock back removes no tokens
        (Bucket(100, 0), 0, 60.0),  # the limit was lowered meanwhile
    ],
)
def test_a_bucket_refills_evenly_over_a_minute(bucket: Bucket | None, now: int, level: float) -> None:
    assert bucket_level(bucket, 60, now) == level


limits = st.integers(1, 10**9)
levels = st.floats(-1e9, 1e9)


@given(levels, limits, st.integers(0, 10**9))
def test_after_the_wait_the_call_fits(level: float, limit: int, needed: int) -> None:
    wait = ms_until_available(level, limit, needed)
    assert 1 <= wait <= MAX_RETRY_AFTER_MS
    if wait < MAX_RETRY_AFTER_MS:
        assert bucket_level(Bucket(level, 0), limit, wait) >= min(needed, limit) - 1e-6 * (1 + abs(level))


@given(levels, limits, st.integers(1, 10**9))
def test_before_the_wait_it_does_not_fit(level: float, limit: int, needed: int) -> None:
    wait = ms_until_available(level, limit, needed)
    if level < min(needed, limit) and wait > 1:
        assert bucket_level(Bucket(level, 0), limit, wait - 2) < min(needed, limit)


@given(limits, st.data())
def test_a_bucket_is_full_after_its_reset(limit: int, data: st.DataObject) -> None:
    remaining = data.draw(st.integers(0, limit))
    assert 0 <= ms_until_full(remaining, limit) <= WINDOW_MS
    assert bucket_level(Bucket(remaining, 0), limit, ms_until_full(remaining, limit)) == pytest.approx(limit)
    assert ms_until_full(limit, limit) == 0


own = st.none() | st.integers(1, 10**6)


@given(st.builds(RateLimits, *(st.integers(1, 10**6) for _ in range(3))), own, own, own)
def test_key_limits_never_exceed_account_limits(
    account: RateLimits, rpm: int | None, tpm: int | None, concurrency: int | None
) -> None:
    narrow = effective_limits(account, rpm, tpm, concurrency)
    for whole, wanted, limit in zip(account, (rpm, tpm, concurrency), narrow, strict=True):
        assert limit == (whole if wanted is None else min(whole, wanted))
