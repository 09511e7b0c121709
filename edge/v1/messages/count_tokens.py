"""`POST /v1/messages/count_tokens`: counts input tokens locally, without an upstream call or a charge."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.call.requests import build_chat_call, max_non_text_tokens, prompt_text
from edge.http.api_spec import INTEGER, KEY, ResponseSpec, describe_route, response_schema
from edge.http.json_body import parse_json_object
from edge.request_context import count_request, find_model, json_response, key_caller, read_body, services
from edge.v1.messages.request import chat_body, check_request
from edge.v1.messages.schema import CountTokensRequest
from edge.v1.provider_fields import with_provider_fields
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, ModelNotFound, ModelShutDown, RateLimited, RequestTooLarge

counting = Blueprint("counting", __name__)


@counting.post("/v1/messages/count_tokens")
@describe_route(
    "Count input tokens",
    callers=KEY,
    body=CountTokensRequest,
    responses={200: ResponseSpec(response_schema({"input_tokens": INTEGER}), "An estimate.")},
    errors=(InvalidRequest, RequestTooLarge, ModelNotFound, ModelShutDown, RateLimited),
    error_format="messages",
)
async def count_tokens() -> Response:
    """Count the text with the o200k vocabulary, and estimate other content. Approximate for other vocabularies."""
    caller = await key_caller()
    await count_request(caller.limits)
    data = await read_body()
    body = parse_json_object(data)
    check_request(body, CountTokensRequest)
    call = with_provider_fields(chat_body(body), lambda portable: build_chat_call(portable, len(data)))
    model = find_model(call.model)
    if model is None or not caller.row.may_use(model, now_ms()):
        raise ModelNotFound(call.model)
    counted = await services().count_tokens(prompt_text(call.body))
    return json_response({"input_tokens": max(1, counted + max_non_text_tokens(call.body) // 3)})
