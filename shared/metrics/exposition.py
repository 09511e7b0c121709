"""Renders metrics in Prometheus' text format."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.metrics.counters import Totals
from shared.metrics.definitions import Group, MetricSpec

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collected(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def render(metrics: Iterable[Metric]) -> bytes:
    """Return `metrics` as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(metrics)))
    return generate_latest(registry)


def collected(groups: Sequence[Group], totals: Totals) -> Iterator[Metric]:
    """Yield the metrics of `groups` with their totals."""
    for group in groups:
        at = 0
        for metric in group.metrics:
            yield _family(group, metric, {labels: cells[at : at + metric.width] for labels, cells in totals[group.name].items()})
            at += metric.width


def counter(name: str, help: str, value: float) -> CounterMetricFamily:
    """Return a counter without labels."""
    return CounterMetricFamily(name, help, value=value)


def gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(name, help, value=value)


def build_info(process: str) -> GaugeMetricFamily:
    """Return `yout_build_info`: 1, with the version of Yout and of Python as labels. `process` is edge, console or worker."""
    info = GaugeMetricFamily("yout_build_info", "Version of Yout and of Python", labels=["process", "version", "python"])
    info.add_metric([process, version("yout"), platform.python_version()], 1)
    return info


def _family(group: Group, metric: MetricSpec, values: dict[tuple[str, ...], list[int]]) -> Metric:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=group.labels)
        for labels, cells in values.items():
            histogram.add_metric(labels, *_buckets(metric, cells))
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name.removesuffix("_total"), metric.help, labels=group.labels)
    for labels, (value,) in values.items():
        family.add_metric(labels, value / metric.unit if metric.unit > 1 else value)
    return family


def _buckets(metric: MetricSpec, cells: list[int]) -> tuple[list[tuple[str, float]], float]:
    """Return the cumulative buckets of a histogram, and its sum."""
    buckets, total = [], 0
    bounds = [*(str(bound / metric.unit) for bound in metric.bounds), "+Inf"]
    for bound, count in zip(bounds, cells[:-1], strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, cells[-1] / metric.unit
