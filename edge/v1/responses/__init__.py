"""`POST /v1/responses`: OpenAI's Responses, for any model, without a memory on this side."""

from __future__ import annotations

from uuid import UUID

from edge.surface import Asked, Surface
from edge.v1.responses.answer import Response
from edge.v1.responses.request import read
from shared.clock import now_ms


def _open(data: bytes, call_id: UUID) -> Asked:
    body, call = read(data)
    return Asked(call, Response(call_id, now_ms() // 1000, body, call))


RESPONSES = Surface(_open)
