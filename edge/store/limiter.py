"""Rate limits: one Redis script call per batch, with an in-process fallback if Redis is unavailable.

All calls of an event loop iteration share one script call. Money never depends on Redis: without it, chat continues under local
limits, and `degraded` is true.

On a cluster, a batch is one script call per slot, in one pipeline per node. Only the calls of an unavailable node fall back.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from edge.store.metrics import Metrics
from shared.core.availability import REDIS, REDIS_NODE
from shared.core.clock import now_ms
from shared.core.errors import RateLimited
from shared.core.redis_url import parse_redis_url
from shared.core.token_bucket import Bucket, KeyLimits, RateLimits, RateLimitState, bucket_level, ms_until_available
from transport.redis_cluster import Call, ClusterScript, slot_of
from transport.redis_script import Argument, RedisFailed, RedisScript

SCRIPT = Path(__file__).with_name("limiter.lua").read_text()
SOCKET_SECONDS = 0.5
RELEASE_DELAY_SECONDS = 0.02  # how long a release waits to be batched with the next acquire
RETRY_REDIS_SECONDS = 1.0  # no calls to Redis for this long after a failure
MAX_BATCH = 128
MAX_OWED = 10_000
MAX_LOCAL_SCOPES = 20_000
MAX_LIKELY_KEYS = 20_000  # when there are more, all of them are dropped
LIMIT_NAMES = {1: "requests per minute", 2: "tokens per minute", 3: "concurrent requests"}
CONCURRENCY_RETRY_MS = 1_000
_CONSEQUENCE = "limits are now per process"
_CLUSTER_CODES = ("MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN")  # error replies of a cluster's node


class _Scope(NamedTuple):
    name: str
    limits: RateLimits


class Permit(NamedTuple):
    """A permit for one call, whose id is 32 hex digits. Return it with `Limiter.release`."""

    call: str
    scopes: list[_Scope]
    tokens: int
    rate_limit_state: RateLimitState
    local: bool


class PermitRequest(NamedTuple):
    """A requested permit: pass it to `Limiter.granted` or `Limiter.withdraw`.

    `is_likely`: at the last call of the same `key`, at least twice as many calls as since then would have been within its limits.
    `future` is None without Redis.
    """

    call: str
    scopes: list[_Scope]
    tokens: int
    key: UUID
    is_likely: bool
    future: asyncio.Future[list[int] | None] | None


class _Release(NamedTuple):
    call: str
    scopes: list[_Scope]
    tokens: int


class Limiter:
    """Limits requests, tokens and concurrency of keys and accounts. A slot is freed after `lease_seconds` at the latest."""

    def __init__(self, url: str, lease_seconds: int, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        address = parse_redis_url(url)
        self._script = RedisScript(address, SCRIPT, SOCKET_SECONDS)
        self._cluster = ClusterScript(address, SCRIPT, SOCKET_SECONDS) if address.is_cluster else None  # instead of `_script`
        self._availability = REDIS_NODE if address.is_cluster else REDIS
        self._lease_ms = lease_seconds * 1000
        self._waiting: list[PermitRequest | _Release] = []
        self._pending_releases: list[_Release] = []  # releases to send once Redis is back
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0
        self._retry_timer: asyncio.TimerHandle | None = None  # runs until `_pending_releases` are to be sent
        self._failing = False
        self._local = LocalLimiter()
        self._likely_calls: dict[UUID, int] = {}  # by key: the number of calls likely to be granted before Redis responds again

    @property
    def degraded(self) -> bool:
        """Whether the local limiter is used, after a recent failure of Redis."""
        return time.monotonic() < self._paused_until

    async def acquire(self, call_id: UUID, limits: KeyLimits, tokens: int) -> Permit:
        """Acquire one request, `tokens` tokens and a slot in all scopes, or in none. Raises `RateLimited`."""
        return await self.granted(self.request(call_id, limits, tokens))

    def request(self, call_id: UUID, limits: KeyLimits, tokens: int) -> PermitRequest:
        """Request a permit, as `acquire` does, without waiting for it."""
        likely = self._likely_calls.get(limits.key, 0)
        future: asyncio.Future[list[int] | None] | None = None
        if not self.degraded:
            future = asyncio.get_running_loop().create_future()
        requested = PermitRequest(call_id.hex, _scopes(limits), tokens, limits.key, likely > 0, future)
        if future is not None:
            if likely:
                self._likely_calls[limits.key] = likely - 1
            self._waiting.append(requested)
            self._start()
        return requested

    async def granted(self, requested: PermitRequest) -> Permit:
        """Wait for a requested permit. Raises `RateLimited`."""
        call, scopes, tokens, key, _, future = requested
        answer = None
        if future is not None:
            try:
                answer = await future
            except asyncio.CancelledError:
                self.withdraw(requested)
                raise
        if answer is None:
            return Permit(call, scopes, tokens, self._local.acquire(call, scopes, tokens), local=True)
        if answer[0]:
            self._likely_calls.pop(key, None)
            raise RateLimited(LIMIT_NAMES[answer[0]], answer[2], answer[1], RateLimitState(*answer[3:]))
        *standing, more = answer[1:]
        if len(self._likely_calls) >= MAX_LIKELY_KEYS:
            self._likely_calls.clear()
        self._likely_calls[key] = more // 2
        return Permit(call, scopes, tokens, RateLimitState(*standing), local=False)

    def withdraw(self, requested: PermitRequest) -> None:
        """Give up a requested permit, whether or not it has been granted."""
        future = requested.future
        if future is not None and not future.cancel() and not future.cancelled():
            self._undo(requested, future.result())

    def release(self, permit: Permit, used_tokens: int) -> None:
        """Free the slot of a finished call, and correct its token estimate to `used_tokens`."""
        if permit.local:
            self._local.release(permit.call, permit.scopes, permit.tokens - used_tokens)
        else:
            self._return(_Release(permit.call, permit.scopes, permit.tokens - used_tokens))

    async def check(self) -> bool:
        """Return whether the script runs and writes; on a cluster, on every node."""
        try:
            if self._cluster is None:
                await self._script.run(*_check_arguments("check"))
                return True
            tags = await self._cluster.tags()
            answers = await self._cluster.run_each([Call(slot_of(tag), *_check_arguments(tag)) for tag in tags])
        except RedisFailed:
            return False
        return not any(isinstance(answer, RedisFailed) for answer in answers)

    async def close(self) -> None:
        """Send queued operations, then close the connection."""
        self._start()
        if self._running is not None:
            await self._running
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._script.close()
        if self._cluster is not None:
            self._cluster.close()

    def _return(self, release: _Release) -> None:
        if self.degraded:
            self._retry_later(release)
            return
        self._waiting.append(release)
        self._start_within(RELEASE_DELAY_SECONDS)  # batched with the next acquire, or sent alone

    def _undo(self, requested: PermitRequest, answer: list[int] | None) -> None:
        """Release a granted permit whose caller was cancelled before receiving it."""
        if answer is not None and answer[0] == 0:
            self._return(_Release(requested.call, requested.scopes, requested.tokens))

    def _retry_later(self, release: _Release) -> None:
        if len(self._pending_releases) < MAX_OWED:
            self._pending_releases.append(release)

    def _start_within(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pending_releases and self._retry_timer is None:
            self._waiting, self._pending_releases = [*self._pending_releases, *self._waiting], []
        if self._running is None and self._waiting:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            began = time.monotonic()
            try:
                if self._cluster is None:
                    answers, is_whole = await self._script.run(*_arguments(batch, self._lease_ms)), True
                else:
                    batch, answers, is_whole = await self._run_on_cluster(self._cluster, batch, began)
            except RedisFailed as error:
                advice = "; it is part of a cluster: use redis+cluster://" if error.code in _CLUSTER_CODES else ""
                self._availability.failed(f"{error}{advice}; {_CONSEQUENCE}", began)
                self._pause(batch)
                break
            self._metrics.record_redis(time.monotonic() - began)
            if is_whole:
                if self._failing:
                    self._recover()
                if not self._availability.is_available:
                    self._availability.succeeded(began)
            for operation, answer in zip(batch, answers, strict=True):
                if isinstance(operation, _Release):
                    continue
                future = operation.future
                assert future is not None  # noqa: S101  (a request without a future is not queued)
                if future.done():
                    self._undo(operation, answer)
                else:
                    future.set_result(answer)
        self._running = None

    def _recover(self) -> None:
        self._failing = False
        self._metrics.set_degraded(False)

    async def _run_on_cluster(
        self, cluster: ClusterScript, batch: list[PermitRequest | _Release], began: float
    ) -> tuple[list[PermitRequest | _Release], list[list[int]], bool]:
        """Run a batch slot by slot. Return the operations that were answered, their answers, and whether the cluster is whole.

        The other operations fall back. No pause is needed, because the cluster's client does not call a failed node.
        """
        groups: dict[int, list[PermitRequest | _Release]] = {}
        for operation in batch:
            groups.setdefault(slot_of(operation.scopes[0].name[1:33]), []).append(operation)
        calls = [Call(slot, *_arguments(group, self._lease_ms)) for slot, group in groups.items()]
        answered: list[PermitRequest | _Release] = []
        answers: list[list[int]] = []
        failed: list[PermitRequest | _Release] = []
        failure: RedisFailed | None = None
        for group, result in zip(groups.values(), await cluster.run_each(calls), strict=True):
            if isinstance(result, RedisFailed):
                failure = result
                failed += group
            else:
                answered += group
                answers += result
        if failure is None:
            return answered, answers, cluster.is_whole
        if failure.code != "TRYAGAIN":  # the slot is being moved, which is no outage
            self._availability.failed(f"{failure}; {_CONSEQUENCE}", began)
        self._fall_back(failed)
        return answered, answers, False

    def _pause(self, unanswered: list[PermitRequest | _Release]) -> None:
        """Use the local limiter for all calls for a while."""
        self._paused_until = time.monotonic() + RETRY_REDIS_SECONDS
        waiting, self._waiting = self._waiting, []
        self._fall_back([*unanswered, *waiting])

    def _fall_back(self, unanswered: list[PermitRequest | _Release]) -> None:
        """Use the local limiter for these calls, and remember which slots to free when Redis is back."""
        self._failing = True
        self._metrics.set_degraded(True)
        for operation in unanswered:
            if isinstance(operation, _Release):
                self._retry_later(operation)
                continue
            self._retry_later(_Release(operation.call, operation.scopes, 0))  # Redis may already have granted it
            if operation.future is not None and not operation.future.done():
                operation.future.set_result(None)
        if self._retry_timer is None:
            delay = RETRY_REDIS_SECONDS + RELEASE_DELAY_SECONDS
            self._retry_timer = asyncio.get_running_loop().call_later(delay, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._start()


def _scopes(limits: KeyLimits) -> list[_Scope]:
    """Return the scope of the account, then of the key and of its creator if their limits are lower.

    Each name begins with the account in braces, a hash tag: the nodes of a cluster run a script only if its keys are in one slot.
    """
    tag = f"{{{limits.account.hex}}}"
    scopes = [_Scope(tag, limits.account_limits)]
    if limits.key_limits != limits.account_limits:
        scopes.append(_Scope(f"{tag}:{limits.key.hex}", limits.key_limits))
    if limits.parent is not None and limits.parent_limits is not None:
        scopes.append(_Scope(f"{tag}:{limits.parent.hex}", limits.parent_limits))
    return scopes


def _arguments(batch: list[PermitRequest | _Release], lease_ms: int) -> tuple[list[str], list[Argument]]:
    names: list[str] = []
    values: list[Argument] = []
    for operation in batch:
        for scope in operation.scopes:
            names += (f"yout:bucket:{scope.name}", f"yout:leases:{scope.name}")
        if isinstance(operation, PermitRequest):
            values += ("t", operation.call, lease_ms, operation.tokens, len(operation.scopes))
            for scope in operation.scopes:
                values += scope.limits
        else:
            values += ("g", operation.call, operation.tokens, len(operation.scopes))
            values += [scope.limits.tpm for scope in operation.scopes]
    return names, values


def _check_arguments(tag: str) -> tuple[list[str], list[Argument]]:
    """Return keys and arguments of a permit that nobody uses and that ends by itself, on the node of `tag`."""
    return [f"yout:check:bucket:{{{tag}}}", f"yout:check:leases:{{{tag}}}"], [
        "t",
        "check",
        1_000,
        0,
        1,
        1_000_000,
        1_000_000,
        1_000,
    ]


class LocalLimiter:
    """An in-process limiter with the same buckets, used without Redis. Bounded: the least recently used scopes are evicted."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[Bucket, Bucket]] = OrderedDict()
        self._slots: dict[str, set[str]] = {}

    def acquire(self, call: str, scopes: list[_Scope], tokens: int) -> RateLimitState:
        """Like `Limiter.acquire`."""
        now = now_ms()
        levels = [self._levels(scope, now) for scope in scopes]
        for scope, (requests, left) in zip(scopes, levels, strict=True):
            limits = scope.limits
            standing = RateLimitState(limits.rpm, int(requests), limits.tpm, max(0, int(left)))
            if requests < 1:
                raise RateLimited(LIMIT_NAMES[1], limits.rpm, ms_until_available(requests, limits.rpm, 1), standing)
            if left < min(tokens, limits.tpm):
                raise RateLimited(LIMIT_NAMES[2], limits.tpm, ms_until_available(left, limits.tpm, tokens), standing)
            if len(self._slots.get(scope.name, ())) >= limits.concurrency:
                raise RateLimited(LIMIT_NAMES[3], limits.concurrency, CONCURRENCY_RETRY_MS, standing)
        for scope, (requests, left) in zip(scopes, levels, strict=True):
            self._store(scope.name, Bucket(requests - 1, now), Bucket(left - tokens, now))
            self._slots.setdefault(scope.name, set()).add(call)
        (requests, left), limits = min(zip(levels, (scope.limits for scope in scopes), strict=True), key=lambda pair: pair[0][0])
        return RateLimitState(limits.rpm, int(requests - 1), limits.tpm, max(0, int(left - tokens)))

    def release(self, call: str, scopes: list[_Scope], tokens: int) -> None:
        """Like `Limiter.release`; `tokens` is the estimate minus the usage."""
        now = now_ms()
        for scope in scopes:
            slots = self._slots.get(scope.name)
            if slots is not None:
                slots.discard(call)
                if not slots:
                    del self._slots[scope.name]
            requests, left = self._levels(scope, now)
            self._store(scope.name, Bucket(requests, now), Bucket(min(scope.limits.tpm, left + tokens), now))

    def _levels(self, scope: _Scope, now: int) -> tuple[float, float]:
        requests, tokens = self._buckets.get(scope.name, (None, None))
        return bucket_level(requests, scope.limits.rpm, now), bucket_level(tokens, scope.limits.tpm, now)

    def _store(self, name: str, requests: Bucket, tokens: Bucket) -> None:
        self._buckets[name] = (requests, tokens)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_LOCAL_SCOPES:
            self._buckets.popitem(last=False)
