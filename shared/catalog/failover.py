"""Fail-over: classifies failures, plans attempts, and keeps circuit breakers and observed speeds.

Pure: time and randomness are parameters. The edge and the workers classify a failed attempt as a `Failure` and try routes in the
order of an `AttemptPlan`; they sleep and send themselves.

A route whose breaker is open is skipped until its cooldown ends. Then one call at a time may probe it (half open); a success
closes the breaker. A payer whose calls fail also has a breaker of its own, so that requests that no provider can serve never
close a channel to other payers.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from shared.catalog.snapshot import Route

MAX_ATTEMPTS = 3  # of one call at the routes of one model
FAILURES_TO_OPEN = 5  # consecutive failures
FIRST_COOLDOWN_MS = 5_000
MAX_COOLDOWN_MS = 120_000
PROBE_MS = 30_000  # after this time, an unfinished probe no longer blocks others
MOVING_AVERAGE_WEIGHT = 0.2  # weight of the latest call in a moving average
MAX_FAILURES_OF_A_PAYER = 3  # consecutive failures that count for all payers: fewer than open a breaker
MAX_PAYER_BREAKERS = 10_000
FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 4.0


@dataclass(slots=True)
class CircuitBreaker:
    """Circuit breaker of one route, as observed by one process."""

    failures: int = 0
    openings: int = 0
    open_until: int = 0
    probe_until: int = 0

    def allows_call(self, now: int) -> bool:
        """Return whether a call may use the route: closed, or half open without a running probe."""
        return self.openings == 0 or (now >= self.open_until and now >= self.probe_until)

    def record_start(self, now: int) -> None:
        """Record the start of a call. In the half-open state it is the probe."""
        if self.openings:
            self.probe_until = now + PROBE_MS

    def record_success(self) -> None:
        """Record a successful call and close the breaker."""
        self.failures = self.openings = self.open_until = self.probe_until = 0

    def record_failure(self, now: int, retry_after_ms: int | None = None) -> None:
        """Record a failed call. Opens after `FAILURES_TO_OPEN` in a row, after a failed probe, or if `retry_after_ms` is set."""
        self.failures += 1
        if self.openings or self.failures >= FAILURES_TO_OPEN or retry_after_ms:
            cooldown = min(MAX_COOLDOWN_MS, FIRST_COOLDOWN_MS * 2 ** min(self.openings, 10))
            self.openings += 1
            self.open_until = now + max(cooldown if not retry_after_ms else 0, min(retry_after_ms or 0, MAX_COOLDOWN_MS))
            self.probe_until = 0

    def record_abandoned(self) -> None:
        """Record a call that ended without a result (the caller disconnected), so that another call can probe."""
        self.probe_until = 0


@dataclass(slots=True)
class PayerBreaker:
    """Breaker of a route for the calls of one payer: that of all payers, and the payer's own while its calls fail.

    A visitor has its own breaker, too. But for all payers, the failures of all visitors count as those of one account, because
    anyone can easily become another visitor.
    """

    shared: CircuitBreaker
    key: tuple[UUID, UUID]
    account_key: tuple[UUID, UUID]  # differs from `key` for visitors
    owned: OrderedDict[tuple[UUID, UUID], CircuitBreaker]

    def admits(self, now: int) -> bool:
        """Return whether both breakers allow a call."""
        own = self._own()
        return self.shared.allows_call(now) and (own is None or own.allows_call(now))

    def begin(self, now: int) -> None:
        """Mark a call as started. In the half-open state it is the probe."""
        self.shared.record_start(now)
        own = self._own()
        if own is not None:
            own.record_start(now)

    def succeed(self) -> None:
        """Close the breaker after a successful call."""
        self.shared.record_success()
        if self.owned:
            self.owned.pop(self.key, None)
            self.owned.pop(self.account_key, None)

    def fail(self, now: int, retry_after_ms: int | None = None) -> None:
        """Count a failed call. At most `MAX_FAILURES_OF_A_PAYER` in a row of an account count for all payers, unless the provider
        said how long to wait."""
        own = self._latest(self.key)
        own.record_failure(now, retry_after_ms)
        if self.account_key != self.key:
            own = self._latest(self.account_key)
            own.failures += 1
        if retry_after_ms or own.failures <= MAX_FAILURES_OF_A_PAYER:
            self.shared.record_failure(now, retry_after_ms)
        else:
            self.shared.record_abandoned()

    def abandon(self) -> None:
        """Ignore a call whose end is not caused by the route: the caller disconnected, or the request was invalid."""
        self.shared.record_abandoned()
        own = self._own()
        if own is not None:
            own.record_abandoned()

    def record(self, failure: Failure, now: int) -> None:
        """Record a failed attempt. It counts, unless the route was not the cause."""
        if failure.counts:
            self.fail(now, failure.retry_after_ms)
        else:
            self.abandon()

    def _latest(self, key: tuple[UUID, UUID]) -> CircuitBreaker:
        """Return the breaker with this key, and mark it as the most recently used."""
        breaker = self.owned.pop(key, None) or CircuitBreaker()
        self.owned[key] = breaker
        if len(self.owned) > MAX_PAYER_BREAKERS:
            self.owned.popitem(last=False)
        return breaker

    def _own(self) -> CircuitBreaker | None:
        return self.owned.get(self.key) if self.owned else None


@dataclass(slots=True)
class RouteSpeed:
    """Speed of a route, as observed by one process: moving averages, None before the first call."""

    first_token_ms: float | None = None
    tokens_per_second: float | None = None

    def record_first_token(self, ms: float) -> None:
        self.first_token_ms = _blend(self.first_token_ms, ms)

    def record_tokens(self, tokens: int, seconds: float) -> None:
        if seconds > 0:
            self.tokens_per_second = _blend(self.tokens_per_second, tokens / seconds)


def _blend(average: float | None, newest: float) -> float:
    return newest if average is None else average + MOVING_AVERAGE_WEIGHT * (newest - average)


@dataclass(slots=True)
class RouteHealth:
    """Breakers and speeds of one process, by route id. `owned` holds the breakers of single payers."""

    breakers: dict[UUID, CircuitBreaker] = field(default_factory=dict)
    speeds: dict[UUID, RouteSpeed] = field(default_factory=dict)
    owned: OrderedDict[tuple[UUID, UUID], CircuitBreaker] = field(default_factory=OrderedDict)

    def of_payer(self, route: Route, payer: UUID, account: UUID | None = None) -> PayerBreaker:
        """Return the breaker of a route for the calls of `payer`: an account, or a visitor whose calls belong to `account`."""
        key = (route.id, payer)
        return PayerBreaker(self.breaker_of(route), key, key if account is None else (route.id, account), self.owned)

    def breaker_of(self, route: Route) -> CircuitBreaker:
        breaker = self.breakers.get(route.id)
        if breaker is None:
            breaker = self.breakers[route.id] = CircuitBreaker()
        return breaker

    def speed_of(self, route: Route) -> RouteSpeed:
        pace = self.speeds.get(route.id)
        if pace is None:
            pace = self.speeds[route.id] = RouteSpeed()
        return pace

    def keep_only(self, routes: Iterable[UUID]) -> None:
        """Delete the state of all other routes, because they were removed from the catalog."""
        kept = set(routes)
        self.speeds = {id: pace for id, pace in self.speeds.items() if id in kept}
        self.breakers = {id: breaker for id, breaker in self.breakers.items() if id in kept}
        for key in [key for key in tuple(self.owned) if key[0] not in kept]:
            self.owned.pop(key, None)


def backoff_seconds(retry: int, random: Callable[[], float]) -> float:
    """Return the delay before the retry with this number (from 1): exponential, half of it random ("equal jitter")."""
    longest: float = min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (retry - 1))
    return longest * (0.5 + random() / 2)


class Retry(Enum):
    """Where another attempt may succeed."""

    SAME_ROUTE = "same route"  # after a pause, and after every other route
    OTHER_ROUTE = "other route"  # this route would fail again
    NEVER = "never"  # the request itself is refused


class Failure(NamedTuple):
    """How an attempt failed, and its consequences.

    code            error code for the caller if no other attempt succeeds
    reason          short name for usage rows and staff, such as `status_503` or `timeout`
    retry           where the next attempt is made
    counts          whether breakers count it; otherwise the request may be the cause, so it says nothing about the route
    busy            the provider is overloaded or limits our rate: a caller that can wait may try again later
    retry_after_ms  the delay that the provider asks for, or None
    """

    code: str
    reason: str
    retry: Retry = Retry.SAME_ROUTE
    counts: bool = True
    busy: bool = False
    retry_after_ms: int | None = None


CONNECTION = Failure("upstream_error", "connection")  # failed, lost, or not HTTP
TIMEOUT = Failure("upstream_timeout", "timeout", Retry.OTHER_ROUTE)  # a second wait would take as long again
TOO_LARGE = CONNECTION._replace(counts=False)
MALFORMED = Failure("upstream_error", "malformed")  # a response that the dialect cannot read
BROKEN = Failure("upstream_error", "broken")  # a stream that ended early or reported an error
SEALED_SECRET = Failure("no_upstream_available", "sealed_secret", Retry.OTHER_ROUTE)  # encrypted with another SECRET_KEY
NO_ROUTE = Failure("no_upstream_available", "no_channel", Retry.OTHER_ROUTE, counts=False, busy=True)  # every breaker is open

_TIMEOUTS = frozenset({408, 504})
_OVERLOADED = frozenset({429, 503, 529})  # 529: "overloaded_error" of Anthropic's API (its page "Errors")
_TRANSIENT = frozenset({408, 409, 425, 429})  # besides 5xx


def status_failure(status: int, retry_after_ms: int | None = None) -> Failure:
    """Classify an error status that is not about the request. `retry_after_ms` is the delay that the response asks for.

    401, 402, 403 and 404 concern our credential or catalog, so the same route would fail again. So would a redirect.
    """
    code = "no_upstream_available" if status == 429 else "upstream_timeout" if status in _TIMEOUTS else "upstream_error"
    transient = status >= 500 or status in _TRANSIENT
    return Failure(
        code=code,
        reason=f"status_{status}",
        retry=Retry.SAME_ROUTE if transient else Retry.OTHER_ROUTE,
        busy=transient and (status in _OVERLOADED or retry_after_ms is not None),
        retry_after_ms=retry_after_ms,
    )


def refused_request(status: int, code: str | None) -> Failure:
    """Classify a response by which the provider refuses the request itself, with the provider's error code if it has one."""
    return Failure(code or "invalid_request", f"status_{status}", Retry.NEVER, counts=False)


