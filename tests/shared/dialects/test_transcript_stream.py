"""Streams of transcripts: events however their bytes are split, JSON from providers that do not stream, and broken streams."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.transcript_stream import MAX_DOCUMENT_BYTES, TranscriptStream

Json = dict[str, Any]
USAGE = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
DELTAS: list[Json] = [
    {"type": "transcript.text.delta", "delta": "Hello", "logprobs": [{"token": "Hello", "logprob": -0.1}]},
    {"type": "transcript.text.delta", "delta": " thére."},
]
END: Json = {"type": "transcript.text.done", "text": "Hello thére.", "usage": USAGE}


def events(*values: Json, line_end: str = "\n") -> bytes:
    return b"".join(b"data: " + orjson.dumps(value) + line_end.encode() * 2 for value in values)


def parsed(relay: bytes) -> list[Json]:
    return [orjson.loads(event[6:]) for event in relay.split(b"\n\n") if event]


def read(data: bytes, size: int) -> tuple[TranscriptStream, list[Json]]:
    """Feed `data` in pieces of `size` bytes, and close if no end has arrived."""
    reader = TranscriptStream()
    relay = b"".join(reader.feed(data[start : start + size]) for start in range(0, len(data), size))
    return reader, parsed(relay if reader.done else relay + reader.close())


STREAMS = [
    events(*DELTAS, END),
    events(*DELTAS, END, line_end="\r\n"),
    b"\xef\xbb\xbf: comment\n\n" + events({"type": "other"}, *DELTAS, END) + b"data: [DONE]\n\n",
    events(*DELTAS, END).rstrip(),
]


@pytest.mark.parametrize("data", STREAMS)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_are_relayed_and_the_last_one_is_held_back(data: bytes, size: int) -> None:
    reader, relayed = read(data, size)
    assert relayed == DELTAS
    assert (reader.final_chunk(), reader.delivered, reader.is_complete) == (END, True, True)
    assert (reader.text(), reader.text_bytes) == ("Hello thére.", 13)
    assert (reader.usage().input_tokens, reader.usage().output_tokens) == (14, 2)


@pytest.mark.parametrize(
    "data",
    [
        orjson.dumps({"text": "Hello thére.", "usage": USAGE, "task": "x"}),
        b" \n" + orjson.dumps({"text": "Hello thére.", "usage": USAGE}) + b"\n",
        events(END),
    ],
)
@pytest.mark.parametrize("size", [1, 10_000])
def test_a_whole_transcript_becomes_one_delta(data: bytes, size: int) -> None:
    reader, relayed = read(data, size)
    assert relayed == [{"type": "transcript.text.delta", "delta": "Hello thére."}]
    assert (reader.final_chunk(), reader.is_complete) == (END, True)


@pytest.mark.parametrize("data", [orjson.dumps({"text": " "}), events({"type": "transcript.text.done", "text": ""})])
def test_silence_is_not_delivered(data: bytes) -> None:
    reader, relayed = read(data, 10_000)
    assert (relayed, reader.delivered, reader.done, reader.final_chunk()["text"].strip()) == ([], False, True, "")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BrokenStream),
        (b"{", MalformedStream),
        (b'{"words": []}', MalformedStream),
        (b"<html></html>", BrokenStream),
        (b"data: Hello\n\n", MalformedStream),
        (events({"type": "transcript.text.delta", "delta": None}), MalformedStream),
        (events({"type": "error", "message": "x"}), BrokenStream),
        (events({"error": {"message": "x"}}), BrokenStream),
        (events(DELTAS[0]), BrokenStream),
        (b"{" + b" " * MAX_DOCUMENT_BYTES, MalformedStream),
    ],
)
def test_a_broken_stream_is_an_error(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(data, len(data) or 1)


def test_events_before_an_error_are_relayed_first() -> None:
    reader = TranscriptStream()
    assert parsed(reader.feed(events(DELTAS[0], {"error": {"message": "x"}}))) == DELTAS[:1]
    assert isinstance(reader.error, BrokenStream)
    assert reader.final_chunk() == {"type": "transcript.text.done", "text": "Hello"}
