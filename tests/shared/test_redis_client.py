"""redis-py's clients on a real Redis Cluster: queues, sign-in throttles, and the checks of startup and doctor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
import redis
from dramatiq.errors import BrokerConnectionError

from shared.core.errors import SettingsError
from shared.core.redis_client import open_client
from shared.core.settings import Settings
from shared.doctor.database import check_clock
from shared.doctor.runner import CheckFailed
from shared.doctor.servers import check_redis
from shared.identity.login_throttle import Throttle
from shared.job_queue import JobQueue, QueueDepth, namespace_of, queue_depths
from shared.startup import require_redis
from tests.servers.process import eventually, free_port
from tests.servers.redis_cluster import RedisCluster
from transport.redis_cluster import slot_of
from workers.broker import make_broker
from yout.commands.doctor import _check_limiter

KEY = "a secret key of more than 32 characters"
MakeSettings = Callable[..., Settings]


def test_messages_are_processed_retried_and_counted(redis_cluster: RedisCluster, bound_postgres: Any) -> None:
    done: list[str] = []

    def work(name: str) -> None:
        done.append(name)
        if name == "fails":
            raise ValueError(name)

    jobs = JobQueue(redis_cluster.url)
    broker = make_broker(redis_cluster.url)
    broker.maintenance_chance = 1_000_000  # every command also looks for dead workers
    dramatiq.actor(broker=broker, min_backoff=1, max_backoff=1, max_retries=1)(work)
    assert all(jobs.send("work", name) for name in ("works", "fails"))
    assert queue_depths(redis_cluster.url) == [QueueDepth("default", 2, 0, 0), QueueDepth("media", 0, 0, 0)]
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        eventually(lambda: queue_depths(redis_cluster.url)[:1] == [QueueDepth("default", 0, 0, 1)], "one message is given up")  # type: ignore[index]
    finally:
        worker.stop()
        broker.client.close()
        jobs.close()
    assert sorted(done) == ["fails", "fails", "works"]
    assert {key.partition(b"}")[0] for key in redis_cluster.keys("*")} == {b"{dramatiq"}


def test_messages_during_the_loss_of_their_node(redis_cluster: RedisCluster) -> None:
    jobs, broker = JobQueue(redis_cluster.url), make_broker(redis_cluster.url)
    message: dramatiq.Message[Any] = dramatiq.Message("default", "work", (), {}, {})
    assert jobs.send("work")
    broker.enqueue(message)
    node = redis_cluster.nodes[redis_cluster.owner(slot_of(namespace_of(redis_cluster.url)[1:-1]))]
    node.kill()
    try:
        assert not jobs.send("work")
        with pytest.raises(BrokerConnectionError):
            broker.enqueue(message)
        assert queue_depths(redis_cluster.url) is None
    finally:
        node.restart()
    eventually(lambda: jobs.send("work"), "the node is back")
    broker.enqueue(message)
    assert broker.do_qsize("default") == 2
    broker.client.close()
    jobs.close()


def test_nothing_is_connected_before_the_first_command() -> None:
    nowhere = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    broker = make_broker(nowhere)
    with pytest.raises(BrokerConnectionError):
        broker.enqueue(dramatiq.Message("default", "work", (), {}, {}))
    assert not JobQueue(nowhere).send("work")
    with pytest.raises(redis.ConnectionError):
        open_client(nowhere, 1, 1).ping()


def test_sign_in_attempts_are_counted_under_several_keys(redis_cluster: RedisCluster) -> None:
    one, other = Throttle(KEY, redis_cluster.url), Throttle(KEY, redis_cluster.url)
    limits = {"ann": 2, "net": 3}
    assert [one.count_attempt(limits), other.count_attempt(limits)] == [0, 0]
    assert one.count_attempt(limits) > 0
    assert len(redis_cluster.keys("yout:*")) == 2
    other.record_success(limits, ("ann",))
    assert one.count_attempt(limits) == 0
    one.close()
    other.close()


def refusal(make_settings: MakeSettings, url: str) -> str:
    with pytest.raises(SettingsError) as refused:
        require_redis(make_settings(redis_url=url))
    return str(refused.value)


def test_startup_refuses_the_wrong_kind_of_server(
    redis_cluster: RedisCluster, redis_url: str, make_settings: MakeSettings
) -> None:
    require_redis(make_settings(redis_url=redis_cluster.url))
    require_redis(make_settings(redis_url=f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{redis_cluster.nodes[0].port}"))
    assert "is part of a cluster; use redis+cluster://" in refusal(make_settings, redis_cluster.nodes[0].url)
    single = redis_url.replace("redis://", "redis+cluster://")
    assert "is not part of a cluster; use redis://" in refusal(make_settings, single)


def test_doctor_checks_every_node(redis_cluster: RedisCluster, make_settings: MakeSettings) -> None:
    settings = make_settings(redis_url=redis_cluster.url)
    assert (check_redis(settings), check_clock(settings, None), _check_limiter(settings)) == ("", "", "")
    redis_cluster.command(1, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert "allkeys-lru" in check_redis(settings)
        redis_cluster.command(1, "CONFIG", "SET", "maxmemory", "100mb")
        with pytest.raises(CheckFailed, match="allkeys-lru"):
            check_redis(settings)
    finally:
        redis_cluster.command(1, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")
    node = redis_cluster.nodes[2]  # the only seed of the URL, and the last to be asked
    node.kill()
    try:
        with pytest.raises(CheckFailed):
            _check_limiter(settings)
    finally:
        node.restart()
    eventually(lambda: redis_cluster.knows_all(2), "the node is back")
