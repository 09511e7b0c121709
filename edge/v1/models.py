"""`GET /v1/models` and `GET /v1/models/{id}`: the catalog with prices, in OpenAI's or Anthropic's format."""

from __future__ import annotations

from typing import Any, cast

from quart import Blueprint, Response, request
from werkzeug.datastructures import Headers

from edge.http.api_spec import (
    ANYBODY,
    AUTH_ERRORS,
    BOOLEAN,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    enum,
    integer,
    nullable,
    response_schema,
)
from edge.http.headers import Scope, read_headers
from edge.http.paging import query_integer
from edge.identity.keys import KeyRow
from edge.request_context import find_model, json_response, key_caller, services
from edge.v1.model_documents import anthropic_document, openai_document
from shared.billing.pricing import PriceList
from shared.catalog.snapshot import Alias, CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, ModelNotFound, ModelShutDown

models = Blueprint("models", __name__)
Named = tuple[CatalogModel, Alias | None]  # a model under its id (with its deprecation, if any), or under an alias

PATH = "/v1/models"
MAX_LIMIT = 1_000
_OPENAI = {
    "object": enum("model"),
    "created": INTEGER,
    "owned_by": STRING,
    "name": STRING,
    "canonical_slug": STRING,
    "alias_of": STRING,
    "deprecation": nullable(response_schema({"since": STRING, "shutdown": nullable(STRING), "successor": nullable(STRING)})),
    "description": STRING,
    "context_length": nullable(INTEGER),
    "max_completion_tokens": nullable(INTEGER),
    "architecture": OPEN_OBJECT,
    "supported_parameters": array(STRING),
    "pricing": OPEN_OBJECT,
    "context_window": nullable(INTEGER),
    "max_output_tokens": nullable(INTEGER),
    "kind": STRING,
    "modality": STRING,
    "capabilities": array(STRING),
    "free": BOOLEAN,
}
_ANTHROPIC = {"type": enum("model"), "display_name": STRING, "created_at": STRING}
_MODEL = response_schema({"id": STRING, **_OPENAI, **_ANTHROPIC}, optional=(*_OPENAI, *_ANTHROPIC))
_LIST = response_schema(
    {
        "object": enum("list"),
        "data": array(_MODEL),
        "has_more": BOOLEAN,
        "first_id": nullable(STRING),
        "last_id": nullable(STRING),
    },
    optional=("object", "has_more", "first_id", "last_id"),
)


def is_anthropic_client(headers: Headers) -> bool:
    """Return whether a request has the headers of Anthropic's SDKs, and none of OpenAI's."""
    return "anthropic-version" in headers or ("x-api-key" in headers and "authorization" not in headers)


@models.get(PATH)
@describe_route(
    "List models",
    callers=ANYBODY,
    query={"limit": integer(1, MAX_LIMIT), "after_id": STRING, "before_id": STRING},
    responses={200: ResponseSpec(_LIST, "The models, sorted by id.")},
    errors=(InvalidRequest, *AUTH_ERRORS),
    notes="Needs no key. With a key, only the models that it may use are returned. With `anthropic-version`, or with the key in"
    " `x-api-key` alone, the response has Anthropic's format. Only that format has pages.",
)
async def list_models() -> Response:
    """List the active models with a price: those that the key may use, or all without a key."""
    row, now, rate = await _key_row(), now_ms(), services().settings.credits_per_usd
    priced = [(model, price, alias) for model, alias in _named(now) if (price := _price(model, row, now)) is not None]
    if is_anthropic_client(request.headers):
        return json_response(_anthropic_page([(model, alias) for model, _, alias in priced if model.kind == "chat"]))
    return json_response(
        {"object": "list", "data": [openai_document(model, price, rate, alias) for model, price, alias in priced]}
    )


@models.get(f"{PATH}/<path:model_id>")
@describe_route(
    "Retrieve a model",
    callers=ANYBODY,
    responses={200: ResponseSpec(_MODEL)},
    errors=(InvalidRequest, ModelNotFound, ModelShutDown, *AUTH_ERRORS),
    notes="Needs no key. With a key, only the models that it may use are returned. With `anthropic-version`, or with the key in"
    " `x-api-key` alone, the response has Anthropic's format.",
)
async def get_model(model_id: str) -> Response:
    """Return one model. Ids may contain slashes, but not at the end."""
    model_id = model_id.rstrip("/")
    row = await _key_row()
    model = find_model(model_id)
    price = _price(model, row, now_ms()) if model is not None else None
    if model is None or price is None:
        raise ModelNotFound(model_id)
    alias = services().catalog.notice_of(model_id)
    if is_anthropic_client(request.headers):
        return json_response(anthropic_document(model, alias))
    return json_response(openai_document(model, price, services().settings.credits_per_usd, alias))


def _named(now: int) -> list[Named]:
    """Return all models and aliases, sorted by name, except aliases that were shut down before `now`."""
    catalog = services().catalog
    found: dict[str, Named] = {id: (model, catalog.deprecations.get(id)) for id, model in catalog.listed.items()}
    for name, alias in catalog.aliases.items():
        if alias.model in catalog.models and not alias.is_shut_down(now):
            found[name] = (catalog.models[alias.model], alias)
    return [entry for _, entry in sorted(found.items())]


async def _key_row() -> KeyRow | None:
    """Return the request's key, or None without one. Raises like `key_caller`."""
    return (await key_caller()).key if read_headers(cast(Scope, request.scope)).has_key else None


def _price(model: CatalogModel, key: KeyRow | None, now: int) -> PriceList | None:
    """Return the model's price, or None if it has none or `key` may not use it."""
    return model.price_at(now) if key is None or key.may_use(model, now) else None


def _anthropic_page(listed: list[Named]) -> dict[str, Any]:
    """Return the requested page of models, which are sorted by name. Without `limit` it has all of them.

    The ids in `after_id` and `before_id` need not exist, so a page can follow a model that was removed since.
    """
    after, before = request.args.get("after_id"), request.args.get("before_id")
    if after is not None and before is not None:
        raise InvalidRequest("Send either 'after_id' or 'before_id', not both.", "before_id")
    limit = query_integer("limit", 1, MAX_LIMIT, len(listed))
    documents = [anthropic_document(model, alias) for model, alias in listed]
    found = [one for one in documents if (after is None or one["id"] > after) and (before is None or one["id"] < before)]
    page = found[:limit] if before is None else found[max(0, len(found) - limit) :]
    return {
        "data": page,
        "has_more": len(page) < len(found),
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }
