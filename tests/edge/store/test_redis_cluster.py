"""Limits on a real Redis Cluster: as on a single Redis, while slots move, and without one of the nodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import uuid4

import pytest
import redis

from edge.store.limiter import LIMIT_NAMES, Limiter, Permit
from shared.core.availability import REDIS_NODE
from shared.core.errors import RateLimited
from shared.core.token_bucket import KeyLimits, RateLimits
from tests.servers.process import eventually
from tests.servers.redis import RedisServer
from tests.servers.redis_cluster import NODES, RedisCluster
from transport.redis_cluster import slot_of

WIDE = RateLimits(1_000, 1_000_000, 1_000)
ACCOUNTS = 120
WAIT_SECONDS = 20


@asynccontextmanager
async def limiting(url: str) -> AsyncIterator[Limiter]:
    limiter = Limiter(url, 60)
    try:
        yield limiter
    finally:
        await limiter.close()


async def outcome(limiter: Limiter, limits: KeyLimits, tokens: int = 1) -> Permit | str:
    """The permit, or the name of the exceeded limit."""
    try:
        return await limiter.acquire(uuid4(), limits, tokens)
    except RateLimited as refused:
        return next(name for name in LIMIT_NAMES.values() if name in str(refused))


async def eventually_async(check: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not await check():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s for: {what}"
        await asyncio.sleep(0.02)


def account(limits: RateLimits = WIDE, key: RateLimits | None = None, parent: RateLimits | None = None) -> KeyLimits:
    return KeyLimits(uuid4(), uuid4(), limits, key or limits, uuid4() if parent else None, parent)


def node_of(cluster: RedisCluster, limits: KeyLimits) -> int:
    return cluster.owner(slot_of(limits.account.hex))


def account_on(cluster: RedisCluster, number: int) -> KeyLimits:
    while True:
        limits = account()
        if node_of(cluster, limits) == number:
            return limits


class Case(NamedTuple):
    """Limits of an account, a key and its creator; tokens of calls in turn; their outcomes: remaining requests, or a limit."""

    limits: tuple[RateLimits | None, ...]
    tokens: tuple[int, ...]
    outcomes: tuple[int | str, ...]


REQUESTS, TOKENS, CONCURRENT = LIMIT_NAMES.values()
CASES = (
    Case((RateLimits(3, 1_000, 10),), (1, 1, 1, 1), (2, 1, 0, REQUESTS)),
    Case((RateLimits(9, 100, 10),), (60, 60, 30), (8, TOKENS, 7)),
    Case((RateLimits(9, 1_000, 2),), (1, 1, 1), (8, 7, CONCURRENT)),
    Case((WIDE, RateLimits(2, 1_000, 10)), (1, 1, 1), (1, 0, REQUESTS)),
    Case((RateLimits(2, 1_000, 10), RateLimits(5, 500, 10)), (1, 1, 1), (1, 0, REQUESTS)),
    Case((WIDE, RateLimits(5, 500, 10), RateLimits(4, 100, 10)), (80, 80, 10), (3, TOKENS, 2)),
)


@pytest.mark.parametrize("any_redis_url", ["valkey", "cluster"], indirect=True)
async def test_a_cluster_limits_like_a_single_redis(any_redis_url: str) -> None:
    cases = [CASES[number % len(CASES)] for number in range(ACCOUNTS)]
    owners = [account(*case.limits) for case in cases]

    async def calls(limiter: Limiter, limits: KeyLimits, case: Case) -> list[int | str]:
        found: list[int | str] = []
        permits = []
        for tokens in case.tokens:
            one = await outcome(limiter, limits, tokens)
            found.append(one if isinstance(one, str) else one.rate_limit_state.remaining_requests)
            permits += [one] if isinstance(one, Permit) else []
        for permit in permits:
            limiter.release(permit, permit.tokens)
        return found

    async with limiting(any_redis_url) as limiter:
        assert await limiter.check()
        results = await asyncio.gather(*(calls(limiter, *pair) for pair in zip(owners, cases, strict=True)))
        assert [tuple(result) for result in results] == [case.outcomes for case in cases]


async def test_accounts_are_spread_and_every_slot_is_freed(redis_cluster: RedisCluster) -> None:
    async with limiting(redis_cluster.url) as limiter:
        permits = await asyncio.gather(
            *(limiter.acquire(uuid4(), account(key=RateLimits(5, 500, 5)), 1) for _ in range(ACCOUNTS))
        )
        assert not any(permit.local for permit in permits)
        counts = [len(redis_cluster.command(number, "KEYS", "yout:leases:*")) for number in range(NODES)]
        assert sum(counts) == 2 * ACCOUNTS
        assert min(counts) > 0
        for permit in permits:
            limiter.release(permit, 1)
    assert redis_cluster.keys("yout:leases:*") == []


async def test_redirections_are_followed_while_a_slot_moves_key_by_key(redis_cluster: RedisCluster) -> None:
    limits = account(RateLimits(5, 1_000, 5))
    slot, source = slot_of(limits.account.hex), node_of(redis_cluster, limits)
    target = (source + 1) % NODES
    port = redis_cluster.nodes[target].port
    keys = [f"yout:{kind}:{{{limits.account.hex}}}" for kind in ("bucket", "leases")]
    async with limiting(redis_cluster.url) as limiter:

        async def remaining() -> tuple[int, bool]:
            permit = await limiter.acquire(uuid4(), limits, 1)
            return permit.rate_limit_state.remaining_requests, permit.local

        assert await remaining() == (4, False)
        redis_cluster.command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", redis_cluster.name(source))
        redis_cluster.command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", redis_cluster.name(target))
        assert await remaining() == (3, False)  # both keys are still here
        redis_cluster.command(source, "MIGRATE", "127.0.0.1", port, keys[0], 0, 1_000)
        assert await remaining() == (4, True)  # TRYAGAIN: a key is on each node, and neither can run the script
        redis_cluster.command(source, "MIGRATE", "127.0.0.1", port, keys[1], 0, 1_000)
        assert await remaining() == (2, False)  # ASK
        for number in (target, source):
            redis_cluster.command(number, "CLUSTER", "SETSLOT", slot, "NODE", redis_cluster.name(target))
        assert await remaining() == (1, False)  # MOVED
        assert redis_cluster.command(target, "ZCARD", keys[1]) == 4
        assert REDIS_NODE.is_available


async def test_no_call_is_lost_or_granted_twice_while_a_slot_moves_at_once(redis_cluster: RedisCluster) -> None:
    limits = account(RateLimits(200, 1_000_000, 1_000))
    slot, source = slot_of(limits.account.hex), node_of(redis_cluster, limits)
    target = (source + 1) % NODES
    moved = asyncio.Event()
    began = time.monotonic()
    async with limiting(redis_cluster.url) as limiter:

        async def call() -> list[Permit | str]:
            found = []
            while not moved.is_set():
                found.append(await outcome(limiter, limits))
                await asyncio.sleep(0.005)
            return [*found, *[await outcome(limiter, limits) for _ in range(80)]]

        callers = [asyncio.create_task(call()) for _ in range(4)]
        await asyncio.sleep(0)
        redis_cluster.command(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", redis_cluster.name(target))
        await asyncio.to_thread(eventually, lambda: redis_cluster.owner(slot) == target, "the slot has moved")
        moved.set()
        found = [one for result in await asyncio.gather(*callers) for one in result]
    granted = [one for one in found if isinstance(one, Permit)]
    assert not any(permit.local for permit in granted)
    assert {one for one in found if isinstance(one, str)} == {REQUESTS}
    assert 200 <= len(granted) <= 200 + 200 * (time.monotonic() - began) / 60 + 1  # the bucket refills meanwhile
    assert redis_cluster.command(target, "ZCARD", f"yout:leases:{{{limits.account.hex}}}") == len(granted)


async def test_without_a_node_only_its_accounts_are_limited_by_the_process(
    redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "yout.availability")
    lost, kept = account_on(redis_cluster, 1), account_on(redis_cluster, 2)
    async with limiting(redis_cluster.url) as limiter:
        running = [await limiter.acquire(uuid4(), limits, 1) for limits in (lost, kept)]
        assert not any(permit.local for permit in running)
        redis_cluster.nodes[1].kill()
        try:
            during = [[await limiter.acquire(uuid4(), limits, 1) for _ in range(3)] for limits in (lost, kept)]
            assert [{permit.local for permit in permits} for permits in during] == [{True}, {False}]
            assert not await limiter.check()
            for permit in running:
                limiter.release(permit, 1)
        finally:
            redis_cluster.nodes[1].restart()
        await eventually_async(limiter.check, "every node runs the script")

        async def is_shared() -> bool:
            permit = await limiter.acquire(uuid4(), lost, 1)
            limiter.release(permit, 1)
            return not permit.local

        await eventually_async(is_shared, "the node keeps the limits again")
        for permit in (*during[0], *during[1]):
            limiter.release(permit, 1)

        async def is_free() -> bool:
            return await asyncio.to_thread(redis_cluster.keys, "yout:leases:*") == []

        await eventually_async(is_free, "no slot is left behind")
    log = [record.getMessage() for record in caplog.records if record.name == "yout.availability"]
    assert len(log) == 2
    assert log[0].startswith("A node of the Redis Cluster is unavailable")
    assert log[1].startswith("A node of the Redis Cluster is available again")


async def test_a_node_that_forgot_its_scripts_gets_them_again(redis_cluster: RedisCluster) -> None:
    limits = account()
    async with limiting(redis_cluster.url) as limiter:
        assert not (await limiter.acquire(uuid4(), limits, 1)).local
        redis_cluster.command(node_of(redis_cluster, limits), "SCRIPT", "FLUSH")
        assert not (await limiter.acquire(uuid4(), limits, 1)).local


async def test_a_single_server_url_of_a_cluster_is_told_apart_from_an_outage(
    redis_cluster: RedisCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with limiting(redis_cluster.nodes[0].url) as limiter:
        assert (await limiter.acquire(uuid4(), account_on(redis_cluster, 1), 1)).local
        assert not await limiter.check()
    assert "use redis+cluster://" in caplog.text


async def test_readiness_needs_a_server_that_accepts_writes(own_redis: RedisServer) -> None:
    async with limiting(own_redis.url) as limiter:
        assert await limiter.check()
        with redis.Redis.from_url(own_redis.url) as client:
            client.replicaof("127.0.0.1", 1)
        assert not await limiter.check()
