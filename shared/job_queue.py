"""Sends messages to workers, and counts those in the queues. A message has an actor's name and ids, never content; the work
itself is described by a row.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.exceptions import RedisClusterException

from shared.core.availability import REDIS
from shared.core.redis_client import open_client
from shared.core.redis_url import parse_redis_url

QUEUE = "default"
MEDIA_QUEUE = "media"
CONNECT_SECONDS = 2
ANSWER_SECONDS = 2
QUEUES = (QUEUE, MEDIA_QUEUE)
DEPTH_ANSWER_SECONDS = 0.2  # so that a slow Redis does not delay pages


def namespace_of(redis_url: str) -> str:
    """Return the prefix of the queues' keys: Dramatiq's default, and on a cluster a hash tag: its scripts use several."""
    return "{dramatiq}" if parse_redis_url(redis_url).is_cluster else "dramatiq"


class JobQueue:
    """Message sender for processes without actors. Thread-safe; connects at first use."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._lock = threading.Lock()
        self._broker: RedisBroker | None = None

    def send(self, actor: str, *ids: str, queue: str = QUEUE) -> bool:
        """Send one message and return whether Redis accepted it. Blocks for a few seconds at most.

        After a failure, the workers' sweeper finds the row.
        """
        message: dramatiq.Message[object] = dramatiq.Message(queue, actor, ids, {}, {})
        began = time.monotonic()
        try:
            with self._lock:
                self._open().enqueue(message)
        except (redis.RedisError, ConnectionClosed) as error:
            REDIS.failed(type(error).__name__, began)
            return False
        if not REDIS.is_available:
            REDIS.succeeded(began)
        return True

    def is_available(self) -> bool:
        """Return whether Redis responds."""
        try:
            with self._lock:
                return bool(self._open().client.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        """Close the connection, if open."""
        with self._lock:
            if self._broker is not None:
                self._broker.client.close()
                self._broker = None

    def _open(self) -> RedisBroker:
        if self._broker is None:
            client = open_client(self._url, CONNECT_SECONDS, ANSWER_SECONDS, retries=1)
            self._broker = RedisBroker(  # type: ignore[no-untyped-call]  # untyped in dramatiq
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


def queue_depths(redis_url: str) -> list[QueueDepth] | None:
    """Return the depth of every queue, or None if Redis does not answer in time."""
    client, namespace = open_client(redis_url, DEPTH_ANSWER_SECONDS, DEPTH_ANSWER_SECONDS), namespace_of(redis_url)
    try:
        with client, client.pipeline(transaction=False) as pipe:
            for name in QUEUES:
                pipe.llen(f"{namespace}:{name}")
                pipe.llen(f"{namespace}:{name}.DQ")
                pipe.zcard(f"{namespace}:{name}.XQ")
            counts = iter(pipe.execute())
    except (redis.RedisError, RedisClusterException):
        return None
    return [QueueDepth(name, next(counts), next(counts), next(counts)) for name in QUEUES]
