"""The queue of the workers, as somebody sees it who sends them messages."""

from __future__ import annotations

from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker


class Queue:
    """The default queue as somebody sees it who knows the actors' names alone."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)
        self._broker = RedisBroker(client=self._client, middleware=[], maintenance_chance=1_000_000)

    def send(self, actor: str) -> None:
        message: dramatiq.Message[Any] = dramatiq.Message("default", actor, (), {}, {})
        self._broker.enqueue(message)

    def waiting(self) -> int:
        return int(self._client.llen("dramatiq:default"))

    def unfinished(self) -> int:
        """Messages that are neither acknowledged nor given up, those that a worker holds included."""
        return int(self._client.hlen("dramatiq:default.msgs"))

    def given_up(self) -> int:
        return int(self._client.zcard("dramatiq:default.XQ"))

    def let_a_minute_pass(self) -> None:
        """Make every worker look silent; those that live say otherwise within a second, the dead one's messages come back."""
        for worker in self._client.zrange("dramatiq:__heartbeats__", 0, -1):
            self._client.zadd("dramatiq:__heartbeats__", {worker: 0})
        self._broker.do_qsize("default")

    def close(self) -> None:
        self._client.close()
