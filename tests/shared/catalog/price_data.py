"""A small frozen snapshot of price data, in place of the bundled one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from genai_prices.types import ClauseEquals, ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, Tier, TieredPrices

PATTERNS = {
    "openai": r"https://api\.openai\.com",
    "anthropic": r"https://api\.anthropic\.com",
    "x-ai": r"https://api\.x\.ai",
}


@contextmanager
def price_data(models: Mapping[str, Mapping[str, Any]], variants: list[PriceVariant] | None = None) -> Iterator[None]:
    """Let the price data be `models`: prices by provider and model. `variants` apply to each."""
    providers = [
        Provider(
            id=provider,
            name=provider,
            api_pattern=PATTERNS[provider],
            models=[
                ModelInfo(id=id, match=ClauseEquals(id), prices=prices, price_variants=variants) for id, prices in priced.items()
            ],
        )
        for provider, priced in models.items()
    ]
    set_custom_snapshot(DataSnapshot(providers=providers, from_auto_update=False))
    try:
        yield
    finally:
        set_custom_snapshot(None)


def usd(input: str | TieredPrices, output: str, **units: str) -> ModelPrice:
    """A price in USD per million tokens, with further units of the data such as `cache_read_mtok`."""
    further = {unit: Decimal(value) for unit, value in units.items()}
    return ModelPrice(input_mtok=Decimal(input) if isinstance(input, str) else input, output_mtok=Decimal(output), **further)


def tiered(base: int, above: int, price: int) -> TieredPrices:
    return TieredPrices(Decimal(base), [Tier(above, Decimal(price))])


def dated(*prices: tuple[Any, ModelPrice]) -> list[ConditionalPrice]:
    return [ConditionalPrice(constraint, prices=price) for constraint, price in prices]
