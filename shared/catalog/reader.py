"""Loads the catalog from the database into one snapshot."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any
from uuid import UUID

from peewee import fn

from shared.billing.output_histogram import BOUNDS
from shared.billing.price_rows import read_prices
from shared.billing.provider_cost import cost_prices
from shared.billing.rates import PriceList
from shared.catalog.model_settings import of_model
from shared.catalog.snapshot import Alias, Catalog, CatalogModel, Route
from shared.catalog.templates.known_models import max_output_tokens
from shared.core.clock import now_ms
from shared.models import AIModel, CatalogVersion, Channel, ChannelComparison, ChannelModel, ModelAlias, OutputSize

LOWERED_WEIGHT = 0.1  # factor for channels that differ from their reference, if their rule says so


def read_version() -> int:
    """Return the catalog's version in the database. Cheap: processes poll it every second."""
    row = CatalogVersion.get_or_none(CatalogVersion.id == 1)
    return row.version if row else 0


def load_catalog() -> Catalog:
    """Load the whole catalog. The version is read first, so a change made meanwhile causes another load."""
    version, now = read_version(), now_ms()
    prices = _prices()
    routes = _routes(now)
    outputs = _output_sizes()
    rows: list[AIModel] = list(AIModel.select().where(AIModel.status == "active"))
    models = {
        row.id: CatalogModel(
            id=row.id,
            kind=row.kind,
            owned_by=row.owned_by,
            description=row.description,
            context_window=row.context_window,
            max_output_tokens=row.max_output_tokens,
            modality=row.modality,
            capabilities=tuple(row.capabilities or ()),
            is_free=row.is_free,
            created_at=row.created_at,
            prices=tuple(prices.get(row.id, ())),
            routes=_with_output_limits(routes.get(row.id, ()))
            if row.max_output_tokens is None
            else tuple(routes.get(row.id, ())),
            full_hold=row.full_hold,
            output_sizes=outputs[row.id][0] if row.id in outputs else (),
            reasons=row.id in outputs and outputs[row.id][1],
        )
        for row in rows
        if not _is_shut_down(row, now)
    }
    deprecations = {row.id: _deprecation(row) for row in rows if row.id in models and row.deprecated_at is not None}
    links = [_replacement(row) for row in rows if row.id not in models]
    coming = [row.shutdown_at for row in rows if row.shutdown_at is not None and row.id in models]
    stale_at = min((time for time in (_next_resume_at(now), *coming) if time is not None), default=None)
    return Catalog(version, models, stale_at, _aliases(links, models, deprecations), deprecations)


def _is_shut_down(row: AIModel, now: int) -> bool:
    return row.shutdown_at is not None and row.shutdown_at <= now


def _deprecation(row: AIModel) -> Alias:
    """Return the announced deprecation of a model that still serves."""
    return Alias(row.id, row.id, row.successor or "", row.deprecated_at, row.shutdown_at, row.created_at)


def _replacement(row: AIModel) -> Alias:
    """Return the alias that takes the place of a model after its shutdown. Without a successor, calls of it are refused."""
    if row.successor:
        return Alias(row.id, row.successor, row.successor, row.deprecated_at, None, row.created_at)
    return _deprecation(row)


def _aliases(replacements: Iterable[Alias], models: Container[str], deprecations: Mapping[str, Alias]) -> dict[str, Alias]:
    """Return the aliases by name, except those with the name of a served model."""
    rows: dict[str, Alias | ModelAlias] = {row.name: row for row in ModelAlias.select()}
    rows.update((row.name, row) for row in replacements)
    found = {}
    for row in rows.values():
        if row.name in models:
            continue
        chain = [row]
        while chain[-1].model in rows and chain[-1].model not in models and len(chain) <= len(rows):
            chain.append(rows[chain[-1].model])
        if (announced := deprecations.get(chain[-1].model)) is not None:
            # Calls of the alias will also go to the model's successor, or be refused if there is none.
            chain.append(announced._replace(shutdown_at=None) if announced.successor else announced)
        # The earliest dates apply, because an alias cannot outlive the one that it points to.
        shutdown_at = min((link.shutdown_at for link in chain if link.shutdown_at is not None), default=None)
        deprecated_at = min((link.deprecated_at for link in chain if link.deprecated_at is not None), default=None)
        last = "" if chain[-1].name == chain[-1].model else chain[-1].model  # a model without a successor
        successor = next((link.successor for link in chain if link.successor), last)
        found[row.name] = Alias(row.name, chain[-1].model, successor, deprecated_at, shutdown_at, row.created_at)
    return found


