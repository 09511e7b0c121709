"""Counters in shared memory: sums over processes, continued counts, gauges, and a limit on labels."""

from __future__ import annotations

import os

import pytest

from shared.metrics import counters
from shared.metrics.counters import OVERFLOW, SharedCounters
from shared.metrics.definitions import Group, MetricSpec
from shared.metrics.exposition import collected, render

LATENCY = MetricSpec("wait_seconds", "Waiting", "histogram", 1_000, (100, 1_000))
BY_MODEL = Group("by_model", ("model",), (MetricSpec("calls_total", "Calls"), LATENCY))
OWN = Group("own", (), (MetricSpec("running", "Running", "sum"), MetricSpec("degraded", "Degraded", "highest")))


@pytest.fixture
def shared() -> SharedCounters:
    return SharedCounters((BY_MODEL, OWN), slots=3)


def text(shared: SharedCounters) -> list[str]:
    rendered = render(collected(shared.groups, shared.totals())).decode()
    return [line for line in rendered.splitlines() if not line.startswith("#")]


def test_any_process_reports_the_sum_of_all(shared: SharedCounters) -> None:
    for slot, count in enumerate((1, 2, 4)):
        writer = shared.writer(slot)
        writer.add(writer.block(BY_MODEL, ("small",)), count)
    child = os.fork()
    if not child:
        writer = shared.writer(1)  # as a process that replaces one that ended
        writer.add(writer.block(BY_MODEL, ("small",)), 10)
        writer.add(writer.block(BY_MODEL, ('la"rge\n',)), 5)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    counted = [line for line in text(shared) if line.startswith("calls_total")]
    assert counted == ['calls_total{model="small"} 17.0', 'calls_total{model="la\\"rge\\n"} 5.0']


def test_a_histogram_is_cumulative_and_in_seconds(shared: SharedCounters) -> None:
    for slot, value in enumerate((100, 101, 5_000)):
        writer = shared.writer(slot)
        writer.observe(writer.block(BY_MODEL, ("m",)) + BY_MODEL.offset("wait_seconds"), LATENCY.bounds, value)
    assert [line for line in text(shared) if line.startswith("wait_seconds")] == [
        'wait_seconds_bucket{le="0.1",model="m"} 1.0',
        'wait_seconds_bucket{le="1.0",model="m"} 2.0',
        'wait_seconds_bucket{le="+Inf",model="m"} 3.0',
        'wait_seconds_count{model="m"} 3.0',
        'wait_seconds_sum{model="m"} 5.201',
    ]


def test_the_gauges_of_a_process_end_with_it_and_its_counts_remain(shared: SharedCounters) -> None:
    for slot in (0, 1):
        writer = shared.writer(slot)
        own = writer.block(OWN)
        writer.cells[own + OWN.offset("running")] = 3
        writer.cells[own + OWN.offset("degraded")] = 1
        writer.add(writer.block(BY_MODEL, ("m",)))
    assert {"running 6.0", "degraded 1.0", 'calls_total{model="m"} 2.0'} <= set(text(shared))
    shared.clear_gauges(1)
    assert {"running 3.0", "degraded 1.0", 'calls_total{model="m"} 2.0'} <= set(text(shared))
    shared.writer(0)  # as after a restart
    assert {"running 0.0", "degraded 0.0", 'calls_total{model="m"} 2.0'} <= set(text(shared))


def test_labels_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "SLOT_CELLS", counters.HEADER + counters.LABEL_BYTES // 8 + 60)
    writer = (shared := SharedCounters((BY_MODEL, OWN))).writer()
    for number in range(100):
        writer.add(writer.block(BY_MODEL, (f"model-{number}",)))
    own = writer.block(OWN)
    writer.cells[own] = 7
    counted = dict(line.rsplit(" ", 1) for line in text(shared) if line.startswith("calls_total"))
    others = counted.pop(f'calls_total{{model="{OVERFLOW}"}}')
    assert (len(counted) + float(others), set(counted.values())) == (100, {"1.0"})
    assert float(others) > 1
    assert "running 7.0" in text(shared)
