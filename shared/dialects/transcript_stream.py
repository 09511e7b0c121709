"""Reads a streamed transcription: OpenAI's events, or the JSON of a provider that does not stream. Pure.

    transcript.text.delta      relayed as it arrives, like `transcript.text.segment`
    transcript.text.done       held back until the call is settled

A provider without streaming ignores the field, as OpenAI does for whisper-1. Its transcript becomes one delta.
"""

from __future__ import annotations

from typing import Any

import orjson

from shared.billing.token_usage import PartialUsage, read_openai_usage
from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.translated_stream import EventSplitter, parse_json_object

MAX_DOCUMENT_BYTES = 8_000_000  # of a transcript in JSON; the same limit as for an event
DELTA, SEGMENT, DONE = "transcript.text.delta", "transcript.text.segment", "transcript.text.done"


class TranscriptStream:
    """One stream. See `shared.dialects.base.StreamReader`."""

    __slots__ = ("_document", "_is_document", "_last", "_splitter", "_start", "_texts", "delivered", "error", "text_bytes")

    def __init__(self) -> None:
        self.delivered = False  # text has arrived
        self.error: Exception | None = None  # error after the events that `feed` returned last
        self.text_bytes = 0
        self._splitter = EventSplitter()
        self._start = b""  # white space before the first event or the document
        self._is_document: bool | None = None  # None: nothing has arrived
        self._document = bytearray()
        self._texts: list[str] = []
        self._last: dict[str, Any] | None = None  # the last event, held back

    @property
    def done(self) -> bool:
        return self._last is not None

    finished = done

    @property
    def is_complete(self) -> bool:
        return self.delivered and self.done

    def feed(self, data: bytes) -> bytes:
        """Process bytes as they arrive. Returns complete events to relay (or nothing)."""
        if self._is_document is None:
            data = self._start + data
            head = data.lstrip(b"\xef\xbb\xbf \t\r\n")
            self._start = b"" if head else data
            if not head:
                return b""
            self._is_document = head.startswith(b"{")
        if not self._is_document:
            return self._read(self._splitter.split(data))
        self._document += data
        if len(self._document) > MAX_DOCUMENT_BYTES:
            raise MalformedStream("the transcript is too large")
        return b""

    def close(self) -> bytes:
        """Process the end of the connection. Returns the rest to relay. Raises `BrokenStream` if the stream is incomplete."""
        if self._is_document:
            body = parse_json_object(bytes(self._document).strip())
            if not isinstance(body.get("text"), str):
                raise MalformedStream("no text")
            return self._end({name: body[name] for name in ("text", "usage", "logprobs") if name in body})
        relay = self._read(self._splitter.rest())
        if self._last is None and self.error is None:
            raise BrokenStream("the stream ended before its last event")
        return relay

    def final_chunk(self) -> dict[str, Any]:
        """Return the last event, with the transcript so far if the provider has not sent one."""
        return self._last or {"type": DONE, "text": "".join(self._texts)}

    def chunk_fields(self) -> dict[str, Any]:
        return {}

    def usage(self) -> PartialUsage:
        return read_openai_usage((self._last or {}).get("usage"))

    def truncate(self) -> None:
        """Nothing to do: the last event has no finish reason."""

    def text(self) -> str:
        return "".join(self._texts)

    def image_count(self) -> int:
        return 0

    def _read(self, payloads: list[bytes]) -> bytes:
        relay: list[bytes] = []
        try:
            for payload in payloads:
                if self._last is None and payload != b"[DONE]":
                    relay.append(self._event(parse_json_object(payload)))
        except (MalformedStream, BrokenStream) as error:
            if not any(relay) and not self.is_complete:
                raise
            self.error = error  # the events before it are relayed first
        return b"".join(relay)

    def _event(self, event: dict[str, Any]) -> bytes:
        kind = event.get("type")
        if kind == "error" or event.get("error"):
            raise BrokenStream("the provider reported an error")
        if kind == DONE:
            return self._end(event)
        if kind not in (DELTA, SEGMENT):
            return b""
        text = event.get("delta" if kind == DELTA else "text")
        if not isinstance(text, str):
            raise MalformedStream("an event without text")
        self._add(text, is_kept=kind == DELTA)
        return _frame(event)

    def _end(self, event: dict[str, Any]) -> bytes:
        """Keep the last event. Returns its text as a delta if no delta came before."""
        text = event.get("text")
        relay = b""
        if isinstance(text, str) and text.strip() and not self._texts:
            self._add(text, is_kept=True)
            relay = _frame({"type": DELTA, "delta": text})
        self._last = {**event, "type": DONE, "text": text if isinstance(text, str) and text else "".join(self._texts)}
        return relay

    def _add(self, text: str, *, is_kept: bool) -> None:
        self.delivered = self.delivered or bool(text.strip())
        self.text_bytes += len(text.encode(errors="replace"))
        if is_kept:
            self._texts.append(text)


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"
