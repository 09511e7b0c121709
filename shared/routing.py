"""Which channels to try, in which order, and when a failing one gets a second chance. Pure: time and chance are passed in.

Routes of the lowest `priority` come first; among equals the order is a weighted draw. A route with an open breaker is left out
until its cooldown ends; then one call at a time may probe it (half open), and success closes the breaker.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from shared.catalog import Route

FAILURES_TO_OPEN = 5  # consecutive failures
FIRST_COOLDOWN_MS = 5_000
LONGEST_COOLDOWN_MS = 120_000
PROBE_MS = 30_000  # a probe that has not reported by then no longer keeps others out


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
class Health:
    """The breakers of one process, by route id."""

    breakers: dict[UUID, Breaker] = field(default_factory=dict)

    def of(self, route: Route) -> Breaker:
        breaker = self.breakers.get(route.id)
        if breaker is None:
            breaker = self.breakers[route.id] = Breaker()
        return breaker

    def forget_all_but(self, routes: Iterable[UUID]) -> None:
        """Drop the breakers of routes that are gone from the catalogue."""
        kept = set(routes)
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
