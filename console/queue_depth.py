"""The number of messages in the workers' Redis queues, with a short timeout so that a page never waits for Redis."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.core.redis_url import parse_redis_url
from shared.job_queue import MEDIA_QUEUE

QUEUES = ("default", MEDIA_QUEUE)
ANSWER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages in a queue (Dramatiq's names): ready, delayed, and dead (given up after all retries)."""

    name: str
    ready: int
    delayed: int
    dead: int


def queue_depths(redis_url: str) -> list[QueueDepth] | None:
    """Return the depth of every queue, or None if Redis does not answer in time."""
    client = redis.Redis(
        **parse_redis_url(redis_url).client_options(),
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        with client, client.pipeline(transaction=False) as pipe:
            for name in QUEUES:
                pipe.llen(f"dramatiq:{name}")
                pipe.llen(f"dramatiq:{name}.DQ")
                pipe.zcard(f"dramatiq:{name}.XQ")
            counts = iter(pipe.execute())
    except redis.RedisError:
        return None
    return [QueueDepth(name, next(counts), next(counts), next(counts)) for name in QUEUES]
