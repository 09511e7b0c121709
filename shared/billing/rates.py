"""Price lists, and the cost of usage: rates by kind of token, prompt length, service tier, search and second. Pure.

A cost is a sum of lines (`count × rate`). Each token is counted in exactly one line. A kind of token without a rate of its own
is charged at the rate of its fallback (`FALLBACKS`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from shared.billing.token_usage import NO_EXTRA, TokenUsage
from shared.core.formats import format_credits
from shared.text.translation import gettext, lazy_gettext

# Kind of token → the kind whose rate applies if it has none of its own. `input` and `output` have no fallback: their rate is 0.
FALLBACKS = {
    "input": "",
    "cached_input": "input",
    "cache_write": "input",
    "cache_write_1h": "cache_write",
    "audio_input": "input",
    "cached_audio_input": "audio_input",
    "image_input": "input",
    "output": "",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}
TOKEN_KINDS = tuple(FALLBACKS)
INPUT_KINDS = TOKEN_KINDS[: TOKEN_KINDS.index("output")]
OUTPUT_KINDS = TOKEN_KINDS[len(INPUT_KINDS) :]
UNIT_KINDS = ("web_search", "second")  # credits for one, instead of 1,000 tokens
BASE_KINDS = ("input", "cached_input", "cache_write", "output")  # have a column of their own, see `PriceList`
# A rate of the kind `tier:flex` is the factor of the service tier `flex`, in thousandths of the token rates.
TIER_PREFIX = "tier:"
STANDARD_PERMILLE = 1_000

LABELS = {
    "input": lazy_gettext("Input"),
    "cached_input": lazy_gettext("Cached input"),
    "cache_write": lazy_gettext("Cache write"),
    "cache_write_1h": lazy_gettext("Cache write, 1 hour"),
    "audio_input": lazy_gettext("Audio input"),
    "cached_audio_input": lazy_gettext("Cached audio input"),
    "image_input": lazy_gettext("Image input"),
    "output": lazy_gettext("Output"),
    "reasoning": lazy_gettext("Reasoning"),
    "audio_output": lazy_gettext("Audio output"),
    "image_output": lazy_gettext("Image output"),
    "web_search": lazy_gettext("Web searches"),
    "second": lazy_gettext("Seconds"),
}


def rate_label(kind: str, above_tokens: int = 0) -> str:
    """Return the name of a rate on pages: `Output above 200 000 tokens`, `Service tier flex`."""
    known = LABELS.get(kind)
    label = known.translated() if known else gettext("Service tier {name}", name=kind.removeprefix(TIER_PREFIX))
    if not above_tokens:
        return label
    return gettext("{rate} above {count} tokens", rate=label, count=format_credits(above_tokens))


class Rate(NamedTuple):
    """One rate of a price beyond its columns.

    kind          one of `TOKEN_KINDS` or `UNIT_KINDS`, or a service tier (`tier:flex`)
    above_tokens  applies to calls with more input tokens than this, to all tokens of the kind
    credits       per 1,000 tokens, or for one unit; for a service tier, thousandths of the token rates
    """

    kind: str
    above_tokens: int
    credits: int


class PriceList(NamedTuple):
    """Prices of a model from `effective_at` on, in credits. Cached input and cache writes default to the input price (None).

    `rates` has all further rates, in ascending order. Most models have none.
    """

    id: UUID
    effective_at: int
    credits_per_1k_input: int
    credits_per_1k_output: int
    credits_per_1k_cached_input: int | None
    credits_per_call: int
    minimum_credits: int
    credits_per_5_seconds: int | None = None
    credits_per_1k_characters: int | None = None
    credits_per_1k_cache_write: int | None = None
    rates: tuple[Rate, ...] = ()

    @property
    def is_zero(self) -> bool:
        if self.credits_per_1k_input or self.credits_per_1k_output:  # most models
            return False
        tokens = (self.credits_per_1k_cached_input, self.credits_per_1k_cache_write)
        media = (self.credits_per_5_seconds, self.credits_per_1k_characters)
        if any((*tokens, self.credits_per_call, *media)):
            return False
        return not any(rate.credits for rate in self.rates if not rate.kind.startswith(TIER_PREFIX))


COLUMNS = tuple(name for name in PriceList._fields if name != "rates")  # columns of the table `price`


class CostLine(NamedTuple):
    """`quantity` tokens (or units) of a kind at `rate` credits per `per` of them."""

    kind: str
    quantity: int
    rate: int
    per: int = 1_000

    @property
    def thousandths(self) -> int:
        """The cost in thousandths of a credit."""
        return self.quantity * self.rate * 1_000 // self.per


class Cost(NamedTuple):
    """The cost of usage, without the price per call and the minimum.

    lines        tokens by kind, then units
    permille     the factor of the service tier for the tokens' lines, in thousandths
    thousandths  the sum in thousandths of a credit; rounded up if the factor leaves a fraction
    """

    lines: list[CostLine]
    permille: int
    thousandths: int


def rate_of(price: PriceList, kind: str, input_tokens: int) -> int:
    """Return the rate of a kind, or that of its fallback, for a call with this many input tokens."""
    while kind:
        found = own_rate(price, kind, input_tokens)
        if found is not None:
            return found
        kind = FALLBACKS.get(kind, "")
    return 0


def own_rate(price: PriceList, kind: str, input_tokens: int) -> int | None:
    """Return the kind's own rate for a call with this many input tokens, or None if it has none."""
    found = _base_rate(price, kind)
    for rate in price.rates:
        if rate.kind == kind and (rate.above_tokens < input_tokens or rate.above_tokens == 0):
            found = rate.credits  # ascending, so the highest threshold comes last
    return found


