"""`POST /webhooks/stripe/`: what Stripe reports about payments."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson
from quart import Blueprint, Response, request

from edge.request_context import services, write
from shared.payments.stripe_api import InvalidWebhook, verify_webhook
from shared.payments.webhooks import note_webhook, record_event

stripe_webhook = Blueprint("stripe_webhook", __name__)


@stripe_webhook.post("/webhooks/stripe/")
async def receive() -> Response:
    """Record an event. Any status but 200 makes Stripe send it again, for up to three days."""
    settings = services().settings
    secret = settings.stripe_webhook_secret
    if not secret:
        return _answer({"error": "STRIPE_WEBHOOK_SECRET is not set, so webhooks are refused."}, 403)
    body: bytes = await request.get_data(as_text=False)  # type: ignore[assignment]  # bytes without `as_text`
    signature = request.headers.get("stripe-signature", "")
    try:
        event: dict[str, Any] = await asyncio.to_thread(verify_webhook, body, signature, secret)
    except InvalidWebhook as error:
        return _answer({"error": str(error)}, 400)
    recorded = await write(partial(record_event, event, sends_mail=settings.sends_mail))
    await write(note_webhook)
    return _answer({"recorded": recorded})


def _answer(body: dict[str, object], status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, content_type="application/json")
