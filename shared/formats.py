"""How figures, times and ids are written for people, on every page of the product. Pure; `docs/console.md` has the rules."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from markupsafe import Markup

from shared.clock import now_ms

THIN = "\u202f"  # a thin space that no line breaks at
MINUS = "\u2212"
_STEPS = ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (30 * 86_400, 86_400, "d"))


def credits(amount: int) -> str:
    """`14 999 990`, with thin spaces and a real minus."""
    return f"{amount:,}".replace(",", THIN).replace("-", MINUS)


def signed(amount: int) -> str:
    """The same with its sign, always: `+500`, `−12`."""
    return ("+" if amount > 0 else "") + credits(amount)


def duration(ms: int | None) -> str:
    """`420 ms`, `1.42 s`, `3 min 5 s`; `–` for none."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms}{THIN}ms"
    if ms < 60_000:
        return f"{ms / 1000:.2f}{THIN}s"
    return f"{ms // 60_000}{THIN}min {ms // 1000 % 60}{THIN}s"


def exact(ms: int) -> str:
    """`2026-11-22 09:30:00.123 UTC`."""
    moment = datetime.fromtimestamp(ms / 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d} UTC"


def relative(ms: int, now: int) -> str:
    """`just now`, `12 s ago`, `in 3 min`, `2 d ago`; the date when it is a month away or more."""
    seconds = abs(now - ms) // 1000
    if seconds < 2:
        return "just now"
    for below, size, unit in _STEPS:
        if seconds < below:
            text = f"{seconds // size}{THIN}{unit}"
            return f"{text} ago" if ms <= now else f"in {text}"
    return exact(ms)[:10]


def when(ms: int | None) -> Markup:
    """A `<time>` that shows the relative and holds the exact time; `–` for none."""
    if ms is None:
        return Markup("–")
    machine = datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, exact(ms), relative(ms, now_ms()))


def short_id(value: UUID | str) -> Markup:
    """`019abc12…9f3c`: the middle left out, the whole in the title and for copying."""
    text = str(value)
    return Markup('<code class="id" title="{}" data-copy="{}">{}…{}</code>').format(text, text, text[:8], text[-4:])


def usd(amount: int, credits_per_usd: int) -> str:
    """The worth of credits for display, `≈ 12.50 USD`."""
    worth = amount / credits_per_usd
    digits = 2 if abs(worth) >= 1 or worth == 0 else 4
    return f"≈{THIN}{worth:,.{digits}f} USD".replace(",", THIN).replace("-", MINUS)
