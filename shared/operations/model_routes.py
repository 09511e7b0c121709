"""Routes between models and channels: change or remove a route, pause a channel."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import NotFound
from shared.models import AIModel, Channel, ChannelCheck, ChannelModel
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog import check_model_id
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.channels import find_channel
from shared.operations.route_costs import RouteCosts
from shared.operations.validation import check_integer, check_text
from shared.text.translation import lazy_gettext

MAX_PAUSE_MS = 7 * 24 * 3600 * 1000


def update_route(
    route_id: UUID,
    *,
    upstream_model: str,
    priority: int,
    weight: int,
    costs: RouteCosts,
    follows_list: bool = False,
    origin: Origin,
) -> ChannelModel:
    """Change a route's provider model name, priority, weight and costs.

    With `follows_list`, the costs are the list price, and the daily price check keeps them up to date. Without it, a change of
    the costs ends that.
    """
    values: dict[str, Any] = {
        "upstream_model": check_model_id(upstream_model),
        "priority": check_integer("priority", priority, -1_000, 1_000),
        "weight": check_integer("weight", weight, 1, 1_000_000),
        **costs.columns(),
    }
    with transaction():
        route = find_route(route_id)
        same_costs = all(getattr(route, name) == value for name, value in costs.columns().items())
        values["costs_listed"] = follows_list or (same_costs and route.costs_listed)
        before = {name: getattr(route, name) for name in values}
        if before != values:
            ChannelModel.update(values).where(ChannelModel.id == route_id).execute()
            target = f"{route.model.id} on {route.channel.name}"
            record_audit_entry(origin, "model.channel", target, before=before, after=values)
            bump_catalog_version()
        return find_route(route_id)


def remove_route(route_id: UUID, *, origin: Origin) -> str:
    """Remove a channel from a model and return the model's id. Running calls finish."""
    with transaction():
        route = find_route(route_id)
        ChannelModel.delete().where(ChannelModel.id == route_id).execute()
        record_audit_entry(
            origin,
            "model.channel",
            route.model.id,
            before={"channel": route.channel.name},
            after={"channel": None},
        )
        bump_catalog_version()
        model_id: str = route.model.id
        return model_id


def pause_channel(name: str, ms: int, reason: str, *, origin: Origin) -> Channel:
    """Pause a channel for `ms` milliseconds (0 resumes it): it gets no new calls. Raises `InvalidInput` for more than a week."""
    check_integer("pause (ms)", ms, 0, MAX_PAUSE_MS)
    reason = check_text("reason", reason, 200, empty=ms == 0)
    with transaction():
        channel = find_channel(name)
        values = {"out_until": now_ms() + ms if ms else None, "out_reason": reason if ms else None, "updated_at": now_ms()}
        before = {"out_until": channel.out_until, "out_reason": channel.out_reason}
        Channel.update(values).where(Channel.id == channel.id).execute()
        if not ms:
            _restart_check(channel, now_ms())
        after = {"out_until": values["out_until"], "out_reason": values["out_reason"]}
        record_audit_entry(origin, "channel.pause" if ms else "channel.resume", channel.name, before=before, after=after)
        bump_catalog_version()
        return Channel.get_by_id(channel.id)


def _restart_check(channel: Channel, now: int) -> None:
    """Let the checks of a resumed channel ignore its earlier calls. Otherwise its rule would pause it again at once."""
    values = {"since": now, "problems": [], "flagged_at": None}
    ChannelCheck.insert(channel=channel, **values).on_conflict(conflict_target=[ChannelCheck.channel], update=values).execute()


def find_route(route_id: UUID) -> ChannelModel:
    """Return the route with its model and channel. Raises `NotFound`."""
    route: ChannelModel | None = (
        ChannelModel.select(ChannelModel, AIModel, Channel)
        .join(AIModel)
        .switch(ChannelModel)
        .join(Channel)
        .where(ChannelModel.id == route_id)
        .first()
    )
    if route is None:
        raise NotFound(lazy_gettext("No route {route_id}. The channel no longer serves the model.", route_id=route_id))
    return route
