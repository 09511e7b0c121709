"""What is left of a price after the vendor's, for each channel whose cost is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple


class Margin(NamedTuple):
    """Of one channel: credits that are left of 1,000 tokens in and out, and that in percent of the price (None at price 0)."""

    channel: str
    input: int | None
    output: int | None
    input_percent: int | None
    output_percent: int | None


def margins(price: Any, routes: Iterable[Any]) -> list[Margin]:
    """The margins of a price or a draft over the routes of its model; empty without a price or a known cost."""
    if price is None:
        return []
    found = []
    for route in routes:
        if route.cost_per_1k_input is None and route.cost_per_1k_output is None:
            continue
        sides = (
            (price.credits_per_1k_input, route.cost_per_1k_input),
            (price.credits_per_1k_output, route.cost_per_1k_output),
        )
        left = [None if cost is None else rate - cost for rate, cost in sides]
        percent = [None if rest is None or not rate else rest * 100 // rate for rest, (rate, _) in zip(left, sides, strict=True)]
        found.append(Margin(route.channel.name, *left, *percent))
    return found
