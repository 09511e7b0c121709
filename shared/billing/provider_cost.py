"""What a call costs the operator: as its provider reports it, otherwise at the cost prices of its route. Pure.

Cost prices are a price list without a minimum. Costs are whole credits, rounded up. Only staff see them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.billing.pricing import MediaUnits, call_charge, media_charge
from shared.billing.rates import BASE_KINDS, PriceList, Rate, own_rate
from shared.billing.token_usage import TokenUsage

NANO_PER_USD = 10**9
MAX_COST_CREDITS = 10**15  # so that sums cannot overflow
# Kinds of further costs that are columns of a price list, besides the kinds of `Rate`.
COST_COLUMNS = {
    "cached_input": "credits_per_1k_cached_input",
    "cache_write": "credits_per_1k_cache_write",
    "per_call": "credits_per_call",
    "per_5_seconds": "credits_per_5_seconds",
    "per_1k_characters": "credits_per_1k_characters",
}
_NO_PRICE = PriceList(UUID(int=0), 0, 0, 0, None, 0, 0)


class CostPrices(NamedTuple):
    """Cost prices of a route.

    prices  all of them
    text    prices of calls of text alone, which are most calls, by ascending prompt length: price lists without further rates
            except for reasoning, so that they are fast to compute with
    """

    prices: PriceList
    text: tuple[tuple[int, PriceList], ...]

    def of_usage(self, usage: TokenUsage) -> PriceList:
        """Return the prices to compute the cost of `usage` with."""
        if usage.extra is not None:
            return self.prices
        if len(self.text) == 1:
            return self.text[0][1]
        return next(prices for above, prices in reversed(self.text) if usage.input_tokens > above or not above)


def cost_prices(input_cost: int | None, output_cost: int | None, further: Iterable[Sequence[Any]] = ()) -> CostPrices | None:
    """Return the cost prices of a route, or None if they are unknown.

    `input_cost` and `output_cost` are in credits per 1,000 tokens, `further` are lists of kind, prompt length and credits. If
    only one of the first two is known, the costs of a call are unknown.
    """
    rates = [Rate(*rate) for rate in further]
    if (input_cost is None) != (output_cost is None) or (input_cost is None and not rates):
        return None
    columns: dict[str, Any] = {}
    for rate in rates:
        if rate.kind in COST_COLUMNS and not rate.above_tokens:
            columns[COST_COLUMNS[rate.kind]] = rate.credits
    prices = _NO_PRICE._replace(
        credits_per_1k_input=input_cost or 0,
        credits_per_1k_output=output_cost or 0,
        rates=tuple(sorted(rate for rate in rates if rate.kind not in COST_COLUMNS or rate.above_tokens)),
        **columns,
    )
    lengths = sorted({0, *(rate.above_tokens for rate in prices.rates)})
    return CostPrices(prices, tuple((above, _text_prices(prices, above)) for above in lengths))


def _text_prices(prices: PriceList, above_tokens: int) -> PriceList:
    """Return the prices of text in prompts above a length."""
    rates = {kind: own_rate(prices, kind, above_tokens + 1) for kind in (*BASE_KINDS, "reasoning")}
    reasoning = rates.pop("reasoning")
    columns: dict[str, Any] = {f"credits_per_1k_{kind}": rate for kind, rate in rates.items()}
    return prices._replace(**columns, rates=() if reasoning is None else (Rate("reasoning", 0, reasoning),))


def provider_cost(
    reported_nano_usd: int | None, prices: CostPrices | None, usage: TokenUsage, credits_per_usd: int
) -> int | None:
    """Return the cost of a call with `usage` in credits: the reported one, otherwise at `prices`; None if both are unknown."""
    if reported_nano_usd is not None:
        return _in_credits(reported_nano_usd, credits_per_usd)
    return None if prices is None else min(call_charge(prices.of_usage(usage), usage), MAX_COST_CREDITS)


def media_cost(
    reported_nano_usd: int | None, prices: CostPrices | None, delivered: MediaUnits, credits_per_usd: int
) -> int | None:
    """Return the cost of a media job like `provider_cost`."""
    if reported_nano_usd is not None:
        return _in_credits(reported_nano_usd, credits_per_usd)
    return None if prices is None else min(media_charge(prices.prices, delivered), MAX_COST_CREDITS)


def _in_credits(nano_usd: int, credits_per_usd: int) -> int:
    return min(-(-nano_usd * credits_per_usd // NANO_PER_USD), MAX_COST_CREDITS)
