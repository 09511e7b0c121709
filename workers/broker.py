"""The Dramatiq broker on Redis or RabbitMQ, which survives outages and keeps exception details out of messages.

A message is only a hint: it names an actor and ids, and may arrive late, twice, or (if the broker loses it) never. The work to do
is stored in a row, and periodic tasks find the rows whose message was lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import redis
from dramatiq import Broker, Message, MessageProxy
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware, Retries, ShutdownNotifications, TimeLimit

from shared.core.availability import REDIS
from shared.core.broker_url import is_rabbitmq
from shared.core.database import database, drop_connection
from shared.core.redis_client import ClusterClient, open_client
from shared.job_queue import namespace_of

CONNECT_SECONDS = 2
ANSWER_SECONDS = 5
MAX_RETRIES = 5
FIRST_RETRY_MS = 2_000
MAX_RETRY_MS = 60_000
TIME_LIMIT_MS = 600_000
DEAD_AFTER_MS = 60_000  # a worker silent for this long is considered dead; its messages go to another one
# How many of a million commands also look for dead workers. Dramatiq's default of 1,000 suits busy queues: an idle worker sends
# about two commands per second, so a killed worker's messages would wait for minutes.
MAINTENANCE_CHANCE = 50_000


def make_broker(url: str, *more_middleware: Middleware) -> Broker:
    """Create the broker of `Settings.broker_url`, without actors and not yet connected. `more_middleware` comes last.

    Queues and keys have Dramatiq's default names, so that any Dramatiq broker can send to it; on a Redis Cluster, the keys begin
    with a hash tag. Messages are JSON; results are not stored.
    """
    middleware = [
        TimeLimit(time_limit=TIME_LIMIT_MS),
        ShutdownNotifications(),
        Retries(max_retries=MAX_RETRIES, min_backoff=FIRST_RETRY_MS, max_backoff=MAX_RETRY_MS),
        _NoTracebacks(),
        _DatabaseConnection(),
        *more_middleware,
    ]
    if is_rabbitmq(url):
        from shared.rabbitmq import QuorumBroker

        return QuorumBroker(url, middleware)
    client = open_client(
        url,
        CONNECT_SECONDS,
        ANSWER_SECONDS,
        retries=1,  # so that a stale connection does not count as an outage
        single=_Client,
        cluster=_ClusterClient,
    )
    return RedisBroker(  # type: ignore[no-untyped-call]  # the library has no types here
        client=client,
        middleware=middleware,
        namespace=namespace_of(url),
        heartbeat_timeout=DEAD_AFTER_MS,
        maintenance_chance=MAINTENANCE_CHANCE,
    )


class RedisUnavailable(redis.ConnectionError, ConnectionClosed):
    """Redis is unreachable or cannot serve commands now.

    It is both a redis-py and a Dramatiq error: Dramatiq 2.2 converts redis-py's errors when it fetches and acknowledges, but not
    when it enqueues and requeues. Its threads expect its own error in all four places; otherwise a stop during an outage would
    fail halfway.
    """


_OUTAGE_ERRORS = (
    *(redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError),
    *(redis.exceptions.ClusterError, redis.exceptions.TryAgainError),
)


def _report_outage(execute: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    began = time.monotonic()
    try:
        answer = execute(*args, **options)
    except _OUTAGE_ERRORS as error:
        REDIS.failed(str(error), began)
        raise RedisUnavailable(str(error)) from None
    if not REDIS.is_available:
        REDIS.succeeded(began)
    return answer


class _Client(redis.Redis):
    """A Redis client that reports outages."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return _report_outage(super().execute_command, args, options)


class _ClusterClient(ClusterClient):
    """A cluster client that reports outages."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return _report_outage(super().execute_command, args, options)


class _NoTracebacks(Middleware):
    """Removes tracebacks from retried messages, because they may quote rows or provider responses."""

    def before_enqueue(self, _broker: Broker, message: Message[Any], _delay: int | None) -> None:
        message.options.pop("traceback", None)


class _DatabaseConnection(Middleware):
    """Releases the thread's database connection after each message. The first statement opens it."""

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
        else:  # the connection may be the cause, so it must not return to the pool
            drop_connection()


_LOGGED_ELSEWHERE = (
    *("Consumer encountered a connection error", "Restarting consumer in", "Failed to post_process_message"),
    "Failed to ack message: not in known tags",  # RabbitMQ delivers it again after the outage
)


def is_not_repeated_outage(record: logging.LogRecord) -> bool:
    """Log filter: return False for the lines that Dramatiq's consumers repeat during an outage of the broker."""
    return not (
        record.name.startswith(("dramatiq.worker.", "dramatiq.brokers.rabbitmq."))
        and str(record.msg).startswith(_LOGGED_ELSEWHERE)
    )
