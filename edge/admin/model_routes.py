"""`/api/admin/routes/`: which channels serve which models, in which order, and what they charge us."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.channels import find_by_id_or_name
from edge.admin.models import ModelId
from edge.admin.price_fields import Credits
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import ID, INTEGER, PAGE, STRING, described, nullable, page_of, response_schema
from edge.http.body_types import ClosedBody
from edge.http.paging import split_page
from shared.billing.rates import Rate
from shared.core.errors import NotFound
from shared.models import Channel, ChannelModel
from shared.operations.catalog import add_channel_to_model
from shared.operations.model_routes import find_route, remove_route, update_route
from shared.operations.route_costs import RouteCosts
from shared.text.translation import lazy_gettext

model_routes = Blueprint("admin_model_routes", __name__)

ROUTE_PATH = {"route_id": ID}
ROUTE = response_schema(
    {
        "id": ID,
        "model": described(STRING, "Id of the model.", "gpt-4o-mini"),
        "channel": described(STRING, "Name of the channel.", "openai"),
        "upstream_model": described(STRING, "The provider's name of the model.", "gpt-4o-mini"),
        "priority": described(INTEGER, "Routes with a lower priority are tried first.", 0),
        "weight": described(INTEGER, "Share of the calls among routes of the same priority.", 1),
        "cost_per_1k_input": described(nullable(INTEGER), "What the provider charges for 1,000 input tokens, in credits."),
        "cost_per_1k_output": described(nullable(INTEGER), "What the provider charges for 1,000 output tokens, in credits."),
    }
)

Priority = Annotated[int, Meta(ge=-1_000, le=1_000)]
Weight = Annotated[int, Meta(ge=1, le=1_000_000)]


class NewRoute(ClosedBody, kw_only=True):
    """A channel to add to a model."""

    EXAMPLE = {"model": "gpt-4o-mini", "channel": "azure", "priority": 1}

    model: Annotated[ModelId, Meta(description="Id of the model.")]
    channel: Annotated[str, Meta(min_length=1, max_length=100, description="Id or name of the channel.")]
    upstream_model: Annotated[ModelId | None, Meta(description="The provider's name of the model. By default the id.")] = None
    priority: Annotated[Priority, Meta(description="Routes with a lower priority are tried first.")] = 0
    weight: Annotated[Weight, Meta(description="Share of the calls among routes of the same priority.")] = 1


class RouteChanges(ClosedBody, kw_only=True):
    """The fields of a route to change, at least one."""

    EXAMPLE = {"weight": 10}

    upstream_model: Annotated[ModelId | UnsetType, Meta(description="The provider's name of the model.")] = UNSET
    priority: Annotated[Priority | UnsetType, Meta(description="Routes with a lower priority are tried first.")] = UNSET
    weight: Annotated[Weight | UnsetType, Meta(description="Share of the calls among routes of the same priority.")] = UNSET
    cost_per_1k_input: Annotated[
        Credits | UnsetType | None, Meta(description="What the provider charges for 1,000 input tokens. Null: unknown.")
    ] = UNSET
    cost_per_1k_output: Annotated[
        Credits | UnsetType | None, Meta(description="What the provider charges for 1,000 output tokens. Null: unknown.")
    ] = UNSET


@admin_route(
    model_routes,
    "GET",
    "/routes/",
    "models:read",
    "List routes",
    returns=page_of("routes", ROUTE),
    description="The routes, oldest first.",
    query={
        **PAGE,
        "model": described(STRING, "Only routes of this model."),
        "channel": described(STRING, "Only routes of the channel with this id or name."),
    },
    errors=(NotFound,),
)
def list_all(call: AdminCall) -> Document:
    """List the routes."""
    limit, after = call.page
    query = ChannelModel.select(ChannelModel, Channel).join(Channel).order_by(ChannelModel.id).limit(limit + 1)
    if after is not None:
        query = query.where(ChannelModel.id > after)
    if "model" in call.query:
        query = query.where(ChannelModel.model == call.query["model"])
    if "channel" in call.query:
        query = query.where(ChannelModel.channel == find_by_id_or_name(call.query["channel"]))
    rows, last = split_page(list(query), limit)
    return {"routes": [route_document(row) for row in rows], "next": str(last.id) if last is not None else None}


@admin_route(
    model_routes,
    "POST",
    "/routes/",
    "models:write",
    "Create a route",
    status=201,
    body=NewRoute,
    returns=ROUTE,
    errors=(NotFound,),
)
def create(call: AdminCall) -> Document:
    """Add a channel to a model."""
    body, channel = call.body, find_by_id_or_name(call.body.channel).name
    row = add_channel_to_model(body.model, channel, body.upstream_model, body.priority, body.weight, origin=call.origin)
    return route_document(find_route(row.id))


@admin_route(model_routes, "GET", "/routes/<route_id>/", "models:read", "Retrieve a route", path=ROUTE_PATH, returns=ROUTE)
def show(_: AdminCall, route_id: str) -> Document:
    """Return a route."""
    return route_document(_find(route_id))


@admin_route(
    model_routes,
    "PATCH",
    "/routes/<route_id>/",
    "models:write",
    "Update a route",
    path=ROUTE_PATH,
    body=RouteChanges,
    returns=ROUTE,
    notes=lazy_gettext("Only the fields in the body change. The other costs of the route stay as they are."),
)
def update(call: AdminCall, route_id: str) -> Document:
    """Update the fields in the body."""
    row = _find(route_id)
    values = {name: call.changes.get(name, getattr(row, name)) for name in RouteChanges.__struct_fields__}
    further = tuple(Rate(*rate) for rate in row.further_costs)
    costs = RouteCosts(values.pop("cost_per_1k_input"), values.pop("cost_per_1k_output"), further)
    return route_document(update_route(row.id, **values, costs=costs, follows_list=row.costs_listed, origin=call.origin))


@admin_route(
    model_routes,
    "DELETE",
    "/routes/<route_id>/",
    "models:write",
    "Delete a route",
    path=ROUTE_PATH,
    returns=ROUTE,
    notes=lazy_gettext("The channel no longer serves the model; running calls finish. Returns the deleted route."),
)
def remove(call: AdminCall, route_id: str) -> Document:
    """Remove a channel from a model."""
    row = _find(route_id)
    document = route_document(row)
    remove_route(row.id, origin=call.origin)
    return document


def _find(route_id: str) -> ChannelModel:
    """Return the route with this id. Raises `NotFound`."""
    try:
        return find_route(UUID(route_id))
    except ValueError:
        raise NotFound("No such route.") from None


def route_document(row: ChannelModel) -> Document:
    """Return a route in the format of the API."""
    return {
        "id": str(row.id),
        "model": str(row.__data__["model"]),
        "channel": row.channel.name,
        "upstream_model": row.upstream_model,
        "priority": row.priority,
        "weight": row.weight,
        "cost_per_1k_input": row.cost_per_1k_input,
        "cost_per_1k_output": row.cost_per_1k_output,
    }
