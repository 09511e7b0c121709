"""Markdown tables: medians over the rounds, and Yout's ratio to each of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

from bench.gateway.rounds import Row

OURS = "yout-"


class Metric(NamedTuple):
    """A column. `added` means that the mock's own median is subtracted; `better` is the good direction, None for a count."""

    title: str
    test: str
    read: Callable[[Row], Any]
    digits: int = 0
    better: str | None = None
    added: bool = False


def _at(*path: str) -> Callable[[Row], Any]:
    def read(row: Row) -> Any:
        value: Any = row
        for name in path:
            if not isinstance(value, dict) or value.get("count") == 0:  # an empty distribution has no median
                return None
            value = value.get(name)
        return value

    return read


def _mb(name: str) -> Callable[[Row], Any]:
    return lambda row: row[name] / 1024 if row.get(name) else None


def _quality(test: str) -> list[Metric]:
    return [Metric("bad", test, _at("bad")), Metric("unfinished", test, _at("unfinished"))]


def _streams(test: str) -> list[Metric]:
    return [
        Metric("chunks/s", test, _at("chunks_per_second"), 0, "more"),
        Metric("whole streams", test, _at("good")),
        *_quality(test),
        Metric("kB a stream", test, _at("kb_a_stream"), 0, "less"),
        Metric("chunk delay p50 ms", test, _at("chunk_delay_ms", "p50"), 1, "less"),
        Metric("chunk delay p99 ms", test, _at("chunk_delay_ms", "p99"), 1),
        Metric("share of the core", test, _at("core_share"), 2),
    ]


SECTIONS: dict[str, list[Metric]] = {
    "Plain JSON, 64 connections": [
        Metric("CPU us a call", "sat_c64", _at("cpu_us"), 0, "less"),
        Metric("database CPU us", "sat_c64", _at("database_us")),
        Metric("calls/s of a core", "sat_c64", _at("calls_per_second"), 0, "more"),
        Metric("p50 ms", "sat_c64", _at("latency_ms", "p50"), 2),
        Metric("p99 ms", "sat_c64", _at("latency_ms", "p99"), 2),
        Metric("bad", "sat_c64", _at("bad")),
        Metric("others on the core", "sat_c64", _at("foreign_share"), 2),
    ],
    "Added latency, ms": [
        Metric("1 connection p50", "lat_c1", _at("latency_ms", "p50"), 2, "less", True),
        Metric("1 connection p99", "lat_c1", _at("latency_ms", "p99"), 2, None, True),
        Metric("16 connections, 50 ms upstream p50", "lat_c16", _at("latency_ms", "p50"), 2, "less", True),
        Metric("16 connections p99", "lat_c16", _at("latency_ms", "p99"), 2, None, True),
        Metric("first token p50", "sse_c1", _at("first_token_ms", "p50"), 2, "less", True),
        Metric("first token p99", "sse_c1", _at("first_token_ms", "p99"), 2, None, True),
    ],
    "Streams at saturation": [
        Metric("burst chunks/s", "sse_burst", _at("chunks_per_second"), 0, "more"),
        Metric("CPU us a chunk", "sse_burst", _at("cpu_us_a_chunk"), 1),
        *_quality("sse_burst"),
        Metric("paced chunks/s", "sse_paced", _at("chunks_per_second"), 0, "more"),
        Metric("CPU us a chunk", "sse_paced", _at("cpu_us_a_chunk"), 1),
        *_quality("sse_paced"),
    ],
    "500 slow streams, 10,000 chunks/s offered": _streams("slow_500"),
    "1,000 slow streams, 20,000 chunks/s offered": _streams("slow_1000"),
    "Process": [
        Metric("seconds to the first answer", "start", _at("start_seconds"), 2, "less"),
        Metric("idle MB", "start", _mb("idle_kb"), 0, "less"),
    ],
}


