"""Margins: price minus provider cost, for each channel whose cost is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Margin(NamedTuple):
    """A channel's margin in credits per 1,000 input and output tokens, and in percent of the price (None if the price is 0)."""

    channel: str
    input: int | None
    output: int | None
    input_percent: int | None
    output_percent: int | None


def margins(price: Any, routes: Iterable[Any]) -> list[Margin]:
    """Return the margins of a price or draft on each route of its model. Empty without a price or a known cost."""
    if price is None:
        return []
    result = []
    for route in routes:
        if route.cost_per_1k_input is None and route.cost_per_1k_output is None:
            continue
        sides = (
            (price.credits_per_1k_input, route.cost_per_1k_input),
            (price.credits_per_1k_output, route.cost_per_1k_output),
        )
        margin = [None if cost is None else rate - cost for rate, cost in sides]
        percent = [
            None if rest is None or not rate else rest * 100 // rate for rest, (rate, _) in zip(margin, sides, strict=True)
        ]
        result.append(Margin(route.channel.name, *margin, *percent))
    return result
