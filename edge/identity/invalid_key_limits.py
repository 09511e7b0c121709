"""Rate limits for invalid keys, per network and shared by all processes through Redis, to protect the database.

An invalid key is cached briefly, so that repeating it causes no read. A network over its limit gets 429, and its unknown keys
are read in batches a few times a second. They are still read, because another client behind the same address may have a valid
key.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar
from uuid import UUID

from edge.store.limiter import Limiter
from shared.core.clock import new_id, now_ms
from shared.core.errors import RateLimited, RequestRefused, TooManyInvalidKeys
from shared.core.secrets import derive_key
from shared.core.settings import Settings
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.text.client_address import network_of

T = TypeVar("T")

CACHE_MS = 10_000
MAX_CACHED = 20_000  # maximum number of cached keys, and of networks over their limit
BATCH_SECONDS = 0.1
MAX_BATCH = 500  # keys per batch
_UNLIMITED = 10**9  # tokens and concurrent requests are not limited here


class RefusedKeys:
    """A cache of invalid keys and of the networks that sent too many."""

    def __init__(self, settings: Settings, limiter: Limiter) -> None:
        self._limiter = limiter
        self._per_minute = settings.refused_keys_rpm
        self._secret = derive_key(settings.secret_key, "refused keys")
        self._refused: OrderedDict[str, int] = OrderedDict()  # key digest → expiry of its cache entry
        self._throttled: OrderedDict[str, int] = OrderedDict()  # network → end of its throttling

    def cache(self, digest: str) -> None:
        """Cache an invalid key. It cannot become valid: a new key has a new secret."""
        _put(self._refused, digest, now_ms() + CACHE_MS)

    def is_cached(self, digest: str) -> bool:
        """Return whether the key is cached as invalid."""
        return self._refused.get(digest, 0) > now_ms()

    def is_throttled(self, address: str) -> bool:
        """Return whether the network of `address` has sent too many invalid keys."""
        return bool(self._throttled) and self._throttled.get(network_of(address), 0) > now_ms()

    async def count(self, address: str) -> None:
        """Count an invalid key from `address`. Raises `TooManyInvalidKeys` for a network over its limit."""
        network = network_of(address)
        wait_ms = self._throttled.get(network, 0) - now_ms()
        if wait_ms > 0:
            raise TooManyInvalidKeys(wait_ms)
        limits = RateLimits(self._per_minute, _UNLIMITED, _UNLIMITED)
        scope = UUID(bytes=hmac.new(self._secret, network.encode(errors="replace"), hashlib.sha256).digest()[:16])
        try:
            permit = await self._limiter.acquire(new_id(), KeyLimits(scope, scope, limits, limits), 0)
        except RateLimited as error:
            _put(self._throttled, network, now_ms() + error.retry_after_ms)
            raise TooManyInvalidKeys(error.retry_after_ms) from None
        self._limiter.release(permit, 0)


class BatchedReads(Generic[T]):
    """Batches reads of single keys, at most ten batches per second. `read` returns the key or the error for each digest."""

    def __init__(self, read: Callable[[Collection[str]], Awaitable[Mapping[str, T | RequestRefused]]]) -> None:
        self._read = read
        self._waiting: dict[str, asyncio.Future[T | Exception]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, digest: str) -> T:
        """Read a digest with the next batch. Raises its error, or `TooManyInvalidKeys` if the batch is full."""
        future = self._waiting.get(digest)
        if future is None:
            if len(self._waiting) >= MAX_BATCH:
                raise TooManyInvalidKeys(int(BATCH_SECONDS * 1000))
            loop = asyncio.get_running_loop()
            future = self._waiting[digest] = loop.create_future()
            if self._task is None:
                self._task = loop.create_task(self._run())
        found = await asyncio.shield(future)  # other requests may wait for the same key
        if isinstance(found, Exception):
            raise found
        return found

    async def _run(self) -> None:
        while self._waiting:
            await asyncio.sleep(BATCH_SECONDS)
            waiting, self._waiting = self._waiting, {}
            found: Mapping[str, T | Exception]
            try:
                found = await self._read(waiting)
            except Exception as error:  # callers that wait must always get a result
                found = dict.fromkeys(waiting, error)
            for digest, future in waiting.items():
                future.set_result(found[digest])
        self._task = None


def _put(memory: OrderedDict[str, int], name: str, until: int) -> None:
    memory[name] = until
    memory.move_to_end(name)
    if len(memory) > MAX_CACHED:
        memory.popitem(last=False)
