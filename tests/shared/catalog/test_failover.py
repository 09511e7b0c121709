"""Fail-over: the classification of failures, and the plan of attempts."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.catalog.failover import (
    BROKEN,
    CONNECTION,
    FAILURES_TO_OPEN,
    FIRST_BACKOFF_SECONDS,
    MALFORMED,
    MAX_ATTEMPTS,
    NO_ROUTE,
    SEALED_SECRET,
    TIMEOUT,
    TOO_LARGE,
    AttemptPlan,
    Failure,
    Retry,
    RouteHealth,
    refused_request,
    status_failure,
)
from shared.catalog.snapshot import Route

SAME, OTHER, NEVER = Retry.SAME_ROUTE, Retry.OTHER_ROUTE, Retry.NEVER
BUDGET = 10.0  # seconds
NO_BACKOFF = FIRST_BACKOFF_SECONDS / 2  # the shortest pause before a first retry


def route(name: str) -> Route:
    return Route(uuid4(), uuid4(), name, "openai", "http://localhost", "", {}, "m", 0, 1)


@pytest.mark.parametrize(
    ("status", "retry_after_ms", "code", "retry", "busy"),
    [
        (302, None, "upstream_error", OTHER, False),
        (400, None, "upstream_error", OTHER, False),  # about our account, not the request
        (401, None, "upstream_error", OTHER, False),
        (402, None, "upstream_error", OTHER, False),
        (403, None, "upstream_error", OTHER, False),
        (404, None, "upstream_error", OTHER, False),
        (405, None, "upstream_error", OTHER, False),
        (408, None, "upstream_timeout", SAME, False),
        (409, None, "upstream_error", SAME, False),
        (413, None, "upstream_error", OTHER, False),
        (422, None, "upstream_error", OTHER, False),
        (425, None, "upstream_error", SAME, False),
        (429, None, "no_upstream_available", SAME, True),
        (500, None, "upstream_error", SAME, False),
        (502, None, "upstream_error", SAME, False),
        (503, None, "upstream_error", SAME, True),
        (504, None, "upstream_timeout", SAME, False),
        (529, None, "upstream_error", SAME, True),
        (401, 5_000, "upstream_error", OTHER, False),
        (408, 5_000, "upstream_timeout", SAME, True),
        (429, 5_000, "no_upstream_available", SAME, True),
        (500, 0, "upstream_error", SAME, True),
        (503, 5_000, "upstream_error", SAME, True),
    ],
)
def test_statuses(status: int, retry_after_ms: int | None, code: str, retry: Retry, busy: bool) -> None:
    """Every status counts for the breaker, except those that refuse the request itself."""
    expected = Failure(code, f"status_{status}", retry, counts=True, busy=busy, retry_after_ms=retry_after_ms)
    assert status_failure(status, retry_after_ms) == expected


@pytest.mark.parametrize(
    ("failure", "code", "reason", "retry", "counts"),
    [
        (CONNECTION, "upstream_error", "connection", SAME, True),
        (TIMEOUT, "upstream_timeout", "timeout", OTHER, True),
        (TOO_LARGE, "upstream_error", "connection", SAME, False),
        (MALFORMED, "upstream_error", "malformed", SAME, True),
        (BROKEN, "upstream_error", "broken", SAME, True),
        (SEALED_SECRET, "no_upstream_available", "sealed_secret", OTHER, True),
        (refused_request(400, None), "invalid_request", "status_400", NEVER, False),
        (refused_request(413, "context_length_exceeded"), "context_length_exceeded", "status_413", NEVER, False),
        (refused_request(422, "content_filter"), "content_filter", "status_422", NEVER, False),
    ],
)
def test_other_failures(failure: Failure, code: str, reason: str, retry: Retry, counts: bool) -> None:
    assert failure == Failure(code, reason, retry, counts)


def test_without_a_route_waiting_may_help() -> None:
    assert NO_ROUTE.busy


def attempts(routes: str, failures: dict[str, list[Failure | None]], budget: float = BUDGET) -> list[tuple[str, float]]:
    """The attempts and pauses of a call. Each route fails in this way, in order; None is an attempt that is not counted."""
    plan, made, elapsed = AttemptPlan([route(name) for name in routes], budget, lambda: 0.0), [], 0.0
    while (attempt := plan.next(elapsed)) is not None:
        tried, pause = attempt
        elapsed += pause
        made.append((tried.channel_name, pause))
        failure = failures[tried.channel_name].pop(0)
        if failure is not None:
            plan.record_failure(failure)
    return made


ERROR, DENIED = status_failure(500), status_failure(401)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({"a": [ERROR] * 3}, [("a", 0), ("a", NO_BACKOFF), ("a", 2 * NO_BACKOFF)]),
        ({"a": [DENIED]}, [("a", 0)]),
        ({"a": [TIMEOUT]}, [("a", 0)]),
        ({"a": [ERROR, DENIED]}, [("a", 0), ("a", NO_BACKOFF)]),
        ({"a": [ERROR] * 2, "b": [ERROR]}, [("a", 0), ("b", 0), ("a", NO_BACKOFF)]),
        ({"a": [ERROR] * 2, "b": [DENIED]}, [("a", 0), ("b", 0), ("a", NO_BACKOFF)]),
        ({"a": [DENIED], "b": [ERROR] * 2}, [("a", 0), ("b", 0), ("b", NO_BACKOFF)]),
        ({"a": [DENIED], "b": [DENIED]}, [("a", 0), ("b", 0)]),
        ({name: [DENIED] for name in "abcd"}, [("a", 0), ("b", 0), ("c", 0)]),
        (
            {"a": [None], "b": [None], "c": [None], "d": [ERROR] * 3},
            [(n, 0) for n in "abcd"] + [("d", NO_BACKOFF), ("d", 2 * NO_BACKOFF)],
        ),
        ({"a": [ERROR, None], "b": [ERROR] * 2}, [("a", 0), ("b", 0), ("a", NO_BACKOFF), ("b", NO_BACKOFF)]),
        ({"a": [status_failure(429, 4_000)] * 3}, [("a", 0), ("a", 4.0), ("a", 4.0)]),
        ({"a": [status_failure(429, 0)] * 3}, [("a", 0), ("a", NO_BACKOFF), ("a", 2 * NO_BACKOFF)]),
        ({"a": [status_failure(503, 10_001)]}, [("a", 0)]),
        ({"a": [status_failure(503, 10_001)], "b": [ERROR] * 2}, [("a", 0), ("b", 0), ("b", NO_BACKOFF)]),
        ({"a": [status_failure(503, 6_000)] * 2}, [("a", 0), ("a", 6.0)]),
    ],
)
def test_the_attempts_of_a_call(failures: dict[str, list[Failure | None]], expected: list[tuple[str, float]]) -> None:
    assert attempts("".join(failures), failures) == expected


def test_no_retry_starts_after_the_time_for_retries() -> None:
    plan = AttemptPlan([route("a"), route("b")], BUDGET, lambda: 0.0)
    assert plan.next(0.0) is not None
    plan.record_failure(ERROR)
    assert plan.next(BUDGET * 2) is not None, "the first attempt at a route has no deadline"
    plan.record_failure(ERROR)
    assert plan.next(BUDGET - NO_BACKOFF) is not None
    plan.record_failure(ERROR)
    assert plan.next(BUDGET) is None


FAILURES = st.sampled_from([None, ERROR, DENIED, TIMEOUT, TOO_LARGE, status_failure(429, 3_000), status_failure(503, 90_000)])


@given(st.integers(0, 6), st.lists(FAILURES, min_size=20, max_size=20), st.floats(0, 1, exclude_max=True))
def test_a_plan_is_bounded_and_tries_every_route_before_any_twice(
    count: int, outcomes: list[Failure | None], draw: float
) -> None:
    routes = [route(str(number)) for number in range(count)]
    plan, counted, elapsed = AttemptPlan(routes, BUDGET, lambda: draw), 0, 0.0
    tried: list[UUID] = []
    refused: set[UUID] = set()
    while (attempt := plan.next(elapsed)) is not None:
        one, pause = attempt[0].id, attempt[1]
        assert one not in refused
        assert bool(pause) == (one in tried)
        assert not pause or set(tried) == {each.id for each in routes}, "all routes come before the first retry"
        tried.append(one)
        elapsed += pause
        failure = outcomes.pop()
        if failure is None or failure.retry is not SAME:
            refused.add(one)
        if failure is not None:
            counted += 1
            plan.record_failure(failure)
    assert elapsed <= BUDGET
    assert counted <= MAX_ATTEMPTS
    assert len(tried) <= count + MAX_ATTEMPTS


ANN, BEN, CAT, VISITORS = (uuid4() for _ in range(4))  # two visitors, an account, and the account of all visitors


@pytest.mark.parametrize(
    ("failing", "admitted"),
    [
        ([ANN] * 4, {ANN, BEN, CAT}),
        ([ANN] * 5, {BEN, CAT}),
        ([ANN, BEN] * 5, {CAT}),
        ([ANN] * 100, {BEN, CAT}),
        ([*[ANN] * 5, CAT], {BEN, CAT}),
        ([*[ANN] * 5, CAT, CAT], set()),
        ([ANN, BEN, ANN, CAT, CAT], set()),
        ([CAT] * 5, {ANN, BEN}),
        ([CAT, CAT, CAT, ANN, BEN], set()),
    ],
)
def test_a_visitors_failures_close_a_channel_to_that_visitor_alone(failing: list[UUID], admitted: set[UUID]) -> None:
    health, serving = RouteHealth(), route("a")
    for payer in failing:
        health.of_payer(serving, payer, CAT if payer == CAT else VISITORS).record(ERROR, 0)
    assert {payer for payer in (ANN, BEN, CAT) if health.of_payer(serving, payer).admits(1)} == admitted


def test_failures_of_many_visitors_count_as_those_of_one_account() -> None:
    health, serving = RouteHealth(), route("a")
    for _ in range(FAILURES_TO_OPEN * 2):
        health.of_payer(serving, uuid4(), VISITORS).record(ERROR, 0)
    assert health.of_payer(serving, CAT).admits(1)
    assert health.of_payer(serving, ANN, VISITORS).admits(1)
    health.of_payer(serving, ANN, VISITORS).succeed()
    for _ in range(FAILURES_TO_OPEN):
        health.of_payer(serving, uuid4(), VISITORS).record(TOO_LARGE, 0)
    assert health.breaker_of(serving).failures == 0
