"""Routing: the order in which channels are tried, and circuit breakers that open, probe and close."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.catalog import failover
from shared.catalog.failover import (
    FAILURES_TO_OPEN,
    FIRST_COOLDOWN_MS,
    MAX_COOLDOWN_MS,
    PROBE_MS,
    CircuitBreaker,
    RouteHealth,
    RouteSpeed,
    backoff_seconds,
)
from shared.catalog.routing import RoutingPreferences, filter_routes, order_routes, sort_by_preferences
from shared.catalog.snapshot import Route
from tests.servers.process import ROOT

ADA, BOB = uuid4(), uuid4()


def route(name: str = "r", priority: int = 0, weight: int = 1, id: UUID | None = None) -> Route:
    return Route(id or uuid4(), id or uuid4(), name, "openai", "http://localhost", "", {}, "m", priority, weight)


def names(routes: list[Route]) -> list[str]:
    return [one.channel_name for one in routes]


def test_lower_priority_comes_first_whatever_the_weights() -> None:
    routes = [route("last", 9, 1_000), route("first", -1), route("middle", 0, 50)]
    for seed in range(50):
        assert names(order_routes(routes, RouteHealth(), 0, random.Random(seed).random, ADA)) == ["first", "middle", "last"]


def test_equal_priorities_share_calls_by_weight() -> None:
    routes = [route("heavy", 0, 3), route("light", 0, 1)]
    draw = random.Random(1).random
    firsts = Counter(order_routes(routes, RouteHealth(), 0, draw, ADA)[0].channel_name for _ in range(4_000))
    assert 2_850 < firsts["heavy"] < 3_150


def first_of(routes: list[Route], key: bytes, health: RouteHealth | None = None) -> str:
    return order_routes(routes, health or RouteHealth(), 0, random.random, ADA, lambda: key)[0].channel_name


def conversations(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


CHANNELS = st.lists(st.integers(1, 20), min_size=2, max_size=5).map(
    lambda weights: [route(str(number), 0, weight, UUID(int=number)) for number, weight in enumerate(weights)]
)


@given(CHANNELS)
@settings(max_examples=20, deadline=None)
def test_conversations_are_distributed_by_weight(routes: list[Route]) -> None:
    firsts = Counter(first_of(routes, key) for key in conversations(1_000))
    for one in routes:
        share = one.weight / sum(other.weight for other in routes)
        assert abs(firsts[one.channel_name] / 1_000 - share) < 6 * math.sqrt(share * (1 - share) / 1_000)


@given(CHANNELS, st.data())
@settings(max_examples=20, deadline=None)
def test_a_removed_or_unhealthy_channel_moves_only_its_own_conversations(routes: list[Route], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(routes))
    health = RouteHealth()
    for _ in range(FAILURES_TO_OPEN):
        health.breaker_of(gone).record_failure(0)
    rest = [one for one in routes if one is not gone]
    for key in conversations(200):
        before = first_of(routes, key)
        moved = first_of(rest, key)
        assert first_of(routes, key, health) == moved
        assert moved != gone.channel_name
        assert before in (moved, gone.channel_name)


ORDERS = """
from uuid import UUID
from shared.catalog.failover import RouteHealth
from shared.catalog.routing import order_routes
from shared.catalog.snapshot import Route
ids = [UUID(int=number) for number in range(8)]
routes = [Route(id, id, str(id.int), "openai", "", "", {}, "m", id.int // 4, 1 + id.int % 3) for id in ids]
def order(key):
    return "".join(route.channel_name for route in order_routes(routes, RouteHealth(), 0, None, ids[0], lambda: key))
orders = [order(number.to_bytes(16, "big")) for number in range(20)]
"""


def test_an_order_is_the_same_for_all_calls_of_a_conversation_and_in_another_process() -> None:
    here: dict[str, Any] = {}
    exec(ORDERS, here)
    assert [set(order[:4]) for order in here["orders"]] == [set("0123")] * 20, "priorities come first"
    assert len({*here["orders"]}) > 10
    command = [sys.executable, "-c", f"{ORDERS}routes.reverse()\nprint(*map(order, [n.to_bytes(16, 'big') for n in range(20)]))"]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == here["orders"], done.stderr


def test_the_key_is_computed_only_if_it_decides() -> None:
    def unused() -> bytes:
        raise AssertionError("not needed")

    for routes in ([route("a")], [route("a"), route("b", 1)]):
        assert names(order_routes(routes, RouteHealth(), 0, random.random, ADA, unused)) == names(routes)


def test_an_open_breaker_excludes_its_route_even_if_it_is_the_last() -> None:
    bad, good, health = route("bad"), route("good", 1), RouteHealth()
    for _ in range(FAILURES_TO_OPEN):
        health.breaker_of(bad).record_failure(0)
    assert names(order_routes([bad, good], health, 0, random.random, ADA)) == ["good"]
    assert order_routes([bad], health, 0, random.random, ADA) == []
    assert names(order_routes([bad, good], health, FIRST_COOLDOWN_MS, random.random, ADA)) == ["bad", "good"]


def test_only_routes_of_the_catalog_are_kept() -> None:
    kept, gone, health = route(), route(), RouteHealth()
    breaker = health.breaker_of(kept)
    health.breaker_of(gone)
    health.keep_only([kept.id])
    assert health.breakers == {kept.id: breaker}


@pytest.mark.parametrize("failures", range(1, FAILURES_TO_OPEN))
def test_a_success_resets_the_failure_count(failures: int) -> None:
    breaker = CircuitBreaker()
    for _ in range(failures):
        breaker.record_failure(0)
    breaker.record_success()
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.record_failure(0)
    assert breaker.allows_call(0)


def test_retry_after_sets_the_cooldown() -> None:
    breaker = CircuitBreaker()
    breaker.record_failure(0, retry_after_ms=2_000)
    assert [breaker.allows_call(now) for now in (0, 1_999, 2_000)] == [False, False, True]
    greedy = CircuitBreaker()
    greedy.record_failure(0, retry_after_ms=10**9)
    assert greedy.allows_call(MAX_COOLDOWN_MS)


def test_each_failed_probe_doubles_the_cooldown_up_to_the_maximum() -> None:
    breaker, now, cooldowns = CircuitBreaker(), 0, []
    for _ in range(FAILURES_TO_OPEN - 1):
        breaker.record_failure(now)
    for _ in range(8):
        breaker.record_failure(now)
        cooldowns.append(breaker.open_until - now)
        now = breaker.open_until
        breaker.record_start(now)
    assert cooldowns[:4] == [FIRST_COOLDOWN_MS * 2**step for step in range(4)]
    assert cooldowns[-1] == MAX_COOLDOWN_MS


Step = tuple[UUID, str]
POISON: list[Step] = [(ADA, "fail")]


@pytest.mark.parametrize(
    ("steps", "admitted"),
    [
        (POISON * 4, {ADA, BOB}),
        (POISON * 5, {BOB}),
        (POISON * 500, {BOB}),
        ([*POISON * 5, (BOB, "fail")], {BOB}),
        ([*POISON * 5, (BOB, "fail"), (BOB, "fail")], set()),
        ([*POISON * 5, (BOB, "fail"), *POISON * 5], {BOB}),
        ([*POISON * 5, (BOB, "succeed"), (BOB, "fail"), (BOB, "fail")], {BOB}),
        ([*POISON * 4, (ADA, "succeed"), *POISON * 4], {ADA, BOB}),
        ([*POISON * 4, (ADA, "abandon"), *POISON], {BOB}),
        ([(ADA, "abandon")] * 50, {ADA, BOB}),
        ([*POISON * 4, *[(ADA, "abandon")] * 50], {ADA, BOB}),
        ([(ADA, "busy")], set()),
    ],
)
def test_one_payers_failures_close_a_channel_to_that_payer_alone(steps: list[Step], admitted: set[UUID]) -> None:
    """`busy` is a provider whose response says how long all callers must wait."""
    health, serving = RouteHealth(), route()
    for payer, ended in steps:
        breaker = health.of_payer(serving, payer)
        if ended == "busy":
            breaker.fail(0, 2_000)
        elif ended == "fail":
            breaker.fail(0)
        else:
            getattr(breaker, ended)()
    assert {payer for payer in (ADA, BOB) if order_routes([serving], health, 1, random.random, payer)} == admitted


def test_a_failed_probe_of_the_same_payer_leaves_the_probe_to_others() -> None:
    health, serving = RouteHealth(), route()
    for payer in (ADA, ADA, ADA, ADA, BOB, BOB):
        health.of_payer(serving, payer).fail(0)
    probe = health.of_payer(serving, ADA)
    assert probe.admits(FIRST_COOLDOWN_MS)
    probe.begin(FIRST_COOLDOWN_MS)
    assert not health.of_payer(serving, BOB).admits(FIRST_COOLDOWN_MS), "one probe at a time"
    probe.fail(FIRST_COOLDOWN_MS)
    assert [health.of_payer(serving, payer).admits(FIRST_COOLDOWN_MS) for payer in (ADA, BOB)] == [False, True]
    health.of_payer(serving, BOB).succeed()
    assert health.of_payer(serving, uuid4()).admits(FIRST_COOLDOWN_MS)


def test_the_breakers_of_payers_are_bounded_and_go_with_their_route(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "MAX_PAYER_BREAKERS", 2)
    health, serving, other = RouteHealth(), route(), route()
    for one in (serving, other, serving):
        health.of_payer(one, uuid4()).fail(0)
    assert [key[0] for key in health.owned] == [other.id, serving.id]
    health.keep_only([serving.id])
    assert [key[0] for key in health.owned] == [serving.id]


class BreakerMachine(RuleBasedStateMachine):
    """Calls that start, succeed, fail or are abandoned at random times."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = CircuitBreaker()
        self.now = 0
        self.in_a_row = 0
        self.half_open = False
        self.probing_until: int | None = None

    @rule(ahead=st.sampled_from([1, 100, FIRST_COOLDOWN_MS, PROBE_MS, MAX_COOLDOWN_MS]))
    def let_time_pass(self, ahead: int) -> None:
        self.now += ahead

    @precondition(lambda self: self.breaker.allows_call(self.now))
    @rule()
    def begin(self) -> None:
        if self.breaker.openings:
            self.probing_until = self.now + PROBE_MS
        self.breaker.record_start(self.now)

    @rule()
    def succeed(self) -> None:
        self.breaker.record_success()
        self.in_a_row, self.probing_until = 0, None
        assert self.breaker.allows_call(self.now)
        assert self.breaker == CircuitBreaker()

    @rule(retry_after=st.none() | st.integers(1, 10**6))
    def fail(self, retry_after: int | None) -> None:
        was_open = self.breaker.openings > 0
        self.breaker.record_failure(self.now, retry_after)
        self.in_a_row, self.probing_until = self.in_a_row + 1, None
        opens = was_open or self.in_a_row >= FAILURES_TO_OPEN or retry_after is not None
        assert self.breaker.allows_call(self.now) is not opens

    @rule()
    def abandon(self) -> None:
        self.breaker.record_abandoned()
        self.probing_until = None

    @invariant()
    def one_probe_at_a_time(self) -> None:
        if self.probing_until is not None and self.now < self.probing_until:
            assert not self.breaker.allows_call(self.now)

    @invariant()
    def no_route_is_excluded_forever(self) -> None:
        assert self.breaker.allows_call(self.now + MAX_COOLDOWN_MS + PROBE_MS)

    @invariant()
    def closed_until_enough_failures(self) -> None:
        assert self.in_a_row > 0 or self.breaker.allows_call(self.now)


TestBreaker: Any = BreakerMachine.TestCase


def shown(name: str, provider: str = "acme", *, private: bool = False) -> Route:
    return route(name)._replace(public_name=name, provider=provider, zero_retention=private)


A, B, C = shown("a"), shown("b", "best", private=True), shown("c", "best")


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (RoutingPreferences(), "abc"),
        (RoutingPreferences(only=("b",)), "b"),
        (RoutingPreferences(only=("best",)), "bc"),
        (RoutingPreferences(only=("nobody",)), ""),
        (RoutingPreferences(only=()), ""),
        (RoutingPreferences(ignore=("acme", "c")), "b"),
        (RoutingPreferences(only=("best",), ignore=("c",)), "b"),
        (RoutingPreferences(order=("c",)), "abc"),
        (RoutingPreferences(order=("c",), allow_fallbacks=False), "c"),
        (RoutingPreferences(zero_retention=True), "b"),
    ],
)
def test_preferences_exclude_channels(wanted: RoutingPreferences, left: str) -> None:
    assert "".join(names(filter_routes([A, B, C], wanted))) == left


