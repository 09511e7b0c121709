"""Metrics of a worker: messages, periodic tasks and media jobs; and the HTTP server that Prometheus reads them from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dramatiq import Broker, Message, MessageProxy
from dramatiq.middleware import Middleware
from prometheus_client.core import GaugeMetricFamily, Metric

from shared.core.broker_url import is_rabbitmq
from shared.core.settings import Settings
from shared.job_queue import queue_depths
from shared.metrics.access import may_read
from shared.metrics.counters import SharedCounters
from shared.metrics.definitions import Group, MetricSpec, seconds
from shared.metrics.exposition import CONTENT_TYPE, build_info, collected, render
from shared.models import MediaJob

JOB_MS = seconds(0.01, 0.1, 0.5, 1, 5, 15, 60, 300, 600)
ANSWER_SECONDS = 10  # for a client to send its request

MESSAGES = Group(
    "messages",
    ("actor", "result"),
    (
        MetricSpec("yout_jobs_total", "Messages processed, by actor and result (done, failed, skipped)"),
        MetricSpec("yout_job_seconds", "Time to process a message", "histogram", 1_000, JOB_MS),
    ),
)
RETRIES = Group("retries", ("actor",), (MetricSpec("yout_job_retries_total", "Messages that will be retried after a failure"),))
TASKS = Group(
    "tasks",
    ("task", "result"),
    (
        MetricSpec("yout_periodic_runs_total", "Runs of periodic tasks, by result (done, failed)"),
        MetricSpec("yout_periodic_seconds_total", "Time spent in periodic tasks", unit=1_000),
    ),
)
MEDIA = Group(
    "media",
    ("kind", "model", "status", "code"),
    (
        MetricSpec("yout_media_jobs_total", "Media jobs that a worker ended, by kind, model, status and error code"),
        MetricSpec("yout_media_credits_charged_total", "Credits charged for media jobs"),
    ),
)
GROUPS = (MESSAGES, RETRIES, TASKS, MEDIA)


class WorkerMetrics:
    """The counters of one worker process; thread-safe."""

    def __init__(self) -> None:
        self._shared = SharedCounters(GROUPS)
        self._writer = self._shared.writer()

    def record_message(self, actor: str, result: str, took: float) -> None:
        """Count a message that was processed in this many seconds."""
        at = self._writer.block(MESSAGES, (actor, result))
        self._writer.add(at)
        self._writer.observe(at + MESSAGES.offset("yout_job_seconds"), JOB_MS, round(took * 1000))

    def record_retry(self, actor: str) -> None:
        """Count a message that failed and will be retried."""
        self._writer.add(self._writer.block(RETRIES, (actor,)))

    def record_task(self, task: str, result: str, took: float) -> None:
        """Count a run of a periodic task, which took this many seconds."""
        at = self._writer.block(TASKS, (task, result))
        self._writer.add(at)
        self._writer.add(at + TASKS.offset("yout_periodic_seconds_total"), round(took * 1000))

    def record_media_job(self, job: MediaJob) -> None:
        """Count a media job that has ended."""
        at = self._writer.block(MEDIA, (job.kind, job.model, job.status, job.error_code or ""))
        self._writer.add(at)
        self._writer.add(at + MEDIA.offset("yout_media_credits_charged_total"), job.credits_charged or 0)

    def render(self, broker_url: str) -> bytes:
        """Return all metrics in Prometheus' text format. Waits briefly for the broker; if down, its metrics are left out."""
        return render(self._metrics(broker_url))

    def _metrics(self, broker_url: str) -> Iterator[Metric]:
        yield build_info("worker")
        yield from collected(GROUPS, self._shared.totals())
        depths = queue_depths(broker_url)
        messages = GaugeMetricFamily(
            "yout_queue_messages", "Messages in the broker, by queue and state (ready, delayed, dead)", labels=["queue", "state"]
        )
        for queue in depths or ():
            for state in ("ready", "delayed", "dead"):
                messages.add_metric([queue.name, state], getattr(queue, state))
        yield messages
        name, server = ("rabbitmq", "RabbitMQ") if is_rabbitmq(broker_url) else ("redis", "Redis")
        yield GaugeMetricFamily(f"yout_{name}_available", f"1 while {server} responds", value=depths is not None)


class CountMessages(Middleware):
    """Counts the messages that this process handles."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics
        self._thread = threading.local()

    def before_process_message(self, _broker: Broker, _message: MessageProxy) -> None:
        self._thread.began = time.monotonic()

    def after_process_message(
        self,
        _broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002  (Dramatiq passes it by name)
        exception: BaseException | None = None,
    ) -> None:
        took = time.monotonic() - self._thread.began
        self._metrics.record_message(message.actor_name, "done" if exception is None else "failed", took)

    def after_skip_message(self, _broker: Broker, message: MessageProxy) -> None:
        self._metrics.record_message(message.actor_name, "skipped", time.monotonic() - self._thread.began)

    def after_enqueue(self, _broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Count a retry, which is enqueued with a delay."""
        if delay is not None and message.options.get("retries"):
            self._metrics.record_retry(message.actor_name)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class MetricsServer:
    """Serves `/metrics`, protected like the edge's, and `/healthz` on `YOUT_METRICS_PORT`."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = ANSWER_SECONDS
            server_version, sys_version = "yout", ""

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/healthz":
                    self._send(200, "application/json", b'{"status":"ok"}')
                elif path == "/metrics" and may_read(
                    settings.metrics_token, self.client_address[0], self.headers, self.headers.get("authorization", "")
                ):
                    self._send(200, CONTENT_TYPE, metrics.render(settings.broker_url))
                else:
                    self._send(404, "text/plain; charset=utf-8", b"Not found.\n")

            def _send(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log no requests."""

        server = type("_Server", (ThreadingHTTPServer,), {"address_family": _family(settings.bind_host), "daemon_threads": True})
        self._server = server((settings.bind_host, settings.metrics_port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
