"""Tracks the events of a relayed response, and replaces the provider's copy of the request by the caller's request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

RELAYED = b"event: "  # how each relayed event begins; canonical events begin with `data: `
Item = dict[str, Any]
_HEAD_EVENTS = frozenset({b"response.created", b"response.in_progress", b"response.queued"})
# Event → list of parts, type of part, its field; or the item's own field.
_PARTS = {
    b"response.output_text.delta": ("content", "output_text", "text"),
    b"response.refusal.delta": ("content", "refusal", "refusal"),
    b"response.reasoning_text.delta": ("content", "reasoning_text", "text"),
    b"response.reasoning_summary_text.delta": ("summary", "summary_text", "text"),
}
_FIELDS = {
    b"response.function_call_arguments.delta": "arguments",
    b"response.custom_tool_call_input.delta": "input",
}
_REQUIRED: dict[str, Item] = {"output_text": {"annotations": []}}  # type of part → its other required fields


class _Event(msgspec.Struct):
    sequence_number: int = -1
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: Any = None
    item: Any = None
    response: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class RelayedResponse:
    """One stream. `head` is the response object before any output, with the caller's request.

    sequence  number of the last event
    """

    __slots__ = ("_head", "_open", "_output", "sequence")

    def __init__(self, head: Mapping[str, Any]) -> None:
        self.sequence = -1
        self._head = head
        self._output: dict[int, Item] = {}  # by position in the response
        self._open: dict[int, list[tuple[bytes, int, str]]] = {}  # deltas of items that are not complete

    def add(self, events: bytes) -> bytes:
        """Process complete events. Returns them for the caller."""
        changed: list[bytes] = []
        for event in events.split(b"\n\n"):
            if event:
                name, _, payload = event[len(RELAYED) :].partition(b"\ndata: ")
                if (rewritten := self._read(name, payload)) is not None:
                    event = RELAYED + name + b"\ndata: " + rewritten
                changed += (event, b"\n\n")
        return b"".join(changed)

    def complete(self, answer: Mapping[str, Any]) -> Item:
        """Return a provider's response with the caller's request. If it has no output, the output so far is added."""
        return {**self._head, "output": self.output(), **answer}

    def incomplete_items(self) -> list[tuple[int, Item]]:
        """Return the incomplete items with their positions and their content so far."""
        return [(index, self._partial(index)) for index in sorted(self._open)]

    def output(self) -> list[Item]:
        """Return the items so far."""
        return [self._partial(index) if index in self._open else item for index, item in sorted(self._output.items())]

    def _read(self, name: bytes, payload: bytes) -> bytes | None:
        """Process an event. Returns its new data, or None if it stays unchanged."""
        event = _decode(payload)
        self.sequence = event.sequence_number if event.sequence_number >= 0 else self.sequence + 1
        if name in _PARTS or name in _FIELDS:
            if isinstance(event.delta, str):
                position = event.summary_index if name == b"response.reasoning_summary_text.delta" else event.content_index
                self._open.setdefault(event.output_index, []).append((name, position, event.delta))
        elif name == b"response.output_item.added" and isinstance(event.item, dict):
            self._output[event.output_index] = event.item
            self._open[event.output_index] = []
        elif name == b"response.output_item.done" and isinstance(event.item, dict):
            self._output[event.output_index] = event.item
            self._open.pop(event.output_index, None)
        elif name in _HEAD_EVENTS and isinstance(event.response, dict):
            return orjson.dumps({**orjson.loads(payload), "response": {**self._head, **event.response, "usage": None}})
        return None

    def _partial(self, index: int) -> Item:
        item = dict(self._output.get(index) or {})
        parts: dict[tuple[str, int], Item] = {}
        for name, position, delta in self._open[index]:
            if name in _FIELDS:
                item[_FIELDS[name]] = (item.get(_FIELDS[name]) or "") + delta
                continue
            place, kind, field = _PARTS[name]
            part = parts.setdefault((place, position), {"type": kind, field: "", **_REQUIRED.get(kind, {})})
            part[field] += delta
        for place in ("content", "summary"):
            found = [part for (name, _), part in sorted(parts.items(), key=lambda entry: entry[0]) if name == place]
            if found:
                item[place] = found
        return {**item, "status": "incomplete"} if "status" in item else item
