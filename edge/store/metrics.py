"""Metrics of an edge: calls with their speed, charges and costs, and the latency of the database and Redis.

A call increments integers in shared memory (`shared.metrics`), which takes about a microsecond; they are rendered only when
Prometheus reads them. Callers control no label: models and channels come from the catalog, codes from the error table.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from shared.core.lazy_import import lazy_import
from shared.metrics.counters import CounterWriter, SharedCounters, Totals
from shared.metrics.definitions import MICROSECONDS, MILLISECONDS, Group, MetricSpec, seconds

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily, Metric

    from shared.metrics import exposition
else:
    exposition = lazy_import("shared.metrics.exposition")  # 0.6 MB; needed only when Prometheus reads the metrics

MAX_CODES = 200  # distinct error codes; others are counted as `other`
REFUSED = "refused"

FIRST_TOKEN_MS = seconds(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
CALL_MS = seconds(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
QUICK_US = seconds(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, unit=MICROSECONDS)


def _histogram(name: str, help: str, bounds: tuple[int, ...], unit: int = MILLISECONDS) -> MetricSpec:
    return MetricSpec(name, help, "histogram", unit, bounds)


CALLS = Group(
    "calls",
    ("surface", "model", "channel", "status", "code"),
    (MetricSpec("yout_calls_total", "Calls by endpoint, model, channel, status and error code"),),
)
ROUTES = Group(
    "routes",
    ("model", "channel"),
    (
        _histogram("yout_first_token_seconds", "Time from admission to the first relayed byte", FIRST_TOKEN_MS),
        _histogram("yout_call_seconds", "Time from admission to the end of the call", CALL_MS),
        MetricSpec("yout_route_credits_charged_total", "Credits charged"),
        MetricSpec("yout_route_unknown_cost_credits_total", "Credits charged for calls whose provider cost is unknown"),
        MetricSpec("yout_route_provider_cost_credits_total", "What providers charge us, in credits, as far as known"),
        MetricSpec("yout_route_input_tokens_total", "Input tokens"),
        MetricSpec("yout_route_output_tokens_total", "Output tokens"),
    ),
)
FAILURES = Group(
    "failures",
    ("channel", "reason"),
    (MetricSpec("yout_upstream_failures_total", "Failed attempts at providers, by channel and reason"),),
)
ERRORS = Group(
    "errors",
    ("status", "code"),
    (MetricSpec("yout_error_responses_total", "Error responses of the API, by HTTP status and code"),),
)
REQUESTS = Group(
    "requests",
    ("route", "status"),
    (MetricSpec("yout_http_requests_total", "Requests to routes that do not call models, by HTTP status"),),
)
DATABASE = Group(
    "database",
    ("operation",),
    (_histogram("yout_database_seconds", "Time in the database for a batch of the ledger or a read", QUICK_US, MICROSECONDS),),
)
PROCESS = Group(
    "process",
    (),
    (
        MetricSpec("yout_overrun_credits_total", "Cost of calls in excess of what could be charged"),
        MetricSpec("yout_streams_stopped_total", "Streams ended for lack of credits"),
        MetricSpec("yout_credits_held_refusals_total", "Calls refused because other calls held the credits"),
        _histogram("yout_ledger_queue_seconds", "Longest wait for the ledger in each of its batches", QUICK_US, MICROSECONDS),
        _histogram("yout_redis_seconds", "Round trips to Redis for rate limits", QUICK_US, MICROSECONDS),
        MetricSpec("yout_running_calls", "Calls in progress", "sum"),
        MetricSpec("yout_limiter_degraded", "1 while rate limits are enforced without Redis", "highest"),
        MetricSpec("yout_edge_processes", "Edge processes that serve", "sum"),
    ),
)
GROUPS = (CALLS, ROUTES, FAILURES, ERRORS, REQUESTS, DATABASE, PROCESS)
TOTALS = (  # sums over all routes
    ("yout_credits_charged", "Credits charged", "yout_route_credits_charged_total"),
    ("yout_provider_cost_credits", "What providers charge us, in credits", "yout_route_provider_cost_credits_total"),
    ("yout_input_tokens", "Input tokens of settled calls", "yout_route_input_tokens_total"),
    ("yout_output_tokens", "Output tokens of settled calls", "yout_route_output_tokens_total"),
)

_FIRST_TOKEN = ROUTES.offset("yout_first_token_seconds")
_FIRST_TOKEN_SUM = _FIRST_TOKEN + len(FIRST_TOKEN_MS) + 1
_CALL = ROUTES.offset("yout_call_seconds")
_CALL_SUM = _CALL + len(CALL_MS) + 1
_QUICK_SUM = len(QUICK_US) + 1
_CREDITS = ROUTES.offset("yout_route_credits_charged_total")
_UNKNOWN_COST = ROUTES.offset("yout_route_unknown_cost_credits_total")
_COST = ROUTES.offset("yout_route_provider_cost_credits_total")
_INPUT = ROUTES.offset("yout_route_input_tokens_total")
_OUTPUT = ROUTES.offset("yout_route_output_tokens_total")


class StoredGauges(NamedTuple):
    """Gauges that are read from the database at each scrape. All processes and machines report the same values."""

    holds_open: int
    held_credits: int
    overdue_mails: int
    unfinished_jobs: int


def edge_counters(processes: int = 1) -> SharedCounters:
    """Return the counters of an edge with this number of processes. Call it before forking."""
    return SharedCounters(GROUPS, processes)


class Metrics:
    """The counters of one process, and the sums of all."""

    def __init__(self, shared: SharedCounters | None = None, slot: int = 0) -> None:
        self._shared = shared or edge_counters()
        self._writer: CounterWriter = self._shared.writer(slot)
        self._cells = self._writer.cells
        self._calls: dict[tuple[str, ...], int] = {}
        self._routes: dict[tuple[str, str], int] = {}
        self._codes: set[str] = set()
        own = self._writer.block(PROCESS)
        self._overrun = own + PROCESS.offset("yout_overrun_credits_total")
        self._stopped = own + PROCESS.offset("yout_streams_stopped_total")
        self._held = own + PROCESS.offset("yout_credits_held_refusals_total")
        self._queue = own + PROCESS.offset("yout_ledger_queue_seconds")
        self._redis = own + PROCESS.offset("yout_redis_seconds")
        self._running = own + PROCESS.offset("yout_running_calls")
        self._degraded = own + PROCESS.offset("yout_limiter_degraded")
        self._cells[own + PROCESS.offset("yout_edge_processes")] = 1
        self._operations = {name: self._writer.block(DATABASE, (name,)) for name in ("ledger", "read")}

    def record(
        self,
        labels: tuple[str, str, str, str, str],
        credits: int,
        overrun: int,
        provider_cost: int | None,
        input_tokens: int,
        output_tokens: int,
        first_ms: int | None,
        duration_ms: int,
    ) -> None:
        """Count a settled call. `labels` are those of `CALLS`, times are in milliseconds.

        `provider_cost` is None if it is unknown, and `first_ms` if nothing was relayed.
        """
        cells = self._cells
        at = self._calls.get(labels)
        if at is None:
            at = self._call_block(*labels)
        cells[at] += 1
        _, model, channel, _, _ = labels
        at = self._routes.get((model, channel))
        if at is None:
            at = self._routes[model, channel] = self._writer.block(ROUTES, (model, channel))
        cells[at + _CALL + bisect_left(CALL_MS, duration_ms)] += 1
        cells[at + _CALL_SUM] += duration_ms
        if first_ms is not None:
            cells[at + _FIRST_TOKEN + bisect_left(FIRST_TOKEN_MS, first_ms)] += 1
            cells[at + _FIRST_TOKEN_SUM] += first_ms
        if credits:
            cells[at + _CREDITS] += credits
            if provider_cost is None:
                cells[at + _UNKNOWN_COST] += credits
        if provider_cost:
            cells[at + _COST] += provider_cost
        if input_tokens:
            cells[at + _INPUT] += input_tokens
        if output_tokens:
            cells[at + _OUTPUT] += output_tokens
        if overrun:
            cells[self._overrun] += overrun

    def record_refusal(self, surface: str, model: str, code: str) -> None:
        """Count a call that was refused before it had a hold. `model` must be from the catalog, or empty."""
        self._cells[self._call_block(surface, model, "", REFUSED, code)] += 1

    def record_error(self, status: int, code: str) -> None:
        """Count an error response."""
        self._cells[self._writer.block(ERRORS, (str(status), self._known_code(code)))] += 1

    def record_request(self, route: str, status: int) -> None:
        """Count a request to a route that does not call models. `route` is a pattern, not the path."""
        self._cells[self._writer.block(REQUESTS, (route, str(status)))] += 1

    def record_failure(self, channel: str, reason: str) -> None:
        """Count a failed attempt at a provider."""
        self._cells[self._writer.block(FAILURES, (channel, reason))] += 1

    def record_stopped_stream(self) -> None:
        """Count a stream that ended early, because no credits were left to extend its hold."""
        self._cells[self._stopped] += 1

    def record_held_refusal(self) -> None:
        """Count a call that was refused because other calls held the credits."""
        self._cells[self._held] += 1

    def record_ledger_wait(self, waited: float) -> None:
        """Count the longest wait of a batch, in seconds."""
        self._observe(self._queue, waited)

    def record_redis(self, took: float) -> None:
        """Count a round trip to Redis, in seconds."""
        self._observe(self._redis, took)

    def record_database(self, operation: str, took: float) -> None:
        """Count `operation` (ledger, read), which took this many seconds. Any thread may call it."""
        self._writer.observe(self._operations[operation], QUICK_US, int(took * MICROSECONDS))

    def add_running(self, calls: int) -> None:
        """Change the number of calls in progress in this process: 1 when a call begins, -1 when it ends."""
        self._cells[self._running] += calls

    def set_degraded(self, degraded: bool) -> None:
        """Set whether this process enforces rate limits without Redis."""
        self._cells[self._degraded] = degraded

    def render(self, stored: StoredGauges | None, database_available: bool, redis_available: bool) -> bytes:
        """Return the sums over all processes in Prometheus' text format. Without `stored`, its metrics are left out."""
        return exposition.render(self._metrics(self._shared.totals(), stored, database_available, redis_available))

    def _metrics(self, totals: Totals, stored: StoredGauges | None, database: bool, redis: bool) -> Iterator[Metric]:
        yield exposition.build_info("edge")
        yield from exposition.collected(GROUPS, totals)
        for name, help, part in TOTALS:
            at = ROUTES.offset(part)
            yield exposition.counter(name, help, sum(cells[at] for cells in totals[ROUTES.name].values()))
        yield exposition.gauge("yout_database_available", "1 while the database accepts writes", database)
        yield exposition.gauge("yout_redis_available", "1 while Redis responds", redis)
        if stored is not None:
            yield from _stored_gauges(stored)

    def _call_block(self, surface: str, model: str, channel: str, status: str, code: str) -> int:
        labels = surface, model, channel, status, self._known_code(code)
        at = self._calls.get(labels)
        if at is None:
            at = self._calls[labels] = self._writer.block(CALLS, labels)
        return at

    def _known_code(self, code: str) -> str:
        """Return `code`, or `other` if there are too many distinct codes, because some come from providers."""
        if code in self._codes:
            return code
        if len(self._codes) >= MAX_CODES or len(code) > 64:
            return "other"
        self._codes.add(code)
        return code

    def _observe(self, at: int, took: float) -> None:
        """Count a duration in seconds. Call it only in the event loop's thread."""
        value = int(took * MICROSECONDS)
        self._cells[at + bisect_left(QUICK_US, value)] += 1
        self._cells[at + _QUICK_SUM] += value


def _stored_gauges(stored: StoredGauges) -> Iterator[GaugeMetricFamily]:
    gauge = exposition.gauge
    yield gauge("yout_holds_open", "Holds that are neither settled nor released, of calls and media jobs", stored.holds_open)
    yield gauge("yout_held_credits", "Credits in open holds", stored.held_credits)
    yield gauge("yout_mail_unsent", "Emails queued for more than an hour", stored.overdue_mails)
    yield gauge("yout_media_jobs_unfinished", "Media jobs that are queued or running", stored.unfinished_jobs)
