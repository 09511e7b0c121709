"""Compares the catalog's prices with the providers' list prices, and drafts or publishes new ones."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from math import ceil
from typing import Any, Literal, NamedTuple
from uuid import UUID

from shared.billing.rates import BASE_KINDS, TIER_PREFIX, PriceList, Rate, has_rate, rate_of
from shared.catalog.list_prices import PER_CALL, ListPrice, UsdRates, find_list_price, highest_rates
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, Channel, ChannelModel
from shared.operations.audit import Origin
from shared.operations.channels import find_channel
from shared.operations.model_routes import update_route
from shared.operations.price_drafts import ReviewedPrice, find_draft, publish_draft, rates_line, save_draft
from shared.operations.prices import COLUMNS, Rates, rates_of
from shared.operations.prices_in_force import current_price, current_prices
from shared.operations.route_costs import RouteCosts, costs_of
from shared.operations.validation import check_integer
from shared.text.translation import lazy_gettext

MAX_MARKUP_PERCENT = 10_000
TOKEN_PRICED_KINDS = ("chat", "embedding")


class Margin(NamedTuple):
    """Margin of the input and output price over the provider's, in percent of our price; None for a price of 0."""

    input: int | None
    output: int | None


class RouteCost(NamedTuple):
    """The list price of a route in credits."""

    route: UUID
    costs: RouteCosts


@dataclass(frozen=True, slots=True)
class PriceComparison:
    """A model's price in force, its list price, and the price proposed from it, in credits.

    sources   models of the price data (`openai/gpt-4o-mini`), one for each route
    costs     list price of each route
    cost      the highest rates of the routes
    live      price in force
    proposed  `cost` with the markup
    changes   day (UTC) of the next list price that a provider has announced
    """

    model: str
    sources: tuple[str, ...]
    costs: tuple[RouteCost, ...]
    cost: Rates
    live: Rates | None
    proposed: Rates
    changes: date | None

    @property
    def differs(self) -> bool:
        return self.proposed != self.live

    @property
    def token(self) -> str:
        """Digest of the model, its price in force and the proposed one. A form sends it to show which price was reviewed."""
        content = repr((self.model, self.live, self.proposed)).encode()
        return hashlib.sha256(content).hexdigest()[:32]

    @property
    def is_below_cost(self) -> bool:
        """Whether the price in force is lower than the provider's."""
        return bool(self.rates_below_cost)

    @property
    def rates_below_cost(self) -> tuple[str, ...]:
        """The rates of the provider that exceed ours, such as `input@200000`. Empty without a price in force."""
        if self.live is None:
            return ()
        live, cost = _price_list(self.live), _price_list(self.cost)
        steps = [(kind, 0) for kind in BASE_KINDS if has_rate(cost, kind)]
        steps += [rate[:2] for rate in cost.rates if not rate.kind.startswith(TIER_PREFIX)]
        below = [step for step in steps if _rate_at(live, *step) < _rate_at(cost, *step)]
        return tuple(f"{kind}@{above}" if above else kind for kind, above in below)

    @property
    def live_margin(self) -> Margin:
        return self._margin(self.live) if self.live else Margin(None, None)

    @property
    def proposed_margin(self) -> Margin:
        return self._margin(self.proposed)

    def _margin(self, rates: Rates) -> Margin:
        return Margin(_percent(rates.input, self.cost.input), _percent(rates.output, self.cost.output))


class UnknownPrice(NamedTuple):
    """A model without a list price, and the reason."""

    model: str
    reason: str


class Comparisons(NamedTuple):
    """Models with a list price, and models without one. Both are sorted by id."""

    known: list[PriceComparison]
    unknown: list[UnknownPrice]


class SyncedPrice(NamedTuple):
    """The result for one model. `reason` is empty unless the price was refused."""

    comparison: PriceComparison
    status: Literal["unchanged", "drafted", "published", "refused"]
    reason: str = ""


