"""Providers' list prices in USD, from the data bundled with `genai-prices`. No network; never on the request path.

The package takes 27 MiB and half a second to import, so it is imported on first use.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.billing.rates import FALLBACKS
from shared.core.errors import NotFound
from shared.text.translation import lazy_gettext

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

# Kind (of `shared.billing.rates`, or `per_call`) → prompt length above which the rate applies, beginning with 0 → USD per million
# tokens, or per thousand searches or calls.
UsdRates = Mapping[str, Mapping[int, Decimal]]

PER_CALL = "per_call"
_KINDS = {
    "input_mtok": "input",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "cache_audio_read_mtok": "cached_audio_input",
    "input_image_mtok": "image_input",
    "output_mtok": "output",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
    "web_searches_kcount": "web_search",
    "requests_kcount": PER_CALL,
}
# File searches are refused, and cached images are charged like other images.
_NOT_NEEDED = {"storage_searches_kcount", "cache_image_read_mtok"}
# Value of the channel setting `provider` → id in the data, if they differ.
_PROVIDERS = {"azure-openai": "azure", "openai-responses": "openai", "xai": "x-ai"}


class ListPrice(NamedTuple):
    """A provider's list price.

    source    `provider/model`, as named in the data
    rates     the highest of the day, if the provider's price depends on the time
    tiers     factor of the token rates by service tier
    uncovered units of the price that have no rate here, such as `input_video_mtok`
    changes   day (UTC) of the next price that the provider has announced
    """

    source: str
    rates: UsdRates
    tiers: Mapping[str, Decimal]
    uncovered: tuple[str, ...] = ()
    changes: date | None = None


def find_list_price(base_url: str, provider: str, upstream_model: str, at: datetime) -> ListPrice:
    """Return a model's list price at a time (UTC). The provider is found by its base URL, or else by its slug.

    Raises `NotFound` if the data has no such provider, model or price.
    """
    from genai_prices.data_snapshot import get_snapshot

    data = get_snapshot()
    found = _find_provider(data.providers, base_url, provider)
    if found is None:
        raise NotFound(lazy_gettext("The provider is not in the price data."))
    try:
        _, model = data.find_provider_model(upstream_model, found, None, None)
    except LookupError:
        raise NotFound(
            lazy_gettext(
                "The price data has no model {upstream_model!r} of {found}.", upstream_model=upstream_model, found=found.name
            )
        ) from None
    if not model.prices:
        raise NotFound(lazy_gettext("The price data has no price of {found}/{model}.", found=found.id, model=model.id))
    moments = _moments(model, at)
    prices = [model.get_prices(moment) for moment in moments]
    units = {unit for price in prices for unit, value in vars(price).items() if value is not None}
    return ListPrice(
        f"{found.id}/{model.id}",
        highest_rates([_rates(price) for price in prices]),
        _tier_factors(model, moments),
        tuple(sorted(units - _KINDS.keys() - _NOT_NEEDED)),
        _next_change(model, at),
    )


def highest_rates(prices: Sequence[UsdRates]) -> UsdRates:
    """Return rates that cover each of `prices`. They never fall for longer prompts."""
    lengths = sorted({0}.union(*(steps for price in prices for steps in price.values())))
    found: dict[str, dict[int, Decimal]] = {}
    for kind in sorted({kind for price in prices for kind in price}):
        steps: dict[int, Decimal] = {}
        for above in lengths:
            highest = max(_rate_at(price, kind, above) for price in prices)
            if not steps or highest > max(steps.values()):
                steps[above] = highest
        found[kind] = steps
    return found


def _find_provider(providers: list[Provider], base_url: str, slug: str) -> Provider | None:
    for provider in providers:
        if re.match(provider.api_pattern, base_url):
            return provider
    slug = _PROVIDERS.get(slug, slug)
    return next((provider for provider in providers if provider.id == slug), None)


def _moments(model: ModelInfo, at: datetime) -> list[datetime]:
    """Return `at` and every time of its day at which the price changes."""
    if not isinstance(model.prices, list):
        return [at]
    times = [time for price in model.prices for time in _bounds(price.constraint)]
    return [at, *(datetime.combine(at.date(), time, time.tzinfo or UTC) for time in times)]


def _next_change(model: ModelInfo, at: datetime) -> date | None:
    if not isinstance(model.prices, list):
        return None
    days: list[date] = [day for price in model.prices if (day := getattr(price.constraint, "start_date", None))]
    return min((day for day in days if day > at.date()), default=None)


def _bounds(constraint: Any) -> tuple[Any, ...]:
    start, end = getattr(constraint, "start_time", None), getattr(constraint, "end_time", None)
    return () if start is None or end is None else (start, end)


def _rates(price: Any) -> UsdRates:
    found = {}
    for unit, value in vars(price).items():
        if value is not None and unit in _KINDS:
            tiers = getattr(value, "tiers", ())
            found[_KINDS[unit]] = {0: getattr(value, "base", value), **{tier.start: tier.price for tier in tiers}}
    return found


def _rate_at(price: UsdRates, kind: str, above: int) -> Decimal:
    """Return the USD rate of a kind, or that of its fallback, for prompts above a length."""
    while kind and kind not in price:
        kind = FALLBACKS.get(kind, "")
    if not kind:
        return Decimal(0)
    return price[kind][max(length for length in price[kind] if length <= above)]


def _tier_factors(model: ModelInfo, moments: Sequence[datetime]) -> dict[str, Decimal]:
    """Return each service tier's highest factor of the token rates, at any time of the day and prompt length."""
    names = {variant.when["service_tier"] for variant in model.price_variants or () if variant.when.keys() == {"service_tier"}}
    found: dict[str, Decimal] = {}
    for name in names:
        for moment in moments:
            standard = _rates(model.get_prices(moment))
            tier = _rates(model.get_prices(moment, {"service_tier": name}))
            for kind in standard.keys() & FALLBACKS.keys():
                for above in {*standard[kind], *tier[kind]}:
                    if usual := _rate_at(standard, kind, above):
                        found[name] = max(found.get(name, Decimal(0)), _rate_at(tier, kind, above) / usual)
    return found
