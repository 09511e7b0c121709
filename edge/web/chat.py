"""The chat at `/`, which uses only the native API. If visitors are not admitted, signed-out readers get a welcome page."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.http.public_url import edge_url
from edge.request_context import services
from edge.web.assets import asset_url, module_urls
from edge.web.pages import page
from edge.web.web_session import page_session
from shared.billing.price_text import price_summary
from shared.core.clock import now_ms

chat = Blueprint("chat", __name__)
SHOWN_MODELS = 12  # on the welcome page


@chat.get("/")
async def show_chat() -> Response:
    session = page_session().session
    signed_in = session is not None and session.status == "active"
    admitted = signed_in or (session is None and services().visitors.pool_credits > 0)
    if admitted and _has_model(session.plan_models if session is not None else None, free_only=not signed_in):
        body_bytes = services().settings.max_body_bytes
        return await page("chat.html", signed_in=signed_in, body_bytes=body_bytes, deferred_urls=_deferred_urls())
    return await _welcome()


def _deferred_urls() -> list[str]:
    """Return the URLs of the files that the chat loads once its message field is ready."""
    first = module_urls("chat/start.js")
    styles = [asset_url("markdown.css"), asset_url("chat_sidebar.css")]
    return styles + [url for url in module_urls("chat/app.js") if url not in first]


def _has_model(plan_models: list[str] | None, *, free_only: bool) -> bool:
    """Return whether any chat model is available."""
    now = now_ms()
    return any(
        model.kind == "chat" and model.is_usable(now, plan_models) and (model.is_free or not free_only)
        for model in services().catalog.listed.values()
    )


async def _welcome() -> Response:
    now = now_ms()
    models = sorted(services().catalog.listed.values(), key=lambda model: (not model.is_free, model.id))
    priced = [(model, price_summary(model.kind, price)) for model in models if (price := model.price_at(now)) is not None]
    example = next((model.id for model, _ in priced if model.kind == "chat"), "a-model")
    shown, more = priced[:SHOWN_MODELS], len(priced) - SHOWN_MODELS
    return await page("welcome.html", edge=edge_url(), models=shown, more=more, example=example)
