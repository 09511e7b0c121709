"""Rate limits through real edges and a real Redis: rejected calls, their headers, and fallback when Redis is down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import floor
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peewee import fn

from edge.store.limiter import SCRIPT, Limiter, LocalLimiter, _scopes
from shared.core.errors import RateLimited
from shared.core.token_bucket import (
    Bucket,
    KeyLimits,
    RateLimits,
    RateLimitState,
    bucket_level,
    effective_limits,
    ms_until_available,
)
from shared.models import Account, Hold, Plan, Subscription, UsageLedger
from tests import factories
from tests.edge.http_calls import Response, Stream, chat, run_concurrently
from tests.openai_payloads import chunk, completion, role, tokens
from tests.servers.process import eventually
from tests.servers.redis import KINDS, RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import HANG, Gate, delayed, error_response, json_response, stream

HEADERS = {f"x-ratelimit-{what}-{of}" for what in ("limit", "remaining", "reset") for of in ("requests", "tokens")}


@pytest.fixture
def model(bound_database: Any, upstream: Upstream) -> None:
    factories.model("m-1", factories.channel(upstream.url), minimum=10)


only_sqlite = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
only_postgres = pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)


def key(owner: Account | None = None, **limits: int) -> str:
    return factories.api_key(owner or factories.account(), **limits)[1]


def subscribe(owner: Account, **limits: int) -> None:
    plan = Plan.create(name=str(owner.id), **limits)
    Subscription.create(account=owner, plan=plan)


def assert_limited(answer: Response, what: str) -> None:
    assert (answer.status, answer.code, answer.body["error"]["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert what in answer.body["error"]["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert 1 <= int(answer.headers["retry-after-ms"]) <= 60_000
    assert set(answer.headers) >= HEADERS


@only_sqlite
@pytest.mark.parametrize("any_redis_url", [*KINDS, "cluster"], indirect=True)
def test_limits_per_minute_and_concurrency_of_a_key(
    model: None, any_database_url: str, any_redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=any_redis_url, default_rpm=1_000, default_tpm=100_000)
    owner = factories.account()

    # Requests
    secret = key(owner, rpm=3)
    answers = [chat(edge, secret) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert_limited(answers[3], "3 requests per minute")
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]
    assert {answer.headers["x-ratelimit-limit-requests"] for answer in answers} == {"3"}
    assert len(upstream.calls) == 3

    # The account's other key has its own bucket, and the account was only charged for granted requests.
    other = chat(edge, key(owner))
    assert (other.status, other.headers["x-ratelimit-limit-requests"]) == (200, "1000")
    assert int(other.headers["x-ratelimit-remaining-requests"]) >= 1_000 - 4

    # Tokens: an estimate is taken, and the unused part is returned
    secret = key(owner, tpm=1_000)
    assert chat(edge, secret, max_tokens=900).status == 200
    eventually(lambda: int(chat(edge, secret, max_tokens=1).headers["x-ratelimit-remaining-tokens"]) > 800, "tokens come back")
    upstream.script(json_response(completion("Hi", usage=tokens(10, 5_000))))
    assert chat(edge, secret, max_tokens=500).status == 200
    eventually(lambda: chat(edge, secret, max_tokens=100).status == 429, "usage above the estimate is deducted")
    assert_limited(chat(edge, secret, max_tokens=100), "1000 tokens per minute")

    # Concurrency: a slot is free again after an answer, an error and a cancellation
    secret = key(owner, concurrency=2)
    gate = Gate()
    upstream.script(delayed(gate, error_response(400)), stream(role(), chunk("Hi"), HANG))
    with Stream(edge, secret, stream=False) as failing, Stream(edge, secret) as leaving:
        gate.wait_reached()
        eventually(lambda: len(upstream.calls) > 1 and chat(edge, secret).status == 429, "both slots are taken")
        assert_limited(chat(edge, secret), "2 concurrent requests")
        gate.open()
        failing.json_response()
        leaving.response_head()
    eventually(
        lambda: {answer.status for answer in run_concurrently(2, lambda _: chat(edge, secret))} == {200}, "both slots are free"
    )


@only_sqlite
def test_an_accounts_limits_count_all_its_keys(
    model: None, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    owner, wider = factories.account(), factories.account()
    subscribe(owner, rpm=2, tpm=50_000, concurrency=7)
    subscribe(wider, rpm=2)
    keys = [key(owner) for _ in range(3)]
    answers = [chat(edge, secret) for secret in keys]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert_limited(answers[2], "2 requests per minute")
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "50000"
    # A key's own limit cannot exceed its account's.
    secret = key(wider, rpm=100)
    assert [chat(edge, secret).status for _ in range(3)] == [200, 200, 429]


@only_sqlite
def test_rejections_have_limit_headers_too(
    model: None, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    upstream.script(error_response(400), error_response(401))
    rich, poor = key(), key(factories.account(0))
    answers = [chat(edge, rich), chat(edge, rich), chat(edge, rich), chat(edge, poor)]
    assert [answer.status for answer in answers] == [400, 502, 200, 402]
    for answer in answers:
        assert set(answer.headers) >= HEADERS


@only_sqlite
def test_a_call_that_is_rejected_after_its_hold_was_taken_releases_it(
    model: None, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    secret = key(rpm=10)
    assert chat(edge, secret).status == 200
    with redis.Redis.from_url(redis_url) as client:  # as if another edge had used up the limit
        (bucket,) = client.keys("yout:bucket:{*}:*")
        client.hset(bucket, "r", -10)
    assert_limited(chat(edge, secret), "10 requests per minute")
    eventually(lambda: not Hold.select().exists(), "the second call's hold is released")
    assert Account.select(fn.sum(Account.held)).scalar() == 0
    assert len(upstream.calls) == 1


async def test_a_permit_is_likely_while_the_limits_are_far_away(redis_url: str) -> None:
    limiter, limited = Limiter(redis_url, 60), scopes(concurrency=5)
    permits = [await limiter.acquire(uuid4(), limited, 1)]  # 4 more calls are within the limits
    burst = [limiter.request(uuid4(), limited, 1) for _ in range(3)]
    assert [requested.is_likely for requested in burst] == [True, True, False]
    permits += [await limiter.granted(requested) for requested in burst]  # 1 more
    last = limiter.request(uuid4(), limited, 1)
    assert not last.is_likely
    limiter.withdraw(last)
    for permit in permits:
        limiter.release(permit, 0)
    await limiter.close()
    # All slots are free again, including the one of the call that was given up.
    assert [(await limiter.acquire(uuid4(), limited, 1)).local for _ in range(5)] == [False] * 5
    await limiter.close()


@only_postgres
def test_two_edges_share_the_limits(
    model: None, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    edges = [start_edge(database_url=any_database_url, redis_url=redis_url) for _ in range(2)]
    secret = key(rpm=10)
    answers = run_concurrently(30, lambda number: chat(edges[number % 2], secret))
    assert sorted(answer.status for answer in answers) == [200] * 10 + [429] * 20
    busy = key(concurrency=1)
    gate = Gate()
    upstream.script(delayed(gate, json_response(completion("Hi"))))
    with Stream(edges[0], busy, stream=False) as call:
        gate.wait_reached()
        assert_limited(chat(edges[1], busy), "1 concurrent requests")
        gate.open()
        call.json_response()
    eventually(lambda: chat(edges[1], busy).status == 200, "the slot is free on every edge")


@pytest.mark.parametrize("fault", ["kill", "freeze"])
@only_sqlite
def test_without_redis_each_process_limits_by_itself(
    model: None, any_database_url: str, own_redis: RedisServer, upstream: Upstream, start_edge: Any, fault: str
) -> None:
    edge = start_edge(database_url=any_database_url, redis_url=own_redis.url)
    secret, limited, slow = key(), key(rpm=2), key(concurrency=1)
    assert chat(edge, secret).status == 200
    gate = Gate()
    upstream.script(delayed(gate, json_response(completion("Hi"))))
    with Stream(edge, slow, stream=False) as call, ExitStack() as later_on:
        gate.wait_reached()
        getattr(own_redis, fault)()
        if fault == "freeze":
            later_on.callback(own_redis.thaw)
        answers = run_concurrently(20, lambda _: chat(edge, secret))
        assert {answer.status for answer in answers} == {200}
        assert set(answers[0].headers) >= HEADERS
        assert sorted(answer.status for answer in run_concurrently(4, lambda _: chat(edge, limited))) == [200, 200, 429, 429]
        gate.open()
        assert call.json_response().status == 200
        if fault == "kill":
            own_redis.restart()
    # Redis is back (with its memory if it was only frozen): the slot of the call that ended during the outage is free.
    with redis.Redis.from_url(own_redis.url) as client:

        def serves() -> bool:
            return chat(edge, slow).status == 200 and bool(client.keys("yout:bucket:*"))

        eventually(serves, "Redis keeps the limits again")
        eventually(lambda: not client.keys("yout:leases:{*}:*"), "no slot is left behind")
    assert UsageLedger.select().where(UsageLedger.status != "completed").count() == 0
    log = edge.process.log.read_text()
    assert (log.count("Redis is unavailable"), log.count("Redis is available again")) == (1, 1)


# Arithmetic: the Lua script computes the same as the pure functions


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


def run(client: redis.Redis, names: Sequence[str], *arguments: object) -> list[int]:
    """The script's result for one operation on these keys."""
    (answer,) = client.eval(SCRIPT, len(names), *names, *arguments)
    return answer


