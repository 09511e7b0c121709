"""Messages to workers: an actor's name and ids, never content. A message is a hint: what has to happen stands in a row."""

from __future__ import annotations

import logging
import threading

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.redis_url import read_redis_url

log = logging.getLogger("yout.jobs")

QUEUE = "default"
MEDIA_QUEUE = "media"
CONNECT_SECONDS = 2
ANSWER_SECONDS = 2


class Jobs:
    """The way to the queue for a process that has no actors of its own. Usable from any thread; connects when first used."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._lock = threading.Lock()
        self._broker: RedisBroker | None = None

    def send(self, actor: str, *ids: str, queue: str = QUEUE) -> bool:
        """Send one message; give whether Redis took it. If not, a sweeper finds the row. Blocks, for seconds at most."""
        message: dramatiq.Message[object] = dramatiq.Message(queue, actor, ids, {}, {})
        try:
            with self._lock:
                self._open().enqueue(message)
        except (redis.RedisError, ConnectionClosed) as error:
            log.warning("Redis did not take a message for %s: %s", actor, type(error).__name__)
            return False
        return True

    def answers(self) -> bool:
        """Whether Redis is there."""
        try:
            with self._lock:
                return bool(self._open().client.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            if self._broker is not None:
                self._broker.client.close()
                self._broker = None

    def _open(self) -> RedisBroker:
        if self._broker is None:
            client = redis.Redis(
                **read_redis_url(self._url).client_options(),
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 1),  # redis-py's default retries for half a minute
            )
            self._broker = RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]  # the library has no types here
        return self._broker
