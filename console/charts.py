"""Charts of a span: the tables that `shared/static/charts.js` draws them from. Pure; `docs/charts.md` has the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.core.formats import credits, duration
from shared.rollup import Tally

Steps = Sequence[tuple[int, Tally]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure as people read it, and as the chart draws it (None is a gap)."""

    text: str
    value: int | None


@dataclass(frozen=True, slots=True)
class Chart:
    """`rows` are (beginning of the step in ms UTC, its words, a cell for each head)."""

    kind: str
    caption: str
    heads: tuple[str, ...]
    rows: list[tuple[int, str, tuple[Cell, ...]]]


def charts_of(steps: Steps, step_ms: int) -> list[Chart]:
    """Calls and failures, credits, and how soon the first token came."""
    return [
        _chart("bars", "Calls", {"Calls": _count("calls"), "Failed": _count("failed")}, steps, step_ms),
        _chart("bars", "Credits charged", {"Credits": _count("credits")}, steps, step_ms),
        _chart("line", "First token, ms", {"Median": _first_token(0.5), "p95": _first_token(0.95)}, steps, step_ms),
    ]


def channel_charts(steps: Steps, step_ms: int) -> list[Chart]:
    """The same of one channel, without what it earned."""
    return [chart for chart in charts_of(steps, step_ms) if chart.caption != "Credits charged"]


def moment(at: int, step_ms: int) -> str:
    """A step in words, UTC: `14:05`, `24 Nov 14:00`, `24 Nov`."""
    written = datetime.fromtimestamp(at / 1000, UTC)
    if step_ms < 3_600_000:
        return f"{written:%H:%M}"
    return f"{written:%-d %b}" if step_ms % 86_400_000 == 0 else f"{written:%-d %b %H:%M}"


_Column = Callable[[Tally], Cell]


def _chart(kind: str, caption: str, columns: dict[str, _Column], steps: Steps, step_ms: int) -> Chart:
    rows = [(at, moment(at, step_ms), tuple(column(tally) for column in columns.values())) for at, tally in steps]
    return Chart(kind, caption, tuple(columns), rows)


def _count(name: str) -> _Column:
    def column(tally: Tally) -> Cell:
        value: int = getattr(tally, name)
        return Cell(credits(value), value)

    return column


def _first_token(share: float) -> _Column:
    def column(tally: Tally) -> Cell:
        value = tally.first_token_ms(share)
        return Cell(duration(value), value)

    return column
