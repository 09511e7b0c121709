"""Relays calls of the Responses API to a provider of the same API, and its events to the caller. Pure.

The caller's body is sent with the provider's model name, and without data that the provider must not store. Events are relayed
byte for byte, except those that contain a response: a response repeats the request, and the edge puts the caller's request there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shared.billing.cost_effects import OPTIONAL_TOOLS, max_tool_calls
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import PartialUsage
from shared.dialects.base import BlockedPrompt, BrokenStream, MalformedStream, Target
from shared.dialects.field_support import raise_unsupported
from shared.dialects.responses_request import ENCRYPTED, MIN_OUTPUT_TOKENS, finish_body, reasons, supported_effort
from shared.dialects.responses_response import is_search, raise_failure, read_usage
from shared.dialects.tool_calls import json_bytes
from shared.dialects.translated_stream import EventSplitter, parse_json_object

Json = dict[str, Any]
# Fields of a response that repeat the request; the edge knows the caller's values.
ECHOED = frozenset(
    {
        *("id", "model", "instructions", "tools", "metadata", "user", "safety_identifier", "prompt_cache_key", "store"),
        *("previous_response_id", "max_output_tokens", "background", "conversation", "prompt"),
    }
)
SERVED_TOOLS = "served_tools"  # added to a complete response: types of the tools that the provider could execute
# Tools that the caller executes. Tools that the provider executes have their own prices.
CLIENT_TOOLS = frozenset(
    {"function", "custom", "namespace", "tool_search", "local_shell", "apply_patch", "computer", "computer_use_preview"}
)
_HEAD_EVENTS = frozenset({"response.created", "response.in_progress", "response.queued"})
_LAST_EVENTS = frozenset({"response.completed", "response.incomplete"})
_FAILED_EVENTS = frozenset({"response.failed", "response.cancelled", "error"})
_EVENT_NAME = re.compile(r"[\w.-]{1,100}", re.ASCII)
_CUT: Json = {"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}


def build_relayed_body(request: Mapping[str, Any], target: Target) -> Json:
    """Return the provider's body for the caller's, from which tools without a price were removed.

    Raises `UnsupportedField` for other tools that the provider would execute. The number of calls of its tools is limited to
    those that the hold pays for.
    """
    body: Json = {name: value for name, value in request.items() if name != "previous_response_id"}
    _check_tools(body.get("tools"), "tools")
    if isinstance(body["input"], list):
        for index, item in enumerate(body["input"]):
            if item.get("type") == "additional_tools":
                _check_tools(item.get("tools"), f"input[{index}].tools")
    if _has_optional_tools(body):
        body["max_tool_calls"] = max_tool_calls(body)
    body["model"] = target.route.upstream_model
    effort = (body.get("reasoning") or {}).get("effort")
    supported = supported_effort(effort, target)
    if supported != effort:
        body["reasoning"] = {**body["reasoning"], "effort": supported}
        if supported is None:
            del body["reasoning"]["effort"]
    include = body.get("include") or []
    if body.get("store") and ENCRYPTED not in include and reasons(target, supported):
        body["include"] = [*include, ENCRYPTED]  # to be stored by the edge and sent with the next call
    body["store"] = False
    limit, clamp = body.get("max_output_tokens"), target.max_output_tokens
    if clamp is not None and (limit is None or clamp < limit):
        body["max_output_tokens"] = max(clamp, MIN_OUTPUT_TOKENS)
    return finish_body(body, target)


def relayed_answer(response: Json) -> Json:
    """Return a response without the fields that repeat the request."""
    return {**{name: value for name, value in response.items() if name not in ECHOED}, "object": "response"}


def complete_answer(response: Json) -> Json:
    """Return a complete response like `relayed_answer`, with `SERVED_TOOLS` if there were any."""
    tools = response.get("tools")
    served = [tool["type"] for tool in tools if _is_optional(tool)] if isinstance(tools, list) else []
    answer = relayed_answer(response)
    return {**answer, SERVED_TOOLS: served} if served else answer


def _has_optional_tools(body: Mapping[str, Any]) -> bool:
    items = body["input"] if isinstance(body["input"], list) else ()
    lists = [body.get("tools"), *(item.get("tools") for item in items if item.get("type") == "additional_tools")]
    return any(_is_optional(tool) for tools in lists for tool in tools or ())


def _is_optional(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(OPTIONAL_TOOLS)


def _check_tools(tools: Any, where: str) -> None:
    for index, tool in enumerate(tools or ()):
        kind = tool.get("type")
        environment = tool.get("environment") or {}
        is_client_tool = environment.get("type", "local") == "local" if kind == "shell" else kind in CLIENT_TOOLS
        if not (is_client_tool or _is_optional(tool)):
            raise_unsupported(f"{where}[{index}].type", "only tools that you execute are supported")
        if kind == "namespace":
            _check_tools(tool.get("tools"), f"{where}[{index}].tools")


class _Item(msgspec.Struct):
    type: str = ""
    name: Any = None
    result: Any = None


class _Event(msgspec.Struct):
    """The fields that this module or the renderer reads. Their types are checked before the event is relayed."""

    type: str
    delta: Any = None
    output_index: int = -1
    content_index: int = 0
    summary_index: int = 0
    sequence_number: int = -1
    item: _Item | None = None


_decode = msgspec.json.Decoder(_Event).decode


class RelayedStream:
    """One stream. See `shared.dialects.base.StreamReader`; `feed` returns events of the Responses API instead of chunks.

    Each begins with `event: `, unlike chunks. The last event is held back until the call is settled: `final_chunk` returns its
    response. The response of a stream that was cut has no output.
    """

    __slots__ = (
        *("_counted", "_dropped", "_final", "_images", "_searches", "_sent", "_splitter", "_usage"),
        *("delivered", "done", "error"),
    )

    def __init__(self) -> None:
        self.delivered = False
        self.done = False
        self.error: Exception | None = None
        self._splitter = EventSplitter()
        self._counted = bytearray()
        self._dropped = 0
        self._sent: set[int] = set()  # items that had deltas
        self._images = 0
        self._searches: set[int] = set()  # items
        self._usage = PartialUsage()
        self._final: Json | None = None

    @property
    def finished(self) -> bool:
        return self.done

    @property
    def is_complete(self) -> bool:
        return self.delivered and self.done

    @property
    def text_bytes(self) -> int:
        return len(self._counted) + self._dropped

    def feed(self, data: bytes) -> bytes:
        """Process bytes as they arrive. Returns complete events to relay (or nothing)."""
        return self._relay(self._splitter.split(data))

    def close(self) -> bytes:
        """Process the end of the connection. Raises `BrokenStream` if the stream is incomplete."""
        relay = self._relay(self._splitter.rest())
        if self.error is None and not self.done:
            raise BrokenStream("the stream ended before its last event")
        return relay

    def final_chunk(self) -> Json:
        return dict(_CUT) if self._final is None else self._final

    def chunk_fields(self) -> Json:
        return {}

    def usage(self) -> PartialUsage:
        """Return the reported usage. If the stream was cut, that is only the number of searches so far."""
        if self._final is None and self._usage.input_tokens is None:
            return PartialUsage(extra={"web_searches": len(self._searches)})
        return self._usage

    def text(self) -> str:
        return self._counted.decode(errors="replace")

    def truncate(self) -> None:
        """Nothing to do: without a last event, the final response says that the limit was reached."""

    def image_count(self) -> int:
        return self._images

    def _relay(self, payloads: list[bytes]) -> bytes:
        relay: list[bytes] = []
        try:
            for payload in payloads:
                if not self.done and payload != b"[DONE]":
                    self._read(payload, relay)
        except (MalformedStream, BrokenStream, BlockedPrompt) as error:
            if not relay:
                raise
            self.error = error  # the events before it are relayed first
        if len(self._counted) > MAX_KEPT_TEXT_BYTES:
            self._dropped += len(self._counted) - MAX_KEPT_TEXT_BYTES
            del self._counted[MAX_KEPT_TEXT_BYTES:]
        return b"".join(relay)

    def _read(self, payload: bytes, relay: list[bytes]) -> None:
        try:
            if not payload.isascii():
                payload.decode()  # the decoder does not validate fields that it skips
            event = _decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise MalformedStream("an event does not have the documented format") from None
        kind = event.type
        if isinstance(event.delta, str):
            self._count(event.delta)
            self._sent.add(event.output_index)
        elif kind in _HEAD_EVENTS:
            whole = parse_json_object(payload)
            payload = json_bytes({**whole, "response": relayed_answer(_response(whole))})
        elif kind in _LAST_EVENTS:
            self._finish(_response(parse_json_object(payload)))
            return
        elif kind in _FAILED_EVENTS:
            whole = parse_json_object(payload)
            response = whole.get("response")
            error = response.get("error") if isinstance(response, dict) else whole.get("error")
            if isinstance(response, dict) and isinstance(response.get("usage"), dict):
                self._usage = read_usage(response, len(self._searches))
            raise_failure(error or whole, started=self.delivered)
        elif event.item is not None:
            self._read_item(event, event.item, payload)
        elif not _EVENT_NAME.fullmatch(kind):
            raise MalformedStream("an event with an invalid type")
        relay.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), payload))

    def _read_item(self, event: _Event, item: _Item, payload: bytes) -> None:
        if item.type == "web_search_call":
            self._read_search(event, payload)
        elif event.type == "response.output_item.added":
            if isinstance(item.name, str) and item.name:
                self._count(item.name)
        elif event.type == "response.output_item.done" and event.output_index not in self._sent:
            self._sent.add(event.output_index)
            self._count_item(parse_json_object(payload)["item"])

    def _read_search(self, event: _Event, payload: bytes) -> None:
        """Count a search when it begins; whether it is billed is known when it ends."""
        self._searches.add(event.output_index)
        if event.type == "response.output_item.done" and not is_search(parse_json_object(payload)["item"]):
            self._searches.discard(event.output_index)

    def _finish(self, response: Json) -> None:
        self._usage = read_usage(response, len(self._searches))
        if not self.delivered:  # a provider that only sends the last event
            output = response.get("output")
            for item in output if isinstance(output, list) else ():
                if isinstance(item, dict):
                    self._count(text_of_item({"name": item.get("name")}))
                    self._count_item(item)
        self._final = complete_answer(response)
        self.done = True

    def _count_item(self, item: Json) -> None:
        self._count(text_of_item({**item, "name": None}))
        if item.get("type") == "image_generation_call" and item.get("result"):
            self._images += 1
            self.delivered = True

    def _count(self, text: str) -> None:
        if text:
            self.delivered = True
            self._counted += text.encode(errors="replace")


def text_of_item(item: Mapping[str, Any]) -> str:
    """Return the text of an output item that the model generated, for counting."""
    parts = item.get("content") or item.get("summary")
    pieces = [
        part.get("text") or part.get("refusal") for part in (parts if isinstance(parts, list) else ()) if isinstance(part, dict)
    ]
    return "".join(
        text for text in (item.get("name"), item.get("arguments"), item.get("input"), *pieces) if isinstance(text, str)
    )


def _response(event: Mapping[str, Any]) -> Json:
    response = event.get("response")
    if not isinstance(response, dict):
        raise MalformedStream("an event without its response")
    return response
