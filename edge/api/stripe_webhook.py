"""`POST /webhooks/stripe/`: what Stripe reports about payments."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from edge.request_context import services, write
from shared.core.errors import AccessDenied, InvalidRequest
from shared.payments.stripe_api import InvalidWebhook, verify_webhook
from shared.payments.webhooks import note_webhook, record_event

stripe_webhook = Blueprint("stripe_webhook", __name__)
log = logging.getLogger("yout.edge.payments")


@stripe_webhook.post("/webhooks/stripe/")
async def receive() -> Response:
    """Record an event. Any status but 200 makes Stripe send it again, for up to three days."""
    secret = services().settings.stripe_webhook_secret
    if not secret:
        raise AccessDenied("STRIPE_WEBHOOK_SECRET is not set, so webhooks are refused.", "webhooks_not_set_up")
    body: bytes = await request.get_data(as_text=False)
    signature = request.headers.get("stripe-signature", "")
    try:
        event: dict[str, Any] = await asyncio.to_thread(verify_webhook, body, signature, secret)
    except InvalidWebhook as error:
        raise InvalidRequest(str(error)) from None
    recorded = await write(partial(record_event, event))
    await write(note_webhook)
    return Response('{"recorded": %d}' % recorded, content_type="application/json")  # noqa: UP031
