"""The catalog as one immutable snapshot: models with their prices and routes. Pure.

API keys and balances are not part of it; each call reads them when it reserves credits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from shared.billing.provider_cost import CostPrices
from shared.billing.rates import PriceList
from shared.core.errors import ModelShutDown

UNLISTED_PREFIX = "yout-proof/"  # of the random model ids of `yout prove-cap` and `yout privacy-check`


class Route(NamedTuple):
    """One way to serve a model: a channel, and the provider's name for the model. `sealed_secret` is still encrypted.

    public_name    the channel's name that callers see and can select
    provider       the provider's slug, shared by all of its channels
    zero_retention  the provider neither stores requests nor trains on them
    weight          lowered if the channel differs from its reference and its rule says so
    reasoning_tokens  maximum reasoning of a choice, if the provider's output limit does not count it
    cost            the provider's prices to us, or None if they are unknown; only for the usage rows that staff see
    required_output_limit  output limit sent for calls without one: set if the provider requires a limit and the catalog has none
    """

    id: UUID
    channel: UUID
    channel_name: str
    dialect: str
    base_url: str
    sealed_secret: str
    settings: Mapping[str, Any]
    upstream_model: str
    priority: int
    weight: float
    public_name: str = ""
    provider: str = ""
    zero_retention: bool = False
    required_output_limit: int | None = None
    reasoning_tokens: int = 0
    cost: CostPrices | None = None


class CatalogModel(NamedTuple):
    """A public model with its routes and all of its prices, the latest effective date first.

    full_hold     calls hold their maximum cost, also in a tight pool
    output_sizes  recent calls by bucket of output tokens (`shared.billing.output_histogram`); empty if there are none
    reasons       some recent calls had reasoning tokens
    """

    id: str
    kind: str
    owned_by: str
    description: str
    context_window: int | None
    max_output_tokens: int | None
    modality: str
    capabilities: tuple[str, ...]
    is_free: bool
    created_at: int
    prices: tuple[PriceList, ...]
    routes: tuple[Route, ...]
    full_hold: bool = False
    output_sizes: tuple[int, ...] = ()
    reasons: bool = False

    @property
    def default_output_limit(self) -> int | None:
        """The output limit that the providers get for a call without one; None if any route sends no limit."""
        demanded = [route.required_output_limit for route in self.routes if route.required_output_limit is not None]
        return max(demanded) if demanded and len(demanded) == len(self.routes) else None

    @property
    def reasoning_tokens(self) -> int:
        """The maximum reasoning of a choice that no output limit counts, whichever channel serves."""
        return max((route.reasoning_tokens for route in self.routes), default=0)

    def price_at(self, now: int) -> PriceList | None:
        """Return the price in force at `now` (milliseconds UTC), or None if none is yet."""
        for price in self.prices:  # a generator would cost as much as the rest of the function
            if price.effective_at <= now:
                return price
        return None

    def is_usable(self, now: int, *allowed: Sequence[str] | None) -> bool:
        """Whether the model has a price at `now` and is in every one of the `allowed` lists (None allows all models)."""
        return all(models is None or self.id in models for models in allowed) and self.price_at(now) is not None


class Alias(NamedTuple):
    """Another name for a model. If it points to another alias, that one's dates apply, too. Times are in milliseconds UTC.

    A model that was shut down and has a successor is an alias of it.

    model          id of the model; it may be disabled
    successor      the name to use instead once the alias is deprecated: a model's id, or another alias; "" if there is none
    deprecated_at  start of the deprecation, which may be in the future; None if there is none
    shutdown_at    calls are refused from then on; None if it is not planned
    """

    name: str
    model: str
    successor: str
    deprecated_at: int | None
    shutdown_at: int | None
    created_at: int

    def is_shut_down(self, now: int) -> bool:
        """Return whether calls are refused at `now`."""
        return self.shutdown_at is not None and self.shutdown_at <= now


class Catalog(NamedTuple):
    """All active models by id, and all aliases by name, as of one catalog version.

    At `stale_at` (ms UTC) a paused channel returns to service, or a model is shut down. No alias has the name of a model in
    `models`. `deprecations` has the models with an announced deprecation, as aliases of themselves.
    """

    version: int
    models: Mapping[str, CatalogModel]
    stale_at: int | None = None
    aliases: Mapping[str, Alias] = MappingProxyType({})
    deprecations: Mapping[str, Alias] = MappingProxyType({})

    @property
    def listed(self) -> dict[str, CatalogModel]:
        """The models to show and to suggest. Unlisted ones can be called by those who know their random ids."""
        return {id: model for id, model in self.models.items() if not id.startswith(UNLISTED_PREFIX)}

    def notice_of(self, name: str) -> Alias | None:
        """Return what the headers of an answer announce about a name: its alias, or its model's deprecation; None for others."""
        return self.aliases.get(name) or self.deprecations.get(name)

    def model_id(self, name: str) -> str:
        """Return the id of the model with this id or alias. An unknown name is returned unchanged."""
        alias = self.aliases.get(name)
        return name if alias is None else alias.model

    def find(self, name: str, now: int) -> CatalogModel | None:
        """Return the model with this id or alias, or None. Raises `ModelShutDown` for a name that was shut down."""
        model = self.models.get(name)
        if model is not None or (alias := self.aliases.get(name)) is None:
            return model
        if alias.is_shut_down(now):
            raise ModelShutDown(name, alias.shutdown_at or 0, alias.successor)
        return self.models.get(alias.model)


EMPTY_CATALOG = Catalog(0, {})
