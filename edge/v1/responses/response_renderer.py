"""A chat's answer as a Responses object, whole or event by event: both are made by the same steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from edge.call.endpoint_adapter import KEEPALIVE, spent
from edge.call.exchange import Finished
from edge.http.errors import document
from edge.v1.content_blocks import Blocks
from edge.v1.deltas import pieces_of_body, pieces_of_events
from edge.v1.responses.output import Output
from shared.core.clock import now_ms
from shared.dialects.base import ChatCall

# Why a chat ended short of its end, as Responses say it.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# What a response tells back of its request, and what it says where the request was silent.
_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "user": None,
}

_SEALED = "reasoning.encrypted_content"  # of `include`


class Response:
    """The renderer of one response."""

    __slots__ = ("_blocks", "_head", "_items", "_sequence")

    def __init__(self, call_id: UUID, began: int, asked: Mapping[str, Any], call: ChatCall) -> None:
        self._head = _head(f"resp_{call_id.hex}", began, asked, call)
        self._items = Output(call_id.hex, self._event, seals=_SEALED in (asked.get("include") or ()))
        self._blocks = Blocks(self._items)
        self._sequence = -1  # of the event that was written last

    def relay(self, chunks: bytes) -> bytes:
        """The events of whole canonical events."""
        return self._begin() + self._blocks.add(pieces_of_events(chunks))

    def ending(self, event: Finished) -> bytes:
        """What the last chunk still says, the end of every item, and the complete response."""
        begun = self._begin()
        told, response = self._complete(event)
        return begun + told + self._event(f"response.{response['status']}", response=response)

    def failure(self, error: BaseException) -> bytes:
        """The response as failed, and the error in the shape at which SDKs raise."""
        told = document(error)["error"]
        failed = {**self._head, "status": "failed", "store": False, "output": self._output()}
        failed["error"] = {"code": told["code"], "message": told["message"], "type": told["type"], "param": told["param"]}
        return self._begin() + self._event("response.failed", response=failed) + self._event("error", error=told)

    def keepalive(self) -> bytes:
        """A comment."""
        return KEEPALIVE

    def whole(self, event: Finished) -> dict[str, Any]:
        """The complete response."""
        return self._complete(event)[1]

    def _begin(self) -> bytes:
        if self._sequence >= 0:
            return b""
        return self._event("response.created", response=self._head) + self._event("response.in_progress", response=self._head)

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        data = orjson.dumps({"type": kind, "sequence_number": self._sequence, **fields})
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    def _output(self) -> list[dict[str, Any]]:
        return [self._items.item(block) for block in self._blocks.all]

    def _complete(self, event: Finished) -> tuple[bytes, dict[str, Any]]:
        """Take in the end of the answer: the events that it makes, and the complete response."""
        pieces, reason = pieces_of_body(event.body)
        why = _INCOMPLETE.get(reason)
        told = self._blocks.add(pieces)
        self._items.cut = why is not None
        told += self._blocks.close()
        return told, {
            **self._head,
            "status": "completed" if why is None else "incomplete",
            "completed_at": now_ms() // 1000 if why is None else None,
            "incomplete_details": None if why is None else {"reason": why},
            "output": self._output(),
            "usage": _usage(event),
            "yout": spent(event),
        }


class KeptResponse(Response):
    """That of a response which may be stored: it can be asked for before its end is told, and then be corrected."""

    __slots__ = ("_ended",)

    def __init__(self, call_id: UUID, began: int, asked: Mapping[str, Any], call: ChatCall) -> None:
        super().__init__(call_id, began, asked, call)
        self._ended: tuple[bytes, dict[str, Any]] | None = None

    def _complete(self, event: Finished) -> tuple[bytes, dict[str, Any]]:
        if self._ended is None:
            begun = self._begin()
            told, response = super()._complete(event)
            self._ended = begun + told, response
        return self._ended


def _head(id: str, began: int, asked: Mapping[str, Any], call: ChatCall) -> dict[str, Any]:
    """The response before anything of it was said."""
    text, reasoning = asked.get("text") or {}, asked.get("reasoning") or {}
    return {
        "id": id,
        "object": "response",
        "created_at": began,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": [],
        "previous_response_id": asked.get("previous_response_id") or None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "store": bool(asked.get("store")),
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "truncation": "disabled",
        "usage": None,
        **{name: asked[name] if asked.get(name) is not None else silent for name, silent in _ECHOED.items()},
    }


def _usage(event: Finished) -> dict[str, Any]:
    used = event.usage
    return {
        "input_tokens": used.input_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": used.cache_write_tokens},
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.total_tokens,
    }
