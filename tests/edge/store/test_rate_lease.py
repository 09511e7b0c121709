"""Leases of rate limits on a real Redis: calls granted from memory, never more over all edges than the limits allow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.store.limiter import Limiter, Permit
from edge.store.rate_lease import LEASE_SECONDS, RateLease, Slot, Unused
from shared.core.errors import RateLimited
from shared.core.token_bucket import KeyLimits, RateLimits, RateLimitState
from tests.servers.redis import RedisServer

WIDE = RateLimits(600_000, 10**9, 5_000)
WAIT_SECONDS = 20


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


def of_account(limits: RateLimits) -> KeyLimits:
    return KeyLimits(uuid4(), uuid4(), limits, limits)


async def run_one(limiter: Limiter, limits: KeyLimits, tokens: int = 10, used: int = 10) -> Permit:
    permit = await limiter.acquire(uuid4(), limits, tokens)
    limiter.release(permit, used)
    return permit


def minutes_since(began: float) -> float:
    """The time that buckets had to refill, at most. Redis reads its clock in whole milliseconds."""
    return (time.monotonic() - began + 0.001) / 60


def script_calls(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0))


def left(client: redis.Redis, name: str) -> tuple[float, float]:
    """The stored level of a bucket, in requests and tokens, without what was refilled since."""
    requests, tokens = client.hmget(f"yout:bucket:{name}", "r", "t")
    return float(requests), float(tokens)  # type: ignore[arg-type]  # the bucket exists


def tag(limits: KeyLimits) -> str:
    return f"{{{limits.account.hex}}}"


async def test_most_calls_far_from_the_limits_do_not_ask_redis(redis_url: str, client: redis.Redis) -> None:
    limiter, limits = Limiter(redis_url, 60), of_account(WIDE)
    before = script_calls(client)
    for _ in range(500):
        await run_one(limiter, limits)
    assert script_calls(client) - before < 100
    await limiter.close()
    # Everything was given back but the requests and tokens of these calls.
    requests, tokens = left(client, tag(limits))
    assert WIDE.rpm - 500 <= requests
    assert WIDE.tpm - 500 * 10 <= tokens
    assert client.zcard(f"yout:leases:{tag(limits)}") == 0


async def test_a_lease_that_is_not_used_up_is_given_back(redis_url: str, client: redis.Redis) -> None:
    limiter, limits = Limiter(redis_url, 60), of_account(WIDE)
    for _ in range(3):
        await run_one(limiter, limits)
    assert left(client, tag(limits))[0] < WIDE.rpm - 3
    deadline = time.monotonic() + WAIT_SECONDS
    while left(client, tag(limits))[0] < WIDE.rpm - 3 or client.zcard(f"yout:leases:{tag(limits)}"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await limiter.close()


@pytest.mark.parametrize(
    "limits", [WIDE._replace(rpm=900), WIDE._replace(tpm=9_000), WIDE._replace(concurrency=15)], ids=["rpm", "tpm", "concurrency"]
)
async def test_calls_within_narrow_limits_are_counted_exactly(redis_url: str, client: redis.Redis, limits: RateLimits) -> None:
    limiter, narrow = Limiter(redis_url, 60), of_account(limits)
    began = time.monotonic()
    for number in range(1, 30):
        await run_one(limiter, narrow)
        requests, _ = left(client, tag(narrow))
        assert limits.rpm - number <= requests <= limits.rpm - number + minutes_since(began) * limits.rpm
    await limiter.close()


async def test_the_remaining_limits_are_true_for_leased_calls(redis_url: str) -> None:
    limiter, limits = Limiter(redis_url, 60), of_account(RateLimits(6_000, 10**6, 1_000))
    began = time.monotonic()
    for number in range(1, 200):
        state = (await run_one(limiter, limits)).rate_limit_state
        minutes = minutes_since(began)
        assert (state.limit_requests, state.limit_tokens) == (6_000, 10**6)
        assert 6_000 - number - 1 <= state.remaining_requests <= 6_000 - number + minutes * 6_000
        assert 10**6 - number * 10 - 1 <= state.remaining_tokens <= 10**6 - number * 10 + minutes * 10**6
    await limiter.close()


async def test_changed_limits_apply_to_the_next_call(redis_url: str) -> None:
    limiter, limits = Limiter(redis_url, 60), of_account(WIDE)
    for _ in range(50):
        await run_one(limiter, limits)
    lowered = limits._replace(account_limits=WIDE._replace(rpm=2), key_limits=WIDE._replace(rpm=2))
    states = [(await run_one(limiter, lowered)).rate_limit_state for _ in range(2)]
    assert [(state.limit_requests, state.remaining_requests) for state in states] == [(2, 1), (2, 0)]
    with pytest.raises(RateLimited, match="2 requests per minute"):
        await run_one(limiter, lowered)
    await limiter.close()


async def test_a_lease_ends_while_redis_is_away_and_its_slots_are_freed_later(own_redis: RedisServer) -> None:
    limiter, limits = Limiter(own_redis.url, 60), of_account(WIDE)
    for _ in range(50):
        await run_one(limiter, limits)
    own_redis.freeze()
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (await run_one(limiter, limits)).local:
            assert time.monotonic() < deadline
    finally:
        own_redis.thaw()
    with redis.Redis.from_url(own_redis.url) as client:
        deadline = time.monotonic() + WAIT_SECONDS
        while client.zcard(f"yout:leases:{tag(limits)}"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    await limiter.close()


def test_a_lease_grants_only_what_it_has() -> None:
    lease, state = RateLease(of_account(WIDE), []), RateLimitState(WIDE.rpm, 1_000, WIDE.tpm, 1_000)
    slots = [Slot(name, until=110.0) for name in ("a", "b", "c", "d")]
    lease.answered(state, requests=3, tokens=100, max_slots=3, now=100.0)
    assert lease.take(10, 100.0) is None  # no slot
    assert [lease.put_back(slot, 0, 100.0) for slot in slots] == [True, True, True, False]
    assert lease.take(101, 100.0) is None  # too many tokens
    taken = [lease.take(10, 100.0), lease.take(60, 100.0)]
    assert lease.take(40, 100.0) is None
    taken.append(lease.take(30, 100.0))
    assert {slot.call for slot in taken if slot is not None} == {"a", "b", "c"}
    assert lease.put_back(slots[0], 30, 100.1)
    assert lease.take(0, 100.1) is None  # no request
    assert lease.end() == Unused([slots[0]], 0, 30)
    assert not lease.put_back(slots[1], 0, 100.1)

    lease.answered(state, requests=3, tokens=100, max_slots=3, now=200.0)
    assert not lease.put_back(slots[0], 0, 200.0)  # calls may not begin in this slot any more
    assert lease.put_back(Slot("e", until=210.0), 0, 200.0)
    assert lease.take(10, 200.0 + LEASE_SECONDS) is None  # too late


class Burst(NamedTuple):
    """Calls on one edge with one of the account's keys, all at once; some release their permit after the others have begun."""

    edge: int
    key: int
    calls: int
    tokens: int
    used: int
    slow: int


