"""Rate limits as token buckets, and the arithmetic of them. Pure.

A bucket of capacity `limit` refills evenly over a minute. A call takes one request and its estimated tokens; what it really
used is settled afterwards, so a bucket may go below zero and then recovers. `edge/limiter.lua` does the same inside Redis.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from uuid import UUID

WINDOW_MS = 60_000
LONGEST_RETRY_MS = 60_000  # no client is told to wait longer: some obey for weeks


class Limits(NamedTuple):
    """What one scope (a key, or an account) may do: requests a minute, tokens a minute, calls at once."""

    rpm: int
    tpm: int
    concurrency: int


class KeyLimits(NamedTuple):
    """The limits that apply to a key's call. A key's limits never exceed its account's.

    Calls are counted under the ids `key` (the key, or the key that it replaced) and `parent` (the key that created it, if that
    one has limits).
    """

    account: UUID
    key: UUID
    account_limits: Limits
    key_limits: Limits
    parent: UUID | None = None
    parent_limits: Limits | None = None


class Bucket(NamedTuple):
    """`level` of `limit` was left at `at` (milliseconds)."""

    level: float
    at: int


class Standing(NamedTuple):
    """What the `x-ratelimit-*` headers say: the narrower of the scopes, for requests and for tokens."""

    limit_requests: int
    remaining_requests: int
    limit_tokens: int
    remaining_tokens: int


def refill(bucket: Bucket | None, limit: int, now: int) -> float:
    """The level of a bucket at `now`; a new one is full."""
    if bucket is None:
        return float(limit)
    return min(float(limit), bucket.level + max(0, now - bucket.at) * limit / WINDOW_MS)


def wait_ms(level: float, limit: int, needed: float) -> int:
    """How long until `needed` fits into a bucket, at most `LONGEST_RETRY_MS`."""
    missing = min(needed, limit) - level
    return max(1, min(LONGEST_RETRY_MS, math.ceil(missing * WINDOW_MS / limit)))


def reset_ms(remaining: int, limit: int) -> int:
    """How long until a bucket is full again."""
    return max(0, -(-(limit - remaining) * WINDOW_MS // limit))


def narrower(account: Limits, rpm: int | None, tpm: int | None, concurrency: int | None) -> Limits:
    """A key's limits: its own where it has them, never wider than the account's."""
    return Limits(
        min(account.rpm, rpm or account.rpm),
        min(account.tpm, tpm or account.tpm),
        min(account.concurrency, concurrency or account.concurrency),
    )
