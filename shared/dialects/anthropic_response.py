"""Reading what Anthropic's Messages API answers: events of a stream, or a whole message read as if it had been streamed.

Shapes as in `anthropic.types`: `RawMessageStreamEvent`, `Message`, `ErrorResponse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.translated_stream import delta, finish, usage_chunk

JSON_TOOL = "yout_json_answer"  # the tool that stands for a `response_format`
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens_details")
Chunks = Iterator[dict[str, Any] | None]


class AnthropicTranslator:
    """One message. `json_tool`: its answer may come as the input of `JSON_TOOL`, and is content to the caller."""

    def __init__(self, json_tool: bool) -> None:
        self._json_tool = json_tool
        self._block: dict[str, Any] = {}  # the content block that is open, gathered where it must be told whole
        self._calls = 0
        self._usage: dict[str, Any] = {}

    def read(self, event: dict[str, Any]) -> Chunks:
        """Events of other types than these (`ping`, and what may come to be) tell nothing."""
        match event.get("type"):
            case "message_start":
                # Its output count is that of the first tokens: of a stream that is cut, the delivered text tells more.
                yield from self._tell_usage(event["message"].get("usage"), but="output_tokens")
                yield delta(0, role="assistant", content="")
            case "content_block_start":
                yield from self._begin(event["content_block"])
            case "content_block_delta":
                yield from self._go_on(event["delta"])
            case "content_block_stop":
                yield from self._end()
            case "message_delta":
                yield from self._tell_usage(event.get("usage"))
                reason = event["delta"].get("stop_reason")
                if reason:
                    yield finish(0, self._finish_reason(reason))
            case "message_stop":
                yield None
            case "error":
                raise BrokenStream("the vendor reported an error")

    def _begin(self, block: dict[str, Any]) -> Chunks:
        self._block = {**block, "arguments": False}
        match block["type"]:
            case "text":
                if block.get("text"):
                    yield delta(0, content=block["text"])
            case "thinking":
                if block.get("thinking"):
                    yield delta(0, reasoning_content=block["thinking"])
            case "tool_use" if not self._is_json(block):
                function = {"name": block["name"], "arguments": ""}
                yield delta(0, tool_calls=[{"index": self._calls, "id": block["id"], "type": "function", "function": function}])
                self._calls += 1

    def _go_on(self, piece: dict[str, Any]) -> Chunks:
        match piece["type"]:
            case "text_delta":
                yield delta(0, content=piece["text"])
            case "thinking_delta":
                self._block["thinking"] = self._block.get("thinking", "") + piece["thinking"]
                yield delta(0, reasoning_content=piece["thinking"])
            case "signature_delta":
                self._block["signature"] = self._block.get("signature", "") + piece["signature"]
            case "input_json_delta" if piece["partial_json"] and self._block["type"] == "tool_use":
                self._block["arguments"] = True
                yield self._arguments(piece["partial_json"])

    def _end(self) -> Chunks:
        block = self._block
        match block.get("type"):
            case "tool_use" if not block["arguments"]:
                yield self._arguments(orjson.dumps(block.get("input") or {}).decode())
            case "thinking" if block.get("signature"):
                whole = {"type": "thinking", "thinking": block.get("thinking", ""), "signature": block["signature"]}
                yield delta(0, thinking_blocks=[whole])
            case "redacted_thinking":
                yield delta(0, thinking_blocks=[{"type": "redacted_thinking", "data": block["data"]}])
        self._block = {}

    def _arguments(self, text: str) -> dict[str, Any]:
        if self._is_json(self._block):
            return delta(0, content=text)
        return delta(0, tool_calls=[{"index": self._calls - 1, "function": {"arguments": text}}])

    def _is_json(self, block: dict[str, Any]) -> bool:
        return self._json_tool and block["name"] == JSON_TOOL

    def _finish_reason(self, reason: str) -> str:
        if reason == "tool_use" and self._calls == 0:
            return "stop"  # the tool was `JSON_TOOL`
        return reason

    def _tell_usage(self, told: dict[str, Any] | None, but: str = "") -> Chunks:
        """Counts are cumulative, and those of the input come once: the last word on each counts."""
        fresh = {name: told[name] for name in _COUNTS if name != but and told.get(name) is not None} if told else {}
        if fresh:
            self._usage.update(fresh)
            yield usage_chunk(canonical_usage(self._usage))


def canonical_usage(told: dict[str, Any]) -> dict[str, Any]:
    """Usage as OpenAI writes it. Anthropic counts what was read from the cache and written to it apart from `input_tokens`."""
    read, written = _count(told.get("cache_read_input_tokens")), _count(told.get("cache_creation_input_tokens"))
    usage: dict[str, Any] = {}
    if type(told.get("input_tokens")) is int:
        usage["prompt_tokens"] = told["input_tokens"] + read + written
        usage["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": written}
    if type(told.get("output_tokens")) is int:
        usage["completion_tokens"] = told["output_tokens"]
        details = told.get("output_tokens_details")
        thought = details.get("thinking_tokens") if isinstance(details, dict) else 0
        usage["completion_tokens_details"] = {"reasoning_tokens": _count(thought)}
    if "prompt_tokens" in usage and "completion_tokens" in usage:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    return usage


def events_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A whole message as the events that would have streamed it. Raises `MalformedStream` for what is no message."""
    if message.get("type") != "message" or not isinstance(message.get("content"), list):
        raise MalformedStream("no message")
    yield {"type": "message_start", "message": message}
    for block in message["content"]:
        yield {"type": "content_block_start", "content_block": block}
        yield {"type": "content_block_stop"}
    delta = {"stop_reason": message.get("stop_reason") or "end_turn"}
    yield {"type": "message_delta", "delta": delta, "usage": message.get("usage")}


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
