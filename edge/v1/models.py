"""`GET /v1/models` and `GET /v1/models/{id}`: what the calling key may use, and what it costs."""

from __future__ import annotations

from typing import Any

import orjson
from quart import Blueprint, Response, current_app, request

from edge.auth import KeyRow, bearer
from edge.services import Services
from shared.catalog import CatalogModel
from shared.clock import now_ms
from shared.errors import ModelNotFound

models = Blueprint("models", __name__)


@models.get("/v1/models")
async def list_models() -> Response:
    """Every active, priced model of the key."""
    key = await _caller()
    now = now_ms()
    found = [_document(model, now) for model in _services().catalog.models.values() if _visible(model, key, now)]
    return _json({"object": "list", "data": sorted(found, key=lambda document: str(document["id"]))})


@models.get("/v1/models/<path:model_id>")
async def get_model(model_id: str) -> Response:
    """One model. An id may hold slashes, but it does not end in one."""
    model_id = model_id.rstrip("/")
    key = await _caller()
    now = now_ms()
    model = _services().catalog.models.get(model_id)
    if model is None or not _visible(model, key, now):
        raise ModelNotFound(model_id)
    return _json(_document(model, now))


def _services() -> Services:
    services: Services = current_app.extensions["services"]
    return services


async def _caller() -> KeyRow:
    authorization, x_api_key = request.headers.get("authorization"), request.headers.get("x-api-key")
    digest = bearer(
        authorization.encode("latin-1") if authorization is not None else None,
        x_api_key.encode("latin-1") if x_api_key is not None else None,
    )
    return await _services().keys.look_up(digest)


def _visible(model: CatalogModel, key: KeyRow, now: int) -> bool:
    allowed = all(models is None or model.id in models for models in (key.allowed_models, key.plan_models))
    return allowed and model.price_at(now) is not None


def _document(model: CatalogModel, now: int) -> dict[str, Any]:
    price = model.price_at(now)
    assert price is not None  # noqa: S101  (visible models have one)
    cached = price.credits_per_1k_cached_input
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
        "pricing": {
            "credits_per_1k_input": price.credits_per_1k_input,
            "credits_per_1k_output": price.credits_per_1k_output,
            "credits_per_1k_cached_input": cached if cached is not None else price.credits_per_1k_input,
            "credits_per_call": price.credits_per_call,
        },
    }


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document), content_type="application/json")
