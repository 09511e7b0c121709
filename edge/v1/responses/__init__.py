"""`POST /v1/responses`: OpenAI's Responses API for all models. Responses are stored only if the call requests it."""

from __future__ import annotations

from uuid import UUID

from edge.call.endpoint_adapter import EndpointAdapter, ParsedRequest
from edge.v1.responses.item_references import referenced_ids
from edge.v1.responses.items import input_items
from edge.v1.responses.request import parse
from edge.v1.responses.response_recorder import ResponseRecorder
from edge.v1.responses.response_renderer import ResponseRenderer, StoredResponseRenderer
from edge.v1.responses.schema import DECLARATION
from shared.core.clock import now_ms


def _open(data: bytes, call_id: UUID) -> ParsedRequest:
    body, call = parse(data)
    began = now_ms() // 1000
    if not (body.get("store") or body.get("previous_response_id") or referenced_ids(input_items(body["input"]))):
        return ParsedRequest(call, ResponseRenderer(call_id, began, body, call))
    renderer = StoredResponseRenderer(call_id, began, body, call)
    return ParsedRequest(call, renderer, ResponseRecorder(call_id, body, len(data), renderer))


RESPONSES = EndpointAdapter(_open, declaration=DECLARATION)
