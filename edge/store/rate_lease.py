"""Leases of rate limits: requests and tokens that Redis has counted in advance, so that a process grants calls from memory. Pure.

A lease is small and short. What it has left is given back after `LEASE_SECONDS`, so it only shifts when calls are counted. A
call also needs a slot, for the limit of concurrent requests: those of finished calls are kept for the next ones.
`limiter.lua` decides how much of its limits a key may lease; close to one of them, that is nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.core.token_bucket import WINDOW_MS, KeyLimits, RateLimits, RateLimitState

LEASE_SECONDS = 0.5
SLOT_SECONDS = 10  # how long calls may begin in a slot; Redis keeps it for longer, by the maximum duration of a call
MIN_REQUESTS = 8  # a smaller lease is not worth it
_GROWTH = 8  # requests to lease for each call of a key that begins to call more often


class Scope(NamedTuple):
    """A bucket and its limits: those of an account or of a key."""

    name: str
    limits: RateLimits


class Slot(NamedTuple):
    """A slot in Redis, by the id of the call that took it. Other calls may begin in it before `until` (monotonic seconds)."""

    call: str
    until: float


class Unused(NamedTuple):
    """What is given back. `tokens` is negative if calls used more than they had estimated."""

    slots: list[Slot]
    requests: int
    tokens: int


class RateLease:
    """The lease of a key on this process, empty at first. Times are monotonic seconds."""

    __slots__ = (
        "_asked",
        "_calls",
        "_counted_at",
        "_max_slots",
        "_previous_calls",
        "_requests",
        "_slots",
        "_state",
        "_tokens",
        "_until",
        "limits",
        "scopes",
    )

    def __init__(self, limits: KeyLimits, scopes: list[Scope]) -> None:
        self.limits = limits
        self.scopes = scopes
        self._requests = self._tokens = self._max_slots = 0
        self._slots: list[Slot] = []
        self._calls = self._previous_calls = 0
        self._asked = False
        self._until = self._counted_at = 0.0
        self._state = RateLimitState(0, 0, 0, 0)

    def take(self, tokens: int, now: float) -> Slot | None:
        """Take a request, `tokens` and a slot. Returns None if the lease lacks one of them, so Redis has to be asked."""
        self._calls += 1
        if self._slots and self._has(tokens, now):
            self._requests -= 1
            self._tokens -= tokens
            return self._slots.pop()
        return None

    def demand(self, tokens: int, now: float) -> int:
        """Return how many requests to lease along with a call that `take` did not grant; 0 for a key that calls rarely."""
        if self._asked or self._has(tokens, now):
            return 0
        wanted = max(self._previous_calls, _GROWTH * (self._calls - 1))
        if wanted < MIN_REQUESTS:
            return 0
        self._asked = True
        return wanted

    def answered(self, state: RateLimitState, requests: int, tokens: int, max_slots: int, now: float) -> None:
        """Record what Redis answered to a call: the remaining limits, what it leased, and how many slots may be kept."""
        self._state, self._counted_at, self._max_slots = state, now, max_slots
        if requests:
            self._requests += requests
            self._tokens += tokens
            self._until = now + LEASE_SECONDS

    def ask_again(self) -> None:
        """Allow the next request for a lease, once the previous one was answered or failed."""
        self._asked = False

    def put_back(self, slot: Slot, tokens: int, now: float) -> bool:
        """Keep a finished call's slot and unused tokens for the next calls. Returns False if they must go back to Redis."""
        if now >= self._until or len(self._slots) >= self._max_slots or slot.until < self._until:
            return False
        self._slots.append(slot)
        self._tokens += tokens
        return True

    def end(self) -> Unused:
        """End the lease, and return what is left of it."""
        unused = Unused(self._slots, self._requests, self._tokens)
        self._slots, self._requests, self._tokens, self._until = [], 0, 0, 0.0
        return unused

    def next_period(self) -> bool:
        """Begin to count the calls of another `LEASE_SECONDS`. Returns False if the last ones had none."""
        self._previous_calls, self._calls = self._calls, 0
        return self._previous_calls > 0

    def state(self, now: float) -> RateLimitState:
        """Return the remaining limits: what Redis answered last, what was refilled since, and what is left here."""
        minutes = (now - self._counted_at) * 1000 / WINDOW_MS
        limit_requests, requests, limit_tokens, tokens = self._state
        return self.with_unused(
            RateLimitState(
                limit_requests, requests + int(minutes * limit_requests), limit_tokens, tokens + int(minutes * limit_tokens)
            )
        )

    def with_unused(self, state: RateLimitState) -> RateLimitState:
        """Return what Redis answered, plus what is left here."""
        limit_requests, requests, limit_tokens, tokens = state
        return RateLimitState(
            limit_requests,
            min(limit_requests, requests + self._requests),
            limit_tokens,
            max(0, min(limit_tokens, tokens + self._tokens)),
        )

    def _has(self, tokens: int, now: float) -> bool:
        return self._requests > 0 and self._tokens >= tokens and now < self._until
