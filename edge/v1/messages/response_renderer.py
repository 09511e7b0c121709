"""Renders answers in the format of the Messages API, streaming or not. Pure."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from edge.call.endpoint_adapter import cost_fields, usd_fields
from edge.call.exchange import Finished
from edge.v1.content_blocks import Block, Blocks
from edge.v1.deltas import Delta, deltas_of_body, deltas_of_events
from edge.v1.images_in_text import as_markdown
from edge.v1.messages.errors import error_object
from shared.billing.token_usage import TokenUsage
from shared.dialects.base import ChatCall

Json = dict[str, Any]
_STOP_REASONS = {"length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


class MessageRenderer:
    """Renders one message. It is also the `Shape` of its blocks."""

    __slots__ = ("_begun", "_blocks", "_head", "_is_paused", "_name")

    def __init__(self, call_id: UUID, call: ChatCall) -> None:
        self._name = call_id.hex
        usage = {"input_tokens": call.input_estimate, "output_tokens": 0}  # the final usage comes with the last event
        self._head: Json = {
            "id": f"msg_{self._name}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
        }
        self._blocks = Blocks(self)
        self._begun = self._is_paused = False

    def transform_chunks(self, chunks: bytes) -> bytes:
        """Translate complete canonical events to events of the Messages API."""
        return self._begin() + self._add(deltas_of_events(chunks))

    def finish(self, event: Finished) -> bytes:
        """Return the remaining content, the stop reason, and the usage."""
        begun = self._begin()
        pieces, reason = deltas_of_body(event.body)
        events = begun + self._add(pieces) + self._blocks.close()
        end = {"stop_reason": self._stop_reason(reason), "stop_sequence": None}
        events += _event("message_delta", delta=end, usage=_usage(event), yout=cost_fields(event))
        return events + _event("message_stop")

    def render_failure(self, error: BaseException) -> bytes:
        """Return the error event. Nothing follows it."""
        return _event("error", error=error_object(error))

    def keepalive(self) -> bytes:
        """Return a ping, after the start of the message."""
        return self._begin() + _event("ping")

    def render_complete(self, event: Finished) -> Json:
        """Return the complete message."""
        pieces, reason = deltas_of_body(event.body)
        self._add(pieces)
        self._blocks.close()
        content = [self._content(block) for block in self._blocks.all]
        fields = {
            "content": content,
            "stop_reason": self._stop_reason(reason),
            "usage": _usage(event),
            "yout": cost_fields(event),
        }
        return {**self._head, **fields}

    def _add(self, pieces: list[Delta]) -> bytes:
        kept = [piece for piece in pieces if piece.kind != "pause"]
        self._is_paused = self._is_paused or len(kept) < len(pieces)
        return self._blocks.add(kept)

    def _stop_reason(self, reason: str) -> str:
        return "pause_turn" if self._is_paused and reason == "stop" else _STOP_REASONS.get(reason, "end_turn")

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("message_start", message=self._head)

    # The `Shape` of blocks.

    def block_opened(self, block: Block) -> bytes:
        """Return the event of a new, empty block."""
        opened = _event("content_block_start", index=block.index, content_block=self._empty(block))
        if block.kind == "block" and block.signature is not None and block.signature.get("input"):
            delta = {"type": "input_json_delta", "partial_json": orjson.dumps(block.signature["input"]).decode()}
            opened += _event("content_block_delta", index=block.index, delta=delta)
        return opened

    def extended(self, block: Block, piece: Delta) -> bytes:
        """Return the delta event for the block's type."""
        if block.kind == "reasoning":
            delta = {"type": "thinking_delta", "thinking": piece.text}
        elif block.kind == "tool":
            delta = {"type": "input_json_delta", "partial_json": piece.text}
        else:
            delta = {"type": "text_delta", "text": _text(block) if block.kind == "image" else piece.text}
        return _event("content_block_delta", index=block.index, delta=delta)

    def block_closed(self, block: Block) -> bytes:
        """Return the signature of thinking or the citations of text, if any, and the end of the block."""
        events = b""
        for citation in _citations(block):
            delta = {"type": "citations_delta", "citation": citation}
            events += _event("content_block_delta", index=block.index, delta=delta)
        if block.signature is not None and block.signature.get("type") == "thinking":
            delta = {"type": "signature_delta", "signature": block.signature.get("signature", "")}
            events = _event("content_block_delta", index=block.index, delta=delta)
        return events + _event("content_block_stop", index=block.index)

    def _empty(self, block: Block) -> Json:
        if block.kind == "reasoning":
            if block.signature is not None and block.signature.get("type") == "redacted_thinking":
                return {"type": "redacted_thinking", "data": block.signature.get("data", "")}
            return {"type": "thinking", "thinking": "", "signature": ""}
        if block.kind == "block":
            whole = dict(block.signature or {})
            return {**whole, "input": {}} if whole.get("type") == "server_tool_use" else whole
        if block.kind == "tool":
            id = block.id or f"toolu_{self._name}_{block.index}"
            return {"type": "tool_use", "id": id, "name": block.name, "input": {}}
        return {"type": "text", "text": ""}

    def _content(self, block: Block) -> Json:
        if block.kind == "block":
            return dict(block.signature or {})
        content = self._empty(block)
        if content["type"] == "thinking":
            content["thinking"] = block.text
            content["signature"] = (block.signature or {}).get("signature", "")
        elif content["type"] == "tool_use":
            content["input"] = _input(block.arguments)
        elif content["type"] == "text":
            content["text"] = _text(block)
            if citations := _citations(block):
                content["citations"] = citations
        return content


def _citations(block: Block) -> list[Any]:
    found = block.signature.get("citations") if block.kind == "text" and block.signature is not None else None
    return found if isinstance(found, list) else []


def _text(block: Block) -> str:
    """Return a block's text. The Messages API has no images in answers, so an image becomes Markdown with its data URL."""
    return as_markdown(block.text) if block.kind == "image" else block.text


def _input(arguments: str) -> Any:
    """Parse a tool call's arguments. Invalid JSON, which some models write, is returned as `{"arguments": text}`."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {"arguments": arguments}


def _usage(event: Finished) -> Json:
    """Return the usage in Anthropic's format, where input tokens exclude cache reads and writes."""
    used = event.usage
    return {
        "input_tokens": used.input_tokens - used.cached_tokens - used.cache_write_tokens,
        "cache_creation_input_tokens": used.cache_write_tokens,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.output_tokens,
        **_searches(used),
        **usd_fields(event),
    }


def _searches(used: TokenUsage) -> Json:
    searches = used.extra.web_searches if used.extra is not None else 0
    return {"server_tool_use": {"web_search_requests": searches}} if searches else {}


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
