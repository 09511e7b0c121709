"""Read the catalogue from the database into one snapshot."""

from __future__ import annotations

from collections.abc import Iterable

from peewee import fn

from shared.catalog import Catalog, CatalogModel, Route
from shared.channel_templates.known_models import longest_answer
from shared.clock import now_ms
from shared.models import AIModel, CatalogVersion, Channel, ChannelModel, Price
from shared.pricing import PriceList


def read_version() -> int:
    """The catalogue's version in the database: one cheap row, polled every second."""
    row = CatalogVersion.get_or_none(CatalogVersion.id == 1)
    return row.version if row else 0


def load() -> Catalog:
    """Read the whole catalogue. The version is read first: a change in between is loaded again, never missed."""
    version, now = read_version(), now_ms()
    prices = _prices()
    routes = _routes(now)
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
            routes=_demanding(routes.get(row.id, ())) if row.max_output_tokens is None else tuple(routes.get(row.id, ())),
        )
        for row in AIModel.select().where(AIModel.status == "active")
    }
    return Catalog(version, models, _end_of_first_rest(now))


def _prices() -> dict[str, list[PriceList]]:
    found: dict[str, list[PriceList]] = {}
    for row in Price.select().order_by(Price.effective_at.desc()):
        values = row.__data__  # the foreign key as it stands, without a query for its model
        found.setdefault(values["model"], []).append(PriceList(**{name: values[name] for name in PriceList._fields}))
    return found


def _end_of_first_rest(now: int) -> int | None:
    """When the next resting channel is back; None when none rests."""
    resting = (Channel.status == "active") & (Channel.out_until > now)
    first: int | None = Channel.select(fn.MIN(Channel.out_until)).where(resting).scalar()
    return first


def _routes(now: int) -> dict[str, list[Route]]:
    found: dict[str, list[Route]] = {}
    serving = (Channel.status == "active") & (Channel.out_until.is_null() | (Channel.out_until <= now))
    links = ChannelModel.select(ChannelModel, Channel).join(Channel).where((ChannelModel.status == "active") & serving)
    for link in links:
        found.setdefault(link.__data__["model"], []).append(route_of(link))
    return found


def _demanding(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The routes of a model without a longest answer in the catalogue: Anthropic demands a limit, and refuses one above it."""
    return tuple(
        route._replace(demanded=longest_answer(route.upstream_model)) if route.dialect == "anthropic" else route
        for route in routes
    )


def route_of(link: ChannelModel) -> Route:
    """A row, read together with its channel, as a route."""
    channel = link.channel
    settings = channel.settings or {}
    provider = _word(settings.get("provider")) or channel.dialect
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
        public_name=_word(settings.get("public_name")) or provider,
        provider=provider,
        keeps_nothing=settings.get("data_collection") == "deny",
    )


def channel_route(channel: Channel) -> Route:
    """A channel as a route to no model in particular: to ask it what it offers."""
    return route_of(ChannelModel(channel=channel, upstream_model=""))


def _word(value: object) -> str:
    """A setting that names something to callers: it goes into a header. "" for what cannot stand there."""
    usable = isinstance(value, str) and value.isascii() and value.isprintable() and len(value) <= 100
    return str(value).strip() if usable else ""
