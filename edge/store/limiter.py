"""Rate limits: one Redis script call per batch, with an in-process fallback if Redis is unavailable.

A key that calls often, and is far from its limits, leases part of them (`rate_lease`); its calls are then granted from memory.
All other calls of an event loop iteration share one script call. Money never depends on Redis: without it, chat continues under
local limits, and `degraded` is true.

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
from edge.store.rate_lease import LEASE_SECONDS, SLOT_SECONDS, RateLease, Scope, Slot
from shared.core.availability import REDIS, REDIS_NODE
from shared.core.clock import now_ms
from shared.core.errors import RateLimited
from shared.core.redis_url import parse_redis_url
from shared.core.token_bucket import Bucket, KeyLimits, RateLimitState, bucket_level, ms_until_available
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


class Permit(NamedTuple):
    """A permit for one call. Return it with `Limiter.release`. `local` means that Redis has no record of it."""

    slot: Slot
    lease: RateLease
    tokens: int
    rate_limit_state: RateLimitState
    local: bool = False


class PermitRequest(NamedTuple):
    """A requested permit: pass it to `Limiter.granted` or `Limiter.withdraw`.

    `is_likely`: at the last call of the same key, at least twice as many calls as since then would have been within its limits.
    `permit` is set if a lease granted it at once. Otherwise `future` is None without Redis; `wanted` are requests to lease.
    """

    slot: Slot
    lease: RateLease
    tokens: int
    wanted: int = 0
    is_likely: bool = False
    future: asyncio.Future[list[int] | None] | None = None
    permit: Permit | None = None

    @property
    def scopes(self) -> list[Scope]:
        return self.lease.scopes


class _Release(NamedTuple):
    calls: list[str]  # whose slots are freed
    scopes: list[Scope]
    requests: int
    tokens: int


class Limiter:
    """Limits requests, tokens and concurrency of keys and accounts. A call has its slot for at least `lease_seconds`."""

    def __init__(self, url: str, lease_seconds: int, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        address = parse_redis_url(url)
        self._script = RedisScript(address, SCRIPT, SOCKET_SECONDS)
        self._cluster = ClusterScript(address, SCRIPT, SOCKET_SECONDS) if address.is_cluster else None  # instead of `_script`
        self._availability = REDIS_NODE if address.is_cluster else REDIS
        self._lease_ms = (lease_seconds + SLOT_SECONDS) * 1000
        self._waiting: list[PermitRequest | _Release] = []
        self._pending_releases: list[_Release] = []  # releases to send once Redis is back
        self._running: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0
        self._retry_timer: asyncio.TimerHandle | None = None  # runs until `_pending_releases` are to be sent
        self._failing = False
        self._local = LocalLimiter()
        self._likely_calls: dict[UUID, int] = {}  # by key: the number of calls likely to be granted before Redis responds again
        self._leases: dict[UUID, RateLease] = {}  # by key, of those that called recently
        self._lease_timer: asyncio.TimerHandle | None = None  # runs while there are leases

    @property
    def degraded(self) -> bool:
        """Whether the local limiter is used, after a recent failure of Redis."""
        return time.monotonic() < self._paused_until

    async def acquire(self, call_id: UUID, limits: KeyLimits, tokens: int) -> Permit:
        """Acquire one request, `tokens` tokens and a slot in all scopes, or in none. Raises `RateLimited`."""
        return await self.granted(self.request(call_id, limits, tokens))

    def request(self, call_id: UUID, limits: KeyLimits, tokens: int) -> PermitRequest:
        """Request a permit, as `acquire` does, without waiting for it."""
        now = time.monotonic()
        lease = self._lease(limits)
        if now < self._paused_until:
            return PermitRequest(Slot(call_id.hex, now), lease, tokens)
        slot = lease.take(tokens, now)
        if slot is not None:
            return PermitRequest(slot, lease, tokens, permit=Permit(slot, lease, tokens, lease.state(now)))
        wanted = lease.demand(tokens, now)
        if wanted:
            self._end(lease)
        likely = self._likely_calls.get(limits.key, 0)
        if likely:
            self._likely_calls[limits.key] = likely - 1
        future: asyncio.Future[list[int] | None] = asyncio.get_running_loop().create_future()
        requested = PermitRequest(Slot(call_id.hex, now + SLOT_SECONDS), lease, tokens, wanted, likely > 0, future)
        self._waiting.append(requested)
        self._start()
        return requested

    async def granted(self, requested: PermitRequest) -> Permit:
        """Wait for a requested permit. Raises `RateLimited`."""
        slot, lease, tokens, _, _, future, permit = requested
        if permit is not None:
            return permit
        answer = None
        if future is not None:
            try:
                answer = await future
            except asyncio.CancelledError:
                self.withdraw(requested)
                raise
        if answer is None:
            return Permit(slot, lease, tokens, self._local.acquire(slot.call, lease.scopes, tokens), local=True)
        key = lease.limits.key
        if answer[0]:
            self._likely_calls.pop(key, None)
            raise RateLimited(LIMIT_NAMES[answer[0]], answer[2], answer[1], RateLimitState(*answer[3:]))
        if len(self._likely_calls) >= MAX_LIKELY_KEYS:
            self._likely_calls.clear()
        self._likely_calls[key] = answer[5] // 2
        return Permit(slot, lease, tokens, lease.with_unused(RateLimitState(*answer[1:5])))

    def withdraw(self, requested: PermitRequest) -> None:
        """Give up a requested permit, whether or not it has been granted."""
        future = requested.future
        if requested.permit is not None:
            self.release(requested.permit, 0)
        elif future is not None and not future.cancel() and not future.cancelled():
            self._undo(requested, future.result())

    def release(self, permit: Permit, used_tokens: int) -> None:
        """Free the slot of a finished call, and correct its token estimate to `used_tokens`."""
        slot, lease, tokens, _, local = permit
        if local:
            self._local.release(slot.call, lease.scopes, tokens - used_tokens)
        elif not lease.put_back(slot, tokens - used_tokens, time.monotonic()):
            self._return(_Release([slot.call], lease.scopes, 0, tokens - used_tokens))

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
        if self._lease_timer is not None:
            self._lease_timer.cancel()
            self._lease_timer = None
        for lease in self._leases.values():
            self._end(lease)
        self._leases.clear()
        self._start()
        if self._running is not None:
            await self._running
        if self._retry_timer is not None:
            self._retry_timer.cancel()
        self._script.close()
        if self._cluster is not None:
            self._cluster.close()

    def _lease(self, limits: KeyLimits) -> RateLease:
        """Return the lease of a key, a new one if it has none or its limits have changed."""
        lease = self._leases.get(limits.key)
        if lease is None or (lease.limits is not limits and lease.limits != limits):
            if lease is not None:
                self._end(lease)
            lease = self._leases[limits.key] = RateLease(limits, _scopes(limits))
            if self._lease_timer is None:
                self._lease_timer = asyncio.get_running_loop().call_later(LEASE_SECONDS, self._end_all)
        return lease

    def _end(self, lease: RateLease) -> None:
        """Give back what is left of a lease."""
        unused = lease.end()
        if any(unused):
            self._return(_Release([slot.call for slot in unused.slots], lease.scopes, unused.requests, unused.tokens))

    def _end_all(self) -> None:
        """End all leases, and forget keys that do not call any more."""
        for lease in self._leases.values():
            self._end(lease)
        self._leases = {key: lease for key, lease in self._leases.items() if lease.next_period()}
        self._lease_timer = asyncio.get_running_loop().call_later(LEASE_SECONDS, self._end_all) if self._leases else None

    def _return(self, release: _Release) -> None:
        if self.degraded:
            self._retry_later(release)
            return
        self._waiting.append(release)
        self._start_within(RELEASE_DELAY_SECONDS)  # batched with the next acquire, or sent alone

    def _undo(self, requested: PermitRequest, answer: list[int] | None) -> None:
        """Release a granted permit whose caller was cancelled before receiving it."""
        if answer is not None and answer[0] == 0:
            self._return(_Release([requested.slot.call], requested.scopes, 0, requested.tokens))

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
                self._record(operation, answer, began)
                future = operation.future
                assert future is not None  # noqa: S101  (a request without a future is not queued)
                if future.done():
                    self._undo(operation, answer)
                else:
                    future.set_result(answer)
        self._running = None

    def _record(self, requested: PermitRequest, answer: list[int], began: float) -> None:
        """Record what Redis answered, and leased, in the key's lease. It was counted after `began`."""
        lease = requested.lease
        if requested.wanted:
            lease.ask_again()
        if answer[0]:
            return
        leased, max_slots = answer[6:]
        lease.answered(RateLimitState(*answer[1:5]), leased, leased * requested.tokens, max_slots, began)
        if leased and self._leases.get(lease.limits.key) is not lease:  # its limits have changed, or it was forgotten
            self._end(lease)

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
            self._retry_later(_Release([operation.slot.call], operation.scopes, 0, 0))  # Redis may already have granted it
            operation.lease.ask_again()
            if operation.future is not None and not operation.future.done():
                operation.future.set_result(None)
        if self._retry_timer is None:
            delay = RETRY_REDIS_SECONDS + RELEASE_DELAY_SECONDS
            self._retry_timer = asyncio.get_running_loop().call_later(delay, self._retry)

    def _retry(self) -> None:
        self._retry_timer = None
        self._start()


