"""The order in which a call tries its routes. Pure: time and randomness are parameters.

Routes with the lowest `priority` come first; routes of equal priority are in weighted random order, which is the same for all
calls of a conversation. Routes whose breaker is open (`failover.py`) are skipped.

Callers can select and sort routes with `RoutingPreferences`. Speed and health are those that this process has observed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple
from uuid import UUID

from shared.catalog.failover import RouteHealth, RouteSpeed
from shared.catalog.snapshot import Route


class RoutingPreferences(NamedTuple):
    """A caller's routing preferences, by public channel names and provider slugs.

    order           try these first, in this order
    only            use only these; None means all
    ignore          never use these
    allow_fallbacks  whether others may serve if those in `order` cannot
    sort            None means by priority and weight
    zero_retention  only providers that neither store requests nor train on them
    max_input_price  maximum input price in credits per 1,000 tokens; `max_output_price` for output; None means no limit
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    sort: Literal["price", "latency", "throughput"] | None = None
    zero_retention: bool = False
    max_input_price: int | None = None
    max_output_price: int | None = None


def order_routes(
    routes: Iterable[Route],
    health: RouteHealth,
    now: int,
    random: Callable[[], float],
    payer: UUID,
    conversation: Callable[[], bytes] | None = None,
) -> list[Route]:
    """Return the routes to try for a call of `payer`, in order. Empty if every breaker is open.

    `random` returns floats in [0, 1). The order is Efraimidis and Spirakis' weighted sampling without replacement: sort by
    -ln(u)/weight (Information Processing Letters 97, 2006). With a `conversation`, a function that returns its key (at most 64
    bytes), u is a hash of key and channel: weighted rendezvous hashing. So its calls have the same order in every process, and a
    channel that is added or removed only moves its own conversations. The key is computed only if the order depends on it.
    """
    admitted = [route for route in routes if health.of_payer(route, payer).admits(now)]
    if len(admitted) < 2:
        return admitted
    if len({route.priority for route in admitted}) == len(admitted):
        return sorted(admitted, key=lambda route: route.priority)
    if conversation is None:
        return sorted(admitted, key=lambda route: (route.priority, -math.log(1.0 - random()) / route.weight))
    key = conversation()
    return sorted(admitted, key=lambda route: (route.priority, -math.log(_uniform(key, route.channel)) / route.weight))


def _uniform(conversation: bytes, channel: UUID) -> float:
    """Return a number in (0, 1], uniformly distributed over conversations and independent for each channel."""
    digest = blake2b(channel.bytes, digest_size=8, key=conversation).digest()
    return (int.from_bytes(digest, "big") + 1) / 2**64


def filter_routes(routes: Iterable[Route], preferences: RoutingPreferences) -> list[Route]:
    """Return the routes that the caller's preferences allow."""
    found = []
    for route in routes:
        names = (route.public_name, route.provider)
        if preferences.zero_retention and not route.zero_retention:
            continue
        if any(name in preferences.ignore for name in names) or (
            preferences.only is not None and not any(n in preferences.only for n in names)
        ):
            continue
        if preferences.order and not preferences.allow_fallbacks and not any(name in preferences.order for name in names):
            continue
        found.append(route)
    return found


def sort_by_preferences(routes: Sequence[Route], preferences: RoutingPreferences, health: RouteHealth) -> list[Route]:
    """Sort routes by the caller's preferences: first those in `order`, then by `sort`. Ties keep their order.

    Routes without measurements come first, so that they get measured.
    """
    return sorted(
        routes, key=lambda route: (_place(route, preferences.order), _slowness(health.speeds.get(route.id), preferences.sort))
    )


def _place(route: Route, names: Sequence[str]) -> int:
    places = [place for place, name in enumerate(names) if name in (route.public_name, route.provider)]
    return min(places, default=len(names))


def _slowness(pace: RouteSpeed | None, sort: str | None) -> float:
    if sort == "latency":
        return pace.first_token_ms if pace is not None and pace.first_token_ms is not None else 0.0
    if sort == "throughput":
        return -pace.tokens_per_second if pace is not None and pace.tokens_per_second is not None else -math.inf
    return 0.0
