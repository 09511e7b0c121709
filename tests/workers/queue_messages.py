"""The workers' message queue from the sender's side."""

from __future__ import annotations

from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker


class Queue:
    """The default queue, for a sender that knows only the actors' names."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._broker = RedisBroker(client=self._client, middleware=[], maintenance_chance=1_000_000)

    def send(self, actor: str) -> None:
        message: dramatiq.Message[Any] = dramatiq.Message("default", actor, (), {}, {})
        self._broker.enqueue(message)

    def waiting(self) -> int:
        return int(self._client.llen("dramatiq:default"))

    def unfinished(self) -> int:
        """Messages not yet acknowledged or dead-lettered, including those that a worker has received."""
        return int(self._client.hlen("dramatiq:default.msgs"))

    def dead_letters(self) -> int:
        return int(self._client.zcard("dramatiq:default.XQ"))

    def expire_heartbeats(self) -> None:
        """Expire every worker's heartbeat. Live workers renew it within a second; messages of dead ones are requeued."""
        for worker in self._client.zrange("dramatiq:__heartbeats__", 0, -1):
            self._client.zadd("dramatiq:__heartbeats__", {worker: 0})
        self._broker.do_qsize("default")

    def close(self) -> None:
        self._client.close()
