"""The receipt of a call: each count of tokens (or of media) at its rate, the rounding, and what was charged in the end. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.models import MediaJob, Price, UsageLedger
from shared.pricing import VIDEO_STEP_SECONDS


@dataclass(frozen=True, slots=True)
class Line:
    """`tokens` (or pictures, seconds, characters) at `rate` credits per `per` come to `thousandths` of a credit."""

    what: str
    tokens: int
    rate: int
    thousandths: int
    per: int = 1_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """Credits: `sum` is the lines and the price per call, rounded up once; `due` is at least the minimum of the price.

    `due` is None when the price is no longer known. `charged` differs from it where `words` say why.
    """

    lines: list[Line]
    per_call: int
    minimum: int
    sum: int
    due: int | None
    charged: int
    words: str


def receipt_of(call: UsageLedger, price: Price | None, job: MediaJob | None = None) -> Receipt:
    """Compute what the call came to at the price that it began with; of a media `job`, what was delivered came to."""
    if price is None:
        return Receipt([], 0, 0, 0, None, call.credits, "The price row of this call is gone, so it cannot be computed again.")
    lines = _lines(call, price) if job is None else _media_lines(job, price)
    per_call = 0 if job is not None and job.kind == "image" else price.credits_per_call  # a picture has a line of its own
    total = per_call - (-sum(line.thousandths for line in lines) // 1000)
    rates = [line.rate for line in lines] + [price.credits_per_call, price.credits_per_1k_cache_write]
    free = not any(rates)
    due = 0 if free else max(total, price.minimum_credits)
    return Receipt(lines, per_call, price.minimum_credits, total, due, call.credits, _words(call, due))


def _lines(call: UsageLedger, price: Price) -> list[Line]:
    cached_rate, written_rate = price.credits_per_1k_cached_input, price.credits_per_1k_cache_write
    uncached = call.input_tokens - call.cached_tokens - call.cache_write_tokens
    counted = [
        ("Input", uncached, price.credits_per_1k_input),
        ("Cached input", call.cached_tokens, price.credits_per_1k_input if cached_rate is None else cached_rate),
        ("Cache write", call.cache_write_tokens, price.credits_per_1k_input if written_rate is None else written_rate),
        ("Output", call.output_tokens, price.credits_per_1k_output),
    ]
    return [Line(what, tokens, rate, tokens * rate) for what, tokens, rate in counted if tokens or what != "Cache write"]


def _media_lines(job: MediaJob, price: Price) -> list[Line]:
    """What media are counted by."""
    counts = job.options
    if job.kind == "image":
        count = counts.get("delivered", 0)
        return [Line("Pictures", count, price.credits_per_call, count * price.credits_per_call * 1_000, per=1)]
    if job.kind == "video":
        seconds, rate = counts.get("seconds", 0), price.credits_per_5_seconds or 0
        steps = -(-seconds // VIDEO_STEP_SECONDS)
        return [Line("Seconds, begun steps whole", seconds, rate, steps * rate * 1_000, per=VIDEO_STEP_SECONDS)]
    characters, rate = counts.get("characters", 0), price.credits_per_1k_characters or 0
    return [Line("Characters", characters, rate, characters * rate)]


def _words(call: UsageLedger, due: int) -> str:
    """Why the charge is not what the tokens come to; "" when it is."""
    if call.credits == due:
        return ""
    if call.status in ("failed", "expired") and call.credits == 0:
        return "Nothing was delivered, so nothing was charged."
    if call.overrun_credits:
        return "The call cost more than could be charged. The rest is the platform's loss, not the customer's."
    if call.credits == 0:
        return "The call ended before it delivered anything, so nothing was charged."
    return "The charge is not what the count comes to. Look into this call."
