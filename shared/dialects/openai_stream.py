"""Reads a stream of an OpenAI-compatible provider. Events are relayed unchanged where possible.

Each payload is decoded into the few fields that matter (msgspec validates the JSON and skips the rest, about 0.5 us per event). A
payload whose id and model need no change is relayed byte for byte. Events that differ from an earlier one only in their text are
not decoded (`text_event_template`).
"""

from __future__ import annotations

from codecs import BOM_UTF8 as BOM
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import orjson

from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import PartialUsage, read_openai_usage
from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.finish_reasons import FAILED, to_openai_reason
from shared.dialects.openai_response import (
    CALL_REASONS,
    LIST_FIELDS,
    TEXT_FIELDS,
    DeltaNormalizer,
    countable_text,
    normalize_chunk,
    normalize_texts,
)
from shared.dialects.text_event_template import TextEventTemplate, split_at_text
from shared.dialects.tool_calls import json_bytes

# OpenAI, "Audio and speech": streams have pcm16 at 24 kHz, and output audio has a token per 50 ms. As base64.
AUDIO_BYTES_PER_TOKEN = 24_000 * 2 // 20 * 4 // 3
MAX_EVENT_BYTES = 8_000_000  # maximum bytes of one event; no provider sends as much
UNUSED_TEMPLATES = 4  # templates that a stream learns without using them, before it stops learning
MAX_TEMPLATE_BYTES = 4096  # of the event that it is made of
Changes = dict[int, dict[str, Any]]
_OBJECT = "chat.completion.chunk"


class _Delta(msgspec.Struct):
    role: Any = None
    content: Any = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[Any] | None = None
    function_call: dict[str, Any] | None = None
    audio: dict[str, Any] | None = None
    images: Any = None
    content_parts: Any = None
    thinking_blocks: list[dict[str, Any]] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None


class _Object(msgspec.Struct):
    """A JSON object, whatever is in it."""


