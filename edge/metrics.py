"""What `/metrics` tells Prometheus. Few labels, and none that a caller could multiply."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        calls = Counter("yout_calls", "Settled calls by how they ended", ["status"], registry=self.registry)
        self._calls = {status: calls.labels(status) for status in ("completed", "cancelled", "failed")}
        self._credits = Counter("yout_credits_charged", "Credits charged", registry=self.registry)
        self._input = Counter("yout_input_tokens", "Input tokens of settled calls", registry=self.registry)
        self._output = Counter("yout_output_tokens", "Output tokens of settled calls", registry=self.registry)
        self._overrun = Counter("yout_overrun_credits", "What calls cost above what could be charged", registry=self.registry)
        self._first_token = Histogram(
            "yout_first_token_seconds",
            "From admission to the first relayed byte",
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self._running = Gauge("yout_running_calls", "Calls under way", registry=self.registry)
        self._degraded = Gauge("yout_limiter_degraded", "1 while rate limits are kept without Redis", registry=self.registry)

    def record(
        self, status: str, credits: int, overrun: int, input_tokens: int, output_tokens: int, first_token_ms: int | None
    ) -> None:
        """Count one settled call."""
        self._calls[status].inc()
        self._credits.inc(credits)
        self._input.inc(input_tokens)
        self._output.inc(output_tokens)
        if overrun:
            self._overrun.inc(overrun)
        if first_token_ms is not None:
            self._first_token.observe(first_token_ms / 1000)

    def render(self, running: int, degraded: bool) -> bytes:
        """The exposition text, with the gauges as they are now."""
        self._running.set(running)
        self._degraded.set(degraded)
        return generate_latest(self.registry)