def _scopes(limits: KeyLimits) -> list[Scope]:
    """Return the scope of the account, then of the key and of its creator if their limits are lower.

    Each name begins with the account in braces, a hash tag: the nodes of a cluster run a script only if its keys are in one slot.
    """
    tag = f"{{{limits.account.hex}}}"
    scopes = [Scope(tag, limits.account_limits)]
    if limits.key_limits != limits.account_limits:
        scopes.append(Scope(f"{tag}:{limits.key.hex}", limits.key_limits))
    if limits.parent is not None and limits.parent_limits is not None:
        scopes.append(Scope(f"{tag}:{limits.parent.hex}", limits.parent_limits))
    return scopes


def _arguments(batch: list[PermitRequest | _Release], lease_ms: int) -> tuple[list[str], list[Argument]]:
    names: list[str] = []
    values: list[Argument] = []
    for operation in batch:
        for scope in operation.scopes:
            names += (f"yout:bucket:{scope.name}", f"yout:leases:{scope.name}")
        if isinstance(operation, PermitRequest):
            values += ("t", operation.slot.call, lease_ms, operation.tokens, operation.wanted, len(operation.scopes))
            for scope in operation.scopes:
                values += scope.limits
        else:
            values += ("g", len(operation.calls), *operation.calls, operation.requests, operation.tokens, len(operation.scopes))
            for scope in operation.scopes:
                values += scope.limits[:2]
    return names, values


def _check_arguments(tag: str) -> tuple[list[str], list[Argument]]:
    """Return keys and arguments of an unused permit that expires by itself, on the node of `tag`."""
    return [f"yout:check:bucket:{{{tag}}}", f"yout:check:leases:{{{tag}}}"], [
        "t",
        "check",
        1_000,
        0,
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

    def acquire(self, call: str, scopes: list[Scope], tokens: int) -> RateLimitState:
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

    def release(self, call: str, scopes: list[Scope], tokens: int) -> None:
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

    def _levels(self, scope: Scope, now: int) -> tuple[float, float]:
        requests, tokens = self._buckets.get(scope.name, (None, None))
        return bucket_level(requests, scope.limits.rpm, now), bucket_level(tokens, scope.limits.tpm, now)

    def _store(self, name: str, requests: Bucket, tokens: Bucket) -> None:
        self._buckets[name] = (requests, tokens)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_LOCAL_SCOPES:
            self._buckets.popitem(last=False)