def compare_prices(
    credits_per_usd: int, *, markup_percent: int = 0, channel: str | None = None, models: Collection[str] = ()
) -> Comparisons:
    """Compare prices in force with the providers' list prices plus a markup, for models on enabled routes.

    `channel` and `models` limit the comparison; empty means all. Raises `NotFound` for an unknown channel or model.
    """
    check_integer("markup (percent)", markup_percent, 0, MAX_MARKUP_PERCENT)
    if channel is not None:
        find_channel(channel)
    wanted: Any = AIModel.select().order_by(AIModel.id)
    if models:
        wanted = wanted.where(AIModel.id.in_(list(models)))
    rows = list(wanted)
    if missing := set(models) - {row.id for row in rows}:
        raise NotFound(lazy_gettext("No model {missing!r} in the catalog.", missing=min(missing)))
    routes, prices, at = _routes(), current_prices(), datetime.fromtimestamp(now_ms() / 1000, UTC)
    result = Comparisons([], [])
    for row in rows:
        served = routes.get(row.id, [])
        if channel is not None and channel not in {route.channel.name for route in served}:
            continue
        live = _sorted(rates_of(prices[row.id])) if row.id in prices else None
        try:
            result.known.append(_compare(row, served, live, credits_per_usd, markup_percent, at))
        except NotFound as error:
            result.unknown.append(UnknownPrice(row.id, str(error)))
    return result


def sync_prices(comparisons: Iterable[PriceComparison], *, publish: bool = False, origin: Origin) -> list[SyncedPrice]:
    """Draft the proposed price of each model whose price in force differs, and publish it if `publish` is set.

    A draft replaces an earlier one. The routes' costs are set to the list prices. Repeating a sync changes nothing.
    """
    return [_sync(comparison, publish, origin) for comparison in comparisons]


def _sync(comparison: PriceComparison, publish: bool, origin: Origin) -> SyncedPrice:
    try:
        with transaction():
            update_costs(comparison.costs, origin)
            if not comparison.differs:
                return SyncedPrice(comparison, "unchanged")
            current, draft = current_price(comparison.model), find_draft(comparison.model)
            if (_sorted(rates_of(current)) if current else None) != comparison.live:
                raise InvalidInput(lazy_gettext("The price has changed since it was compared."))
            if draft is None or _sorted(rates_of(draft)) != comparison.proposed:
                draft = save_draft(comparison.model, comparison.proposed, origin=origin)
            if not publish:
                return SyncedPrice(comparison, "drafted")
            publish_draft(comparison.model, ReviewedPrice(rates_line(draft), current.id if current else None), origin=origin)
            return SyncedPrice(comparison, "published")
    except (InvalidInput, NotFound) as error:
        return SyncedPrice(comparison, "refused", str(error))


def update_costs(costs: Iterable[RouteCost], origin: Origin) -> None:
    """Set the costs of routes to their list prices."""
    for cost in costs:
        route = ChannelModel.get_or_none(ChannelModel.id == cost.route)
        if route is not None:
            update_route(
                route.id,
                upstream_model=route.upstream_model,
                priority=route.priority,
                weight=route.weight,
                costs=cost.costs,
                follows_list=True,
                origin=origin,
            )


def _compare(
    model: AIModel, routes: list[ChannelModel], live: Rates | None, credits_per_usd: int, markup_percent: int, at: datetime
) -> PriceComparison:
    if model.kind not in TOKEN_PRICED_KINDS:
        raise NotFound(
            lazy_gettext(
                "Models of kind {kind} are not compared, only {token_priced_kinds}.",
                kind=model.kind,
                token_priced_kinds=" and ".join(TOKEN_PRICED_KINDS),
            )
        )
    if not routes:
        raise NotFound(lazy_gettext("No enabled channel serves the model."))
    found, reasons = [], []
    for route in routes:
        provider = str((route.channel.settings or {}).get("provider", ""))
        try:
            found.append((route, find_list_price(route.channel.base_url, provider, route.upstream_model, at)))
        except NotFound as error:
            reasons.append(str(error))
    if not found:
        raise NotFound(reasons[0])
    for _, price in found:
        if price.uncovered:
            raise NotFound(
                lazy_gettext(
                    "The price of {source} has units without a rate here: {uncovered}.",
                    source=price.source,
                    uncovered=", ".join(price.uncovered),
                )
            )
    prices = [price for _, price in found]
    costs = [RouteCost(route.id, list_costs(price, credits_per_usd)) for route, price in found]
    return PriceComparison(
        model.id,
        tuple(price.source for price in prices),
        tuple(costs),
        list_rates(prices, credits_per_usd, live=live),
        live,
        list_rates(prices, credits_per_usd, markup_percent=markup_percent, live=live),
        min((price.changes for price in prices if price.changes), default=None),
    )


