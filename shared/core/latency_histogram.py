"""Latency histogram with fixed buckets: percentiles of any time range come from sums of counts. Pure.

A bucket contains the times from its lower bound up to the next bound. Each bound is roughly 1.5 times the previous one, which
limits the precision of percentiles. The bounds are part of column names and must never change.
"""

from __future__ import annotations

from collections.abc import Sequence

BOUNDS_MS = (
    *(0, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800),
    *(1_200, 1_600, 2_400, 3_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000),
)


def column_names(measure: str) -> tuple[str, ...]:
    """Return the names of the columns that count `measure` (`first_token`, `duration`) by bucket: `first_token_0`, …"""
    return tuple(f"{measure}_{bound}" for bound in BOUNDS_MS)


def percentile(counts: Sequence[int], fraction: float) -> int | None:
    """Return the time in milliseconds within which `fraction` of the calls stayed, or None if there are no counts.

    Interpolates linearly inside a bucket. The last bucket has no upper bound, so its lower bound is returned.
    """
    total = sum(counts)
    if not total:
        return None
    target, seen = fraction * total, 0
    for number, count in enumerate(counts):
        if count and seen + count >= target:
            low = BOUNDS_MS[number]
            if number + 1 == len(BOUNDS_MS):
                return low
            return round(low + (BOUNDS_MS[number + 1] - low) * (target - seen) / count)
        seen += count
    return BOUNDS_MS[-1]
