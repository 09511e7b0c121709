"""Latencies in fixed buckets, so that medians and percentiles of any span are sums of counts. Pure.

A bucket holds the times from its lower bound on, up to the next one's. The bounds are about half as much again apart, which is
how exact a percentile is; they are written into the names and order of columns, so they never change.
"""

from __future__ import annotations

from collections.abc import Sequence

BOUNDS_MS = (
    *(0, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800),
    *(1_200, 1_600, 2_400, 3_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000),
)


def columns(measure: str) -> tuple[str, ...]:
    """The columns that count `measure` (`first_token`, `duration`) by bucket: `first_token_0`, `first_token_10`, …"""
    return tuple(f"{measure}_{bound}" for bound in BOUNDS_MS)


def quantile(counts: Sequence[int], share: float) -> int | None:
    """The time in milliseconds that `share` of what was counted stayed within; None when nothing was counted.

    Inside a bucket times are taken to lie evenly. The last bucket has no end: its lower bound is the answer.
    """
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for number, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = BOUNDS_MS[number]
            if number + 1 == len(BOUNDS_MS):
                return low
            return round(low + (BOUNDS_MS[number + 1] - low) * (wanted - seen) / count)
        seen += count
    return BOUNDS_MS[-1]
