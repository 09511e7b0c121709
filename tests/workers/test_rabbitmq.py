"""Jobs through RabbitMQ: retries, dead letters, killed workers and a failing server; each job is charged once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from shared.job_queue import queue_depths
from shared.models import MediaJob
from shared.rabbitmq import QuorumBroker
from tests.edge.media.media_stack import CANARY, PNG, default_script, image_response
from tests.servers.process import Process, eventually
from tests.servers.rabbitmq import PASSWORD, QUOTED, RabbitServer
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import Gate, delayed
from tests.workers.test_media_jobs import IMAGE, MediaSetup, expire_leases
from workers.broker import make_broker

PROMPT = "a private thought"
pytestmark = pytest.mark.rabbitmq


@contextmanager
def working(url: str, *actors: Callable[..., None], **options: Any) -> Iterator[list[dramatiq.Actor[Any, Any]]]:
    """Run the actors in one thread of this process."""
    broker = make_broker(url)
    assert isinstance(broker, QuorumBroker)
    declared = [dramatiq.actor(broker=broker, **options)(function) for function in actors]
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    yield declared
    worker.stop()
    broker.close()


@pytest.mark.usefixtures("bound_postgres")
def test_a_message_is_retried_and_then_dead_lettered_without_text(rabbitmq: RabbitServer) -> None:
    attempts = []

    def fail() -> None:
        attempts.append(1)
        raise ValueError(PROMPT)

    with working(rabbitmq.url, fail, min_backoff=10, max_backoff=10, max_retries=2) as [actor]:
        actor.send()
        eventually(lambda: (queue_depths(rabbitmq.url) or [None])[0].dead == 1, "it is given up")
    assert len(attempts) == 3
    [message] = rabbitmq.messages("default.XQ")
    assert b'"retries":2' in message
    assert PROMPT.encode() not in message


@pytest.mark.usefixtures("bound_postgres")
def test_a_delayed_message_survives_its_worker(rabbitmq: RabbitServer) -> None:
    def fail() -> None:
        raise ValueError(PROMPT)

    with working(rabbitmq.url, fail, min_backoff=600_000, max_backoff=600_000) as [actor]:
        actor.send()
        eventually(lambda: (queue_depths(rabbitmq.url) or [None])[0].ready == 0, "a worker has it")
    eventually(lambda: (queue_depths(rabbitmq.url) or [None])[0].delayed == 1, "it waits for another worker")
    [message] = rabbitmq.messages("default.DQ")
    assert b'"retries":1' in message
    assert PROMPT.encode() not in message


class Stack:
    """An edge and workers on RabbitMQ, with a Redis server for the edge's rate limits."""

    def __init__(self, setup: MediaSetup, start_worker: Callable[[], Process], redis: RedisServer) -> None:
        self.setup, self.start_worker, self.redis = setup, start_worker, redis


@pytest.fixture
def stack(
    bound_postgres: Any,
    postgres_url: str,
    own_redis: RedisServer,
    rabbitmq: RabbitServer,
    tmp_path: Path,
    start_edge: Any,
    start_worker: Any,
    upstream: Upstream,
) -> Stack:
    upstream.default = default_script
    settings = {
        "database_url": postgres_url,
        "redis_url": own_redis.url,
        "broker_url": rabbitmq.url,
        "data_dir": tmp_path,
        "media_answer_seconds": 20,
    }
    setup = MediaSetup(start_edge(**settings), upstream)
    return Stack(setup, lambda: start_worker(**settings), own_redis)


def test_jobs_survive_killed_workers_and_a_killed_server(stack: Stack, rabbitmq: RabbitServer) -> None:
    setup, gate = stack.setup, Gate()
    setup.upstream.default = lambda request: delayed(gate, image_response(PNG))
    begun = setup.order()
    first = stack.start_worker()
    gate.wait_reached()
    first.kill()  # in mid-job
    expire_leases()
    second = stack.start_worker()
    eventually(lambda: len(setup.upstream.calls) == 2, "another worker has the job")
    waiting = [setup.order() for _ in range(5)]
    rabbitmq.kill()
    refused = setup.order()
    assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
    gate.open()
    eventually(lambda: setup.job(begun).status == "succeeded", "a job in progress needs no broker")
    rabbitmq.restart()
    eventually(lambda: setup.order().status == 202, "jobs are accepted again")
    eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "all jobs end", 60)
    assert [setup.job(reply).status for reply in (begun, *waiting)] == ["succeeded"] * 6
    assert (setup.job(begun).attempts, setup.spent) == (2, 7 * IMAGE)
    setup.assert_consistent()
    assert second.terminate() == 0
    for process in (setup.edge.process, first, second):
        output = process.output()
        assert not [text for text in (CANARY, PASSWORD, QUOTED, "Traceback") if text in output]
    assert second.output().count("RabbitMQ is unavailable") == second.output().count("RabbitMQ is available again") == 1


def test_without_the_server_no_job_is_accepted_and_none_is_lost(stack: Stack, rabbitmq: RabbitServer) -> None:
    setup = stack.setup
    taken = setup.order()
    for outage in (rabbitmq.kill, rabbitmq.freeze):
        outage()
        for _ in range(2):
            refused = setup.order()
            assert (refused.status, refused.error["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) > 0
        rabbitmq.thaw() if outage == rabbitmq.freeze else rabbitmq.restart()
        eventually(lambda: setup.order().status == 202, "jobs are accepted again")
    assert (MediaJob.select().count(), setup.spent, setup.held) == (3, 0, 3 * IMAGE)
    rabbitmq.delete_queues()  # with the messages: the sweep sends them again
    stack.start_worker()
    MediaJob.update(due_at=1).execute()
    eventually(lambda: setup.job(taken).status == "succeeded", "the job that was taken is made")
    stack.redis.kill()
    assert setup.order().status == 202  # jobs need no Redis
    eventually(lambda: not MediaJob.select().where(MediaJob.finished_at.is_null()).exists(), "all jobs end")
    setup.assert_consistent()
