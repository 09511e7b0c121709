"""Order in which a call tries its routes, and circuit breakers for failing routes. Pure: time and randomness are parameters.

Routes with the lowest `priority` come first; routes of equal priority are in weighted random order. A route with an open breaker
is skipped until its cooldown ends. Then one call at a time may probe it (half open); a success closes the breaker.

Callers can select and sort routes with `Preferences`. Speed and health are those that this process has observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple
from uuid import UUID

from shared.catalog import Route

FAILURES_TO_OPEN = 5  # consecutive failures
FIRST_COOLDOWN_MS = 5_000
LONGEST_COOLDOWN_MS = 120_000
PROBE_MS = 30_000  # after this time, an unfinished probe no longer blocks others
NEWEST_SHARE = 0.2  # weight of the latest call in a moving average
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0


class Preferences(NamedTuple):
    """A caller's routing preferences, by public channel names and provider slugs.

    order           try these first, in this order
    only            use only these; None means all
    ignore          never use these
    fall_back       whether others may serve if those in `order` cannot
    sort            None means by priority and weight
    keeps_nothing   only providers that neither store requests nor train on them
    dearest_input   maximum input price in credits per 1,000 tokens; `dearest_output` for output; None means no limit
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    fall_back: bool = True
    sort: Literal["price", "latency", "throughput"] | None = None
    keeps_nothing: bool = False
    dearest_input: int | None = None
    dearest_output: int | None = None


@dataclass(slots=True)
class Breaker:
    """Circuit breaker of one route, as observed by one process."""

    failures: int = 0
    openings: int = 0
    open_until: int = 0
    probe_until: int = 0

    def admits(self, now: int) -> bool:
        """Return whether a call may use the route: closed, or half open without a running probe."""
        return self.openings == 0 or (now >= self.open_until and now >= self.probe_until)

    def begin(self, now: int) -> None:
        """Record the start of a call. In the half-open state it is the probe."""
        if self.openings:
            self.probe_until = now + PROBE_MS

    def succeed(self) -> None:
        """Record a successful call and close the breaker."""
        self.failures = self.openings = self.open_until = self.probe_until = 0

    def fail(self, now: int, retry_after_ms: int | None = None) -> None:
        """Record a failed call. Opens after `FAILURES_TO_OPEN` in a row, after a failed probe, or if `retry_after_ms` is set."""
        self.failures += 1
        if self.openings or self.failures >= FAILURES_TO_OPEN or retry_after_ms:
            cooldown = min(LONGEST_COOLDOWN_MS, FIRST_COOLDOWN_MS * 2 ** min(self.openings, 10))
            self.openings += 1
            self.open_until = now + max(cooldown if not retry_after_ms else 0, min(retry_after_ms or 0, LONGEST_COOLDOWN_MS))
            self.probe_until = 0

    def abandon(self) -> None:
        """Record a call that ended without a result (the caller disconnected), so that another call can probe."""
        self.probe_until = 0


@dataclass(slots=True)
class Pace:
    """Speed of a route, as observed by one process: moving averages, None before the first call."""

    first_token_ms: float | None = None
    tokens_a_second: float | None = None

    def saw_first_token(self, ms: float) -> None:
        self.first_token_ms = _blend(self.first_token_ms, ms)

    def saw_tokens(self, tokens: int, seconds: float) -> None:
        if seconds > 0:
            self.tokens_a_second = _blend(self.tokens_a_second, tokens / seconds)


def _blend(average: float | None, newest: float) -> float:
    return newest if average is None else average + NEWEST_SHARE * (newest - average)


@dataclass(slots=True)
class Health:
    """Breakers and paces of one process, by route id."""

    breakers: dict[UUID, Breaker] = field(default_factory=dict)
    paces: dict[UUID, Pace] = field(default_factory=dict)

    def of(self, route: Route) -> Breaker:
        breaker = self.breakers.get(route.id)
        if breaker is None:
            breaker = self.breakers[route.id] = Breaker()
        return breaker

    def pace_of(self, route: Route) -> Pace:
        pace = self.paces.get(route.id)
        if pace is None:
            pace = self.paces[route.id] = Pace()
        return pace

    def forget_all_but(self, routes: Iterable[UUID]) -> None:
        """Delete the state of all other routes, because they were removed from the catalog."""
        kept = set(routes)
        self.paces = {id: pace for id, pace in self.paces.items() if id in kept}
        self.breakers = {id: breaker for id, breaker in self.breakers.items() if id in kept}


def order(routes: Iterable[Route], health: Health, now: int, random: Callable[[], float]) -> list[Route]:
    """Return the routes to try, in order. Empty if every breaker is open.

    `random` returns floats in [0, 1). The order is Efraimidis and Spirakis' weighted sampling without replacement: sort by
    -ln(u)/weight (Information Processing Letters 97, 2006).
    """
    admitted = [route for route in routes if health.of(route).admits(now)]
    if len(admitted) < 2:
        return admitted
    return sorted(admitted, key=lambda route: (route.priority, -math.log(1.0 - random()) / route.weight))


def allowed(routes: Iterable[Route], wanted: Preferences) -> list[Route]:
    """Return the routes that the caller's preferences allow."""
    found = []
    for route in routes:
        names = (route.public_name, route.provider)
        if wanted.keeps_nothing and not route.keeps_nothing:
            continue
        if any(name in wanted.ignore for name in names) or (wanted.only is not None and not any(n in wanted.only for n in names)):
            continue
        if wanted.order and not wanted.fall_back and not any(name in wanted.order for name in names):
            continue
        found.append(route)
    return found


def prefer(routes: Sequence[Route], wanted: Preferences, health: Health) -> list[Route]:
    """Sort routes by the caller's preferences: first those in `order`, then by `sort`. Ties keep their order.

    Routes without measurements come first, so that they get measured.
    """
    return sorted(routes, key=lambda route: (_place(route, wanted.order), _slowness(health.paces.get(route.id), wanted.sort)))


def _place(route: Route, names: Sequence[str]) -> int:
    places = [place for place, name in enumerate(names) if name in (route.public_name, route.provider)]
    return min(places, default=len(names))


def _slowness(pace: Pace | None, sort: str | None) -> float:
    if sort == "latency":
        return pace.first_token_ms if pace is not None and pace.first_token_ms is not None else 0.0
    if sort == "throughput":
        return -pace.tokens_a_second if pace is not None and pace.tokens_a_second is not None else -math.inf
    return 0.0


def backoff_seconds(retry: int, random: Callable[[], float]) -> float:
    """Return the delay before the retry with this number (from 1): exponential, half of it random ("equal jitter")."""
    longest: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (retry - 1))
    return longest * (0.5 + random() / 2)
