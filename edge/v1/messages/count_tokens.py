"""`POST /v1/messages/count_tokens`: counts input tokens locally, without an upstream call or a charge."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.call.requests import chat_call, heavy_tokens, text_of
from edge.http.api_spec import INTEGER, KEY, Answer, declare, record
from edge.http.fields import json_object
from edge.request_context import answer, count_request, key_caller, read_body, services
from edge.v1.messages.request import chat_body
from edge.v1.messages.schema import MESSAGES_REQUEST
from edge.v1.provider_fields import with_natives
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, ModelNotFound, RateLimited, RequestTooLarge

counting = Blueprint("counting", __name__)


@counting.post("/v1/messages/count_tokens")
@declare(
    "Count input tokens",
    callers=KEY,
    body=MESSAGES_REQUEST,
    answers={200: Answer(record({"input_tokens": INTEGER}), "An estimate.")},
    refusals=(InvalidRequest, RequestTooLarge, ModelNotFound, RateLimited),
    shape="messages",
)
async def count_tokens() -> Response:
    """Count the text with the o200k vocabulary, and estimate other content. Approximate for other vocabularies."""
    key, _ = await key_caller()
    await count_request(services().keys.in_force(key.account, key.key, key.own))
    data = await read_body()
    call = with_natives(chat_body(json_object(data)), lambda portable: chat_call(portable, len(data)))
    model = services().catalog.models.get(call.model)
    if model is None or not key.may_use(model, now_ms()):
        raise ModelNotFound(call.model)
    counted = await services().count_tokens(text_of(call.body))
    return answer({"input_tokens": max(1, counted + heavy_tokens(call.body) // 3)})
