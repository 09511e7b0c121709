"""Charts over a time range, as the tables that `shared/static/charts.js` draws. Pure; see `docs/charts.md`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.core.formats import format_credits, format_day, format_duration
from shared.rollup import Tally
from shared.text.translation import gettext

Steps = Sequence[tuple[int, Tally]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as text and as the number to draw (None is a gap)."""

    text: str
    value: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    """`rows` are (start of the step in ms UTC, its label, one cell per column head). `colors` sets some columns' colors."""

    kind: str
    caption: str
    column_labels: tuple[str, ...]
    rows: list[tuple[int, str, tuple[Cell, ...]]]
    colors: dict[str, str]


def usage_charts(steps: Steps, step_ms: int) -> list[Chart]:
    """Return the charts of calls and failures, credits, and time to first token."""
    return [
        _chart(
            "bars", gettext("Calls"), {gettext("Calls"): _count("calls"), gettext("Failed"): _count("failed")}, steps, step_ms
        ),
        _chart("bars", gettext("Credits charged"), {gettext("Credits"): _count("credits")}, steps, step_ms),
        _chart(
            "line", gettext("First token, ms"), {gettext("Median"): _first_token(0.5), "p95": _first_token(0.95)}, steps, step_ms
        ),
    ]


def channel_charts(steps: Steps, step_ms: int) -> list[Chart]:
    """Return the same charts for one channel, without credits."""
    calls, _, first_token = usage_charts(steps, step_ms)
    return [calls, first_token]


def difference_chart(rows: Sequence[tuple[int, int, int]]) -> Chart:
    """Return the chart of a channel's probes: days with the differing replies of the channel and of its reference."""
    labels = gettext("Channel"), gettext("Reference")
    days: list[tuple[int, str, tuple[Cell, ...]]] = [
        (at, step_label(at, 86_400_000), (_number(own), _number(reference))) for at, own, reference in rows
    ]
    return Chart("bars", gettext("Differing replies"), labels, days, {labels[0]: "bad"})


def step_label(at: int, step_ms: int) -> str:
    """Return a step's label in UTC: `14:05`, `24 Nov 14:00` or `24 Nov`."""
    start = datetime.fromtimestamp(at / 1000, UTC)
    if step_ms < 3_600_000:
        return f"{start:%H:%M}"
    return format_day(start) if step_ms % 86_400_000 == 0 else f"{format_day(start)} {start:%H:%M}"


_Column = Callable[[Tally], Cell]


def _chart(kind: str, caption: str, columns: dict[str, _Column], steps: Steps, step_ms: int) -> Chart:
    rows = [(at, step_label(at, step_ms), tuple(column(tally) for column in columns.values())) for at, tally in steps]
    colors = {gettext("Failed"): "bad"}  # names in tokens.css; other columns get the next color
    return Chart(kind, caption, tuple(columns), rows, colors)


def _count(name: str) -> _Column:
    return lambda tally: _number(getattr(tally, name))


def _number(value: int) -> Cell:
    return Cell(format_credits(value), value)


def _first_token(share: float) -> _Column:
    def column(tally: Tally) -> Cell:
        value = tally.first_token_ms(share)
        return Cell(format_duration(value), value)

    return column
