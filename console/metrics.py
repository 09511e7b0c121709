"""Metrics of the console: requests, their duration and errors, and refunds."""

from __future__ import annotations

import time

from flask import Flask, Response, abort, current_app, g, request

from shared.core.settings import Settings
from shared.metrics.access import may_read
from shared.metrics.counters import SharedCounters
from shared.metrics.definitions import Group, MetricSpec, seconds
from shared.metrics.exposition import CONTENT_TYPE, build_info, collected, render

PAGE_MS = seconds(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REQUESTS = Group(
    "requests",
    ("endpoint", "status"),
    (MetricSpec("yout_console_requests_total", "Requests to the console, by endpoint and HTTP status"),),
)
PROCESS = Group(
    "process",
    (),
    (
        MetricSpec("yout_console_request_seconds", "Time until a response was created", "histogram", 1_000, PAGE_MS),
        MetricSpec("yout_credits_refunded_total", "Credits that staff refunded for media jobs"),
    ),
)
GROUPS = (REQUESTS, PROCESS)


def console_counters() -> SharedCounters:
    """Return the counters of the console. Call it before forking, so that they survive a restart of the serving process."""
    return SharedCounters(GROUPS)


class ConsoleMetrics:
    """The counters of the console; thread-safe."""

    def __init__(self, shared: SharedCounters | None = None) -> None:
        self._shared = shared or console_counters()
        self._writer = self._shared.writer()
        self._own = self._writer.block(PROCESS)

    def record_request(self, endpoint: str, status: int, took: float) -> None:
        """Count a request, which took this many seconds."""
        self._writer.add(self._writer.block(REQUESTS, (endpoint, str(status))))
        self._writer.observe(self._own + PROCESS.offset("yout_console_request_seconds"), PAGE_MS, round(took * 1000))

    def record_refund(self, credits: int) -> None:
        """Count a refund."""
        self._writer.add(self._own + PROCESS.offset("yout_credits_refunded_total"), credits)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return render([build_info("console"), *collected(GROUPS, self._shared.totals())])


def install(app: Flask, metrics: ConsoleMetrics) -> None:
    """Count the requests of `app`, and serve `/metrics`. Install it first, so that refused requests are also counted."""
    app.extensions["yout_metrics"] = metrics
    app.before_request(_begin)
    app.after_request(_count)
    app.add_url_rule("/metrics", "metrics", _show)


def current_metrics() -> ConsoleMetrics:
    """Return the counters of the app that serves this request."""
    found: ConsoleMetrics = current_app.extensions["yout_metrics"]
    return found


def _begin() -> None:
    g.counted_since = time.perf_counter()


def _count(response: Response) -> Response:
    current_metrics().record_request(request.endpoint or "unmatched", response.status_code, time.perf_counter() - g.counted_since)
    return response


def _show() -> Response:
    """Return the metrics, or 404 to clients that may not read them."""
    settings: Settings = current_app.extensions["yout_settings"]
    authorization = request.headers.get("authorization", "")
    if not may_read(settings.metrics_token, request.remote_addr or "", request.headers, authorization):
        abort(404)
    return Response(current_metrics().render(), content_type=CONTENT_TYPE)