def has_rate(price: PriceList, kind: str) -> bool:
    """Return whether a kind has a rate of its own, at any prompt length."""
    return _base_rate(price, kind) is not None or any(rate.kind == kind for rate in price.rates)


def max_rate(price: PriceList, kinds: Iterable[str], input_tokens: int) -> int:
    """Return the highest rate that any of `kinds` has in a call with at most this many input tokens."""
    highest = 0
    for kind in kinds:
        reached = [rate.credits for rate in price.rates if rate.kind == kind and rate.above_tokens < max(input_tokens, 1)]
        highest = max(highest, _base_rate(price, kind) or 0, *reached)
    return highest


def tier_permille(price: PriceList, tier: str) -> int:
    """Return the factor of a service tier in thousandths of the token rates. A tier without a rate has the standard factor."""
    found = own_rate(price, TIER_PREFIX + tier, 0) if tier else None
    return STANDARD_PERMILLE if found is None else found


def _base_rate(price: PriceList, kind: str) -> int | None:
    match kind:
        case "input":
            return price.credits_per_1k_input
        case "output":
            return price.credits_per_1k_output
        case "cached_input":
            return price.credits_per_1k_cached_input
        case "cache_write":
            return price.credits_per_1k_cache_write
    return None


def cost_of(price: PriceList, usage: TokenUsage) -> Cost:
    """Return what `usage` costs at `price`, line by line."""
    extra = usage.extra or NO_EXTRA
    lines = [CostLine(kind, count, rate_of(price, kind, usage.input_tokens)) for kind, count in token_counts(price, usage)]
    permille = tier_permille(price, extra.service_tier)
    thousandths = -(-sum(line.thousandths for line in lines) * permille // STANDARD_PERMILLE)
    for kind, count in (("web_search", extra.web_searches), ("second", extra.seconds)):
        if count and (rate := own_rate(price, kind, usage.input_tokens)):
            lines.append(CostLine(kind, count, rate, per=1))
            thousandths += lines[-1].thousandths
    return Cost(lines, permille, thousandths)


def cost_thousandths(price: PriceList, usage: TokenUsage) -> int:
    """Return what `usage` costs at `price` in thousandths of a credit, without the price per call and the minimum."""
    if price.rates:
        return cost_of(price, usage).thousandths
    cached_rate = price.credits_per_1k_cached_input
    if cached_rate is None:
        cached_rate = price.credits_per_1k_input
    thousandths = (
        (usage.input_tokens - usage.cached_tokens) * price.credits_per_1k_input
        + usage.cached_tokens * cached_rate
        + usage.output_tokens * price.credits_per_1k_output
    )
    if usage.cache_write_tokens and price.credits_per_1k_cache_write is not None:
        thousandths += usage.cache_write_tokens * (price.credits_per_1k_cache_write - price.credits_per_1k_input)
    return thousandths


def token_counts(price: PriceList, usage: TokenUsage) -> list[tuple[str, int]]:
    """Split a call's tokens into kinds that do not overlap. Kinds without a rate of their own are counted with their fallback.

    Providers do not always report overlaps, such as cached image tokens. These count as images rather than as cached input, so
    the charge covers what the provider may bill.
    """
    extra = usage.extra or NO_EXTRA
    own = {rate.kind for rate in price.rates}
    audio = min(extra.audio_input_tokens, usage.input_tokens) if "audio_input" in own else 0
    image = min(extra.image_input_tokens, usage.input_tokens - audio) if "image_input" in own else 0
    cached_audio = min(extra.cached_audio_tokens, audio, usage.cached_tokens)
    text_input = usage.input_tokens - audio - image
    cached = min(usage.cached_tokens - cached_audio, text_input)
    if "cached_audio_input" not in own:
        cached_audio = 0  # charged like other audio
    written = min(usage.cache_write_tokens, text_input - cached)
    written_1h = min(extra.cache_write_1h_tokens, written) if "cache_write_1h" in own else 0
    audio_output = min(extra.audio_output_tokens, usage.output_tokens) if "audio_output" in own else 0
    image_output = min(extra.image_output_tokens, usage.output_tokens - audio_output) if "image_output" in own else 0
    text_output = usage.output_tokens - audio_output - image_output
    reasoning = min(usage.reasoning_tokens, text_output) if "reasoning" in own else 0
    counts = (
        ("input", text_input - cached - written),
        ("cached_input", cached),
        ("cache_write", written - written_1h),
        ("cache_write_1h", written_1h),
        ("audio_input", audio - cached_audio),
        ("cached_audio_input", cached_audio),
        ("image_input", image),
        ("output", text_output - reasoning),
        ("reasoning", reasoning),
        ("audio_output", audio_output),
        ("image_output", image_output),
    )
    return [(kind, count) for kind, count in counts if count or kind in ("input", "cached_input", "output")]
