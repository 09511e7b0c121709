"""Prices as text, by kind of model, in credits and in USD: one line per rate, a summary, and the cost of an example. Pure.

Token rates are shown per 1M tokens, video per second, transcription per minute, speech per 1K characters. Rates that a kind of
model is never charged for are left out, such as token rates of image models (`shared.billing.pricing`).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Literal, NamedTuple

from shared.billing.pricing import VIDEO_STEP_SECONDS, MediaUnits, call_charge, media_charge
from shared.billing.rates import STANDARD_PERMILLE, TIER_PREFIX, TOKEN_KINDS, PriceList, own_rate, rate_label
from shared.billing.token_usage import ExtraUsage, TokenUsage
from shared.core.formats import NARROW_SPACE, format_credits, with_decimal_symbol
from shared.text.translation import LazyText, gettext, lazy_gettext

Unit = Literal["tokens", "image", "video", "second", "minute", "characters", "search", "call", "factor"]

Sentences = dict[str, LazyText]
UNITS: dict[Unit, LazyText] = {
    "tokens": lazy_gettext("per 1M tokens"),
    "image": lazy_gettext("per image"),
    "video": lazy_gettext("per video"),
    "second": lazy_gettext("per second"),
    "minute": lazy_gettext("per minute"),
    "characters": lazy_gettext("per 1K characters"),
    "search": lazy_gettext("per search"),
    "call": lazy_gettext("per call"),
    "factor": lazy_gettext("of all token rates"),
}
_CREDITS: Sentences = {
    "both": lazy_gettext("Input {input}, output {output} credits per 1M tokens"),
    "tokens": lazy_gettext("{amount} credits per 1M tokens"),
    "image": lazy_gettext("{amount} credits per image"),
    "video": lazy_gettext("{amount} credits per video"),
    "second": lazy_gettext("{amount} credits per second"),
    "minute": lazy_gettext("{amount} credits per minute"),
    "characters": lazy_gettext("{amount} credits per 1K characters"),
    "search": lazy_gettext("{amount} credits per search"),
    "call": lazy_gettext("{amount} credits per call"),
}
_USD: Sentences = {
    "both": lazy_gettext("Input {input}, output {output} USD per 1M tokens"),
    "tokens": lazy_gettext("{amount} USD per 1M tokens"),
    "image": lazy_gettext("{amount} USD per image"),
    "video": lazy_gettext("{amount} USD per video"),
    "second": lazy_gettext("{amount} USD per second"),
    "minute": lazy_gettext("{amount} USD per minute"),
    "characters": lazy_gettext("{amount} USD per 1K characters"),
    "search": lazy_gettext("{amount} USD per search"),
    "call": lazy_gettext("{amount} USD per call"),
}
NO_CHARGE = lazy_gettext("No charge")
_MEDIA = ("image", "video", "speech")
_WITHOUT_TOKENS = (*_MEDIA, "transcription")
_PER_CALL: dict[str, tuple[LazyText, Unit]] = {
    "image": (lazy_gettext("Image"), "image"),
    "video": (lazy_gettext("Video"), "video"),
    "rerank": (lazy_gettext("Search unit"), "search"),
}
_MAIN = ("input", "output")
_MAX_DECIMALS = 6


class PriceLine(NamedTuple):
    """One rate: `credits` for one `unit`, or a service tier's factor on all token rates (unit `factor`)."""

    label: str
    credits: Decimal
    unit: Unit

    @property
    def amount(self) -> str:
        """The rate in credits: `150 000`; a factor as `× 0.5`."""
        return f"×{NARROW_SPACE}{_plain(self.credits)}" if self.unit == "factor" else _grouped(self.credits)

    def usd(self, credits_per_usd: int) -> str:
        """Return the rate in USD, or "" for a factor: `0.15`."""
        return "" if self.unit == "factor" else _usd(self.credits, credits_per_usd)

    @property
    def per(self) -> str:
        """The unit: `per 1M tokens`."""
        return UNITS[self.unit].translated()


class Example(NamedTuple):
    """The charge for a typical small call."""

    what: str
    credits: int


def price_lines(kind: str, price: PriceList) -> list[PriceLine]:
    """Return all rates that apply to a kind of model, and the minimum charge. Empty if nothing is charged."""
    if price.is_zero:
        return []
    lines = [*_token_lines(kind, price), *_unit_lines(kind, price)]
    if kind not in _WITHOUT_TOKENS:
        lines += _search_and_tier_lines(price)
    if price.minimum_credits:
        lines.append(PriceLine(lazy_gettext("Minimum charge"), Decimal(price.minimum_credits), "call"))
    return lines


def _token_lines(kind: str, price: PriceList) -> list[PriceLine]:
    found: list[PriceLine] = []
    if kind in _WITHOUT_TOKENS:
        return found
    for token_kind in TOKEN_KINDS:
        steps = _steps(price, token_kind)
        if token_kind in _main_kinds(kind, price) or (token_kind not in _MAIN and steps):
            found += (
                PriceLine(rate_label(token_kind, above), Decimal(credits * 1_000), "tokens") for above, credits in steps.items()
            )
    return found


def _main_kinds(kind: str, price: PriceList) -> tuple[str, ...]:
    """Return which of input and output tokens to show: both for chats, unless no token is charged; else the charged ones."""
    charged = tuple(name for name in _MAIN if any(_steps(price, name).values()))
    return _MAIN if charged and kind == "chat" else charged


