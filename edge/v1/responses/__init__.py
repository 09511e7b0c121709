"""`POST /v1/responses`: OpenAI's Responses API for all models. Responses are stored only if the call requests it."""

from __future__ import annotations

from uuid import UUID

from edge.call.endpoint_adapter import Asked, Surface
from edge.v1.responses.item_references import references_of
from edge.v1.responses.items import items_of
from edge.v1.responses.request import read
from edge.v1.responses.response_recorder import Memory
from edge.v1.responses.response_renderer import KeptResponse, Response
from edge.v1.responses.schema import DECLARATION
from shared.core.clock import now_ms


def _open(data: bytes, call_id: UUID) -> Asked:
    body, call = read(data)
    began = now_ms() // 1000
    if not (body.get("store") or body.get("previous_response_id") or references_of(items_of(body["input"]))):
        return Asked(call, Response(call_id, began, body, call))
    renderer = KeptResponse(call_id, began, body, call)
    return Asked(call, renderer, Memory(call_id, body, len(data), renderer))


RESPONSES = Surface(_open, declaration=DECLARATION)
