"""What a number of calls comes to. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.latency import quantile


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls, how many of them failed (a call that its caller broke off did not), tokens, credits, and latencies by bucket.

    `first_token` and `duration` are empty where they were not asked for.
    """

    calls: int = 0
    failed: int = 0
    estimated: int = 0
    input_tokens: int = 0  # cached ones included
    cached_tokens: int = 0
    output_tokens: int = 0  # reasoning ones included
    reasoning_tokens: int = 0
    credits: int = 0
    overrun_credits: int = 0  # what calls cost above what could be charged
    overage_credits: int = 0  # the part of `credits` that went beyond the pools
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
            _added(self.first_token, other.first_token),
            _added(self.duration, other.duration),
        )

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def error_share(self) -> float | None:
        """Of all calls, those that failed; None when there was no call."""
        return self.failed / self.calls if self.calls else None

    def first_token_ms(self, share: float) -> int | None:
        """The time to the first token that `share` of the calls that had one stayed within."""
        return quantile(self.first_token, share)

    def duration_at(self, share: float) -> int | None:
        """The time in ms that `share` of the calls stayed within."""
        return quantile(self.duration, share)


def _added(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
    if not left or not right:
        return left or right
    return tuple(map(sum, zip(left, right, strict=True)))
