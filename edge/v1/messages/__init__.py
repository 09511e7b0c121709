"""`POST /v1/messages`: Anthropic's Messages API for all models."""

from __future__ import annotations

from uuid import UUID

from edge.call.endpoint_adapter import EndpointAdapter, ParsedRequest
from edge.v1.messages.errors import render_error
from edge.v1.messages.request import parse
from edge.v1.messages.response_renderer import MessageRenderer
from edge.v1.messages.schema import DECLARATION


def _open(data: bytes, call_id: UUID) -> ParsedRequest:
    call = parse(data)
    return ParsedRequest(call, MessageRenderer(call_id, call))


MESSAGES = EndpointAdapter(_open, render_error, (b"x-request-id", b"request-id"), declaration=DECLARATION)
