"""Reading an OpenAI-shaped stream: whole events are passed on as they are, and only what must change is touched.

Every payload is decoded into a view of the few fields that matter (msgspec checks the JSON and skips the rest, about 0.5 us an
event); a payload whose id and model need no change is relayed byte for byte.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from shared.providers.base import BrokenStream, MalformedStream
from shared.usage import PartialUsage, read_openai_usage

_LARGEST_EVENT = 8_000_000  # bytes without an event's end: no vendor sends that


class _Delta(msgspec.Struct):
    role: Any = None
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIStream:
    """One stream. See `shared.providers.base.StreamReader`."""

    __slots__ = (
        *("delivered", "done", "finished", "_begun", "_carry", "_counted", "_created", "_ended", "_half_line_end", "_id"),
        *("_model", "_swaps", "_tail", "_told", "_vendor_id", "_vendor_model"),
    )

    def __init__(self, model: str, fallback_id: str) -> None:
        self.delivered = False  # anything of the answer came: text, a tool call, audio
        self.finished = False  # a choice gave its finish reason
        self.done = False  # [DONE] came
        self._model = model
        self._id = fallback_id
        self._created = 0
        self._vendor_id: Any = None
        self._vendor_model: Any = None
        self._swaps: list[tuple[bytes, bytes]] = []
        self._carry = b""
        self._half_line_end = False
        self._counted = bytearray()  # the delivered text as UTF-8: compact, for a count that is seldom needed
        self._told = PartialUsage()
        self._tail = b""  # the newest chunk with a finish reason, kept back
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; give whole events to relay (maybe none)."""
        if self._half_line_end or b"\r" in data:
            data = self._plain_line_ends(data)
        if self._carry:
            data = self._carry + data
        cut = data.rfind(b"\n\n")
        self._carry = data[cut + 2 :] if cut >= 0 else data
        if len(self._carry) > _LARGEST_EVENT:
            raise MalformedStream("an event without an end")
        if cut < 0:
            return b""
        relay: list[bytes] = []
        for event in data[:cut].split(b"\n\n"):
            payload = event[6:] if event[:6] == b"data: " and b"\n" not in event else _payload(event)
            if payload and not self.done:
                self._read(payload, relay)
        return b"".join(relay)

    def end(self) -> bytes:
        """The connection ended: give what is left to relay. Raises `BrokenStream` when that was too early."""
        relay = self.feed(b"\n\n") if self._carry.strip() else b""  # a last event without its blank line
        if not (self.done or self.finished):
            raise BrokenStream("the stream ended before its finish reason")
        return relay

    def tail(self) -> dict[str, Any]:
        """The chunk that ends the answer: the one kept back, or a plain `stop` where the vendor sent none."""
        if self._tail:
            chunk: dict[str, Any] = orjson.loads(self._tail)
            chunk.pop("usage", None)
            return chunk
        choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        return {**self.frame(), "choices": choices}

    def frame(self) -> dict[str, Any]:
        """The fields that every chunk of this stream carries, without choices."""
        return {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}

    def usage(self) -> PartialUsage:
        """Usage as told so far."""
        return self._told

    def text(self) -> str:
        """All text delivered so far, for counting."""
        return self._counted.decode(errors="replace")

    def _plain_line_ends(self, data: bytes) -> bytes:
        """CRLF and lone CR become LF, also where a read ended between the two."""
        if self._half_line_end:
            data = b"\r" + data
        self._half_line_end = data[-1:] == b"\r"
        if self._half_line_end:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, payload: bytes, relay: list[bytes]) -> None:
        if payload == b"[DONE]":
            self.done = True
            return
        try:
            chunk = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise MalformedStream("a chunk that is not JSON of a chat completion") from None
        if chunk.error:
            raise BrokenStream("the vendor reported an error")
        if chunk.usage is not None:
            self._told = self._told.merge(read_openai_usage(chunk.usage))
        if not self._created:
            self._learn(chunk, payload)
        if chunk.choices:
            self._read_choices(chunk, chunk.choices, payload, relay)

    def _read_choices(self, chunk: _Chunk, choices: list[_Choice], payload: bytes, relay: list[bytes]) -> None:
        ends = [choice.index for choice in choices if choice.finish_reason is not None and choice.index not in self._ended]
        carries = False
        new: list[int] = []
        for choice in choices:
            carries = (choice.delta is not None and self._count(choice.delta)) or carries
            if choice.index not in self._begun:
                self._begun.add(choice.index)
                if choice.delta is None or not choice.delta.role:
                    new.append(choice.index)
        if not (ends or carries) and all(choice.index in self._ended for choice in choices):
            return  # nothing may follow a choice's finish reason
        payload = self._adapt(chunk, payload, new)
        if self._tail:  # another choice goes on: what was kept back was not the end
            relay.append(b"data: " + self._tail + b"\n\n")
            self._tail = b""
        if ends:
            self._ended.update(ends)
            self.finished = True
            self._tail = payload
        else:
            relay.append(b"data: " + payload + b"\n\n")

    def _learn(self, chunk: _Chunk, payload: bytes) -> None:
        """Take id, model and time from the first chunk, and how to swap them for ours in the chunks that follow."""
        created = orjson.loads(payload).get("created")
        self._created = created if type(created) is int and created > 0 else 1
        self._vendor_id, self._vendor_model = chunk.id, chunk.model
        if isinstance(chunk.id, str) and chunk.id.startswith("chatcmpl-"):
            self._id = chunk.id
        self._swaps = [
            (b'"%s":%s' % (name, orjson.dumps(theirs)), b'"%s":%s' % (name, orjson.dumps(ours)))
            for name, theirs, ours in ((b"id", chunk.id, self._id), (b"model", chunk.model, self._model))
            if theirs != ours
        ]

    def _adapt(self, chunk: _Chunk, payload: bytes, new: list[int]) -> bytes:
        """The payload with our id and model; byte for byte the vendor's where nothing must change."""
        if new or chunk.usage is not None or chunk.id != self._vendor_id or chunk.model != self._vendor_model:
            return self._rewrite(payload, new)
        for theirs, ours in self._swaps:
            # An unescaped quote cannot stand inside a JSON string, so the first hit is the field itself.
            if payload.count(theirs) != 1:
                return self._rewrite(payload, new)
            payload = payload.replace(theirs, ours)
        return payload

    def _rewrite(self, payload: bytes, new: list[int]) -> bytes:
        """The chunk with our id and model, the role in the first delta of `new` choices, and without usage."""
        body: dict[str, Any] = orjson.loads(payload)
        body.update(id=self._id, model=self._model)
        body.setdefault("object", "chat.completion.chunk")
        body.setdefault("created", self._created)
        body.pop("usage", None)
        for choice in body["choices"]:
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                delta = choice["delta"] = {}
            if choice.setdefault("index", 0) in new:
                delta["role"] = "assistant"
        return orjson.dumps(body)

    def _count(self, delta: _Delta) -> bool:
        """Add what a delta delivers to the count; tell whether that is anything."""
        carries = False
        for piece in (delta.content, delta.reasoning_content or delta.reasoning, delta.refusal):
            if piece:
                carries = True
                self._counted += piece.encode(errors="replace") if isinstance(piece, str) else orjson.dumps(piece)
        for structured in (delta.tool_calls, delta.function_call):
            if structured:
                carries = True
                self._counted += orjson.dumps(structured)
        if delta.audio:
            carries = True
        if carries:
            self.delivered = True
        return carries


def _payload(event: bytes) -> bytes:
    """The data of an SSE event: its `data` lines joined; other fields and comments are dropped, for SDKs crash on them."""
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line[:1] not in (b"", b":") and line.split(b":", 1)[0] not in (b"event", b"id", b"retry", b"data"):
            raise MalformedStream("a line that is no server-sent event")
    return b"\n".join(lines).strip()
