"""`GET /v1/models` and `GET /v1/models/{id}`: the models available to the calling key, with prices."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from edge.http.api_spec import (
    BOOLEAN,
    INTEGER,
    KEY,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    enum,
    nullable,
    response_schema,
)
from edge.request_context import json_response, key_caller, services
from shared.billing.pricing import PriceList
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.core.errors import ModelNotFound

models = Blueprint("models", __name__)
MODEL = response_schema(
    {
        "id": STRING,
        "object": enum("model"),
        "created": INTEGER,
        "owned_by": STRING,
        "context_window": nullable(INTEGER),
        "max_output_tokens": nullable(INTEGER),
        "modality": STRING,
        "capabilities": array(STRING),
        "free": BOOLEAN,
        "pricing": OPEN_OBJECT,
    }
)


@models.get("/v1/models")
@describe_route(
    "List models",
    callers=KEY,
    responses={
        200: ResponseSpec(response_schema({"object": enum("list"), "data": array(MODEL)}), "The models available to the key.")
    },
)
async def list_models() -> Response:
    """List the active models with a price that the key may use."""
    caller = await key_caller()
    now = now_ms()
    found = [_document(model, now) for model in services().catalog.models.values() if caller.row.may_use(model, now)]
    return json_response({"object": "list", "data": sorted(found, key=lambda document: str(document["id"]))})


@models.get("/v1/models/<path:model_id>")
@describe_route("Retrieve a model", callers=KEY, responses={200: ResponseSpec(MODEL)}, errors=(ModelNotFound,))
async def get_model(model_id: str) -> Response:
    """Return one model. Ids may contain slashes, but not at the end."""
    model_id = model_id.rstrip("/")
    caller = await key_caller()
    now = now_ms()
    model = services().catalog.models.get(model_id)
    if model is None or not caller.row.may_use(model, now):
        raise ModelNotFound(model_id)
    return json_response(_document(model, now))


def _document(model: CatalogModel, now: int) -> dict[str, Any]:
    price = model.price_at(now)
    assert price is not None  # noqa: S101  (`may_use` requires one)
    return {
        "id": model.id,
        "object": "model",
        "created": model.created_at // 1000,
        "owned_by": model.owned_by,
        "description": model.description,
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens,
        "modality": model.modality,
        "capabilities": list(model.capabilities),
        "free": model.is_free,
        "pricing": pricing(price),
    }


def pricing(price: PriceList) -> dict[str, int]:
    """Return a price in the API's format, in credits. The media prices are included only if the model has them."""
    cached, written = price.credits_per_1k_cached_input, price.credits_per_1k_cache_write
    media = {name: getattr(price, name) for name in ("credits_per_5_seconds", "credits_per_1k_characters")}
    return {
        "credits_per_1k_input": price.credits_per_1k_input,
        "credits_per_1k_output": price.credits_per_1k_output,
        "credits_per_1k_cached_input": cached if cached is not None else price.credits_per_1k_input,
        "credits_per_1k_cache_write": written if written is not None else price.credits_per_1k_input,
        "credits_per_call": price.credits_per_call,
        **{name: value for name, value in media.items() if value is not None},
    }
