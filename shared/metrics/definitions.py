"""Definitions of metrics. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "sum", "highest", "histogram"]

MICROSECONDS = 1_000_000
MILLISECONDS = 1_000


class MetricSpec(NamedTuple):
    """One metric. Its values are integers; they are divided by `unit` when they are rendered.

    kind     `counter` and `histogram` only grow. `sum` and `highest` are gauges: the value reported for several processes is the
             sum or the highest one, and the gauge of a process that has ended is 0
    bounds   upper bounds of a histogram's buckets, in stored units, without infinity
    """

    name: str
    help: str
    kind: Kind = "counter"
    unit: int = 1
    bounds: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """The number of integers: 1, or for a histogram its buckets, one for infinity, and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def is_gauge(self) -> bool:
        return self.kind in ("sum", "highest")


class Group(NamedTuple):
    """Metrics with the same labels. Their integers are stored together, so one lookup finds all of them."""

    name: str
    labels: tuple[str, ...]
    metrics: tuple[MetricSpec, ...]

    @property
    def width(self) -> int:
        return sum(metric.width for metric in self.metrics)

    def offset(self, name: str) -> int:
        """Return where the metric with this name begins. Raises `KeyError`."""
        at = 0
        for metric in self.metrics:
            if metric.name == name:
                return at
            at += metric.width
        raise KeyError(name)


def seconds(*bounds: float, unit: int = MILLISECONDS) -> tuple[int, ...]:
    """Return the bounds of buckets, given in seconds, in stored units."""
    return tuple(round(bound * unit) for bound in bounds)