def test_preferences_put_channels_first() -> None:
    assert names(sort_by_preferences([A, B, C], RoutingPreferences(order=("c", "best")), RouteHealth())) == ["c", "b", "a"]
    assert names(sort_by_preferences([A, B, C], RoutingPreferences(), RouteHealth())) == ["a", "b", "c"]


def test_faster_channels_first_and_unknown_ones_before_them() -> None:
    health = RouteHealth()
    health.speed_of(A).record_first_token(300)
    health.speed_of(B).record_first_token(100)
    assert names(sort_by_preferences([A, B], RoutingPreferences(sort="latency"), health)) == ["b", "a"]
    assert names(sort_by_preferences([A, B, C], RoutingPreferences(sort="latency"), health)) == ["c", "b", "a"]
    health.speed_of(A).record_tokens(100, 1.0)
    health.speed_of(B).record_tokens(100, 2.0)
    assert names(sort_by_preferences([A, B, C], RoutingPreferences(sort="throughput"), health)) == ["c", "a", "b"]
    assert names(sort_by_preferences([A, B], RoutingPreferences(sort="throughput", order=("b",)), health)) == ["b", "a"]


def test_measured_latency_follows_recent_calls() -> None:
    pace = RouteSpeed()
    pace.record_first_token(100)
    for _ in range(30):
        pace.record_first_token(500)
    assert 490 < (pace.first_token_ms or 0) < 500
    pace.record_tokens(5, 0.0)
    assert pace.tokens_per_second is None


@pytest.mark.parametrize(("retry", "low", "high"), [(1, 0.125, 0.25), (2, 0.25, 0.5), (5, 2.0, 4.0), (50, 2.0, 4.0)])
def test_retry_delays_grow_with_jitter(retry: int, low: float, high: float) -> None:
    waits = [backoff_seconds(retry, random.Random(seed).random) for seed in range(200)]
    assert low <= min(waits) < low * 1.1
    assert high * 0.9 < max(waits) <= high
