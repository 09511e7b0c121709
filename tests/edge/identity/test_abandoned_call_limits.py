"""Payers that repeatedly disconnect before an answer: rejected for a while, on every process, without affecting others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from edge.identity import abandoned_call_limits
from edge.identity.abandoned_call_limits import AbandonedCalls
from edge.store.limiter import Limiter
from shared.core.errors import TooManyAbandonedCalls
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.models import UsageLedger
from tests import factories
from tests.edge.assertions import valid_answer
from tests.edge.http_calls import Stream, chat
from tests.openai_payloads import DONE, chunk, finish, role
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, delayed, stream

NO_REDIS = "redis://127.0.0.1:1/0"  # no server listens there
ROOMY = RateLimits(600_000, 10**9, 5_000)


def payer(number: int, limits: RateLimits = ROOMY) -> KeyLimits:
    return KeyLimits(UUID(int=number), UUID(int=number), limits, limits)


def wait_settled(known: int) -> None:
    eventually(lambda: UsageLedger.select().count() > known, "the call is settled")


def wait_refused(edge: WebProcess, secret: str) -> None:
    eventually(lambda: chat(edge, secret).status == 429, "the payer is refused")


def abandon(edge: WebProcess, upstream: Upstream, secret: str, **fields: Any) -> None:
    """Disconnect from a call while the provider works, and wait until the call is settled."""
    settled, gate = UsageLedger.select().count(), Gate()
    upstream.script(delayed(gate, valid_answer(fields.get("stream", True))))
    with Stream(edge, secret, **fields):
        gate.wait_reached()
    wait_settled(settled)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_repeated_disconnects_are_throttled(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    """Streams and whole answers count alike; all keys of the account are rejected, no others."""
    owner = factories.account(credits=1_000_000)
    (_, secret), (_, second_key) = factories.api_key(owner), factories.api_key(owner)
    _, other = factories.api_key(factories.account(credits=1_000_000))
    factories.model("m-1", factories.channel(upstream.url), minimum=10)
    first, second = (start_edge(database_url=any_database_url, redis_url=redis_url, abandoned_calls_rpm=3) for _ in range(2))
    abandon(first, upstream, secret)
    abandon(second, upstream, secret)
    abandon(first, upstream, secret, stream=False)
    assert chat(first, secret).status == 200, "the allowed number is not rejected"
    for edge in (first, second):  # one more on each edge, which then rejects calls
        abandon(edge, upstream, secret)
        wait_refused(edge, second_key)
        refused = chat(edge, secret)
        assert (refused.status, refused.code) == (429, "too_many_abandoned_calls")
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert chat(edge, other).status == 200


@pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
def test_calls_that_delivered_or_cost_nothing_do_not_count(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    _, secret = factories.api_key(factories.account(credits=1_000_000))
    factories.model("m-1", factories.channel(upstream.url), minimum=10)
    factories.model("own", factories.channel(upstream.url, name="own", settings={"cancel": "free"}), minimum=10)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url, abandoned_calls_rpm=1)
    for _ in range(3):
        abandon(edge, upstream, secret, model="own")
    for _ in range(3):
        settled, gate = UsageLedger.select().count(), Gate()
        upstream.script(stream(role(), chunk("Hello"), gate, finish(), DONE))
        with Stream(edge, secret) as call:
            call.response_head()
            call.read_text("Hello")
            gate.wait_reached()
        wait_settled(settled)
    abandon(edge, upstream, secret)
    assert chat(edge, secret).status == 200


async def refused_after(calls: AbandonedCalls, who: KeyLimits, at_most: int) -> int:
    """The number of abandoned calls before the limit."""
    for number in range(at_most):
        await calls.count(who)
        try:
            calls.check(who)
        except TooManyAbandonedCalls:
            return number
    raise AssertionError("no limit")


@pytest.mark.parametrize(
    ("concurrency", "allowed"), [(5_000, 100), (20, 60), (2, 30)], ids=["setting", "few at once", "a visitor"]
)
async def test_the_limit_follows_the_setting_and_the_concurrency(concurrency: int, allowed: int) -> None:
    """Without Redis this process counts on its own. A refill may allow one more on a slow machine."""
    calls = AbandonedCalls(Limiter(NO_REDIS, 60), 100)
    who = payer(1, ROOMY._replace(concurrency=concurrency))
    assert await refused_after(calls, who, 2 * allowed) >= allowed
    calls.check(payer(2))


async def test_a_payer_may_call_again_later_and_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abandoned_call_limits, "MAX_BLOCKED_PAYERS", 2)
    calls = AbandonedCalls(Limiter(NO_REDIS, 60), 1)
    for number in range(1, 4):
        await refused_after(calls, payer(number), 10)
    calls.check(payer(1))  # evicted by later payers
    with pytest.raises(TooManyAbandonedCalls) as refused:
        calls.check(payer(3))
    assert 0 < refused.value.retry_after_ms <= abandoned_call_limits.BLOCK_MS
    monkeypatch.setattr(abandoned_call_limits, "now_ms", lambda: 10**15)
    calls.check(payer(3))
