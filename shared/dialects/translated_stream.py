"""Reads a stream of another dialect: converts its events to canonical chunks, which then pass through `OpenAIStream`.

So the rules for holding back, counting and closing are the same for all dialects, in one place.
"""

from __future__ import annotations

from codecs import BOM_UTF8 as BOM
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import orjson

from shared.billing.token_usage import PartialUsage
from shared.dialects.base import BlockedPrompt, BrokenStream, MalformedStream
from shared.dialects.openai_stream import MAX_EVENT_BYTES, OpenAIStream, event_data
from shared.text.json_depth import is_too_deep

DONE_EVENT = b"data: [DONE]\n\n"


class Translator(Protocol):
    """Converts the events of one stream to canonical chunks.

    `read` takes the decoded data of one event and yields its chunks, without id, model and time, or `None` for the end of the
    stream. Raises `MalformedStream`, `BrokenStream` and `BlockedPrompt`.
    """

    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any] | None]: ...


class EventSplitter:
    """Splits bytes into the data of server-sent events as they arrive."""

    __slots__ = ("_carry", "_half_line_end")

    def __init__(self) -> None:
        self._carry = b""
        self._half_line_end = False

    def split(self, data: bytes) -> list[bytes]:
        """Return the data of every complete event. Raises `MalformedStream` for an event without an end."""
        if self._half_line_end:
            data = b"\r" + data
        self._half_line_end = data[-1:] == b"\r"
        if self._half_line_end:
            data = data[:-1]
        data = self._carry + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n\n")
        self._carry = data[cut + 2 :] if cut >= 0 else data
        if len(self._carry) > MAX_EVENT_BYTES:
            raise MalformedStream("an event without an end")
        return [payload for event in data[:cut].split(b"\n\n") if (payload := event_data(event))] if cut >= 0 else []

    def rest(self) -> list[bytes]:
        """Return the last event if its blank line is missing."""
        return self.split(b"\n\n") if self._carry.strip() else []


class TranslatedStream:
    """One stream. See `shared.dialects.base.StreamReader`. `custom_tools`: see `OpenAIStream`."""

    __slots__ = ("_inner", "_splitter", "_translator", "error")

    def __init__(
        self, model: str, call_id: str, began: int, translator: Translator, custom_tools: AbstractSet[str] = frozenset()
    ) -> None:
        self._inner = OpenAIStream(model, call_id, began, custom_tools)
        self._splitter = EventSplitter()
        self._translator = translator
        self.error: Exception | None = None

    @property
    def delivered(self) -> bool:
        return self._inner.delivered

    @property
    def done(self) -> bool:
        return self._inner.done

    @property
    def finished(self) -> bool:
        return self._inner.finished

    @property
    def is_complete(self) -> bool:
        return self._inner.is_complete

    def feed(self, data: bytes) -> bytes:
        """Process bytes as they arrive. Returns complete canonical events to relay (or nothing)."""
        return self._translate(self._splitter.split(data))

    def close(self) -> bytes:
        """Process the end of the connection. Returns what is left to relay. Raises `BrokenStream` if it was too early."""
        relay = self._translate(self._splitter.rest())
        if self.error is None:
            relay += self._inner.close()
            self._inner.done = True  # some providers just close the connection after the last finish reason
        return relay

    def final_chunk(self) -> dict[str, Any]:
        return self._inner.final_chunk()

    def chunk_fields(self) -> dict[str, Any]:
        return self._inner.chunk_fields()

    def usage(self) -> PartialUsage:
        return self._inner.usage()

    def truncate(self) -> None:
        self._inner.truncate()

    def text(self) -> str:
        return self._inner.text()

    @property
    def text_bytes(self) -> int:
        return self._inner.text_bytes

    def image_count(self) -> int:
        return self._inner.image_count()

    def _translate(self, payloads: list[bytes]) -> bytes:
        canonical: list[bytes] = []
        error: Exception | None = None
        try:
            for payload in payloads:
                for chunk in self._translator.read(parse_json_object(payload)):
                    canonical.append(DONE_EVENT if chunk is None else b"data: " + orjson.dumps(self._framed(chunk)) + b"\n\n")
        except (MalformedStream, BrokenStream, BlockedPrompt) as failure:
            error = failure
        except (TypeError, ValueError, KeyError, AttributeError, orjson.JSONEncodeError):
            # Events are read in their documented format; any other format causes one of these exceptions.
            error = MalformedStream("an event does not have the documented format")
        relay = self._inner.feed(b"".join(canonical)) if canonical else b""
        error = self._inner.error or error
        if error is not None:
            if not relay and not self.is_complete:
                raise error
            self.error = error  # the events before it are relayed first
        return relay

    def _framed(self, chunk: dict[str, Any]) -> dict[str, Any]:
        return {**self._inner.chunk_fields(), **chunk}


def parse_json_object(payload: bytes) -> dict[str, Any]:
    """Return the JSON object of an event or answer. Raises `MalformedStream`."""
    try:
        value = orjson.loads(payload.removeprefix(BOM))
    except orjson.JSONDecodeError:
        raise MalformedStream("not JSON") from None
    if not isinstance(value, dict):
        raise MalformedStream("not a JSON object")
    if is_too_deep(payload, value):
        raise MalformedStream("nested too deeply to be relayed")
    return value


def delta_chunk(index: int, **fields: Any) -> dict[str, Any]:
    """Return a chunk with a delta of one choice."""
    return {"choices": [{"index": index, "delta": fields, "finish_reason": None}]}


def finish_chunk(index: int, reason: str, **fields: Any) -> dict[str, Any]:
    """Return the chunk that ends a choice. `reason` is the provider's finish reason (see `finish_reasons`)."""
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason, **fields}]}


def usage_chunk(usage: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk that only has usage."""
    return {"choices": [], "usage": usage}


def merge_chunks(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge the chunks of a complete answer into one chat completion."""
    message: dict[int, dict[str, Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] | None = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            gathered = message.setdefault(choice["index"], {"role": "assistant", "content": None})
            _gather(gathered, choice["delta"])
            end = ends.setdefault(choice["index"], {"finish_reason": "stop"})
            end.update({name: value for name, value in choice.items() if name not in ("index", "delta") and value is not None})
    choices = []
    for index in sorted(message):
        if message[index]["content"] is None and "tool_calls" not in message[index]:
            message[index]["content"] = ""
        choices.append({"index": index, "message": message[index], **ends[index]})
    return {"choices": choices, **({"usage": usage} if usage else {})}


def _gather(message: dict[str, Any], piece: dict[str, Any]) -> None:
    for name in ("content", "reasoning_content", "refusal"):
        if piece.get(name) is not None:
            message[name] = (message.get(name) or "") + piece[name]
    for name in ("thinking_blocks", "images", "content_parts"):
        if piece.get(name):
            message.setdefault(name, []).extend(piece[name])
    if piece.get("audio"):
        message["audio"] = piece["audio"]
    for call in piece.get("tool_calls") or ():
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            calls.append({name: value for name, value in call.items() if name != "index"})
            calls[-1][call["type"]] = dict(call[call["type"]])
        else:
            kind, text = ("custom", "input") if "custom" in call else ("function", "arguments")
            calls[call["index"]][kind][text] += call[kind][text]