def _steps(price: PriceList, token_kind: str) -> dict[int, int]:
    """Return a kind's own rates by the number of input tokens above which they apply, in ascending order."""
    base = own_rate(price, token_kind, 0)
    above = {rate.above_tokens: rate.credits for rate in price.rates if rate.kind == token_kind}
    return dict(sorted({**({} if base is None else {0: base}), **above}.items()))


def _unit_lines(kind: str, price: PriceList) -> list[PriceLine]:
    """Return the rates of calls, images, searches of a rerank, seconds and characters."""
    lines = []
    if price.credits_per_call:
        label, unit = _PER_CALL.get(kind, (lazy_gettext("Call"), "call"))
        lines.append(PriceLine(label, Decimal(price.credits_per_call), unit))
    if kind in _MEDIA and price.credits_per_5_seconds:
        lines.append(PriceLine(lazy_gettext("Video"), Decimal(price.credits_per_5_seconds) / VIDEO_STEP_SECONDS, "second"))
    if kind in _MEDIA and price.credits_per_1k_characters:
        lines.append(PriceLine(lazy_gettext("Text"), Decimal(price.credits_per_1k_characters), "characters"))
    if kind == "transcription" and (seconds := own_rate(price, "second", 0)):
        lines.append(PriceLine(lazy_gettext("Audio"), Decimal(seconds * 60), "minute"))
    return lines


def _search_and_tier_lines(price: PriceList) -> list[PriceLine]:
    searches = [
        PriceLine(rate_label("web_search", rate.above_tokens), Decimal(rate.credits), "search")
        for rate in price.rates
        if rate.kind == "web_search"
    ]
    tiers = [
        PriceLine(rate_label(rate.kind), Decimal(rate.credits) / STANDARD_PERMILLE, "factor")
        for rate in price.rates
        if rate.kind.startswith(TIER_PREFIX)
    ]
    return searches + tiers


def price_summary(kind: str, price: PriceList) -> str:
    """Return the main rates in credits: `Input 150 000, output 600 000 credits per 1M tokens`, `40 000 credits per image`.

    A rate that depends on the length of the prompt is shown as `from` its lowest. Service tiers are left out, because the
    standard tier applies if none is requested.
    """
    return _summary(kind, price, _CREDITS, _grouped)


def price_summary_usd(kind: str, price: PriceList, credits_per_usd: int) -> str:
    """Return the main rates in USD, like `price_summary`; "" if nothing is charged."""
    if price.is_zero:
        return ""
    return _summary(kind, price, _USD, lambda credits: _usd(credits, credits_per_usd))


def _summary(kind: str, price: PriceList, sentences: Sentences, show: Callable[[Decimal], str]) -> str:
    tokens = {} if kind in _WITHOUT_TOKENS else {name: _steps(price, name) for name in _main_kinds(kind, price)}
    amounts = {name: _from_lowest(list(steps.values()), show) for name, steps in tokens.items()}
    parts = []
    if len(amounts) == 2:
        parts.append(sentences["both"].translated().format(**amounts))
    elif amounts:
        parts.append(sentences["tokens"].translated().format(amount=next(iter(amounts.values()))))
    parts += [sentences[line.unit].translated().format(amount=show(line.credits)) for line in _unit_lines(kind, price)]
    if not parts and price.minimum_credits and not price.is_zero:
        parts.append(sentences["call"].translated().format(amount=show(Decimal(price.minimum_credits))))
    return " + ".join(parts) or NO_CHARGE.translated()


def _from_lowest(steps: list[int], show: Callable[[Decimal], str]) -> str:
    lowest = show(Decimal(min(steps) * 1_000))
    return lowest if len(set(steps)) == 1 else gettext("from {amount}", amount=lowest)


def example_charge(kind: str, price: PriceList) -> Example:
    """Return what a typical small call of this kind costs."""
    thousand = format_credits(1_000)
    match kind:
        case "image":
            return Example(gettext("One image"), media_charge(price, MediaUnits(1)))
        case "video":
            return Example(gettext("A video of 5 seconds"), media_charge(price, MediaUnits(1, seconds=5)))
        case "speech":
            what = gettext("Speech from {count} characters", count=thousand)
            return Example(what, media_charge(price, MediaUnits(1, characters=1_000)))
        case "transcription":
            usage = TokenUsage(0, 0, extra=ExtraUsage(seconds=60))
            return Example(gettext("One minute of audio"), call_charge(price, usage))
        case "rerank":
            return Example(gettext("One search"), call_charge(price, TokenUsage(0, 0, extra=ExtraUsage(search_units=1))))
        case "chat":
            what = gettext("{input} input and {output} output tokens", input=thousand, output=500)
            return Example(what, call_charge(price, TokenUsage(1_000, 500)))
    return Example(gettext("{count} input tokens", count=thousand), call_charge(price, TokenUsage(1_000, 0)))


def _grouped(credits: Decimal) -> str:
    whole = int(credits)
    fraction = with_decimal_symbol(_plain(credits - whole)[1:])  # ".2" of "0.2"
    return format_credits(whole) + fraction


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


def _usd(credits: Decimal, credits_per_usd: int) -> str:
    worth = round(credits / credits_per_usd, _MAX_DECIMALS)
    decimals = 2
    while decimals < _MAX_DECIMALS and worth != round(worth, decimals):
        decimals += 1
    return with_decimal_symbol(f"{worth:,.{decimals}f}".replace(",", NARROW_SPACE))
