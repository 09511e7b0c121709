"""Prometheus scrapes an edge with two processes, a console and a worker; rules and dashboard use metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import factories as build
from tests.conftest import StartWeb
from tests.docs.documents import names, rows, section
from tests.edge.http_calls import chat, run_concurrently
from tests.servers.process import ROOT, Process, eventually, free_port
from tests.servers.prometheus import FOLDER, Prometheus, promtool
from tests.upstream import Upstream

CALLS = 5
DASHBOARD = ROOT / "deploy" / "grafana" / "yout.json"
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
# Variables that Grafana replaces in a query.
VARIABLES = {"$__rate_interval": "1m", "$model": ".*", "$channel": ".*"}


def dashboard_queries() -> Iterator[str]:
    """Yield each query of the dashboard as Grafana sends it."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            query = target["expr"]
            for variable, value in VARIABLES.items():
                query = query.replace(variable, value)
            assert "$" not in query, query
            yield query


def documented_metrics() -> set[str]:
    headings = ("### The edge", "### The worker", "### The console")
    return {name for heading in headings for cells in rows(section("docs/monitoring.md", heading)) for name in names(cells[0])}


def test_the_dashboard_and_the_rules_use_only_metrics_that_exist() -> None:
    used = {
        SUFFIXES.sub("", name)
        for text in (*dashboard_queries(), (FOLDER / "alerts.yml").read_text())
        for name in re.findall(r"\byout_[a-z_]+", text)
    }
    assert len(used) > 20
    assert used - documented_metrics() == set()


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.usefixtures("start_prometheus")  # skips or fails if promtool is not installed
def test_promtool_accepts_the_rules_and_they_fire() -> None:
    assert "rules found" in promtool("check", "rules", str(FOLDER / "alerts.yml"))
    assert "SUCCESS" in promtool("test", "rules", str(ROOT / "tests" / "deploy" / "alerts_test.yml"))


def test_prometheus_scrapes_two_edge_processes_a_console_and_a_worker(
    bound_postgres: Any,
    postgres_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: StartWeb,
    start_console: StartWeb,
    start_worker: Callable[..., Process],
    start_prometheus: Callable[..., Prometheus],
) -> None:
    build.model("m-1", build.channel(upstream.url, name="first"), input=1_000, output=2_000)
    _, secret = build.api_key(build.account())
    settings = {"database_url": postgres_url, "redis_url": redis_url}
    edge, console = start_edge(edge_workers=2, **settings), start_console(**settings)
    port = free_port()
    start_worker(metrics_port=port, **settings)
    answers = run_concurrently(CALLS, lambda _: chat(edge, secret))
    charged = sum(answer.body["yout"]["credits_charged"] for answer in answers)
    prometheus = start_prometheus({"yout-edge": edge.port, "yout-console": console.port, "yout-worker": port})
    everything_up = {"yout-edge": True, "yout-console": True, "yout-worker": True}
    eventually(lambda: prometheus.up() == everything_up, "all three are scraped")

    def value(expression: str) -> float:
        [(_, found)] = prometheus.query(expression)
        return found

    assert value('sum(yout_calls_total{model="m-1",channel="first",status="completed"})') == CALLS
    assert value("sum(yout_credits_charged_total)") == charged
    assert value("yout_edge_processes") == 2
    assert value('sum(yout_periodic_runs_total{result="done"})') > 0
    eventually(
        lambda: value('sum(yout_console_requests_total{endpoint="metrics",status="200"}) or vector(0)') > 1, "the console counts"
    )
    assert {labels["process"] for labels, _ in prometheus.query("yout_build_info")} == {"edge", "console", "worker"}
    for query in dashboard_queries():
        prometheus.query(query)  # raises if it is invalid
