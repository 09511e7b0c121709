"""Histogram of output tokens per call, with fixed buckets. Holds in a tight pool are computed from it. Pure.

Each bound is about 1.41 times the previous one. The bounds are stored with the counts and must never change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

# Lower bounds of the buckets. The last bucket has no upper bound.
BOUNDS = (0, *(round(2 ** (exponent / 2)) for exponent in range(8, 41)))


def bucket_of(tokens: int) -> int:
    """Return the number of the bucket that contains `tokens`."""
    return bisect_right(BOUNDS, tokens) - 1


def percentile(counts: Sequence[int], fraction: float) -> int | None:
    """Return the output tokens that `fraction` of the calls did not exceed, or None if there are no counts.

    Interpolates linearly inside a bucket. The last bucket counts as twice its lower bound.
    """
    total = sum(counts)
    if not total:
        return None
    target, seen = fraction * total, 0
    for number, count in enumerate(counts):
        if count and seen + count >= target:
            low = BOUNDS[number]
            high = BOUNDS[number + 1] if number + 1 < len(BOUNDS) else 2 * low
            return round(low + (high - low) * (target - seen) / count)
        seen += count
    return 2 * BOUNDS[-1]
