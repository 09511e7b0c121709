"""Receipts: how a call's charge is computed from its counts, rates and rounding. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.billing.pricing import VIDEO_STEP_SECONDS
from shared.models import MediaJob, Price, UsageLedger


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """`tokens` (or images, seconds, characters) at `rate` credits per `per` units, which is `thousandths` of a credit."""

    label: str
    tokens: int
    rate: int
    thousandths: int
    per: int = 1_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """The computation of a charge, in credits.

    sum      the lines and the price per call, rounded up once
    computed_charge  `sum`, but at least the price's minimum; None if the price is no longer known
    explanation  why `charged` differs from `due`, or ""
    """

    lines: list[ReceiptLine]
    per_call: int
    minimum: int
    sum: int
    computed_charge: int | None
    charged: int
    explanation: str


def compute_receipt(call: UsageLedger, price: Price | None, job: MediaJob | None = None) -> Receipt:
    """Compute the receipt of a call at the price in force when it began; for a media `job`, from what was delivered."""
    if price is None:
        return Receipt([], 0, 0, 0, None, call.credits, "The price of this call was deleted, so the charge cannot be recomputed.")
    lines = _lines(call, price) if job is None else _media_lines(job, price)
    per_call = 0 if job is not None and job.kind == "image" else price.credits_per_call  # for images, it is in the lines
    total = per_call - (-sum(line.thousandths for line in lines) // 1000)
    rates = [line.rate for line in lines] + [price.credits_per_call, price.credits_per_1k_cache_write]
    free = not any(rates)
    due = 0 if free else max(total, price.minimum_credits)
    return Receipt(lines, per_call, price.minimum_credits, total, due, call.credits, _explanation(call, due))


def _lines(call: UsageLedger, price: Price) -> list[ReceiptLine]:
    cached_rate, written_rate = price.credits_per_1k_cached_input, price.credits_per_1k_cache_write
    uncached = call.input_tokens - call.cached_tokens - call.cache_write_tokens
    counted = [
        ("Input", uncached, price.credits_per_1k_input),
        ("Cached input", call.cached_tokens, price.credits_per_1k_input if cached_rate is None else cached_rate),
        ("Cache write", call.cache_write_tokens, price.credits_per_1k_input if written_rate is None else written_rate),
        ("Output", call.output_tokens, price.credits_per_1k_output),
    ]
    return [ReceiptLine(what, tokens, rate, tokens * rate) for what, tokens, rate in counted if tokens or what != "Cache write"]


def _media_lines(job: MediaJob, price: Price) -> list[ReceiptLine]:
    """Return the lines of a media job."""
    counts = job.options
    if job.kind == "image":
        count = counts.get("delivered", 0)
        return [ReceiptLine("Images", count, price.credits_per_call, count * price.credits_per_call * 1_000, per=1)]
    if job.kind == "video":
        seconds, rate = counts.get("seconds", 0), price.credits_per_5_seconds or 0
        steps = -(-seconds // VIDEO_STEP_SECONDS)
        return [ReceiptLine("Seconds, in started steps", seconds, rate, steps * rate * 1_000, per=VIDEO_STEP_SECONDS)]
    characters, rate = counts.get("characters", 0), price.credits_per_1k_characters or 0
    return [ReceiptLine("Characters", characters, rate, characters * rate)]


def _explanation(call: UsageLedger, due: int) -> str:
    """Return why the charge differs from the amount due, or ""."""
    if call.credits == due:
        return ""
    if call.status in ("failed", "expired") and call.credits == 0:
        return "Nothing was delivered, so nothing was charged."
    if call.overrun_credits:
        return "The cost exceeded what could be charged. The difference is the platform's loss, not the customer's."
    if call.credits == 0:
        return "The call ended before anything was delivered, so nothing was charged."
    return "The charge does not match the counted usage. Check this call."
