"""`POST /v1/messages`: Anthropic's Messages API for all models."""

from __future__ import annotations

from uuid import UUID

from edge.call.endpoint_adapter import Asked, Surface
from edge.v1.messages.errors import problem
from edge.v1.messages.request import read
from edge.v1.messages.response_renderer import Message
from edge.v1.messages.schema import DECLARATION


def _open(data: bytes, call_id: UUID) -> Asked:
    call = read(data)
    return Asked(call, Message(call_id, call))


MESSAGES = Surface(_open, problem, (b"x-request-id", b"request-id"), declaration=DECLARATION)
