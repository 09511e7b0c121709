"""The order in which a call tries its routes. Pure: time and randomness are parameters.

Routes with the lowest `priority` come first; routes of equal priority are in weighted random order. Routes whose breaker is open
(`failover.py`) are skipped.

Callers can select and sort routes with `Preferences`. Speed and health are those that this process has observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

from shared.catalog.failover import Health, Pace
from shared.catalog.snapshot import Route


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


def order(routes: Iterable[Route], health: Health, now: int, random: Callable[[], float], payer: UUID) -> list[Route]:
    """Return the routes to try for a call of `payer`, in order. Empty if every breaker is open.

    `random` returns floats in [0, 1). The order is Efraimidis and Spirakis' weighted sampling without replacement: sort by
    -ln(u)/weight (Information Processing Letters 97, 2006).
    """
    admitted = [route for route in routes if health.of_payer(route, payer).admits(now)]
    if len(admitted) < 2:
        return admitted
    return sorted(admitted, key=lambda route: (route.priority, -math.log(1.0 - random()) / route.weight))


def allowed(routes: Iterable[Route], preferences: Preferences) -> list[Route]:
    """Return the routes that the caller's preferences allow."""
    found = []
    for route in routes:
        names = (route.public_name, route.provider)
        if preferences.keeps_nothing and not route.keeps_nothing:
            continue
        if any(name in preferences.ignore for name in names) or (
            preferences.only is not None and not any(n in preferences.only for n in names)
        ):
            continue
        if preferences.order and not preferences.fall_back and not any(name in preferences.order for name in names):
            continue
        found.append(route)
    return found


def prefer(routes: Sequence[Route], preferences: Preferences, health: Health) -> list[Route]:
    """Sort routes by the caller's preferences: first those in `order`, then by `sort`. Ties keep their order.

    Routes without measurements come first, so that they get measured.
    """
    return sorted(
        routes, key=lambda route: (_place(route, preferences.order), _slowness(health.paces.get(route.id), preferences.sort))
    )


def _place(route: Route, names: Sequence[str]) -> int:
    places = [place for place, name in enumerate(names) if name in (route.public_name, route.provider)]
    return min(places, default=len(names))


def _slowness(pace: Pace | None, sort: str | None) -> float:
    if sort == "latency":
        return pace.first_token_ms if pace is not None and pace.first_token_ms is not None else 0.0
    if sort == "throughput":
        return -pace.tokens_a_second if pace is not None and pace.tokens_a_second is not None else -math.inf
    return 0.0
