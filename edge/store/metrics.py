"""Prometheus metrics, with few labels and none that callers control.

Calls are counted in plain integers, at a tenth of the cost of the library's counters; the library only renders them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_FIRST_TOKEN_MS = tuple(seconds * 1000 for seconds in FIRST_TOKEN_SECONDS)


class Metrics(Collector):
    """The counters of one process."""

    def __init__(self) -> None:
        self._calls = {"completed": 0, "cancelled": 0, "failed": 0}
        self._credits = self._overrun = self._input_tokens = self._output_tokens = 0
        self._stopped_streams = self._held_refusals = 0
        self._first_token = [0] * (len(_FIRST_TOKEN_MS) + 1)
        self._first_token_ms = 0
        self._running = 0
        self._degraded = False
        self._overdue_mails: int | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def record(
        self, status: str, credits: int, overrun: int, input_tokens: int, output_tokens: int, first_ms: int | None
    ) -> None:
        """Count a settled call. `first_ms` is the time to its first relayed byte."""
        self._calls[status] += 1
        self._credits += credits
        self._overrun += overrun
        self._input_tokens += input_tokens
        self._output_tokens += output_tokens
        if first_ms is not None:
            self._first_token[bisect_left(_FIRST_TOKEN_MS, first_ms)] += 1
            self._first_token_ms += first_ms

    def record_stopped_stream(self) -> None:
        """Count a stream that ended early, because no credits were left to extend its hold."""
        self._stopped_streams += 1

    def record_held_refusal(self) -> None:
        """Count a call that was refused because other calls held the credits."""
        self._held_refusals += 1

    def render(self, running: int, degraded: bool, overdue_mails: int | None = None) -> bytes:
        """Return the metrics in Prometheus' text format. `overdue_mails` is the number of overdue emails, or None if unknown."""
        self._running, self._degraded, self._overdue_mails = running, degraded, overdue_mails
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics for the library, which `render` calls."""
        calls = CounterMetricFamily("yout_calls", "Settled calls by status", labels=["status"])
        for status, count in self._calls.items():
            calls.add_metric([status], count)
        yield calls
        yield CounterMetricFamily("yout_credits_charged", "Credits charged", value=self._credits)
        yield CounterMetricFamily("yout_overrun_credits", "Cost of calls above what could be charged", value=self._overrun)
        yield CounterMetricFamily("yout_streams_stopped", "Streams ended for lack of credits", value=self._stopped_streams)
        held = "Calls refused because other calls held the credits"
        yield CounterMetricFamily("yout_credits_held_refusals", held, value=self._held_refusals)
        yield CounterMetricFamily("yout_input_tokens", "Input tokens of settled calls", value=self._input_tokens)
        yield CounterMetricFamily("yout_output_tokens", "Output tokens of settled calls", value=self._output_tokens)
        yield self._first_tokens()
        yield GaugeMetricFamily("yout_running_calls", "Calls in progress", value=self._running)
        yield GaugeMetricFamily("yout_limiter_degraded", "1 while rate limits are enforced without Redis", value=self._degraded)
        if self._overdue_mails is not None:
            yield GaugeMetricFamily("yout_mail_unsent", "Emails queued for more than an hour", value=self._overdue_mails)

    def _first_tokens(self) -> HistogramMetricFamily:
        buckets, total = [], 0
        for bound, count in zip([*map(str, FIRST_TOKEN_SECONDS), "+Inf"], self._first_token, strict=True):
            total += count
            buckets.append((bound, total))
        help = "Time from admission to the first relayed byte"
        return HistogramMetricFamily("yout_first_token_seconds", help, buckets=buckets, sum_value=self._first_token_ms / 1000)
