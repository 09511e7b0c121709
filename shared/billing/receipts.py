"""Receipts: how a call's charge is computed from its counts, rates and rounding. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.billing.pricing import VIDEO_STEP_SECONDS
from shared.billing.rates import LABELS, STANDARD_PERMILLE, PriceList, cost_of
from shared.billing.token_usage import TokenUsage, stored_extra
from shared.models import MediaJob, UsageLedger
from shared.text.translation import lazy_gettext


@dataclass(frozen=True, slots=True)
class ReceiptLine:
    """`tokens` (or images, seconds, characters, search units) at `rate` credits per `per` units: `thousandths` of a credit."""

    label: str
    tokens: int
    rate: int
    thousandths: int
    per: int = 1_000


@dataclass(frozen=True, slots=True)
class Receipt:
    """The computation of a charge, in credits.

    service_tier  the tier at which the call was billed; "" is the standard tier
    permille  the tier's factor for the lines of tokens, in thousandths
    thousandths  the sum of the lines after the factor, in thousandths of a credit
    sum      the thousandths and the price per call, rounded up once
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
    service_tier: str = ""
    permille: int = STANDARD_PERMILLE
    thousandths: int = 0


def call_usage(call: UsageLedger) -> TokenUsage:
    """Return the usage of a recorded call."""
    return TokenUsage(
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        cached_tokens=call.cached_tokens,
        reasoning_tokens=call.reasoning_tokens,
        estimated=call.estimated,
        cache_write_tokens=call.cache_write_tokens,
        extra=stored_extra(call.extra_usage),
    )


def compute_receipt(call: UsageLedger, price: PriceList | None, job: MediaJob | None = None) -> Receipt:
    """Compute the receipt of a call at the price in force when it began; for a media `job`, from what was delivered."""
    if price is None:
        return Receipt(
            [],
            0,
            0,
            0,
            None,
            call.credits,
            lazy_gettext("The price of this call was deleted, so the charge cannot be recomputed."),
        )
    usage = call_usage(call)
    if job is None:
        cost = cost_of(price, usage)
        lines = [ReceiptLine(LABELS[line.kind], line.quantity, line.rate, line.thousandths, line.per) for line in cost.lines]
        permille, thousandths = cost.permille, cost.thousandths
        if usage.extra is not None and usage.extra.search_units:
            lines.append(_unit_line(lazy_gettext("Search units"), usage.extra.search_units, price.credits_per_call))
            thousandths += lines[-1].thousandths
    else:
        lines, permille = _media_lines(job, price), STANDARD_PERMILLE
        thousandths = sum(line.thousandths for line in lines)
    in_lines = any(line.label in ("Images", "Search units") for line in lines)
    per_call = 0 if in_lines else price.credits_per_call
    total = per_call - (-thousandths // 1000)
    due = 0 if price.is_zero else max(total, price.minimum_credits)
    tier = usage.extra.service_tier if usage.extra is not None else ""
    return Receipt(
        *(lines, per_call, price.minimum_credits, total, due, call.credits, _explanation(call, due)),
        service_tier=tier,
        permille=permille,
        thousandths=thousandths,
    )


def _media_lines(job: MediaJob, price: PriceList) -> list[ReceiptLine]:
    """Return the lines of a media job."""
    counts = job.options
    if job.kind == "image":
        return [_unit_line(lazy_gettext("Images"), counts.get("delivered", 0), price.credits_per_call)]
    if job.kind == "video":
        seconds, rate = counts.get("seconds", 0), price.credits_per_5_seconds or 0
        steps = -(-seconds // VIDEO_STEP_SECONDS)
        return [
            ReceiptLine(lazy_gettext("Seconds, in started steps"), seconds, rate, steps * rate * 1_000, per=VIDEO_STEP_SECONDS)
        ]
    characters, rate = counts.get("characters", 0), price.credits_per_1k_characters or 0
    return [ReceiptLine(lazy_gettext("Characters"), characters, rate, characters * rate)]


def _unit_line(label: str, count: int, rate: int) -> ReceiptLine:
    return ReceiptLine(label, count, rate, count * rate * 1_000, per=1)


def _explanation(call: UsageLedger, due: int) -> str:
    """Return why the charge differs from the amount due, or ""."""
    if call.credits == due:
        return ""
    if call.status in ("failed", "expired") and call.credits == 0:
        return lazy_gettext("Nothing was delivered, so nothing was charged.")
    if call.overrun_credits:
        return lazy_gettext("The cost exceeded what could be charged. The difference is the platform's loss, not the customer's.")
    if call.credits == 0:
        return lazy_gettext("The call ended before anything was delivered, so nothing was charged.")
    return lazy_gettext("The charge does not match the counted usage. Check this call.")
