"""Metrics of a worker, and access to them."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from shared.core.settings import Settings
from shared.models import MediaJob
from tests.servers.metrics import Scrape
from tests.servers.process import free_port
from workers.metrics import CountMessages, MetricsServer, WorkerMetrics
from workers.scheduler import PeriodicTask, Scheduler

TOKEN = "of-the-operator"
NO_REDIS = "redis://127.0.0.1:1"


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


@pytest.fixture
def serve(metrics: WorkerMetrics, make_settings: Callable[..., Settings]) -> Iterator[Callable[..., int]]:
    """`serve(metrics_token=…)` returns the port."""
    servers = []

    def start(**settings: str) -> int:
        port = free_port()
        servers.append(MetricsServer(make_settings(metrics_port=port, redis_url=NO_REDIS, **settings), metrics))
        return port

    yield start
    for server in servers:
        server.close()


def get(port: int, path: str, **headers: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status


def test_messages_are_counted_by_result_and_retries_apart(metrics: WorkerMetrics, serve: Callable[..., int]) -> None:
    broker = StubBroker(middleware=[dramatiq.middleware.Retries(min_backoff=1, max_backoff=1), CountMessages(metrics)])
    failures = [RuntimeError("first"), RuntimeError("second")]

    @dramatiq.actor(broker=broker, max_retries=5)
    def work() -> None:
        if failures:
            raise failures.pop()

    worker = dramatiq.Worker(broker, worker_timeout=10)
    worker.start()
    work.send()
    broker.join(work.queue_name, timeout=10_000)
    worker.join()
    worker.stop()
    scrape = Scrape(serve())
    assert {result: scrape.total("yout_jobs_total", actor="work", result=result) for result in ("done", "failed")} == {
        "done": 1,
        "failed": 2,
    }
    assert scrape.total("yout_job_retries_total", actor="work") == 2
    assert scrape.total("yout_job_seconds_count", actor="work") == 3


def test_periodic_tasks_and_media_jobs_are_counted(metrics: WorkerMetrics, serve: Callable[..., int]) -> None:
    def fail() -> None:
        raise RuntimeError

    tasks = PeriodicTask("good", 60, lambda: None), PeriodicTask("bad", 60, fail)
    scheduler = Scheduler(tasks, is_outage=lambda _: True, observe=metrics.record_task)
    assert [scheduler._run(task) for task in tasks] == [True, False]
    for credits in (5, None):
        job = MediaJob(kind="image", model="m", status="succeeded" if credits else "failed", credits_charged=credits)
        job.error_code = None if credits else "job_timeout"
        metrics.record_media_job(job)
    scrape = Scrape(serve())
    assert scrape.values("yout_periodic_runs_total", task="good", result="done") == [1]
    assert scrape.values("yout_periodic_runs_total", task="bad", result="failed") == [1]
    assert scrape.values("yout_media_jobs_total", kind="image", model="m", status="failed", code="job_timeout") == [1]
    assert scrape.total("yout_media_credits_charged_total", kind="image") == 5
    assert scrape.values("yout_redis_available") == [0]
    assert scrape.values("yout_queue_messages") == []


def test_who_may_read_them(serve: Callable[..., int]) -> None:
    plain = serve()
    assert [get(plain, "/metrics"), get(plain, "/metrics", x_forwarded_for="127.0.0.1")] == [200, 404]
    assert [get(plain, "/healthz"), get(plain, "/else")] == [200, 404]
    protected = serve(metrics_token=TOKEN)
    assert [get(protected, "/metrics"), get(protected, "/metrics", authorization="Bearer else")] == [404, 404]
    assert get(protected, "/metrics", authorization=f"Bearer {TOKEN}") == 200
