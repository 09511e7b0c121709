"""Throttles attempts (sign-ins, codes, sign-ups), with a limit per key in 15 minutes that all processes share.

Redis keeps the counts. While it is unavailable each process counts by itself, for a limited number of keys. Keys are stored as
digests, so text entered by users is never stored, and they expire.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from shared.core.availability import REDIS
from shared.core.clock import now_ms
from shared.core.lazy_import import lazy_import
from shared.core.secrets import derive_key

if TYPE_CHECKING:
    import redis

    from shared.core import redis_client
else:
    redis = lazy_import("redis")  # 7 MB and 0.1 s
    redis_client = lazy_import("shared.core.redis_client")

WINDOW_MS = 15 * 60 * 1000
MAX_KEYS = 10_000  # in the memory of a process, while Redis is unavailable
ANSWER_SECONDS = 0.25
PAUSE_SECONDS = 2.0  # after a failure, without calls to Redis
_SCRIPT = Path(__file__).with_name("login_throttle.lua").read_text()


class Throttle:
    """Counts attempts when they begin, so that concurrent guesses count too. Thread-safe; may block for 0.25 s.

    After a burst of `limit` attempts, a key allows one more per `WINDOW_MS / limit`. Without `redis_url` this process counts by
    itself.
    """

    def __init__(self, secret_key: str, redis_url: str = "", max_keys: int = MAX_KEYS) -> None:
        self._digest_key = derive_key(secret_key, "throttle")
        self._local = LocalThrottle(max_keys)
        self._paused_until = 0.0
        self._redis_url = redis_url

    def count_attempt(self, limits: Mapping[str, int]) -> int:
        """Count an attempt under each key of `limits` (key → attempts per window), unless one of them is at its limit.

        Returns 0, or the milliseconds until the next attempt is allowed. A refused attempt is not counted.
        """
        return self._run("begin", limits)

    def record_success(self, limits: Mapping[str, int], clear: Sequence[str] = ()) -> None:
        """After a success, clear the keys in `clear` and subtract this attempt from the other keys of `limits`."""
        self._run("clear", {key: limits[key] for key in clear})
        self._run("return", {key: limit for key, limit in limits.items() if key not in clear})

    def close(self) -> None:
        """Close the connection to Redis, if open."""
        if "_redis" in self.__dict__:
            self._redis.close()

    @cached_property
    def _redis(self) -> Any:
        return redis_client.open_client(self._redis_url, ANSWER_SECONDS, ANSWER_SECONDS)

    @cached_property
    def _script(self) -> Any:
        return self._redis.register_script(_SCRIPT)

    def _run(self, operation: str, limits: Mapping[str, int]) -> int:
        if not limits:
            return 0
        keys = [f"yout:{{throttle}}:{self._digest(key)}" for key in limits]  # the tag keeps a script's keys on one cluster node
        if self._redis_url and time.monotonic() >= self._paused_until:
            began = time.monotonic()
            try:
                answer = int(self._script(keys, [operation, WINDOW_MS, *limits.values()]))
            except redis.RedisError as error:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                REDIS.failed(type(error).__name__, began)
            else:
                if not REDIS.is_available:
                    REDIS.succeeded(began)
                return answer
        return self._local.run(operation, dict(zip(keys, limits.values(), strict=True)), now_ms())

    def _digest(self, key: str) -> str:
        return hmac.new(self._digest_key, key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:32]


class LocalThrottle:
    """`throttle.lua` in memory. Bounded: the least recently used keys are dropped."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._ends: OrderedDict[str, int] = OrderedDict()
        self._max_keys = max_keys
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._ends)

    def run(self, operation: str, limits: Mapping[str, int], now: int) -> int:
        """Run `begin`, `return` or `clear`, as in the script. `now` is in ms."""
        with self._lock:
            if operation == "clear":
                for key in limits:
                    self._ends.pop(key, None)
                return 0
            sign = 1 if operation == "begin" else -1
            ends = {key: max(now, self._ends.get(key, now)) + sign * (WINDOW_MS // limit) for key, limit in limits.items()}
            wait = max(end - now - WINDOW_MS for end in ends.values())
            if operation == "begin" and wait > 0:
                return wait
            for key, end in ends.items():
                self._store(key, end, now)
            return 0

    def _store(self, key: str, end: int, now: int) -> None:
        self._ends.pop(key, None)
        if end > now:
            self._ends[key] = end
        while len(self._ends) > self._max_keys:
            self._ends.popitem(last=False)
