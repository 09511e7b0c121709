"""The catalogue as the edge serves it: an immutable snapshot of models, prices and channels, swapped whole. Pure values.

Keys and balances are never in it: they are read by the reserve statement of each call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from shared.pricing import PriceList


class Route(NamedTuple):
    """One way to serve a model: a channel, and the vendor's name for the model. `sealed_secret` is still encrypted.

    public_name    what callers may know of the channel, and may choose it by
    provider       the vendor's slug, shared by all channels at that vendor
    keeps_nothing  the vendor has promised neither to keep what it is sent nor to train on it
    demanded       the output limit for calls that set none, where the vendor demands one and the catalogue has no longest answer
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
    weight: int
    public_name: str = ""
    provider: str = ""
    keeps_nothing: bool = False
    demanded: int | None = None


class CatalogModel(NamedTuple):
    """A public model with its routes and all its prices, the newest effective date first."""

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

    @property
    def unasked_output(self) -> int | None:
        """The most that a call without a limit may be answered with; None where no vendor is told one."""
        demanded = [route.demanded for route in self.routes if route.demanded is not None]
        return max(demanded) if demanded and len(demanded) == len(self.routes) else None

    def price_at(self, now: int) -> PriceList | None:
        """The price in force at `now` (milliseconds UTC), or None before the first."""
        return next((price for price in self.prices if price.effective_at <= now), None)

    def usable(self, now: int, *allowed: Sequence[str] | None) -> bool:
        """Whether it has a price at `now`, and each of the lists of `allowed` models names it; None allows all."""
        return all(models is None or self.id in models for models in allowed) and self.price_at(now) is not None


class Catalog(NamedTuple):
    """All active models by id, as of one version. From `stale_at` (ms UTC) on, a channel that rested is to be served again."""

    version: int
    models: Mapping[str, CatalogModel]
    stale_at: int | None = None


EMPTY = Catalog(0, {})