class _Choice(msgspec.Struct):
    delta: _Delta
    message: None = None
    index: int | None = None
    finish_reason: str | None = None
    logprobs: _Object | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    service_tier: str | None = None
    system_fingerprint: str | None = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class OpenAIStream:
    """One stream. See `shared.dialects.base.StreamReader`. `custom_tools` are the names of the caller's custom tools."""

    __slots__ = (
        *(
            "error",
            "delivered",
            "done",
            "_begun",
            "_called",
            "_carry",
            "_counted",
            "_created",
            "_custom_tools",
            "_deltas",
            "_dropped",
            "_ended",
            "_half_line_end",
            "_id",
            "_images",
            "_audio_bytes",
            "_is_odd",
        ),
        *("_model", "_reasons", "_swaps", "_tail", "_usage", "_provider_id", "_provider_model"),
        *("_template", "_templates_left"),
    )

    def __init__(self, model: str, call_id: str, began: int, custom_tools: AbstractSet[str] = frozenset()) -> None:
        self.delivered = False  # any output has arrived: text, a tool call, audio
        self.done = False  # [DONE] has arrived
        self.error: Exception | None = None  # error after the events that `feed` returned last
        self._model = model
        self._id = call_id
        self._created = began
        self._custom_tools = custom_tools
        self._provider_id: Any = None
        self._provider_model: Any = None
        self._swaps: list[tuple[bytes, bytes]] | None = None
        self._template: TextEventTemplate | None = None
        self._templates_left = UNUSED_TEMPLATES  # each use of a template adds one
        self._carry = b""
        self._half_line_end = False
        self._counted = bytearray()  # the delivered text as UTF-8, for counting tokens if no usage is reported
        self._dropped = 0  # bytes of text that were not kept
        self._usage = PartialUsage()
        self._tail = b""  # the latest chunk with a finish reason, held back
        self._begun: set[int] = set()
        self._called: dict[int, str] = {}  # finish reason by choice, for choices that called a tool
        self._deltas: dict[int, DeltaNormalizer] = {}  # by choice, for choices with more than text
        self._images = 0
        self._audio_bytes = 0  # delivered, as base64
        self._is_odd = False  # whether the last counted delta has more than text
        self._ended: set[int] = set()
        self._reasons: dict[int, str] = {}  # the last finish reason by choice

    @property
    def finished(self) -> bool:
        """Whether every choice that began has its finish reason."""
        return bool(self._ended) and self._begun == self._ended

    @property
    def is_complete(self) -> bool:
        """Whether the answer is complete and not empty: later errors cost nothing but the usage."""
        return self.delivered and self.finished

    def feed(self, data: bytes) -> bytes:
        """Process bytes as they arrive. Returns complete events to relay (or nothing)."""
        if self._half_line_end or b"\r" in data:
            data = self._plain_line_ends(data)
        if self._carry:
            data = self._carry + data
        cut = data.rfind(b"\n\n")
        self._carry = data[cut + 2 :] if cut >= 0 else data
        if len(self._carry) > MAX_EVENT_BYTES:
            raise MalformedStream("an event without an end")
        if cut < 0:
            return b""
        relay: list[bytes] = []
        try:
            self._read_events(data[:cut].split(b"\n\n"), relay)
        except (MalformedStream, BrokenStream) as error:
            if not relay and not self.is_complete:
                raise
            self.error = error  # the events before it are relayed first
        if len(self._counted) > MAX_KEPT_TEXT_BYTES:
            self._dropped += len(self._counted) - MAX_KEPT_TEXT_BYTES
            del self._counted[MAX_KEPT_TEXT_BYTES:]
        return b"".join(relay)

    def close(self) -> bytes:
        """Process the end of the connection. Returns what is left to relay. Raises `BrokenStream` if it was too early."""
        relay = self.feed(b"\n\n") if self._carry.strip() else b""  # a last event without a blank line
        if not (self.done or self.finished):
            raise BrokenStream("the stream ended before its finish reason")
        return relay

    def final_chunk(self) -> dict[str, Any]:
        """Return the final chunk: the one held back, with a finish reason for every choice that has none."""
        chunk: dict[str, Any] = orjson.loads(self._tail) if self._tail else {**self.chunk_fields(), "choices": []}
        self._close(chunk["choices"])
        for index in sorted((self._begun or {0}) - self._ended):
            delta = {} if index in self._begun else {"role": "assistant", "content": ""}
            chunk["choices"].append({"index": index, "delta": delta, "finish_reason": self._reasons.get(index, "stop")})
            self._close(chunk["choices"][-1:])
        return chunk

    def chunk_fields(self) -> dict[str, Any]:
        """Return the fields that every chunk of this stream has, without choices."""
        return {"id": self._id, "object": _OBJECT, "created": self._created, "model": self._model}

    def usage(self) -> PartialUsage:
        """Return the usage reported so far. Delivered audio counts as tokens if the provider has not reported any output."""
        if self._audio_bytes and self._usage.output_tokens is None:
            return self._usage.merge(PartialUsage(extra={"audio_output_tokens": self._audio_bytes // AUDIO_BYTES_PER_TOKEN + 1}))
        return self._usage

    def truncate(self) -> None:
        """Stop reading: choices that have not ended get the finish reason `length`."""
        for index in (self._begun or {0}) - self._ended:
            self._reasons[index] = "length"

    def text(self) -> str:
        """Return the text delivered so far, for counting: at most its first `MAX_KEPT_TEXT_BYTES`."""
        return self._counted.decode(errors="replace")

    @property
    def text_bytes(self) -> int:
        """The size of all text delivered so far, in UTF-8."""
        return len(self._counted) + self._dropped

    def image_count(self) -> int:
        """Return the number of images delivered so far."""
        return self._images

    def _plain_line_ends(self, data: bytes) -> bytes:
        """Replace CRLF and lone CR by LF, also if a read ended between CR and LF."""
        if self._half_line_end:
            data = b"\r" + data
        self._half_line_end = data[-1:] == b"\r"
        if self._half_line_end:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read_events(self, events: list[bytes], relay: list[bytes]) -> None:
        alike: list[bytes] = []  # consecutive events that match the template
        template = self._template
        for event in events:
            if template is not None and event.startswith(template.head) and event.endswith(template.end):
                alike.append(event)
                continue
            if template is not None and alike:
                self._read_alike(template, alike, relay)
                alike = []
            self._read_event(event, relay)
            template = self._template
        if template is not None and alike:
            self._read_alike(template, alike, relay)

    def _read_alike(self, template: TextEventTemplate, events: list[bytes], relay: list[bytes]) -> None:
        """Read events that match the template."""
        found = template.read(events)
        if found is None:
            for event in events:
                self._read_event(event, relay)
            return
        text, relayed = found
        self._counted += text.encode()
        relay.append(relayed)
        self._templates_left += 1

    def _read_event(self, event: bytes, relay: list[bytes]) -> None:
        payload = event[6:] if event[:6] == b"data: " and b"\n" not in event else event_data(event)
        if payload and not self.done:
            self._read(payload, relay)

    def _read(self, payload: bytes, relay: list[bytes]) -> None:
        if payload.startswith(b"[DONE]"):
            self.done = True
            self._template = None
            return
        try:
            if not payload.isascii():
                payload.decode()  # the decoder does not validate fields that it skips
            try:
                chunk = _decode(payload)
            except msgspec.ValidationError:
                mended = normalize_chunk(orjson.loads(payload))
                if mended is None:
                    return
                payload = json_bytes(mended)
                chunk = _decode(payload)
        except (msgspec.DecodeError, orjson.JSONDecodeError, TypeError, ValueError, RecursionError):
            raise MalformedStream("a chunk that is not a chat completion in JSON") from None
        if chunk.usage is not None:
            self._usage = self._usage.merge(read_openai_usage(chunk.usage, chunk.service_tier))
        if chunk.error:
            raise BrokenStream("the provider reported an error")
        if self._swaps is None:
            self._learn(chunk)
            if chunk.service_tier is not None:
                self._usage = self._usage.merge(read_openai_usage(None, chunk.service_tier))
        if chunk.choices:
            self._read_choices(chunk, chunk.choices, payload, relay)

    def _read_choices(self, chunk: _Chunk, choices: list[_Choice], payload: bytes, relay: list[bytes]) -> None:
        odd = carries = after_end = False
        changes: Changes | None = None
        new: list[int] = []
        ends: list[int] = []
        reopened: list[int] = []
        for choice in choices:
            index, delta = choice.index or 0, choice.delta
            odd = odd or choice.index is None or choice.finish_reason == ""
            if self._count(delta):
                carries = True
                if index in self._ended:
                    reopened.append(index)
            if self._is_odd:
                changes = _with(changes, choices, choice, self._mend(index, delta))
            if index not in self._begun:
                self._begun.add(index)
                if delta.role != "assistant":
                    new.append(index)
            elif delta.role is not None:
                # SDKs concatenate the strings of all deltas: a role in each would become "assistantassistant".
                changes = _with(changes, choices, choice, {"role": None})
            after_end = after_end or index in self._ended
            if choice.finish_reason and (index not in self._ended or index in reopened):
                ends.append(index)
                self._reasons[index] = end = to_openai_reason(choice.finish_reason, delivered=self.delivered)
                if end == FAILED:
                    raise BrokenStream("the provider failed to complete its answer")
        if after_end and not (ends or carries):
            return  # nothing may follow the finish reason of a choice
        self._release_tail(reopened, relay)
        if ends:
            self._ended.update(ends)
            self._template = None  # later events may reopen the choice
            self._tail = self._rewrite(payload, new, changes)
        elif changes:
            relay.append(b"data: " + self._rewrite(payload, new, changes) + b"\n\n")
        else:
            relay.append(b"data: " + self._adapt(chunk, payload, new, odd) + b"\n\n")

    def _release_tail(self, reopened: list[int], relay: list[bytes]) -> None:
        """Relay the chunk held back, because more follows. Choices that continue lose their early finish reason."""
        if reopened:
            self._ended.difference_update(reopened)
        if not self._tail:
            return
        if reopened or self._called:
            chunk = orjson.loads(self._tail)
            self._close([choice for choice in chunk["choices"] if choice["index"] not in reopened])
            for choice in chunk["choices"]:
                if choice["index"] in reopened:
                    choice["finish_reason"] = None
            self._tail = orjson.dumps(chunk)
        relay.append(b"data: " + self._tail + b"\n\n")
        self._tail = b""

    def _close(self, choices: list[dict[str, Any]]) -> None:
        """Add missing parts of tool calls to choices that end, and set their finish reason accordingly."""
        for choice in choices:
            index = choice["index"]
            if index not in self._called and choice["finish_reason"] in CALL_REASONS:
                choice["finish_reason"] = "stop"  # SDKs raise if there are no calls
            if not choice["finish_reason"] or index not in self._called:
                continue
            if choice["finish_reason"] == "stop":
                choice["finish_reason"] = self._called[index]
            missing = self._deltas[index].missing_fragments(choice["finish_reason"])
            if missing:
                choice["delta"]["tool_calls"] = [*(choice["delta"].get("tool_calls") or ()), *missing]

    def _learn(self, chunk: _Chunk) -> None:
        """Read id, model and time from the first chunk, and determine which bytes to replace in the following ones."""
        if type(chunk.created) is int and chunk.created > 0:
            self._created = chunk.created
        self._provider_id, self._provider_model = chunk.id, chunk.model
        if isinstance(chunk.id, str) and chunk.id.startswith("chatcmpl-"):
            self._id = chunk.id
        fields = ((b"id", chunk.id, self._id), (b"model", chunk.model, self._model))
        self._swaps = [(_field(name, theirs), _field(name, ours)) for name, theirs, ours in fields if theirs != ours]

    def _adapt(self, chunk: _Chunk, payload: bytes, new: list[int], odd: bool) -> bytes:
        """Return the payload with our id and model, or unchanged if it already has them."""
        if odd or new or chunk.usage is not None or chunk.id != self._provider_id or chunk.model != self._provider_model:
            return self._rewrite(payload, new)
        if chunk.object != _OBJECT or type(chunk.created) is not int:
            return self._rewrite(payload, new)
        for theirs, _ in self._swaps or ():
            # A JSON string cannot contain an unescaped quote, so the first match is the field itself.
            if payload.count(theirs) != 1:
                return self._rewrite(payload, new)
        if self._templates_left and chunk.choices and len(payload) <= MAX_TEMPLATE_BYTES:
            self._learn_template(chunk.choices, payload)
        return self._swap(payload)

    def _swap(self, data: bytes) -> bytes:
        """Return a payload, or a part of it, with our id and model in place of the provider's."""
        for theirs, ours in self._swaps or ():
            data = data.replace(theirs, ours)
        return data

    def _learn_template(self, choices: list[_Choice], payload: bytes) -> None:
        """Make this payload the template of the following events, if it has nothing but text."""
        delta = choices[0].delta
        if len(choices) != 1 or not delta.content or delta != _Delta(content=delta.content):
            return
        parts = split_at_text(payload)
        if parts is None:
            return
        # Whether this is the field that the decoder reads, and not one of the same name elsewhere in the payload.
        head, string, end = parts
        changed = _decode(b'%b%b?"%b' % (head, string[:-1], end)).choices
        if changed and changed[0].delta.content == f"{delta.content}?":
            head = b"data: " + head
            relayed_head, relayed_end = self._swap(head), self._swap(end) + b"\n\n"
            self._template = TextEventTemplate(head, end, relayed_head, relayed_end, relayed_end + relayed_head)
            self._templates_left -= 1

    def _rewrite(self, payload: bytes, new: list[int], changes: Changes | None = None) -> bytes:
        """Return the chunk with our id and model, a role in the first delta of `new` choices, and without usage.

        `changes` are fields of the deltas by position of the choice; None removes a field.
        """
        try:
            body: dict[str, Any] = orjson.loads(payload)
            body.update(id=self._id, model=self._model, object=_OBJECT)
            if type(body.get("created")) is not int:
                body["created"] = self._created
            body.pop("usage", None)
            for position, choice in enumerate(body["choices"]):
                if choice.get("index") is None:
                    choice["index"] = 0
                if changes and position in changes:
                    changed = {**choice["delta"], **changes[position]}
                    choice["delta"] = {name: value for name, value in changed.items() if value is not None}
                if choice["index"] in new:
                    choice["delta"]["role"] = "assistant"
                choice["finish_reason"] = self._reasons.get(choice["index"]) if choice.get("finish_reason") else None
            return json_bytes(body)
        except (orjson.JSONDecodeError, TypeError, ValueError):
            raise MalformedStream("a chunk that cannot be relayed") from None

    def _count(self, delta: _Delta) -> bool:
        """Count what a delta delivers; returns whether it delivers anything. `_mend` handles deltas with more than text."""
        carries = odd = False
        content = delta.content
        if isinstance(content, str):
            if content:
                carries = True
                self._counted += content.encode(errors="replace")
        elif content is not None:
            carries, odd = bool(content), True
        for piece in (delta.reasoning_content or delta.reasoning, delta.refusal):
            if piece:
                carries = True
                self._counted += piece.encode(errors="replace")
        if delta.tool_calls or delta.function_call or delta.audio or delta.images or delta.content_parts:
            carries = odd = True
        elif delta.thinking_blocks or delta.reasoning_details or delta.annotations or delta.function_call is not None:
            odd = True
        self._is_odd = odd
        if carries:
            self.delivered = True
        return carries

    def _mend(self, index: int, delta: _Delta) -> dict[str, Any]:
        """Return the changes to a delta with more than text, and count what `_count` could not."""
        fields = {name: getattr(delta, name) for name in (*TEXT_FIELDS, *LIST_FIELDS)}
        changed = normalize_texts(fields)
        if changed or delta.images:
            text_only = countable_text({name: text for name, text in fields.items() if isinstance(text, str)})[0]
            del self._counted[len(self._counted) - len(text_only.encode(errors="replace")) :]
            text, images = countable_text({**fields, **changed})
            self._counted += text.encode(errors="replace")
            self._images += images
        if delta.audio and isinstance(delta.audio.get("data"), str):
            self._audio_bytes += len(delta.audio["data"])
        deltas = self._deltas.get(index)
        if deltas is None:
            deltas = self._deltas[index] = DeltaNormalizer(f"{self._id.removeprefix('chatcmpl-')}_{index}", self._custom_tools)
        deltas.add_indexes(fields, changed)
        if delta.tool_calls:
            self._counted += deltas.calls(delta.tool_calls, changed).encode(errors="replace")
            if deltas.called:
                self._called[index] = "tool_calls"
        if delta.function_call is not None:
            if delta.function_call:
                self._called.setdefault(index, "function_call")
            self._counted += deltas.function_call(delta.function_call, changed).encode(errors="replace")
        return changed


def _with(changes: Changes | None, choices: list[_Choice], choice: _Choice, more: dict[str, Any]) -> Changes | None:
    """Return `changes` with `more` added for `choice`."""
    if not more:
        return changes
    changes = changes if changes is not None else {}
    position = next(position for position, one in enumerate(choices) if one is choice)
    changes.setdefault(position, {}).update(more)
    return changes


def _field(name: bytes, value: object) -> bytes:
    """Return a JSON field without spaces, as most providers write it."""
    return b'"%s":%s' % (name, orjson.dumps(value, default=repr))


def event_data(event: bytes) -> bytes:
    """Return the data of an SSE event: its `data` lines. Other fields, comments and byte order marks are dropped (HTML 9.2.6).

    The standard allows one byte order mark, at the beginning of a stream. Streams merged by a proxy may have more.
    """
    lines = []
    for line in event.removeprefix(BOM).split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[6:] if line[5:6] == b" " else line[5:])
    return b" ".join(lines).strip()  # in JSON, line ends only occur between tokens
