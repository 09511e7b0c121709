"""The broker: Dramatiq on Redis, made to outlive an outage of it and to keep nothing in it that a message needn't carry.

A message is a hint, never the truth: it names an actor and ids, and may arrive late, twice or (when Redis loses it) not at all.
What has to happen stands in a row, and periodic work finds the rows whose message was lost.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import redis
from dramatiq import Broker, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware, Retries, ShutdownNotifications, TimeLimit
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.core.database import database, drop_connection
from shared.core.redis_url import read_redis_url

log = logging.getLogger("yout.worker.broker")

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5
MAX_RETRIES = 5
FIRST_RETRY_MS = 2_000
LONGEST_RETRY_MS = 60_000
TIME_LIMIT_MS = 600_000
DEAD_AFTER_MS = 60_000  # the messages of a worker that has been silent for so long go to another one
# How many of a million commands look for dead workers. Dramatiq's own 1,000 suits busy queues: an idle worker sends about two
# commands a second, and a killed worker's messages would wait for minutes.
MAINTENANCE_CHANCE = 50_000


def make_broker(redis_url: str) -> RedisBroker:
    """A broker without actors, not connected yet. Queues and keys are named as Dramatiq does by default, so that
    `RedisBroker(url=…)` elsewhere sends to it. Messages are JSON; results are not kept."""
    client = _Client(
        **read_redis_url(redis_url).client_options(),
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 1),  # a connection that went stale unnoticed is no outage
    )
    middleware = [
        TimeLimit(time_limit=TIME_LIMIT_MS),
        ShutdownNotifications(),
        Retries(max_retries=MAX_RETRIES, min_backoff=FIRST_RETRY_MS, max_backoff=LONGEST_RETRY_MS),
        _Discretion(),
        _DatabaseConnection(),
    ]
    return RedisBroker(  # type: ignore[no-untyped-call]  # the library has no types here
        client=client, middleware=middleware, heartbeat_timeout=DEAD_AFTER_MS, maintenance_chance=MAINTENANCE_CHANCE
    )


class RedisAway(redis.ConnectionError, ConnectionClosed):
    """Redis cannot be reached or cannot work now.

    Both kinds at once: Dramatiq 2.2 turns redis-py's errors into a broker's where it fetches and acknowledges, not where it
    enqueues and requeues. Its own threads expect a broker's in all four places; a stop during an outage would fail half-way.
    """


class _Client(redis.Redis):
    """Says once that Redis is away, and once that it is back, however many threads keep trying.

    A command that began before the last change says nothing: it may have failed in the outage that is over.
    """

    _AWAY = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._lock = threading.Lock()
        self._reachable = True
        self._changed_at = time.monotonic()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            answer = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # the library has no types here
        except self._AWAY as error:
            self._note(began, reachable=False, reason=str(error))
            raise RedisAway(str(error)) from None
        self._note(began, reachable=True)
        return answer

    def _note(self, began: float, *, reachable: bool, reason: str = "") -> None:
        with self._lock:
            if reachable is self._reachable or began < self._changed_at:
                return
            self._reachable, self._changed_at = reachable, time.monotonic()
        if reachable:
            log.info("Redis is back: taking messages again")
        else:
            log.error("Redis is away, trying until it is back; periodic work goes on: %s", reason)


class _Discretion(Middleware):
    """Keeps the texts of exceptions, which may quote what a row or a vendor said, out of the messages that are retried."""

    def before_enqueue(self, _broker: Broker, message: Message[Any], _delay: int | None) -> None:
        message.options.pop("traceback", None)


class _DatabaseConnection(Middleware):
    """Ends the thread's database connection after each message. The first statement of a message opens it."""

    def after_process_message(
        self,
        _broker: Broker,
        _message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002  (Dramatiq passes it by name)
        exception: BaseException | None = None,
    ) -> None:
        if exception is None:
            database.close()
        else:  # it may be the reason, and must not go back to the pool
            drop_connection()


_SAID_BY_CLIENT = ("Consumer encountered a connection error", "Restarting consumer in", "Failed to post_process_message")


def is_news(record: logging.LogRecord) -> bool:
    """A log filter: false for the lines that Dramatiq's consumers repeat every few seconds while Redis is away."""
    return not (record.name.startswith("dramatiq.worker.") and str(record.msg).startswith(_SAID_BY_CLIENT))
