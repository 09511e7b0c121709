"""The landing page."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.http.public_url import edge_url
from edge.request_context import services
from edge.web.pages import page
from shared.billing.price_text import price_summary
from shared.core.clock import now_ms

landing = Blueprint("front", __name__)
SHOWN_MODELS = 12


@landing.get("/")
async def show_landing() -> Response:
    now = now_ms()
    models = sorted(services().catalog.models.values(), key=lambda model: (not model.is_free, model.id))
    priced = [(model, price_summary(model.kind, price)) for model in models if (price := model.price_at(now)) is not None]
    example = next((model.id for model, _ in priced if model.kind == "chat"), "a-model")
    return await page(
        "landing.html", edge=edge_url(), models=priced[:SHOWN_MODELS], more=len(priced) - SHOWN_MODELS, example=example
    )