def _prices() -> dict[str, list[PriceList]]:
    found: dict[str, list[PriceList]] = {}
    for model, price in read_prices():
        found.setdefault(model, []).append(price)
    return found


def _output_sizes() -> dict[str, tuple[tuple[int, ...], bool]]:
    """Return the recent calls of each model by bucket of output tokens, and whether some had reasoning tokens."""
    counts: dict[str, list[int]] = {}
    reasoning: set[str] = set()
    calls, reasoned = fn.SUM(OutputSize.calls), fn.SUM(OutputSize.reasoning_calls)
    rows: Any = OutputSize.select(OutputSize.model, OutputSize.bucket, calls, reasoned).group_by(
        OutputSize.model, OutputSize.bucket
    )
    for model, bucket, number, reasoning_calls in rows.tuples():
        counts.setdefault(model, [0] * len(BOUNDS))[bucket] = int(number)
        if reasoning_calls:
            reasoning.add(model)
    return {model: (tuple(found), model in reasoning) for model, found in counts.items()}


def _next_resume_at(now: int) -> int | None:
    """Return when the next paused channel returns to service, or None if none is paused."""
    paused = (Channel.status == "active") & (Channel.out_until > now)
    first: int | None = Channel.select(fn.MIN(Channel.out_until)).where(paused).scalar()
    return first


def _routes(now: int) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    serving = (Channel.status == "active") & (Channel.out_until.is_null() | (Channel.out_until <= now))
    links = ChannelModel.select(ChannelModel, Channel).join(Channel).where((ChannelModel.status == "active") & serving)
    different = _different_models()
    for link in links:
        model, route = link.__data__["model"], route_of(link)
        if link.channel.lowers_weight_when_different and (route.channel, model) in different:
            route = route._replace(weight=route.weight * LOWERED_WEIGHT)
        found.setdefault(model, []).append(route)
    return found


def _different_models() -> set[tuple[UUID, str]]:
    """Return the channels and models that differ from their reference."""
    different = ChannelComparison.verdict == "different"
    rows: Any = ChannelComparison.select(ChannelComparison.channel, ChannelComparison.model).where(different)
    return set(rows.tuples())


def _with_output_limits(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Set an output limit on Anthropic routes, for a model without one: the API requires `max_tokens` and caps it by model."""
    return tuple(
        route._replace(required_output_limit=max_output_tokens(route.upstream_model)) if route.dialect == "anthropic" else route
        for route in routes
    )


def route_of(link: ChannelModel) -> Route:
    """Return a row, read together with its channel, as a route."""
    channel = link.channel
    settings = channel.settings or {}
    provider = _header_text(settings.get("provider")) or channel.dialect
    return Route(
        id=link.id,
        channel=channel.id,
        channel_name=channel.name,
        dialect=channel.dialect,
        base_url=channel.base_url,
        sealed_secret=channel.sealed_secret,
        settings=settings,
        upstream_model=link.upstream_model,
        priority=link.priority,
        weight=link.weight,
        public_name=_header_text(settings.get("public_name")) or provider,
        provider=provider,
        zero_retention=settings.get("data_collection") == "deny",
        reasoning_tokens=of_model(settings, "reasoning_tokens_limit", link.upstream_model, 0),
        cost=cost_prices(link.cost_per_1k_input, link.cost_per_1k_output, link.further_costs or ()),
    )


def channel_route(channel: Channel) -> Route:
    """Return a channel as a route without a model, for calls to the provider that concern no model."""
    return route_of(ChannelModel(channel=channel, upstream_model=""))


def _header_text(value: object) -> str:
    """Return a setting that is sent to callers in a header, or "" if it is not usable there."""
    usable = isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 100
    return str(value).strip() if usable else ""
