"""Which channels to try, in which order, and when a failing one gets a second chance. Pure: time and chance are passed in.

Routes of the lowest `priority` come first; among equals the order is a weighted draw. A route with an open breaker is left out
until its cooldown ends; then one call at a time may probe it (half open), and success closes the breaker.

A caller may prefer, exclude and sort the routes: `Preferences`. Only what this process has seen itself counts for speed.
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
PROBE_MS = 30_000  # a probe that has not reported by then no longer keeps others out
NEWEST_SHARE = 0.2  # of the newest call in a moving average
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 4.0


class Preferences(NamedTuple):
    """How a caller wants to be routed, by public channel names and provider slugs.

    order           tried first, in this order
    only            none but these; None is all
    ignore          not these
    fall_back       whether others may serve when those of `order` cannot
    sort            None: by priority and weight
    keeps_nothing   only channels whose vendor neither keeps nor trains on what it is sent
    dearest_input   credits per 1,000 tokens that a model may cost at most, and the same of output; None: no limit
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
    """The health of one route, as one process sees it."""

    failures: int = 0
    openings: int = 0
    open_until: int = 0
    probe_until: int = 0

    def admits(self, now: int) -> bool:
        """Whether a call may go: closed, or half open with no probe under way."""
        return self.openings == 0 or (now >= self.open_until and now >= self.probe_until)

    def begin(self, now: int) -> None:
        """A call goes. In the half-open state it is the probe."""
        if self.openings:
            self.probe_until = now + PROBE_MS

    def succeed(self) -> None:
        """The call got an answer: close."""
        self.failures = self.openings = self.open_until = self.probe_until = 0

    def fail(self, now: int, retry_after_ms: int | None = None) -> None:
        """The call failed. Opens after `FAILURES_TO_OPEN` in a row, at once when a probe failed or the vendor said how long."""
        self.failures += 1
        if self.openings or self.failures >= FAILURES_TO_OPEN or retry_after_ms:
            cooldown = min(LONGEST_COOLDOWN_MS, FIRST_COOLDOWN_MS * 2 ** min(self.openings, 10))
            self.openings += 1
            self.open_until = now + max(cooldown if not retry_after_ms else 0, min(retry_after_ms or 0, LONGEST_COOLDOWN_MS))
            self.probe_until = 0

    def abandon(self) -> None:
        """The call ended without telling anything about the route (the caller left): let the next one probe."""
        self.probe_until = 0


@dataclass(slots=True)
class Pace:
    """How fast a route has been of late, as one process sees it: moving averages, None before the first call."""

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
    """The breakers and paces of one process, by route id."""

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
        """Drop what is known of routes that are gone from the catalogue."""
        kept = set(routes)
        self.paces = {id: pace for id, pace in self.paces.items() if id in kept}
        self.breakers = {id: breaker for id, breaker in self.breakers.items() if id in kept}


def order(routes: Iterable[Route], health: Health, now: int, random: Callable[[], float]) -> list[Route]:
    """The routes to try, first one first. Empty when every breaker is open.

    `random` gives floats in [0, 1). The draw is Efraimidis and Spirakis' weighted sampling without replacement: sort by
    -ln(u)/weight (Information Processing Letters 97, 2006).
    """
    admitted = [route for route in routes if health.of(route).admits(now)]
    if len(admitted) < 2:
        return admitted
    return sorted(admitted, key=lambda route: (route.priority, -math.log(1.0 - random()) / route.weight))


def allowed(routes: Iterable[Route], wanted: Preferences) -> list[Route]:
    """The routes that a caller's preferences leave."""
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
    """Routes in an order of `order` put into the caller's: first what they named, then by what they sort by.

    A route of which nothing is known yet comes first, so that it becomes known. Ties keep the order that was.
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
    """How long to wait before the retry of this number (from 1): doubling, and half of it left to chance ("equal jitter")."""
    longest: float = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (retry - 1))
    return longest * (0.5 + random() / 2)
