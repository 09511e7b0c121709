"""The chat page, for members and, with free models, for visitors. It uses the native stream."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response

from edge.request_context import read, services
from edge.web.pages import page
from edge.web.web_session import page_session
from shared.catalog.snapshot import CatalogModel
from shared.core.clock import now_ms
from shared.models import Plan, Subscription

chat = Blueprint("chat", __name__)


@chat.get("/chat")
async def show_chat() -> Response:
    session = page_session().session
    if session is None or session.status != "active":
        welcome = services().visitors.pool_credits > 0
        return await page("chat.html", models=_models(None, free_only=True) if welcome else [], stores=False, signed_in=False)
    stores = await read(partial(_stores, session.account))
    return await page("chat.html", models=_models(session.plan_models, free_only=False), stores=stores, signed_in=True)


def _models(plan_models: list[str] | None, *, free_only: bool) -> list[CatalogModel]:
    """Return the available chat models, free ones first."""
    now = now_ms()
    found = [
        model
        for model in services().catalog.models.values()
        if model.kind == "chat" and model.price_at(now) is not None and (model.is_free or not free_only)
    ]
    allowed = [model for model in found if plan_models is None or model.id in plan_models]
    return sorted(allowed, key=lambda model: (not model.is_free, model.id))


def _stores(account: UUID) -> bool:
    """Return whether the account's plan stores conversations."""
    active = (Subscription.account == account) & (Subscription.status == "active")
    return bool(Subscription.select().join(Plan).where(active & Plan.stores_content).exists())
