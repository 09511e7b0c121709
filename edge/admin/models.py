"""`/api/admin/models/`: create, change, deprecate, enable and disable models of the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.price_fields import Rates, rates_from
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import (
    BOOLEAN,
    INTEGER,
    STRING,
    TIMESTAMP,
    Schema,
    array,
    described,
    enum,
    integer,
    nullable,
    page_of,
    response_schema,
)
from edge.http.body_types import ClosedBody
from edge.http.paging import DEFAULT_LIMIT, MAX_LIMIT, split_page
from edge.http.time_fields import Time, parse_time
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import ENABLED_STATUSES, MODEL_KINDS, AIModel
from shared.operations.catalog import create_model, find_model, set_model_status, update_model
from shared.operations.model_deprecation import FIELDS as DEPRECATION
from shared.operations.model_deprecation import deprecate_model
from shared.operations.model_details import MAX_CONTEXT_WINDOW, ModelDetails
from shared.text.translation import lazy_gettext

models = Blueprint("admin_models", __name__)

ModelId = Annotated[str, Meta(min_length=1, max_length=200)]
Tokens = Annotated[int, Meta(ge=1, le=MAX_CONTEXT_WINDOW)]
Text = Annotated[str, Meta(max_length=2_000)]
Short = Annotated[str, Meta(min_length=1, max_length=100)]
Modality = Annotated[str, Meta(min_length=1, max_length=64)]
Tags = list[Annotated[str, Meta(min_length=1, max_length=40)]]
Kind = Literal["chat", "embedding", "image", "video", "speech", "moderation", "transcription", "rerank"]

NAME_PAGE: Mapping[str, Schema] = {
    "limit": integer(1, MAX_LIMIT),
    "after": described(STRING, "The value of `next` of the previous page."),
}
MODEL_PATH = {"model_id": described(STRING, "Id of the model.")}
MODEL = response_schema(
    {
        "id": described(STRING, "Id of the model, the `model` of calls.", "gpt-4o-mini"),
        "status": described(enum(*ENABLED_STATUSES), "`disabled` models are not in the catalog.", "active"),
        "kind": described(enum(*MODEL_KINDS), "What the model does.", "chat"),
        "description": described(STRING, "Description in the catalog.", ""),
        "owned_by": described(STRING, "Owner of the model, as in the catalog.", "openai"),
        "context_window": described(nullable(INTEGER), "Context window in tokens; null if it is unknown.", 128_000),
        "max_output_tokens": described(nullable(INTEGER), "Maximum output tokens; null if it is unknown.", 16_384),
        "modality": described(STRING, "Input and output modalities.", "text+image->text"),
        "capabilities": described(array(STRING), "Capabilities, such as tools or vision.", ["tools", "vision"]),
        "free": described(BOOLEAN, "Whether visitors can use the model within their daily allowance."),
        "full_hold": described(BOOLEAN, "Whether calls hold their maximum cost, also if few credits are left."),
        "successor": described(nullable(STRING), "Model or alias that gets the calls after the shutdown; null if there is none."),
        "deprecated_at": described(nullable(TIMESTAMP), "When the model is deprecated; null if it is not."),
        "shutdown_at": described(nullable(TIMESTAMP), "When the model is shut down; null if it is not."),
        "created": TIMESTAMP,
    }
)


class NewModel(ClosedBody, kw_only=True):
    """A model to create, with its first price and route."""

    EXAMPLE = {
        "id": "gpt-4o-mini",
        "channel": "openai",
        "price": {"credits_per_1k_input": 150, "credits_per_1k_output": 600},
        "context_window": 128_000,
    }

    id: Annotated[ModelId, Meta(description="Id of the model, the `model` of calls.")]
    channel: Annotated[Short, Meta(description="Name of the channel that serves the model.")]
    price: Annotated[Rates, Meta(description="The model's price from now on.")]
    upstream_model: Annotated[ModelId | None, Meta(description="The provider's name of the model. By default the id.")] = None
    status: Annotated[
        Literal["active", "disabled"], Meta(description="`disabled` models are not in the catalog until they are enabled.")
    ] = "active"
    kind: Annotated[Kind, Meta(description="What the model does; it cannot be changed.")] = "chat"
    description: Annotated[Text, Meta(description="Description in the catalog.")] = ""
    owned_by: Annotated[Short, Meta(description="Owner of the model, as in the catalog.")] = "yout"
    context_window: Annotated[Tokens | None, Meta(description="Context window in tokens. Null: unknown.")] = None
    max_output_tokens: Annotated[Tokens | None, Meta(description="Maximum output tokens. Null: unknown.")] = None
    capabilities: Annotated[Tags, Meta(description="Capabilities, such as tools or vision.")] = []
    modality: Annotated[Modality | None, Meta(description="Input and output modalities. By default those of the kind.")] = None
    free: Annotated[
        bool, Meta(description="Whether visitors can use the model within their daily allowance. Only free models may cost 0.")
    ] = False
    full_hold: Annotated[bool, Meta(description="Whether calls hold their maximum cost, also if few credits are left.")] = False


class ModelChanges(ClosedBody, kw_only=True):
    """The fields of a model to change, at least one."""

    EXAMPLE = {"description": "Small and fast.", "status": "active"}

    status: Annotated[
        Literal["active", "disabled"] | UnsetType, Meta(description="`disabled` models are not in the catalog.")
    ] = UNSET
    description: Annotated[Text | UnsetType, Meta(description="Description in the catalog.")] = UNSET
    owned_by: Annotated[Short | UnsetType, Meta(description="Owner of the model, as in the catalog.")] = UNSET
    context_window: Annotated[Tokens | UnsetType | None, Meta(description="Context window in tokens. Null: unknown.")] = UNSET
    max_output_tokens: Annotated[Tokens | UnsetType | None, Meta(description="Maximum output tokens. Null: unknown.")] = UNSET
    capabilities: Annotated[Tags | UnsetType, Meta(description="Capabilities, such as tools or vision.")] = UNSET
    modality: Annotated[Modality | UnsetType, Meta(description="Input and output modalities.")] = UNSET
    free: Annotated[bool | UnsetType, Meta(description="Whether visitors can use the model within their daily allowance.")] = (
        UNSET
    )
    full_hold: Annotated[bool | UnsetType, Meta(description="Whether calls hold their maximum cost.")] = UNSET
    successor: Annotated[
        ModelId | UnsetType | None, Meta(description="Model or alias that gets the calls after the shutdown. Null: none.")
    ] = UNSET
    deprecated_at: Annotated[Time | UnsetType | None, Meta(description="When the model is deprecated. Null: it is not.")] = UNSET
    shutdown_at: Annotated[Time | UnsetType | None, Meta(description="When the model is shut down. Null: it is not.")] = UNSET


@admin_route(
    models,
    "GET",
    "/models/",
    "models:read",
    "List models",
    returns=page_of("models", MODEL),
    description="The models, sorted by id, also disabled ones.",
    query={**NAME_PAGE, "status": described(enum(*ENABLED_STATUSES), "Only models in this state.")},
)
def list_all(call: AdminCall) -> Document:
    """List the models."""
    limit = call.query.get("limit", DEFAULT_LIMIT)
    query = AIModel.select().where(AIModel.id > call.query.get("after", "")).order_by(AIModel.id).limit(limit + 1)
    if "status" in call.query:
        query = query.where(AIModel.status == call.query["status"])
    rows, last = split_page(list(query), limit)
    return {"models": [model_document(row) for row in rows], "next": last.id if last is not None else None}


@admin_route(
    models,
    "POST",
    "/models/",
    "models:write",
    "Create a model",
    status=201,
    body=NewModel,
    returns=MODEL,
    errors=(NotFound,),
    notes=lazy_gettext("More channels can serve it with further routes. A model without a price is not served."),
)
def create(call: AdminCall) -> Document:
    """Create a model with its price and one route."""
    body = call.body
    details = ModelDetails(**{name: getattr(body, name) for name in _DETAILS})
    return model_document(
        create_model(
            body.id,
            body.channel,
            rates_from(body.price),
            details,
            upstream_model=body.upstream_model,
            status=body.status,
            origin=call.origin,
        )
    )


@admin_route(models, "GET", "/models/<path:model_id>/", "models:read", "Retrieve a model", path=MODEL_PATH, returns=MODEL)
def show(_: AdminCall, model_id: str) -> Document:
    """Return a model."""
    return model_document(find_model(model_id))


@admin_route(
    models,
    "PATCH",
    "/models/<path:model_id>/",
    "models:write",
    "Update a model",
    path=MODEL_PATH,
    body=ModelChanges,
    returns=MODEL,
    notes=lazy_gettext(
        "Only the fields in the body change. With a successor or a shutdown, `deprecated_at` defaults to now. Models are not"
        " deleted, because calls refer to them."
    ),
)
def update(call: AdminCall, model_id: str) -> Document:
    """Update the fields in the body."""
    model, changes = find_model(model_id), call.changes
    if not changes.keys().isdisjoint(_DETAILS):
        former = {name: getattr(model, _COLUMNS.get(name, name)) for name in _DETAILS}
        details = ModelDetails(**{name: changes.get(name, former[name]) for name in _DETAILS})
        update_model(model_id, details, origin=call.origin)
    deprecation = {name: _value(name, changes[name]) for name in DEPRECATION if name in changes}
    if deprecation:
        deprecate_model(model_id, deprecation, origin=call.origin)
    if "status" in changes:
        set_model_status(model_id, changes["status"], origin=call.origin)
    return model_document(find_model(model_id))


_DETAILS: tuple[str, ...] = ModelDetails.__match_args__
_COLUMNS = {"free": "is_free"}


def _value(name: str, value: str | None) -> Any:
    return parse_time(name, value) if value is not None and name.endswith("_at") else value


def model_document(row: AIModel) -> Document:
    """Return a model in the format of the API."""
    details = {name: getattr(row, _COLUMNS.get(name, name)) for name in _DETAILS}
    return {
        "id": row.id,
        "status": row.status,
        **details,
        "successor": row.successor,
        "deprecated_at": format_timestamp(row.deprecated_at),
        "shutdown_at": format_timestamp(row.shutdown_at),
        "created": format_timestamp(row.created_at),
    }
