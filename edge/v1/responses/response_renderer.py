"""Renders answers in the format of the Responses API, streaming or not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

import orjson

from edge.call.endpoint_adapter import KEEPALIVE, NonStreamingRenderer, cost_fields, usd_fields
from edge.call.exchange import Finished
from edge.http.errors import error_document
from edge.v1.content_blocks import Blocks
from edge.v1.deltas import deltas_of_body, deltas_of_events
from edge.v1.responses.compaction import compaction_item, kept_messages
from edge.v1.responses.items import input_items
from edge.v1.responses.output import CompactionItems, OutputItems
from edge.v1.responses.relayed_response import RELAYED, RelayedResponse
from edge.v1.responses.request import ResponseRequest
from edge.v1.responses.tools import ToolSet, plain_kind
from shared.core.clock import now_ms
from shared.dialects.responses_relay import SERVED_TOOLS

# Chat finish reasons of incomplete answers → reasons of the Responses API.
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# Request fields that a response repeats, with their defaults.
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

_REASONING = ("effort", "summary", "context")
_SEALED = "reasoning.encrypted_content"  # a value of `include`


class ResponseRenderer:
    """Renders one response."""

    __slots__ = ("_blocks", "_head", "_items", "_relayed", "_sequence", "_tools")

    def __init__(self, call_id: UUID, began: int, request: ResponseRequest) -> None:
        self._head = _head(f"resp_{call_id.hex}", began, request)
        self._tools = request.tools
        seals = _SEALED in (request.body.get("include") or ())
        make = CompactionItems if request.compacts else OutputItems
        self._items = make(call_id.hex, self._event, request.tools, seals=seals)
        self._blocks = Blocks(self._items)
        self._relayed = RelayedResponse(self._head)
        self._sequence = -1  # number of the last event

    def use(self, request: ResponseRequest) -> None:
        """Use the tools of `request`, which has the whole conversation."""
        self._tools = self._items.tools = request.tools

    def transform_chunks(self, chunks: bytes) -> bytes:
        """Translate complete canonical events to events of the Responses API. Relayed events are such events already."""
        if chunks.startswith(RELAYED):
            events = self._relayed.add(chunks)
            self._sequence = self._relayed.sequence
            return events
        return self._begin() + self._blocks.add(deltas_of_events(chunks))

    def finish(self, event: Finished) -> bytes:
        """Return the remaining content, the end of the items, and the complete response."""
        begun = self._begin()
        events, response = self._complete(event)
        return begun + events + self._event(f"response.{response['status']}", response=response)

    def render_failure(self, error: BaseException) -> bytes:
        """Return the failed response, and an error event in the format that makes SDKs raise."""
        details = error_document(error)["error"]
        failed = {**self._head, "status": "failed", "store": False, "output": self._output() or self._relayed.output()}
        failed["error"] = {name: details[name] for name in ("code", "message", "type", "param")}
        return self._begin() + self._event("response.failed", response=failed) + self._event("error", error=details)

    def keepalive(self) -> bytes:
        """Return a comment, which clients ignore."""
        return KEEPALIVE

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the complete response."""
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
        return self._items.output(self._blocks.all)

    def _complete(self, event: Finished) -> tuple[bytes, dict[str, Any]]:
        """Process the end of the answer. Return its events and the complete response."""
        if event.body.get("object") == "response":
            return self._complete_relayed(event)
        pieces, reason = deltas_of_body(event.body)
        why = _INCOMPLETE.get(reason)
        events = self._blocks.add(pieces)
        self._items.cut = why is not None
        events += self._blocks.close() + self._items.close(self._blocks.all)
        return events, {
            **self._head,
            "status": "completed" if why is None else "incomplete",
            "completed_at": now_ms() // 1000 if why is None else None,
            "incomplete_details": None if why is None else {"reason": why},
            "output": self._output(),
            "usage": _usage(event),
            "yout": {**cost_fields(event), **_ignored(self._tools)},
        }

    def _complete_relayed(self, event: Finished) -> tuple[bytes, dict[str, Any]]:
        cut = [] if "output" in event.body else self._relayed.incomplete_items()
        events = [self._event("response.output_item.done", output_index=index, item=item) for index, item in cut]
        return b"".join(events), {
            **self._relayed.complete({name: value for name, value in event.body.items() if name != SERVED_TOOLS}),
            "usage": _usage(event),
            "yout": {**cost_fields(event), **_ignored(self._tools, event.body.get(SERVED_TOOLS, ()))},
        }


class CompactedRenderer(NonStreamingRenderer):
    """Renders the result of `POST /v1/responses/compact`."""

    __slots__ = ("_began", "_name", "_request")

    def __init__(self, call_id: UUID, began: int, request: ResponseRequest) -> None:
        self._name, self._began, self._request = call_id.hex, began, request

    def use(self, request: ResponseRequest) -> None:
        """Use `request`, which has the whole conversation."""
        self._request = request

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the user's messages and the compaction. An answer without text has no compaction."""
        pieces, _ = deltas_of_body(event.body)
        summary = "".join(piece.text for piece in pieces if piece.kind == "text")
        compaction = [compaction_item(f"cmp_{self._name}_0", summary)] if summary else []
        return {
            "id": f"resp_{self._name}",
            "object": "response.compaction",
            "created_at": self._began,
            "model": self._request.call.model,
            "output": [*kept_messages(input_items(self._request.body["input"]), self._name), *compaction],
            "usage": _usage(event),
            "yout": cost_fields(event),
        }


class StoredResponseRenderer(ResponseRenderer):
    """Renders a response that may be stored: `whole` can be called, and its result updated, before `ending`."""

    __slots__ = ("_ended",)

    def __init__(self, call_id: UUID, began: int, request: ResponseRequest) -> None:
        super().__init__(call_id, began, request)
        self._ended: tuple[bytes, dict[str, Any]] | None = None

    def _complete(self, event: Finished) -> tuple[bytes, dict[str, Any]]:
        if self._ended is None:
            begun = self._begin()
            events, response = super()._complete(event)
            self._ended = begun + events, response
        return self._ended


def _ignored(tools: ToolSet, served: Collection[str] = ()) -> dict[str, Any]:
    plain = {plain_kind(kind) for kind in served}
    ignored = [kind for kind in tools.ignored if kind not in plain]
    return {"ignored_tools": ignored} if ignored else {}


def _head(id: str, began: int, parsed: ResponseRequest) -> dict[str, Any]:
    """Return the response object before any output."""
    request = parsed.body
    text, reasoning = request.get("text") or {}, request.get("reasoning") or {}
    return {
        "id": id,
        "object": "response",
        "created_at": began,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "model": parsed.call.model,
        "output": [],
        "previous_response_id": request.get("previous_response_id") or None,
        "reasoning": {"effort": None, "summary": None, **{name: reasoning[name] for name in _REASONING if reasoning.get(name)}},
        "store": bool(request.get("store")),
        "text": {**text, "format": text.get("format") or {"type": "text"}},
        "truncation": request.get("truncation") or "disabled",
        "usage": None,
        **{name: request[name] if request.get(name) is not None else default for name, default in _ECHOED.items()},
    }


def _usage(event: Finished) -> dict[str, Any]:
    used = event.usage
    return {
        "input_tokens": used.input_tokens,
        "input_tokens_details": {"cached_tokens": used.cached_tokens, "cache_write_tokens": used.cache_write_tokens},
        "output_tokens": used.output_tokens,
        "output_tokens_details": {"reasoning_tokens": used.reasoning_tokens},
        "total_tokens": used.total_tokens,
        **usd_fields(event),
    }
