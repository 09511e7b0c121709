"""Reading a stream of another dialect: its events become canonical chunks, and those go through the reader of OpenAI's stream.

So the rules of what is held back, counted and closed are the same for all dialects, and stand in one place.
"""

from __future__ import annotations

from codecs import BOM_UTF8 as BOM
from collections.abc import Iterator
from typing import Any, Protocol

import orjson

from shared.billing.token_usage import PartialUsage
from shared.dialects.base import BlockedPrompt, BrokenStream, MalformedStream
from shared.dialects.openai_stream import LARGEST_EVENT, OpenAIStream, payload_of
from shared.text.json_depth import too_deep

END = b"data: [DONE]\n\n"


class Translator(Protocol):
    """Turns the events of one stream into canonical chunks.

    `read` takes the decoded data of one event and gives the chunks in it, without id, model and time; `None` for the end of the
    stream. Raises `MalformedStream`, `BrokenStream` and `BlockedPrompt`.
    """

    def read(self, event: dict[str, Any]) -> Iterator[dict[str, Any] | None]: ...


class EventSplitter:
    """Cuts bytes into the data of server-sent events, however they arrive."""

    __slots__ = ("_carry", "_half_line_end")

    def __init__(self) -> None:
        self._carry = b""
        self._half_line_end = False

    def split(self, data: bytes) -> list[bytes]:
        """The data of every event that is whole now. Raises `MalformedStream` for an event without an end."""
        if self._half_line_end:
            data = b"\r" + data
        self._half_line_end = data[-1:] == b"\r"
        if self._half_line_end:
            data = data[:-1]
        data = self._carry + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n\n")
        self._carry = data[cut + 2 :] if cut >= 0 else data
        if len(self._carry) > LARGEST_EVENT:
            raise MalformedStream("an event without an end")
        return [payload for event in data[:cut].split(b"\n\n") if (payload := payload_of(event))] if cut >= 0 else []

    def rest(self) -> list[bytes]:
        """The last event, where its blank line is missing."""
        return self.split(b"\n\n") if self._carry.strip() else []


class TranslatedStream:
    """One stream. See `shared.dialects.base.StreamReader`."""

    __slots__ = ("_inner", "_splitter", "_translator", "broken")

    def __init__(self, model: str, call_id: str, began: int, translator: Translator) -> None:
        self._inner = OpenAIStream(model, call_id, began)
        self._splitter = EventSplitter()
        self._translator = translator
        self.broken: Exception | None = None

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
    def answered(self) -> bool:
        return self._inner.answered

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; give whole canonical events to relay (maybe none)."""
        return self._translate(self._splitter.split(data))

    def end(self) -> bytes:
        """The connection ended: give what is left to relay. Raises `BrokenStream` when that was too early."""
        relay = self._translate(self._splitter.rest())
        if self.broken is None:
            relay += self._inner.end()
            self._inner.done = True  # a vendor without an end mark ends by closing, after the last finish reason
        return relay

    def tail(self) -> dict[str, Any]:
        return self._inner.tail()

    def frame(self) -> dict[str, Any]:
        return self._inner.frame()

    def usage(self) -> PartialUsage:
        return self._inner.usage()

    def stop(self) -> None:
        self._inner.stop()

    def text(self) -> str:
        return self._inner.text()

    @property
    def text_bytes(self) -> int:
        return self._inner.text_bytes

    def images(self) -> int:
        return self._inner.images()

    def _translate(self, payloads: list[bytes]) -> bytes:
        canonical: list[bytes] = []
        error: Exception | None = None
        try:
            for payload in payloads:
                for chunk in self._translator.read(decoded(payload)):
                    canonical.append(END if chunk is None else b"data: " + orjson.dumps(self._framed(chunk)) + b"\n\n")
        except (MalformedStream, BrokenStream, BlockedPrompt) as problem:
            error = problem
        except (TypeError, ValueError, KeyError, AttributeError, orjson.JSONEncodeError):
            # An event is read by its published shape; one of another shape trips somewhere on the way.
            error = MalformedStream("an event of another shape than the vendor publishes")
        relay = self._inner.feed(b"".join(canonical)) if canonical else b""
        error = self._inner.broken or error
        if error is not None:
            if not relay and not self.answered:
                raise error
            self.broken = error  # what came before it is delivered first
        return relay

    def _framed(self, chunk: dict[str, Any]) -> dict[str, Any]:
        return {**self._inner.frame(), **chunk}


def decoded(payload: bytes) -> dict[str, Any]:
    """The JSON object of an event or an answer. Raises `MalformedStream`."""
    try:
        value = orjson.loads(payload.removeprefix(BOM))
    except orjson.JSONDecodeError:
        raise MalformedStream("not JSON") from None
    if not isinstance(value, dict):
        raise MalformedStream("no JSON object")
    if too_deep(payload, value):
        raise MalformedStream("nested too deeply to be passed on")
    return value


def delta(index: int, **fields: Any) -> dict[str, Any]:
    """A chunk with one piece of one choice."""
    return {"choices": [{"index": index, "delta": fields, "finish_reason": None}]}


def finish(index: int, reason: str, **fields: Any) -> dict[str, Any]:
    """The chunk that ends a choice, for a `reason` in the provider's own word (`finish_reasons`)."""
    return {"choices": [{"index": index, "delta": {}, "finish_reason": reason, **fields}]}


def usage_chunk(usage: dict[str, Any]) -> dict[str, Any]:
    """A chunk that tells usage alone."""
    return {"choices": [], "usage": usage}


def whole(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """The chunks of a whole answer as one chat completion: what a stream of them would have made of it."""
    message: dict[int, dict[str, Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    usage: dict[str, Any] | None = None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            gathered = message.setdefault(choice["index"], {"role": "assistant", "content": None})
            _gather(gathered, choice["delta"])
            told = ends.setdefault(choice["index"], {"finish_reason": "stop"})
            told.update({name: value for name, value in choice.items() if name not in ("index", "delta") and value is not None})
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
            calls[-1]["function"] = dict(call["function"])
        else:
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
