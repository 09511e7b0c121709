"""Parses responses of Anthropic's Messages API: stream events, or a message that is converted to such events first.

Shapes as in `anthropic.types`: `RawMessageStreamEvent`, `Message`, `ErrorResponse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shared.dialects.anthropic_search import PAUSE, is_failed_search, is_search, kept_blocks, result_bytes
from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.translated_stream import delta_chunk, finish_chunk, usage_chunk

JSON_TOOL = "yout_json_answer"  # the tool that replaces a `response_format`
_COUNTS = (
    *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens_details"),
    *("cache_creation", "server_tool_use", "service_tier"),
)
# To estimate the usage of a stream that is cut off: four bytes of text per token, encrypted and in base64.
_RESULT_BYTES_PER_TOKEN = 5
Chunks = Iterator[dict[str, Any] | None]


class AnthropicTranslator:
    """Translates one message. With `json_tool`, the input of a call of `JSON_TOOL` becomes the content.

    With `searches`, the provider may search the web: each block except tool calls is sent once more when it is complete, in
    `content_parts`, in the order of the answer (`shared.dialects.anthropic_search`).
    """

    def __init__(self, json_tool: bool, searches: bool = False) -> None:
        self._json_tool = json_tool
        self._sends_blocks = searches
        self._searches = self._found_tokens = 0
        self._block: dict[str, Any] = {}  # the open content block, collected if it must be sent as a whole
        self._calls = 0
        self._usage: dict[str, Any] = {}

    def read(self, event: dict[str, Any]) -> Chunks:
        """Yield the chunks for one event. Other types (`ping`, future ones) yield nothing."""
        match event.get("type"):
            case "message_start":
                # The output tokens in it are only an initial value. If the stream is cut off, counting the delivered text is more
                # exact.
                yield from self._usage_chunks(event["message"].get("usage"), but="output_tokens")
                yield delta_chunk(0, role="assistant", content="")
            case "content_block_start":
                yield from self._begin(event["content_block"])
            case "content_block_delta":
                yield from self._continue(event["delta"])
            case "content_block_stop":
                yield from self._end()
            case "message_delta":
                self._found_tokens = 0  # the usage now includes them
                yield from self._usage_chunks(event.get("usage"))
                reason = event["delta"].get("stop_reason")
                if reason == "pause_turn" and self._sends_blocks:
                    yield delta_chunk(0, content_parts=[PAUSE])
                if reason:
                    yield finish_chunk(0, self._finish_reason(reason))
            case "message_stop":
                yield None
            case "error":
                raise BrokenStream("the provider reported an error")

    def _begin(self, block: dict[str, Any]) -> Chunks:
        self._block = {**block, "arguments": False}
        if self._sends_blocks and is_search(block):
            yield from self._count_search(1)
        match block["type"]:
            case "text":
                if block.get("text"):
                    yield delta_chunk(0, content=block["text"])
            case "thinking":
                if block.get("thinking"):
                    yield delta_chunk(0, reasoning_content=block["thinking"])
            case "tool_use" if not self._is_json(block):
                function = {"name": block["name"], "arguments": ""}
                yield delta_chunk(
                    0, tool_calls=[{"index": self._calls, "id": block["id"], "type": "function", "function": function}]
                )
                self._calls += 1

    def _continue(self, piece: dict[str, Any]) -> Chunks:
        match piece["type"]:
            case "text_delta":
                if self._sends_blocks:
                    self._block["text"] = self._block.get("text", "") + piece["text"]
                yield delta_chunk(0, content=piece["text"])
            case "citations_delta":
                self._block["citations"] = [*(self._block.get("citations") or ()), piece["citation"]]
            case "thinking_delta":
                self._block["thinking"] = self._block.get("thinking", "") + piece["thinking"]
                yield delta_chunk(0, reasoning_content=piece["thinking"])
            case "signature_delta":
                self._block["signature"] = self._block.get("signature", "") + piece["signature"]
            case "input_json_delta" if piece["partial_json"] and self._block["type"] == "tool_use":
                self._block["arguments"] = True
                yield self._arguments(piece["partial_json"])
            case "input_json_delta" if self._sends_blocks and self._block["type"] == "server_tool_use":
                self._block["json"] = self._block.get("json", "") + piece["partial_json"]

    def _end(self) -> Chunks:
        block = self._block
        match block.get("type"):
            case "tool_use" if not block["arguments"]:
                yield self._arguments(orjson.dumps(block.get("input") or {}).decode())
            case "thinking" if block.get("signature"):
                whole = {"type": "thinking", "thinking": block.get("thinking", ""), "signature": block["signature"]}
                yield delta_chunk(0, thinking_blocks=[whole])
            case "redacted_thinking":
                yield delta_chunk(0, thinking_blocks=[{"type": "redacted_thinking", "data": block["data"]}])
        if self._sends_blocks:
            yield from self._complete(block)
        self._block = {}

    def _complete(self, block: dict[str, Any]) -> Chunks:
        """Yield the usage after a search, and a complete block."""
        if block.get("json"):
            block["input"] = orjson.loads(block["json"])
        if block.get("type") == "web_search_tool_result":
            self._found_tokens += result_bytes(block) // _RESULT_BYTES_PER_TOKEN
            yield from self._count_search(-1 if is_failed_search(block) else 0)
        if blocks := kept_blocks([block]):
            yield delta_chunk(0, content_parts=blocks)

    def _count_search(self, more: int) -> Chunks:
        """Count a search. If the stream is cut off, the usage so far is charged; the results in the prompt are estimated."""
        self._searches += more
        self._usage["server_tool_use"] = {"web_search_requests": self._searches}
        usage = canonical_usage(self._usage)
        if self._found_tokens and "prompt_tokens" in usage:
            usage["prompt_tokens"] += self._found_tokens
        yield usage_chunk(usage)

    def _arguments(self, text: str) -> dict[str, Any]:
        if self._is_json(self._block):
            return delta_chunk(0, content=text)
        return delta_chunk(0, tool_calls=[{"index": self._calls - 1, "function": {"arguments": text}}])

    def _is_json(self, block: dict[str, Any]) -> bool:
        return self._json_tool and block["name"] == JSON_TOOL

    def _finish_reason(self, reason: str) -> str:
        if reason == "tool_use" and self._calls == 0:
            return "stop"  # the tool was `JSON_TOOL`
        return reason

    def _usage_chunks(self, usage: dict[str, Any] | None, but: str = "") -> Chunks:
        """Yield the usage so far. Counts are cumulative and may be missing in later events, so the last value of each counts."""
        fresh = {name: usage[name] for name in _COUNTS if name != but and usage.get(name) is not None} if usage else {}
        if fresh:
            if self._sends_blocks:  # providers leave it out if there were no searches
                fresh.setdefault("server_tool_use", {"web_search_requests": self._searches})
            self._usage.update(fresh)
            yield usage_chunk(canonical_usage(self._usage))


def canonical_usage(reported: dict[str, Any]) -> dict[str, Any]:
    """Return usage in OpenAI's format. Anthropic's `input_tokens` do not include cache reads and writes.

    Sources: "Messages", `usage`; "Prompt caching", `cache_creation`, whose parts sum up to `cache_creation_input_tokens`; "Web
    search tool", `server_tool_use`; "Service tiers", `service_tier`.
    """
    read, written = _count(reported.get("cache_read_input_tokens")), _count(reported.get("cache_creation_input_tokens"))
    usage: dict[str, Any] = {}
    if type(reported.get("input_tokens")) is int:
        usage["prompt_tokens"] = reported["input_tokens"] + read + written
        usage["prompt_tokens_details"] = {"cached_tokens": read, "cache_write_tokens": written}
        writes = reported.get("cache_creation")
        if isinstance(writes, dict) and (hour := _count(writes.get("ephemeral_1h_input_tokens"))):
            usage["prompt_tokens_details"]["cache_write_1h_tokens"] = hour
    if type(reported.get("output_tokens")) is int:
        usage["completion_tokens"] = reported["output_tokens"]
        details = reported.get("output_tokens_details")
        thought = details.get("thinking_tokens") if isinstance(details, dict) else 0
        usage["completion_tokens_details"] = {"reasoning_tokens": _count(thought)}
    if "prompt_tokens" in usage and "completion_tokens" in usage:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    usage.update({name: reported[name] for name in ("server_tool_use", "service_tier") if reported.get(name) is not None})
    return usage


def message_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the stream events that are equivalent to a message. Raises `MalformedStream` if it is not a message."""
    if message.get("type") != "message" or not isinstance(message.get("content"), list):
        raise MalformedStream("not a message")
    yield {"type": "message_start", "message": message}
    for block in message["content"]:
        yield {"type": "content_block_start", "content_block": block}
        yield {"type": "content_block_stop"}
    delta = {"stop_reason": message.get("stop_reason") or "end_turn"}
    yield {"type": "message_delta", "delta": delta, "usage": message.get("usage")}


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0
