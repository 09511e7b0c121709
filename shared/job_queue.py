"""Sends messages to workers, and counts those in the queues, on Redis or RabbitMQ. A message has an actor's name and ids, never
content; the work itself is described by a row.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.core.availability import REDIS
from shared.core.broker_url import is_rabbitmq
from shared.core.lazy_import import lazy_import
from shared.core.redis_url import parse_redis_url

if TYPE_CHECKING:
    import dramatiq
    import redis
    from dramatiq.brokers import redis as dramatiq_redis

    from shared.core import redis_client
    from shared.rabbitmq import QuorumBroker
else:
    # 8 MB and 0.1 s; an edge needs them only for jobs
    dramatiq = lazy_import("dramatiq")
    dramatiq_redis = lazy_import("dramatiq.brokers.redis")
    redis = lazy_import("redis")
    redis_client = lazy_import("shared.core.redis_client")

QUEUE = "default"
MEDIA_QUEUE = "media"
CONNECT_SECONDS = 2
ANSWER_SECONDS = 2
QUEUES = (QUEUE, MEDIA_QUEUE)
DEPTH_ANSWER_SECONDS = 0.2  # so that a slow Redis does not delay pages
RABBITMQ_DEPTH_SECONDS = 1.0  # a connection alone takes seven round trips


def namespace_of(redis_url: str) -> str:
    """Return the prefix of the queues' keys: Dramatiq's default, and on a cluster a hash tag: its scripts use several."""
    return "{dramatiq}" if parse_redis_url(redis_url).is_cluster else "dramatiq"


class JobQueue:
    """Message sender for processes without actors. Thread-safe; connects at first use. `url` is `Settings.broker_url`."""

    def __init__(self, url: str) -> None:
        self._sender: QuorumBroker | _RedisSender = _open_rabbitmq(url) if is_rabbitmq(url) else _RedisSender(url)

    def send(self, actor: str, *ids: str, queue: str = QUEUE) -> bool:
        """Send one message and return whether the broker accepted it. Blocks for a few seconds at most.

        After a failure, the workers' sweeper finds the row.
        """
        message: dramatiq.Message[object] = dramatiq.Message(queue, actor, ids, {}, {})
        try:
            self._sender.enqueue(message)
        except (redis.RedisError, dramatiq.ConnectionClosed):
            return False
        return True

    def is_available(self) -> bool:
        """Return whether the broker responds."""
        try:
            self._sender.ping()
        except (redis.RedisError, dramatiq.ConnectionClosed):
            return False
        return True

    def close(self) -> None:
        """Close the connection, if open."""
        self._sender.close()


def _open_rabbitmq(url: str, seconds: float | None = None) -> QuorumBroker:
    from shared.rabbitmq import QuorumBroker  # 4 MB, only for those who use it

    return QuorumBroker(url) if seconds is None else QuorumBroker(url, seconds=seconds)


class _RedisSender:
    """Sends messages through Redis, and reports outages."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._broker: dramatiq_redis.RedisBroker | None = None

    def enqueue(self, message: dramatiq.Message[object]) -> None:
        """Send one message. Raises `redis.RedisError` or `ConnectionClosed`."""
        began = time.monotonic()
        try:
            with self._lock:
                self._open().enqueue(message)
        except (redis.RedisError, dramatiq.ConnectionClosed) as error:
            REDIS.failed(type(error).__name__, began)
            raise
        if not REDIS.is_available:
            REDIS.succeeded(began)

    def ping(self) -> None:
        """Make one round trip. Raises `redis.RedisError`."""
        with self._lock:
            self._open().client.ping()

    def close(self) -> None:
        with self._lock:
            if self._broker is not None:
                self._broker.client.close()
                self._broker = None

    def _open(self) -> dramatiq_redis.RedisBroker:
        if self._broker is None:
            client = redis_client.open_client(self._url, CONNECT_SECONDS, ANSWER_SECONDS, retries=1)
            self._broker = dramatiq_redis.RedisBroker(  # type: ignore[no-untyped-call]  # untyped in dramatiq
                client=client, middleware=[], namespace=namespace_of(self._url)
            )
        return self._broker


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages in a queue (Dramatiq's names): ready, delayed, and dead (given up after all retries)."""

    name: str
    ready: int
    delayed: int
    dead: int


def queue_depths(url: str) -> list[QueueDepth] | None:
    """Return the depth of every queue, or None if the broker does not answer in time. `url` is `Settings.broker_url`."""
    return _rabbitmq_depths(url) if is_rabbitmq(url) else _redis_depths(url)


def _rabbitmq_depths(url: str) -> list[QueueDepth] | None:
    broker = _open_rabbitmq(url, seconds=RABBITMQ_DEPTH_SECONDS)
    try:
        return [QueueDepth(name, *broker.get_queue_message_counts(name)) for name in QUEUES]
    except dramatiq.ConnectionClosed:
        return None
    finally:
        broker.close()


def _redis_depths(url: str) -> list[QueueDepth] | None:
    client, namespace = redis_client.open_client(url, DEPTH_ANSWER_SECONDS, DEPTH_ANSWER_SECONDS), namespace_of(url)
    try:
        with client, client.pipeline(transaction=False) as pipe:
            for name in QUEUES:
                pipe.llen(f"{namespace}:{name}")
                pipe.llen(f"{namespace}:{name}.DQ")
                pipe.zcard(f"{namespace}:{name}.XQ")
            counts = iter(pipe.execute())
    except (redis.RedisError, redis.exceptions.RedisClusterException):
        return None
    return [QueueDepth(name, next(counts), next(counts), next(counts)) for name in QUEUES]
