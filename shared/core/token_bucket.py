"""Token bucket arithmetic for rate limits. Pure.

A bucket of capacity `limit` refills evenly over a minute. A call takes one request and its estimated tokens. The difference to
its real usage is settled afterwards, so a bucket may be negative for a while. `edge/store/limiter.lua` does the same inside
Redis.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from uuid import UUID

WINDOW_MS = 60_000
MAX_RETRY_AFTER_MS = 60_000  # maximum retry-after: some clients would wait for weeks


class RateLimits(NamedTuple):
    """Limits of a key or account: requests per minute, tokens per minute, concurrent requests."""

    rpm: int
    tpm: int
    concurrency: int


class KeyLimits(NamedTuple):
    """Limits that apply to a key's call. The limits of a key never exceed those of its account.

    Calls are counted by `key` (the first key in its chain of rotations) and `parent` (the key that created it, if it has limits).
    """

    account: UUID
    key: UUID
    account_limits: RateLimits
    key_limits: RateLimits
    parent: UUID | None = None
    parent_limits: RateLimits | None = None


class Bucket(NamedTuple):
    """A bucket that had `level` tokens at time `at` (milliseconds)."""

    level: float
    at: int


class RateLimitState(NamedTuple):
    """Values of the `x-ratelimit-*` headers: the scope with the least remaining, for requests and for tokens."""

    limit_requests: int
    remaining_requests: int
    limit_tokens: int
    remaining_tokens: int


def bucket_level(bucket: Bucket | None, limit: int, now: int) -> float:
    """Return the level of a bucket at `now`. A new bucket is full."""
    if bucket is None:
        return float(limit)
    return min(float(limit), bucket.level + max(0, now - bucket.at) * limit / WINDOW_MS)


def ms_until_available(level: float, limit: int, needed: float) -> int:
    """Return the time until `needed` tokens fit into a bucket, at most `MAX_RETRY_AFTER_MS`."""
    missing = min(needed, limit) - level
    return max(1, min(MAX_RETRY_AFTER_MS, math.ceil(missing * WINDOW_MS / limit)))


def ms_until_full(remaining: int, limit: int) -> int:
    """Return the time until a bucket is full again."""
    return max(0, -(-(limit - remaining) * WINDOW_MS // limit))


def effective_limits(account: RateLimits, rpm: int | None, tpm: int | None, concurrency: int | None) -> RateLimits:
    """Return a key's own limits where set, at most the account's."""
    return RateLimits(
        min(account.rpm, rpm or account.rpm),
        min(account.tpm, tpm or account.tpm),
        min(account.concurrency, concurrency or account.concurrency),
    )
