"""`GET /api/chat/models/`: the public model catalog, for model pickers."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from edge.http.api_spec import (
    ANYBODY,
    BOOLEAN,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    nullable,
    response_schema,
)
from edge.request_context import caller, json_response, services
from edge.v1.model_documents import architecture, pricing, supported_parameters
from shared.billing.pricing import PriceList
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.identity.payer import VisitorPayer

catalog_models = Blueprint("catalog", __name__)


@catalog_models.get("/api/chat/models/")
@describe_route(
    "List models with prices",
    callers=ANYBODY,
    responses={
        200: ResponseSpec(
            response_schema(
                {
                    "credits_per_usd": INTEGER,
                    "models": array(
                        response_schema(
                            {
                                "id": STRING,
                                "name": STRING,
                                "provider": STRING,
                                "kind": STRING,
                                "description": STRING,
                                "tags": array(STRING),
                                "input_modalities": array(STRING),
                                "context_window": nullable(INTEGER),
                                "max_output_tokens": nullable(INTEGER),
                                "supported_parameters": array(STRING),
                                "pricing": OPEN_OBJECT,
                                "free": BOOLEAN,
                                "available": BOOLEAN,
                            }
                        )
                    ),
                }
            ),
            "All active models, with prices in credits, and whether the caller may use them.",
        )
    },
)
async def list_models() -> Response:
    """List all active models that have a price, ordered by id."""
    found = await caller()  # credentials are optional, but must be valid if sent
    now = now_ms()
    admits_visitors = services().visitors.pool_credits > 0

    def may_use(model: CatalogModel) -> bool:
        if isinstance(found, VisitorPayer):
            return admits_visitors and model.kind == "chat" and model.is_free
        return found.row.may_use(model, now)

    models = sorted(services().catalog.listed.values(), key=lambda model: model.id)
    priced = [(model, model.price_at(now)) for model in models]
    documents = [_document(model, price, may_use(model)) for model, price in priced if price is not None]
    return json_response({"credits_per_usd": services().settings.credits_per_usd, "models": documents})


def _document(model: CatalogModel, price: PriceList, available: bool) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.id,
        "provider": model.owned_by,
        "kind": model.kind,
        "description": model.description,
        "tags": list(model.capabilities),
        "input_modalities": architecture(model)["input_modalities"],
        "context_window": model.context_window,
        "max_output_tokens": model.max_output_tokens or model.default_output_limit,
        "supported_parameters": supported_parameters(model),
        "pricing": {**pricing(price), "minimum_credits": price.minimum_credits},
        "free": model.is_free,
        "available": available,
    }
