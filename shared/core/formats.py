"""Formats numbers, times and ids for pages. Pure; `docs/console.md` has the rules."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from math import floor, log10
from uuid import UUID

from markupsafe import Markup, escape

from shared.core.clock import now_ms
from shared.text.translation import SOURCE_LANGUAGE, current_language, gettext, lazy_gettext, translated

NARROW_SPACE = "\u202f"  # narrow no-break space
MINUS = "\u2212"
_STEPS: tuple[tuple[int, int, str], ...] = (
    (60, 1, "s"),
    (3600, 60, "min"),
    (86_400, 3600, "h"),
    (30 * 86_400, 86_400, lazy_gettext("d")),
)


def with_decimal_symbol(number: str) -> str:
    """Replace the decimal point of a formatted number with the decimal symbol of the language of the request."""
    return number.replace(".", _decimal_symbol(current_language()))


@cache
def _decimal_symbol(language: str) -> str:
    if language == SOURCE_LANGUAGE:
        return "."
    from babel.numbers import get_decimal_symbol  # imported here, because only pages need it

    return get_decimal_symbol(language)


def format_credits(amount: int) -> str:
    """Format credits as `14 999 990`, with narrow spaces and a true minus sign."""
    return f"{amount:,}".replace(",", NARROW_SPACE).replace("-", MINUS)


def format_signed(amount: int) -> str:
    """Format credits with a sign: `+500`, `−12`."""
    return ("+" if amount > 0 else "") + format_credits(amount)


def format_duration(ms: int | None) -> str:
    """Format a duration as `420 ms`, `1.42 s` or `3 min 5 s`; `–` for None."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms}{NARROW_SPACE}ms"
    if ms < 60_000:
        return with_decimal_symbol(f"{ms / 1000:.2f}{NARROW_SPACE}s")
    return f"{ms // 60_000}{NARROW_SPACE}min {ms // 1000 % 60}{NARROW_SPACE}s"


def format_percent(share: float | None) -> str:
    """Format a share as `0.42 %`, with a true minus sign; `–` for None."""
    return "–" if share is None else with_decimal_symbol(f"{100 * share:.2f}{NARROW_SPACE}%".replace("-", MINUS))


def format_exact_time(ms: int) -> str:
    """Format a time as `2026-11-22 09:30:00.123 UTC`."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d} UTC"


def format_relative_time(ms: int, now: int) -> str:
    """Format a time as `just now`, `12 s ago`, `in 3 min` or `2 d ago`; as a date if it is 30 days away or more."""
    seconds = abs(now - ms) // 1000
    if seconds < 2:
        return gettext("just now")
    for below, size, unit in _STEPS:
        if seconds < below:
            text = f"{seconds // size}{NARROW_SPACE}{translated(unit)}"
            return gettext("{time} ago", time=text) if ms <= now else gettext("in {time}", time=text)
    return format_exact_time(ms)[:10]


def format_day(moment: datetime) -> str:
    """Format a day as `24 Nov`, with the name of the month in the language of the request."""
    from babel.dates import format_datetime  # imported here, because only pages need it

    return format_datetime(moment, "d MMM", locale=current_language())


def format_date(ms: int) -> str:
    """Format the UTC day of a time as `Nov 24, 2026`, or as the language of the request writes it."""
    from babel.dates import format_date as localized  # imported here, because only pages need it

    return localized(datetime.fromtimestamp(ms / 1000, UTC), "medium", locale=current_language())


def time_element(ms: int | None) -> Markup:
    """Return a `<time>` element with the relative time as text and the exact time as title; `–` for None."""
    if ms is None:
        return Markup("–")
    machine = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        machine, format_exact_time(ms), format_relative_time(ms, now_ms())
    )


def short_id(value: UUID | str) -> Markup:
    """Return `019abc12…9f3c`: an id with its middle left out; the title and the copy button have the full id."""
    text = str(value)
    return Markup('<code class="id" title="{}" data-copy="{}">{}…{}</code>').format(text, text, text[:8], text[-4:])


def code_spans(text: str) -> Markup:
    """Return text as HTML in the current language, with its parts in backticks as code."""
    parts = translated(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def breakable(name: str) -> Markup:
    """Return an identifier such as `messages[].tool_calls` as HTML that a narrow column may break after `_` and before `.`."""
    return Markup("<wbr>.").join(Markup("_<wbr>").join(part.split("_")) for part in name.split("."))


def format_usd(amount: int, credits_per_usd: int) -> str:
    """Format the value of credits as `≈ 12.50 USD`; below 1 USD with four decimals, or as many as its first digit requires."""
    worth = amount / credits_per_usd
    digits = 2 if abs(worth) >= 1 or worth == 0 else max(4, -floor(log10(abs(worth))))
    return with_decimal_symbol(f"≈{NARROW_SPACE}{worth:,.{digits}f} USD".replace(",", NARROW_SPACE).replace("-", MINUS))
