"""The broker on a real Redis: the content of messages, and the errors during an outage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.errors import BrokerConnectionError

from shared.core.database import database
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from workers.broker import make_broker

PROMPT = "a private thought"


@contextmanager
def working(url: str, *actors: Callable[..., None], **options: Any) -> Iterator[list[dramatiq.Actor[Any, Any]]]:
    """Run the actors in one thread of this process."""
    broker = make_broker(url)
    declared = [dramatiq.actor(broker=broker, **options)(function) for function in actors]
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    yield declared
    worker.stop()
    broker.client.close()


def messages(url: str, queue: str) -> list[bytes]:
    """The messages of `queue` in Redis: `default.DQ` are delayed ones, `default.XQ` dead-lettered ones."""
    with redis.Redis.from_url(url) as client:
        return list(client.hvals(f"dramatiq:{queue}.msgs"))


@pytest.mark.usefixtures("bound_postgres")
def test_the_text_of_an_exception_stays_out_of_redis(any_redis_url: str) -> None:
    def fail() -> None:
        raise ValueError(PROMPT)

    with working(any_redis_url, fail, min_backoff=60_000) as [actor]:
        actor.send()
        eventually(lambda: bool(messages(any_redis_url, "default.DQ")), "it is put back to be tried again")
        [message] = messages(any_redis_url, "default.DQ")
    assert b'"retries":1' in message
    assert PROMPT.encode() not in message


@pytest.mark.usefixtures("bound_postgres")
def test_the_last_failure_leaves_no_text_in_redis(redis_url: str) -> None:
    def fail() -> None:
        raise ValueError(PROMPT)

    with working(redis_url, fail, min_backoff=1, max_backoff=1, max_retries=1) as [actor]:
        actor.send()
        eventually(lambda: bool(messages(redis_url, "default.XQ")), "it is given up")
        [message] = messages(redis_url, "default.XQ")
    assert b'"retries":1' in message
    assert PROMPT.encode() not in message


@pytest.mark.parametrize(("fail", "kept"), [(False, True), (True, False)])
def test_only_a_successful_message_returns_its_connection(bound_postgres: Any, redis_url: str, fail: bool, kept: bool) -> None:
    used: list[int] = []

    def ask(fail: bool) -> None:
        used.append(database.execute_sql("SELECT pg_backend_pid()").fetchone()[0])
        if fail:
            raise ValueError("on purpose")

    database.close()  # now the pool's only connection is free
    with working(redis_url, ask, max_retries=0) as [actor]:
        for number in (1, 2):
            actor.send(fail)
            eventually(lambda: len(used) == number, "the message is processed")  # noqa: B023
    assert (used[0] == used[1]) is kept


def test_sending_during_an_outage_raises_an_error_of_both_libraries(own_redis: RedisServer) -> None:
    broker = make_broker(own_redis.url)
    message: dramatiq.Message[Any] = dramatiq.Message("default", "anything", (), {}, {})
    own_redis.kill()
    with pytest.raises(BrokerConnectionError) as raised:
        broker.enqueue(message)
    assert isinstance(raised.value, redis.ConnectionError)
    own_redis.restart()
    broker.enqueue(message)
    assert broker.do_qsize("default") == 1
    broker.client.close()


@pytest.mark.usefixtures("bound_postgres")
def test_shutdown_during_an_outage_keeps_waiting_messages(own_redis: RedisServer) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        began.set()
        go_on.wait(20)

    broker = make_broker(own_redis.url)
    actor = dramatiq.actor(broker=broker)(wait)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    for _ in range(2):
        actor.send()
    eventually(lambda: began.is_set() and worker.work_queue.qsize() == 1, "one message runs, another is next")
    own_redis.kill()
    worker.stop(timeout=100)
    own_redis.restart()
    go_on.set()
    worker.workers[0].join(20)
    assert not worker.workers[0].is_alive()
    broker.client.close()
