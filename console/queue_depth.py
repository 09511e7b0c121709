"""How many messages wait for the workers, as Redis says. It is asked briefly: a page never waits for it."""

from __future__ import annotations

from dataclasses import dataclass

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.core.redis_url import read_redis_url
from shared.job_queue import MEDIA_QUEUE

QUEUES = ("default", MEDIA_QUEUE)
ANSWER_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Depth:
    """Messages of a queue (Dramatiq's names): ready to be worked on, waiting for their time, and given up."""

    name: str
    ready: int
    delayed: int
    dead: int


def depths(redis_url: str) -> list[Depth] | None:
    """The depth of every queue, None when Redis does not answer at once."""
    client = redis.Redis(
        **read_redis_url(redis_url).client_options(),
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
    return [Depth(name, next(counts), next(counts), next(counts)) for name in QUEUES]