class Results:
    """Rows of all rounds, and their medians."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self.targets = list(dict.fromkeys(row["target"] for row in rows))

    def value(self, target: str, metric: Metric) -> float | None:
        """Return the median, or None if there is none. For an `added` metric, the mock's own median is subtracted."""
        found = self._median(target, metric)
        if not metric.added or found is None:
            return found
        floor = self._median("direct", metric)
        return None if target == "direct" or floor is None else found - floor

    def _median(self, target: str, metric: Metric) -> float | None:
        chosen = [row for row in self._rows if row["target"] == target and row["test"] == metric.test]
        values = [value for value in map(metric.read, chosen) if value is not None]
        return median(values) if values else None

    def measured(self, metric: Metric) -> bool:
        return any(self.value(target, metric) is not None for target in self.targets)

    def problems(self) -> list[str]:
        """Return the reasons why the run is void: unbalanced ledgers and failed tests."""
        found = []
        for row in self._rows:
            what = [*row.get("problems", ()), *([row["error"]] if "error" in row else [])]
            found += [f"round {row['round']}, {row['target']}, {row['test']}: {problem}" for problem in what]
        return found

    def books(self) -> list[str]:
        """Return one line per ledger verification."""
        return [
            f"- round {row['round']}, {row['target']}: {'balanced' if not row['problems'] else 'NOT BALANCED'};"
            f" {row['charges']:,} charges, {row['answers']:,} good answers, {row['served']:,} answers of the upstream"
            for row in self._rows
            if row["test"] == "books"
        ]


def report(rows: Sequence[Row]) -> str:
    """Return the whole report in Markdown."""
    results = Results(rows)
    parts = [part for title, metrics in SECTIONS.items() if (part := _section(title, metrics, results))]
    parts += [_ratios(name, results) for name in results.targets if name.startswith(OURS)]
    if "litellm" in results.targets:
        parts.append(
            "LiteLLM ran without a database: it tracked no accounts and no spend, so it did less work than Yout."
        )  # fmt: skip
    parts.append("\n".join(["### Books", "", *(results.books() or ["- none were verified"])]))
    if problems := results.problems():
        parts.append("\n".join(["### This run is void", "", *(f"- {problem}" for problem in problems)]))
    return "\n\n".join(parts) + "\n"


def _section(title: str, metrics: Sequence[Metric], results: Results) -> str:
    shown = [metric for metric in metrics if results.measured(metric)]
    if not shown:
        return ""
    rows = [[name, *(_number(results.value(name, metric), metric) for metric in shown)] for name in results.targets]
    return f"### {title}\n\n" + _table(["target", *(metric.title for metric in shown)], rows)


def _ratios(ours: str, results: Results) -> str:
    """Return how many times better Yout is: our rate divided by theirs, or their cost divided by ours."""
    others = [name for name in results.targets if not name.startswith(OURS)]
    rows = []
    for title, metric in _compared(results):
        value = results.value(ours, metric)
        ratios = [_ratio(value, results.value(name, metric), metric) for name in others]
        rows.append([f"{title}: {metric.title}", _number(value, metric), *ratios])
    heading = f"### {ours}: how many times better (above 1) or worse (below 1)"
    return f"{heading}\n\n" + _table(["", ours, *(f"than {name}" for name in others)], rows)


def _compared(results: Results) -> Iterator[tuple[str, Metric]]:
    for title, metrics in SECTIONS.items():
        for metric in metrics:
            if metric.better and results.measured(metric):
                yield title, metric


def _ratio(ours: float | None, theirs: float | None, metric: Metric) -> str:
    if not ours or not theirs or ours < 0 or theirs < 0:
        return "-"
    times = ours / theirs if metric.better == "more" else theirs / ours
    return f"{times:,.0f}" if times >= 100 else f"{times:.3g}"


def _number(value: float | None, metric: Metric) -> str:
    return "-" if value is None else f"{value:,.{metric.digits}f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *(["---:"] * (len(heads) - 1))], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