limits = st.integers(1, 10**6)
levels = st.floats(-1e6, 1e6).map(lambda level: round(level, 3))


@given(rpm=limits, tpm=limits, requests=levels, left=levels, ago=st.integers(0, 90_000), requested=st.integers(0, 2 * 10**6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_matches_the_pure_functions(
    client: redis.Redis, rpm: int, tpm: int, requests: float, left: float, ago: int, requested: int
) -> None:
    client.flushdb()
    seconds, micros = client.time()
    at = seconds * 1000 + micros // 1000 - ago
    client.hset("b", mapping={"r": requests, "t": left, "at": at})
    answer = run(client, ("b", "l"), "t", "call", 1_000, requested, 0, 1, rpm, tpm, 5)
    after = client.hmget("b", "r", "t", "at")
    if answer[0]:
        # A rejection does not report the script's time, which is between these two.
        seconds, micros = client.time()
        moments = range(at + ago, seconds * 1000 + micros // 1000 + 1)
        assert any(answer == refusal(requests, left, at, moment, rpm, tpm, requested) for moment in moments)
        assert (float(after[0]), float(after[1]), int(after[2])) == (requests, left, at)
        return
    now = int(after[2])
    have, rest = bucket_level(Bucket(requests, at), rpm, now), bucket_level(Bucket(left, at), tpm, now)
    assert have >= 1
    assert rest >= min(requested, tpm)
    assert float(after[0]) == pytest.approx(have - 1, abs=0.001)
    assert float(after[1]) == pytest.approx(rest - requested, abs=0.001)
    more = min(have - 1, (rest - requested) / max(requested, 1), 5 - 1)
    assert answer == [0, rpm, int(have - 1), tpm, max(0, int(rest - requested)), max(0, floor(more)), 0, 0]
    assert client.zcard("l") == 1


def refusal(requests: float, left: float, at: int, now: int, rpm: int, tpm: int, requested: int) -> list[int] | None:
    """The script's expected rejection at `now`; None if it would grant the request."""
    have, rest = bucket_level(Bucket(requests, at), rpm, now), bucket_level(Bucket(left, at), tpm, now)
    standing = [rpm, floor(have), tpm, max(0, floor(rest))]
    if have < 1:
        return [1, ms_until_available(have, rpm, 1), rpm, *standing]
    if rest < min(requested, tpm):
        return [2, ms_until_available(rest, tpm, requested), tpm, *standing]
    return None


def test_a_rejected_call_consumes_nothing_in_any_scope(client: redis.Redis) -> None:
    wide, names = ("t", "c1", 60_000, 10, 0, 2, 100, 1_000, 5, 1, 1_000, 5), ("b1", "l1", "b2", "l2")
    assert run(client, names, *wide)[0] == 0
    before = client.hgetall("b1")
    again = ("t", "c2", 60_000, 10, 0, 2, 100, 1_000, 5, 1, 1_000, 5)
    assert run(client, names, *again)[:1] == [1]
    assert client.hgetall("b1") == before
    assert client.zrange("l1", 0, -1) == [b"c1"]


def test_the_slot_of_a_lost_call_is_freed_when_its_lease_expires(client: redis.Redis) -> None:
    take = ("t", "c1", 30, 0, 0, 1, 100, 100, 1)
    assert run(client, ("b", "l"), *take)[0] == 0
    assert run(client, ("b", "l"), "t", "c2", 30, 0, 0, 1, 100, 100, 1)[0] == 3
    eventually(lambda: run(client, ("b", "l"), "t", "c2", 30, 0, 0, 1, 100, 100, 1)[0] == 0, "the lease is over")


# The process-local limiter


def scopes(rpm: int = 100, tpm: int = 1_000, concurrency: int = 10) -> KeyLimits:
    whole = RateLimits(rpm, tpm, concurrency)
    return KeyLimits(uuid4(), uuid4(), whole, effective_limits(whole, None, None, None))


@pytest.mark.parametrize(
    ("few", "what"), [({"rpm": 2}, "requests"), ({"tpm": 20}, "tokens"), ({"concurrency": 2}, "concurrent requests")]
)
def test_the_local_limiter_rejects_alike(few: dict[str, int], what: str) -> None:
    local, names = LocalLimiter(), _scopes(scopes(**few))
    calls = [uuid4().hex for _ in range(2)]
    for call in calls:
        assert isinstance(local.acquire(call, names, 10), RateLimitState)
    with pytest.raises(RateLimited, match=what) as refused:
        local.acquire(uuid4().hex, names, 10)
    assert refused.value.rate_limit_state is not None
    assert 1 <= refused.value.retry_after_ms <= 60_000
    if what != "requests":
        local.release(calls[0], names, 10)
        local.acquire(uuid4().hex, names, 10)


async def test_a_cancellation_just_after_the_result_keeps_no_slot(redis_url: str) -> None:
    limiter, limited = Limiter(redis_url, 60), scopes(concurrency=1)
    running: asyncio.Task[Any] = asyncio.create_task(limiter.acquire(uuid4(), limited, 1))
    real = limiter._script.run

    async def run_then_cancel(*arguments: Any) -> Any:
        answers = await real(*arguments)
        # Like a client that disconnects at the moment of the answer.
        asyncio.get_running_loop().call_soon(running.cancel)
        return answers

    limiter._script.run = run_then_cancel  # type: ignore[method-assign]  # of this one object
    with pytest.raises(asyncio.CancelledError):
        await running
    limiter._script.run = real  # type: ignore[method-assign]  # of this one object
    ticket = await take_when_free(limiter, limited)
    limiter.release(ticket, 0)
    await limiter.close()


async def take_when_free(limiter: Limiter, limited: KeyLimits) -> Any:
    for _ in range(200):
        try:
            return await limiter.acquire(uuid4(), limited, 1)
        except RateLimited:
            await asyncio.sleep(0.02)
    raise AssertionError("the slot was never freed")