bursts = st.lists(
    st.builds(
        Burst,
        edge=st.integers(0, 3),
        key=st.integers(0, 1),
        calls=st.integers(1, 120),
        tokens=st.integers(0, 300),
        used=st.integers(0, 300),
        slow=st.integers(0, 40),
    ),
    min_size=5,
    max_size=60,
)
rates = st.integers(960, 4_000)


class Account:
    """The calls of an account with two keys on four edges, which check the limits of each moment."""

    def __init__(self, url: str, client: redis.Redis, limits: RateLimits, key_limits: RateLimits) -> None:
        self.client = client
        account = uuid4()
        self.keys = [KeyLimits(account, uuid4(), limits, key_limits) for _ in range(2)]
        self.edges = [Limiter(url, 60) for _ in range(4)]
        self.granted = {key.key: 0 for key in self.keys}
        self.used = {key.key: 0 for key in self.keys}
        self.running = {key.key: 0 for key in self.keys}
        self.began = time.monotonic()

    async def run(self, burst: Burst) -> None:
        key, edge = self.keys[burst.key], self.edges[burst.edge]
        await asyncio.gather(*(self._call(edge, key, burst, number < burst.slow) for number in range(burst.calls)))

    async def _call(self, edge: Limiter, key: KeyLimits, burst: Burst, is_slow: bool) -> None:
        try:
            permit = await edge.acquire(uuid4(), key, burst.tokens)
        except RateLimited:
            return
        assert not permit.local
        self.granted[key.key] += 1
        self.used[key.key] += burst.tokens
        self.running[key.key] += 1
        self._check(key)
        for _ in range(20 if is_slow else 1):
            await asyncio.sleep(0)
        used = min(burst.used, burst.tokens)
        self.running[key.key] -= 1
        self.used[key.key] -= burst.tokens - used
        edge.release(permit, used)

    def _check(self, key: KeyLimits) -> None:
        is_checked = sum(self.granted.values()) % 32 == 0
        for name, limits, keys in self._scopes(key):
            granted, used, running = self._sum(self.granted, keys), self._sum(self.used, keys), self._sum(self.running, keys)
            assert running <= limits.concurrency
            assert granted <= limits.rpm * (1 + minutes_since(self.began))
            assert used <= limits.tpm * (1 + minutes_since(self.began))
            if is_checked:  # Redis has counted every call, whoever granted it
                requests, tokens = left(self.client, name)
                assert requests <= limits.rpm * (1 + minutes_since(self.began)) - granted
                assert tokens <= limits.tpm * (1 + minutes_since(self.began)) - used
                assert self.client.zcard(f"yout:leases:{name}") >= running

    def _scopes(self, key: KeyLimits) -> list[tuple[str, RateLimits, list[UUID]]]:
        """The buckets that a key's calls are counted in, with their limits, and the keys that each counts."""
        scopes = [(tag(key), key.account_limits, list(self.granted))]
        if key.key_limits != key.account_limits:
            scopes.append((f"{tag(key)}:{key.key.hex}", key.key_limits, [key.key]))
        return scopes

    @staticmethod
    def _sum(counts: dict[UUID, int], keys: list[UUID]) -> int:
        return sum(counts[key] for key in keys)

    def check_rest(self) -> None:
        """Check that Redis has counted the calls, and nothing else is taken."""
        for name, limits, keys in (scope for key in self.keys if self.granted[key.key] for scope in self._scopes(key)):
            requests, tokens = left(self.client, name)
            rest, tokens_rest = limits.rpm - self._sum(self.granted, keys), limits.tpm - self._sum(self.used, keys)
            assert rest - 0.1 <= requests <= rest + minutes_since(self.began) * limits.rpm + 0.1
            assert tokens_rest - 0.1 <= tokens <= tokens_rest + minutes_since(self.began) * limits.tpm + 0.1
            assert self.client.zcard(f"yout:leases:{name}") == 0


@given(
    rpm=rates,
    tpm=st.integers(50_000, 10**6),
    concurrency=st.integers(16, 400),
    key_rpm=rates,
    key_concurrency=st.integers(16, 400),
    steps=bursts,
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_edges_with_leases_never_exceed_a_limit_together(
    monkeypatch: pytest.MonkeyPatch,
    client: redis.Redis,
    redis_url: str,
    rpm: int,
    tpm: int,
    concurrency: int,
    key_rpm: int,
    key_concurrency: int,
    steps: list[Burst],
) -> None:
    monkeypatch.setattr("edge.store.limiter.SOCKET_SECONDS", WAIT_SECONDS)  # the checks block the event loop of all edges
    limits = RateLimits(rpm, tpm, concurrency)
    key_limits = RateLimits(min(rpm, key_rpm), tpm, min(concurrency, key_concurrency))

    async def run_all() -> None:
        account = Account(redis_url, client, limits, key_limits)
        for index in range(0, len(steps), 3):  # three bursts at a time
            await asyncio.gather(*(account.run(burst) for burst in steps[index : index + 3]))
        for edge in account.edges:
            await edge.close()
        account.check_rest()

    asyncio.run(run_all())