def list_rates(prices: list[ListPrice], credits_per_usd: int, *, markup_percent: int = 0, live: Rates | None = None) -> Rates:
    """Return rates in credits that cover each list price plus a markup, rounded up.

    Rates of `live` that no list price has are kept, such as the minimum. Rates for web searches and service tiers are updated
    only if `live` has them, because adding one would allow new kinds of calls.
    """
    before = live or Rates()
    has = {rate.kind for rate in before.rates}
    usd: UsdRates = highest_rates([price.rates for price in prices])
    factor = Decimal(credits_per_usd * (100 + markup_percent)) / 100_000
    steps = {
        kind: {above: ceil(rate * factor) for above, rate in rates.items()}
        for kind, rates in usd.items()
        if kind != "web_search" or kind in has
    }
    columns = {kind: steps[kind][0] for kind in (*BASE_KINDS, PER_CALL) if kind in steps}
    rates = [rate for rate in before.rates if rate.kind not in steps]
    rates += [Rate(kind, above, rate) for kind in steps for above, rate in steps[kind].items() if above or kind not in columns]
    return _sorted(replace(before, **columns, rates=tuple(_tier_rate(rate, prices) for rate in rates)))


def list_costs(price: ListPrice, credits_per_usd: int) -> RouteCosts:
    """Return what a call costs us at a list price, including web searches and service tiers."""
    all_kinds = Rates(rates=(Rate("web_search", 0, 0), *(Rate(TIER_PREFIX + name, 0, 0) for name in price.tiers)))
    rates = list_rates([price], credits_per_usd, live=all_kinds)
    return costs_of(replace(rates, rates=tuple(rate for rate in rates.rates if rate.kind != "web_search" or rate.credits)))


def _tier_rate(rate: Rate, prices: list[ListPrice]) -> Rate:
    """Return a service tier's rate with the highest factor of the list prices if all have one, or any other rate unchanged."""
    name = rate.kind.removeprefix(TIER_PREFIX)
    if name == rate.kind or not all(name in price.tiers for price in prices):
        return rate
    return rate._replace(credits=max(ceil(price.tiers[name] * 1_000) for price in prices))


def _price_list(rates: Rates) -> PriceList:
    columns = {column: getattr(rates, name) for name, column in COLUMNS.items()}
    return PriceList(UUID(int=0), 0, **columns, rates=rates.rates)


def _rate_at(price: PriceList, kind: str, above_tokens: int) -> int:
    """Return the rate of a kind for prompts above a length. Units such as searches have no fallback."""
    return rate_of(price, kind, above_tokens + 1)


def _sorted(rates: Rates) -> Rates:
    """Return the rates in an order for comparisons that does not depend on the database's collation."""
    return replace(rates, rates=tuple(sorted(rates.rates)))


def _percent(rate: int, cost: int) -> int | None:
    return (rate - cost) * 100 // rate if rate else None


def _routes() -> dict[str, list[ChannelModel]]:
    """Return the enabled routes on enabled channels by model id."""
    rows: Any = (
        ChannelModel.select(ChannelModel, Channel)
        .join(Channel)
        .where((ChannelModel.status == "active") & (Channel.status == "active"))
        .order_by(ChannelModel.model, ChannelModel.priority, Channel.name)
    )
    found = defaultdict(list)
    for row in rows:
        found[row.model_id].append(row)
    return found
