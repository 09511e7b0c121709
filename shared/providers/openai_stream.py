"""Reading an OpenAI-shaped stream: whole events are passed on as they are, and only what must change is touched.

Every payload is decoded into a view of the few fields that matter (msgspec checks the JSON and skips the rest, about 0.5 us an
event); a payload whose id and model need no change is relayed byte for byte.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from shared.providers.base import BrokenStream, MalformedStream
from shared.providers.finish_reasons import BROKEN, canonical
from shared.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.usage import PartialUsage, read_openai_usage

LARGEST_EVENT = 8_000_000  # bytes without an event's end: no vendor sends that
_OBJECT = "chat.completion.chunk"


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
    index: int | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIStream:
    """One stream. See `shared.providers.base.StreamReader`."""

    __slots__ = (
        *(
            "broken",
            "delivered",
            "done",
            "_begun",
            "_called",
            "_carry",
            "_counted",
            "_created",
            "_dropped",
            "_ended",
            "_half_line_end",
            "_id",
        ),
        *("_model", "_reasons", "_swaps", "_tail", "_told", "_vendor_id", "_vendor_model"),
    )

    def __init__(self, model: str, call_id: str, began: int) -> None:
        self.delivered = False  # anything of the answer came: text, a tool call, audio
        self.done = False  # [DONE] came
        self.broken: Exception | None = None  # what went wrong after the events that `feed` gave last
        self._model = model
        self._id = call_id
        self._created = began
        self._vendor_id: Any = None
        self._vendor_model: Any = None
        self._swaps: list[tuple[bytes, bytes]] | None = None
        self._carry = b""
        self._half_line_end = False
        self._counted = bytearray()  # the delivered text as UTF-8: compact, for a count that is seldom needed
        self._dropped = 0  # bytes of it that were too many to keep
        self._told = PartialUsage()
        self._tail = b""  # the newest chunk with a finish reason, kept back
        self._begun: set[int] = set()
        self._called = False  # a tool was called
        self._ended: set[int] = set()
        self._reasons: dict[int, str] = {}  # why each choice ended, as told last

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason."""
        return bool(self._ended) and self._begun == self._ended

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; give whole events to relay (maybe none)."""
        if self._half_line_end or b"\r" in data:
            data = self._plain_line_ends(data)
        if self._carry:
            data = self._carry + data
        cut = data.rfind(b"\n\n")
        self._carry = data[cut + 2 :] if cut >= 0 else data
        if len(self._carry) > LARGEST_EVENT:
            raise MalformedStream("an event without an end")
        if cut < 0:
            return b""
        relay: list[bytes] = []
        try:
            for event in data[:cut].split(b"\n\n"):
                payload = event[6:] if event[:6] == b"data: " and b"\n" not in event else payload_of(event)
                if payload and not self.done:
                    self._read(payload, relay)
        except (MalformedStream, BrokenStream) as error:
            if not relay:
                raise
            self.broken = error  # what came before it is delivered first
        if len(self._counted) > MAX_KEPT_TEXT_BYTES:
            self._dropped += len(self._counted) - MAX_KEPT_TEXT_BYTES
            del self._counted[MAX_KEPT_TEXT_BYTES:]
        return b"".join(relay)

    def end(self) -> bytes:
        """The connection ended: give what is left to relay. Raises `BrokenStream` when that was too early."""
        relay = self.feed(b"\n\n") if self._carry.strip() else b""  # a last event without its blank line
        if not (self.done or self.finished):
            raise BrokenStream("the stream ended before its finish reason")
        return relay

    def tail(self) -> dict[str, Any]:
        """The chunk that ends the answer: the one kept back, with a plain end for every choice that the vendor left open."""
        chunk: dict[str, Any] = orjson.loads(self._tail) if self._tail else {**self.frame(), "choices": []}
        for index in sorted((self._begun or {0}) - self._ended):
            delta = {} if index in self._begun else {"role": "assistant", "content": ""}
            chunk["choices"].append(
                {
                    "index": index,
                    "delta": delta,
                    "finish_reason": self._reasons.get(index, "tool_calls" if self._called else "stop"),
                }
            )
        return chunk

    def frame(self) -> dict[str, Any]:
        """The fields that every chunk of this stream carries, without choices."""
        return {"id": self._id, "object": _OBJECT, "created": self._created, "model": self._model}

    def usage(self) -> PartialUsage:
        """Usage as told so far."""
        return self._told

    def stop(self) -> None:
        """No more of the stream is read: choices that have not ended end as cut at their limit."""
        for index in (self._begun or {0}) - self._ended:
            self._reasons[index] = "length"

    def text(self) -> str:
        """The text delivered so far, for counting: at most its first `MAX_KEPT_TEXT_BYTES`."""
        return self._counted.decode(errors="replace")

    @property
    def text_bytes(self) -> int:
        """The size of all text delivered so far, in UTF-8."""
        return len(self._counted) + self._dropped

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
            if not payload.isascii():
                payload.decode()  # the decoder does not look into fields that it skips
            chunk = _decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise MalformedStream("a chunk that is not JSON of a chat completion") from None
        if chunk.error:
            raise BrokenStream("the vendor reported an error")
        if chunk.usage is not None:
            self._told = self._told.merge(read_openai_usage(chunk.usage))
        if self._swaps is None:
            self._learn(chunk)
        if chunk.choices:
            self._read_choices(chunk, chunk.choices, payload, relay)

    def _read_choices(self, chunk: _Chunk, choices: list[_Choice], payload: bytes, relay: list[bytes]) -> None:
        odd = carries = after_end = False
        new: list[int] = []
        ends: list[int] = []
        reopened: list[int] = []
        for choice in choices:
            index, delta = choice.index or 0, choice.delta
            odd = odd or choice.index is None or delta is None or choice.finish_reason == ""
            if delta is not None and self._count(delta):
                carries = True
                if index in self._ended:
                    reopened.append(index)
            if index not in self._begun:
                self._begun.add(index)
                if delta is None or not delta.role:
                    new.append(index)
            after_end = after_end or index in self._ended
            if choice.finish_reason and (index not in self._ended or index in reopened):
                ends.append(index)
                if choice.finish_reason in BROKEN:
                    raise BrokenStream("the vendor gave up on its answer")
                self._reasons[index] = canonical(choice.finish_reason)
        if after_end and not (ends or carries):
            return  # nothing may follow a choice's finish reason
        self._release_tail(reopened, relay)
        if ends:
            self._ended.update(ends)
            self._tail = self._rewrite(payload, new)
        else:
            relay.append(b"data: " + self._adapt(chunk, payload, new, odd) + b"\n\n")

    def _release_tail(self, reopened: list[int], relay: list[bytes]) -> None:
        """More follows: what was kept back was not the end. A choice that goes on loses the reason that it gave too early."""
        if reopened:
            self._ended.difference_update(reopened)
        if not self._tail:
            return
        if reopened:
            chunk = orjson.loads(self._tail)
            for choice in chunk["choices"]:
                if choice["index"] in reopened:
                    choice["finish_reason"] = None
            self._tail = orjson.dumps(chunk)
        relay.append(b"data: " + self._tail + b"\n\n")
        self._tail = b""

    def _learn(self, chunk: _Chunk) -> None:
        """Take id, model and time from the first chunk, and how to swap them for ours in the chunks that follow."""
        if type(chunk.created) is int and chunk.created > 0:
            self._created = chunk.created
        self._vendor_id, self._vendor_model = chunk.id, chunk.model
        if isinstance(chunk.id, str) and chunk.id.startswith("chatcmpl-"):
            self._id = chunk.id
        fields = ((b"id", chunk.id, self._id), (b"model", chunk.model, self._model))
        self._swaps = [(_field(name, theirs), _field(name, ours)) for name, theirs, ours in fields if theirs != ours]

    def _adapt(self, chunk: _Chunk, payload: bytes, new: list[int], odd: bool) -> bytes:
        """The payload with our id and model; byte for byte the vendor's where nothing must change."""
        if odd or new or chunk.usage is not None or chunk.id != self._vendor_id or chunk.model != self._vendor_model:
            return self._rewrite(payload, new)
        if chunk.object != _OBJECT or type(chunk.created) is not int:
            return self._rewrite(payload, new)
        for theirs, ours in self._swaps or ():
            # An unescaped quote cannot stand inside a JSON string, so the first hit is the field itself.
            if payload.count(theirs) != 1:
                return self._rewrite(payload, new)
            payload = payload.replace(theirs, ours)
        return payload

    def _rewrite(self, payload: bytes, new: list[int]) -> bytes:
        """The chunk with our id and model, the role in the first delta of `new` choices, and without usage."""
        try:
            body: dict[str, Any] = orjson.loads(payload)
            body.update(id=self._id, model=self._model, object=_OBJECT)
            if type(body.get("created")) is not int:
                body["created"] = self._created
            body.pop("usage", None)
            for choice in body["choices"]:
                if not isinstance(choice.get("delta"), dict):
                    choice["delta"] = {}
                if choice.get("index") is None:
                    choice["index"] = 0
                if choice["index"] in new:
                    choice["delta"]["role"] = "assistant"
                choice["finish_reason"] = canonical(choice["finish_reason"]) if choice.get("finish_reason") else None
            return orjson.dumps(body)
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            raise MalformedStream("a chunk that cannot be passed on") from None

    def _count(self, delta: _Delta) -> bool:
        """Add what a delta delivers to the count; tell whether that is anything."""
        carries = False
        for piece in (delta.content, delta.reasoning_content or delta.reasoning, delta.refusal):
            if piece:
                carries = True
                self._counted += piece.encode(errors="replace") if isinstance(piece, str) else _written(piece)
        for structured in (delta.tool_calls, delta.function_call):
            if structured:
                carries = self._called = True
                self._counted += _written(structured)
        if delta.audio:
            carries = True
        if carries:
            self.delivered = True
        return carries


def _field(name: bytes, value: object) -> bytes:
    """A JSON field as most vendors write it, without spaces."""
    return b'"%s":%s' % (name, orjson.dumps(value, default=repr))


def _written(value: object) -> bytes:
    """Any decoded JSON as text, for counting."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # a number of more than 64 bits, or very deep
        return repr(value).encode(errors="replace")


def payload_of(event: bytes) -> bytes:
    """The data of an SSE event: its `data` lines as one; other fields and comments are dropped, for SDKs crash on them."""
    lines = []
    for line in event.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line[:1] not in (b"", b":") and line.split(b":", 1)[0] not in (b"event", b"id", b"retry", b"data"):
            raise MalformedStream("a line that is no server-sent event")
    return b" ".join(lines).strip()  # in JSON, a line's end can only stand between two tokens
