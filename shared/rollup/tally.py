"""Sums over a number of calls. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.core.latency_histogram import percentile


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls, failed calls (not those that the caller cancelled), tokens, credits, and latencies by bucket.

    `first_token` and `duration` are empty unless requested.
    """

    calls: int = 0
    failed: int = 0
    estimated: int = 0
    input_tokens: int = 0  # including cached
    cached_tokens: int = 0
    output_tokens: int = 0  # including reasoning
    reasoning_tokens: int = 0
    credits: int = 0
    overrun_credits: int = 0  # cost that could not be charged
    overage_credits: int = 0  # part of `credits` charged to overage
    provider_cost: int = 0  # what the providers charge us, for calls whose cost is known
    costed_credits: int = 0  # the credits of these calls
    first_token: tuple[int, ...] = ()
    duration: tuple[int, ...] = ()

    def plus(self, other: Tally) -> Tally:
        return Tally(
            self.calls + other.calls,
            self.failed + other.failed,
            self.estimated + other.estimated,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.credits + other.credits,
            self.overrun_credits + other.overrun_credits,
            self.overage_credits + other.overage_credits,
            self.provider_cost + other.provider_cost,
            self.costed_credits + other.costed_credits,
            _added(self.first_token, other.first_token),
            _added(self.duration, other.duration),
        )

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def error_rate(self) -> float | None:
        """Share of failed calls; None if there are no calls."""
        return self.failed / self.calls if self.calls else None

    @property
    def cached_share(self) -> float | None:
        """Share of the input tokens that were read from providers' caches; None without input tokens."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else None

    @property
    def margin(self) -> int | None:
        """Credits minus the providers' costs, for calls whose cost is known; None if there are none."""
        return self.costed_credits - self.provider_cost if self.costed_credits or self.provider_cost else None

    @property
    def margin_rate(self) -> float | None:
        """The margin as a share of the credits; None if they are 0."""
        return (self.costed_credits - self.provider_cost) / self.costed_credits if self.costed_credits else None

    def first_token_ms(self, fraction: float) -> int | None:
        """Return the time in ms within which `fraction` of the calls got their first token."""
        return percentile(self.first_token, fraction)

    def duration_ms(self, fraction: float) -> int | None:
        """Return the time in ms within which `fraction` of the calls ended."""
        return percentile(self.duration, fraction)


def _added(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    if not left or not right:
        return left or right
    return tuple(map(sum, zip(left, right, strict=True)))
