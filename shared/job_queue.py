"""Sends messages to workers. A message has an actor's name and ids, never content; the work itself is described by a row."""

from __future__ import annotations

import logging
import threading

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.core.redis_url import parse_redis_url

log = logging.getLogger("yout.jobs")

QUEUE = "default"
MEDIA_QUEUE = "media"
CONNECT_SECONDS = 2
ANSWER_SECONDS = 2


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
        try:
            with self._lock:
                self._open().enqueue(message)
        except (redis.RedisError, ConnectionClosed) as error:
            log.warning("Redis did not accept a message for %s: %s", actor, type(error).__name__)
            return False
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
            client = redis.Redis(
                **parse_redis_url(self._url).client_options(),
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 1),  # redis-py retries for 30 s by default
            )
            self._broker = RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]  # untyped in dramatiq
        return self._broker