class AttemptPlan:
    """The attempts of one call at one model: each route once, then failed ones again after a pause, `MAX_ATTEMPTS` at most.

        while (attempt := plan.next(elapsed_seconds)) is not None:
            route, pause_seconds = attempt
            ...  # sleep, ask the breaker, send
            plan.record_failure(failure)

    An attempt without a recorded failure does not count: its breaker was open, or the dialect does not support the call.
    """

    __slots__ = ("_failures", "_queue", "_random", "_retries", "_retry_seconds", "_route")

    def __init__(self, routes: Iterable[Route], retry_seconds: float, random: Callable[[], float]) -> None:
        self._queue = deque((route, 0, 0) for route in routes)  # with its retries so far, and the provider's Retry-After in ms
        self._retry_seconds = retry_seconds
        self._random = random
        self._failures = 0
        self._route: Route | None = None
        self._retries = 0

    def next(self, elapsed_seconds: float) -> tuple[Route, float] | None:
        """Return the next route and the seconds to pause before it, or None if no attempt is left.

        A retry that would start more than `retry_seconds` after the beginning is left out.
        """
        while self._queue and self._failures < MAX_ATTEMPTS:
            self._route, self._retries, wait_ms = self._queue.popleft()
            if not self._retries:
                return self._route, 0.0
            pause_seconds = max(backoff_seconds(self._retries, self._random), wait_ms / 1000)
            if elapsed_seconds + pause_seconds <= self._retry_seconds:
                return self._route, pause_seconds
        return None

    def record_failure(self, failure: Failure) -> None:
        """Count a failure of the attempt that `next` returned last, and plan a retry if it may help."""
        assert self._route is not None  # noqa: S101  (`next` came first)
        self._failures += 1
        if failure.retry is Retry.SAME_ROUTE:
            self._queue.append((self._route, self._retries + 1, failure.retry_after_ms or 0))
