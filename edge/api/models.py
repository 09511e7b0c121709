"""`GET /api/chat/models/`: the public model catalog, for model pickers."""

from __future__ import annotations

from typing import Any

from quart import Blueprint, Response

from edge.http.api_spec import ANYBODY, BOOLEAN, INTEGER, OPEN, STRING, Answer, array, declare, or_null, record
from edge.request_context import answer, caller, services
from edge.v1.models import pricing
from shared.billing.pricing import PriceList
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms

catalogue = Blueprint("catalogue", __name__)


@catalogue.get("/api/chat/models/")
@declare(
    "List models with prices",
    callers=ANYBODY,
    answers={
        200: Answer(
            record(
                {
                    "models": array(
                        record(
                            {
                                "id": STRING,
                                "name": STRING,
                                "provider": STRING,
                                "kind": STRING,
                                "description": STRING,
                                "tags": array(STRING),
                                "context_window": or_null(INTEGER),
                                "pricing": OPEN,
                                "free": BOOLEAN,
                            }
                        )
                    )
                }
            ),
            "All active models, with prices in credits.",
        )
    },
)
async def list_catalogue() -> Response:
    """List all active models that have a price, ordered by id."""
    await caller()  # credentials are optional, but must be valid if sent
    now = now_ms()
    models = sorted(services().catalog.models.values(), key=lambda model: model.id)
    priced = [(model, model.price_at(now)) for model in models]
    return answer({"models": [_document(model, price) for model, price in priced if price is not None]})


def _document(model: CatalogModel, price: PriceList) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.id,
        "provider": model.owned_by,
        "kind": model.kind,
        "description": model.description,
        "tags": list(model.capabilities),
        "context_window": model.context_window,
        "pricing": {**pricing(price), "minimum_credits": price.minimum_credits},
        "free": model.is_free,
    }
