"""`POST /v1/responses`: OpenAI's Responses API for all models. Responses are stored only if the call requests it."""

from __future__ import annotations

from uuid import UUID

from edge.call.endpoint_adapter import CallExtension, EndpointAdapter, ParsedRequest
from edge.v1.responses.item_references import needs_stored_items
from edge.v1.responses.request import parse
from edge.v1.responses.response_recorder import ResponseRecorder
from edge.v1.responses.response_renderer import CompactedRenderer, ResponseRenderer, StoredResponseRenderer
from edge.v1.responses.schema import COMPACT_DECLARATION, DECLARATION
from edge.v1.responses.truncation import Truncation
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest


def _open(data: bytes, call_id: UUID) -> ParsedRequest:
    request = parse(data)
    began = now_ms() // 1000
    renderer = ResponseRenderer(call_id, began, request)
    extension: CallExtension | None = None
    if needs_stored_items(request.body) or request.body.get("store"):
        renderer = stored = StoredResponseRenderer(call_id, began, request)
        extension = ResponseRecorder(call_id, request, len(data), stored)
    if request.compacts or request.body.get("truncation") == "auto":
        extension = Truncation(request.call, extension, compacts=request.compacts)
    return ParsedRequest(request.call, renderer, extension)


def _open_compaction(data: bytes, call_id: UUID) -> ParsedRequest:
    request = parse(data, compacts=True)
    for name in ("stream", "store"):
        if request.body.get(name):
            raise InvalidRequest(f"'{name}' is not supported for compactions.", name)
    renderer = CompactedRenderer(call_id, now_ms() // 1000, request)
    stored = ResponseRecorder(call_id, request, len(data), renderer) if needs_stored_items(request.body) else None
    return ParsedRequest(request.call, renderer, Truncation(request.call, stored, compacts=True))


RESPONSES = EndpointAdapter(_open, declaration=DECLARATION)
COMPACT = EndpointAdapter(_open_compaction, declaration=COMPACT_DECLARATION)
