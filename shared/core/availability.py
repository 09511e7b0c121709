"""Whether the servers that a process depends on are available: one log line when an outage begins, and one when it ends.

Several threads and tasks notice the same outage. Each reports what it sees; only a change is logged.
"""

from __future__ import annotations

import logging
import threading
import time

log = logging.getLogger("yout.availability")


class Availability:
    """The availability of one server, as observed by this process. Thread-safe."""

    def __init__(self, name: str, consequence: str = "") -> None:
        self.is_available = True
        self._name = name
        self._consequence = consequence
        self._lock = threading.Lock()
        self._changed_at = 0.0

    def failed(self, reason: str, began: float | None = None) -> None:
        """Report a failed operation. `began` is when it started, in seconds of `time.monotonic`; by default now."""
        if self._changes(available=False, began=began):
            consequence = f"; {self._consequence}" if self._consequence else ""
            log.error("%s is unavailable (%s)%s", self._name, reason, consequence)

    def succeeded(self, began: float | None = None) -> None:
        """Report a successful operation, which also proves that writes work. Call it where `is_available` is false."""
        since = self._changed_at
        if self._changes(available=True, began=began):
            log.info("%s is available again after %.0f s", self._name, time.monotonic() - since)

    def _changes(self, *, available: bool, began: float | None) -> bool:
        """Store the state and return whether it changed. An operation that began before the last change is ignored: it may have
        failed in the previous outage."""
        with self._lock:
            if available is self.is_available or (began is not None and began < self._changed_at):
                return False
            self.is_available, self._changed_at = available, time.monotonic()
            return True


DATABASE = Availability("The database", "retrying")
REDIS = Availability("Redis", "retrying")
REDIS_NODE = Availability("A node of the Redis Cluster", "retrying")  # calls of other nodes succeed meanwhile
RABBITMQ = Availability("RabbitMQ", "retrying")
