"""The stream reader as a function of bytes: however a stream is split into reads, the output is the same, and always JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.billing.token_usage import ExtraUsage, PartialUsage, resolve_usage
from shared.dialects import openai_stream
from shared.dialects.base import BrokenStream, MalformedStream
from shared.dialects.openai_stream import MAX_TEMPLATE_BYTES, OpenAIStream
from tests import openai_payloads
from tests.openai_payloads import DONE, Json, chunk, event, finish, frame, role, usage

OUR_ID = "chatcmpl-ours"
BEGAN = 1_790_000_000


class Outcome(NamedTuple):
    """Everything that a reader returned; `error` names the exception that ended it."""

    relay: bytes
    tail: Json | None
    usage: PartialUsage
    text: str
    delivered: bool
    error: str | None


def read(pieces: list[bytes], reader: OpenAIStream | None = None) -> Outcome:
    """Feed all `pieces` to a reader as the edge does."""
    reader = reader or OpenAIStream("our-model", OUR_ID, BEGAN)
    relay = b""
    error = None
    try:
        for piece in pieces:
            relay += reader.feed(piece)
            if reader.error is not None:
                raise reader.error
        relay += reader.close()
        if reader.error is not None:
            raise reader.error
    except (MalformedStream, BrokenStream) as problem:
        error = type(problem).__name__
    return Outcome(relay, None if error else reader.final_chunk(), reader.usage(), reader.text(), reader.delivered, error)


def cut(data: bytes, positions: list[int]) -> list[bytes]:
    """`data` split at `positions` (modulo its length)."""
    edges = [0, *sorted({place % (len(data) + 1) for place in positions}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def chunks_of(relay: bytes) -> list[Json]:
    """The relayed chunks. Fails on any byte outside a `data:` line."""
    if not relay:
        return []
    assert relay.startswith(b"data: ")
    assert relay.endswith(b"\n\n")
    events = relay[:-2].split(b"\n\n")
    assert all(each.startswith(b"data: ") and b"\n" not in each for each in events)
    return [json.loads(each[6:]) for each in events]


# Streams as providers send them

TEXT = st.text(min_size=1, max_size=6).map(lambda text: text.encode(errors="ignore").decode() or "x")
TOOL = st.fixed_dictionaries({"index": st.integers(0, 2), "function": st.fixed_dictionaries({"arguments": TEXT})})
DELTAS = st.one_of(
    TEXT.map(chunk),
    TEXT.map(lambda text: chunk(reasoning_content=text)),
    TEXT.map(lambda text: chunk(refusal=text)),
    TOOL.map(lambda call: chunk(tool_calls=[call])),
    st.tuples(TEXT, st.integers(0, 2)).map(lambda pair: chunk(pair[0], index=pair[1])),
    st.just(event([])),
    st.just(chunk("")),
)
NOISE = st.sampled_from([b": comment\n\n", b"data:\n\n", b"event: ping\nid: 1\nretry: 2\n\n", b"\n\n", b""])
HEAD = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([None, "", "gen-1", "chatcmpl-theirs", 5]),
        "model": st.sampled_from([None, "", 'a "model"', "our-model", 5]),
        "created": st.sampled_from([None, 0, 1_700_000_000, "now"]),
        "object": st.sampled_from([None, "x"]),
        "system_fingerprint": st.just("fp_1"),
    },
)


@st.composite
def streams(draw: Any) -> bytes:
    """A valid stream with noise, unusual headers, any line endings, with or without [DONE]."""
    head = draw(HEAD)
    deltas = draw(st.lists(DELTAS, max_size=6))
    begun = {0, *(choice["index"] for each in deltas for choice in each["choices"])}
    events = [role(), *deltas, *(finish(index=index) for index in sorted(begun)), usage(7, 3)]
    ascii_only, line_end = draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    data = b""
    for each in events:
        text = json.dumps({**each, **head}, ensure_ascii=ascii_only, separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])))
        data += draw(NOISE) + f"data: {text}\n\n".encode()
    data += draw(st.sampled_from([DONE, b"", b"data: [DONE]", DONE + frame(chunk("late"))]))
    return data.replace(b"\n", line_end.encode())


@given(streams(), st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=120, deadline=None)
def test_splitting_into_reads_changes_nothing(data: bytes, positions: list[int]) -> None:
    whole = read([data])
    assert whole.error is None
    assert read(cut(data, positions)) == whole
    assert read([bytes([byte]) for byte in data]) == whole


@given(streams())
@settings(max_examples=120, deadline=None)
def test_relayed_chunks_follow_every_rule(data: bytes) -> None:
    outcome = read([data])
    assert outcome.tail is not None
    chunks = [*chunks_of(outcome.relay), outcome.tail]
    assert len({each["id"] for each in chunks}) == 1
    assert chunks[0]["id"] in ("chatcmpl-theirs", "chatcmpl-upstream-1", OUR_ID)
    assert {each["model"] for each in chunks} == {"our-model"}
    assert {each["object"] for each in chunks} == {"chat.completion.chunk"}
    assert {type(each["created"]) for each in chunks} == {int}
    assert [each for each in chunks if "usage" in each or not each["choices"]] == []
    choices = [choice for each in chunks for choice in each["choices"]]
    for index in {choice["index"] for choice in choices}:
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] is not None for choice in own] == [False] * (len(own) - 1) + [True]
    assert outcome.usage == PartialUsage(7, 3)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_all_text_is_relayed_and_counted(texts: list[str]) -> None:
    data = openai_payloads.frames(role(), *map(chunk, texts), finish()) + DONE
    outcome = read([data])
    relayed = [choice["delta"].get("content", "") for each in chunks_of(outcome.relay) for choice in each["choices"]]
    assert "".join(relayed) == outcome.text == "".join(texts)
    assert outcome.delivered


# Usage in any position

USAGES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"prompt_tokens": st.integers(0, 99), "completion_tokens": st.integers(0, 99), "total_tokens": st.none()}
    ),
    max_size=4,
)


@given(USAGES, st.data())
def test_the_last_value_of_each_count_wins(result: list[Json], data: Any) -> None:
    events = [role(), chunk("Hello"), chunk(" there"), finish()]
    for each in result:
        place = data.draw(st.integers(0, len(events)))
        events.insert(place, data.draw(st.sampled_from([event([], usage=each), {"usage": each, "choices": None}])))
    spoken = [each["usage"] for each in events if "usage" in each]
    expected = [
        next((each[name] for each in reversed(spoken) if name in each), None) for name in ("prompt_tokens", "completion_tokens")
    ]
    outcome = read([openai_payloads.frames(*events) + DONE])
    assert [outcome.usage.input_tokens, outcome.usage.output_tokens] == expected
    assert outcome.text == "Hello there"


@given(st.integers(0, 3), st.integers(0, 99), st.integers(0, 99))
def test_usage_next_to_choices_is_read_but_not_relayed(place: int, input: int, output: int) -> None:
    events = [role(), chunk("Hello"), chunk(" there"), finish()]
    events[place] = {**events[place], "usage": openai_payloads.tokens(input, output, cached=1, reasoning=2)}
    outcome = read([openai_payloads.frames(*events) + DONE])
    assert outcome.usage == PartialUsage(input, output, 1, 2)
    assert b"usage" not in outcome.relay


# Any input

GARBAGE = st.one_of(
    st.binary(max_size=30),
    st.binary(max_size=20).map(lambda data: b"data: " + data + b"\n\n"),
    st.binary(max_size=8).map(lambda data: b'data: {"choices":[{"index":0,"delta":{"content":"' + data + b'"}}]}\n\n'),
    st.binary(max_size=8).map(
        lambda data: b'data: {"choices":[{"index":0,"delta":{"content":"x"}}],"skipped":"' + data + b'"}\n\n'
    ),
    st.sampled_from(
        [
            b"data: 3\n\n",
            b'data: {"choices": 3}\n\n',
            b'data: {"choices": [3]}\n\n',
            b'data: {"choices": [{"delta": 3}]}\n\n',
            b'data: {"choices": [{"index": "0", "delta": {}}]}\n\n',
            b'data: {"choices": [{"delta": {"content": 5}}], "created": 1e999}\n\n',
            b'data: {"choices": [{"delta": {"tool_calls": [1e30, 123456789012345678901234567890]}}]}\n\n',
            b'data: {"choices": [{"delta": {"tool_calls": ' + b"[" * 300 + b"]" * 300 + b"}}]}\n\n",
            b'data: {"choices": [], "deep": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_000 + b"}\n\n",
            b'data: {"error": {"message": "x"}}\n\n',
            frame(chunk("x")),
            frame(finish()),
            frame(usage()),
            DONE,
        ]
    ),
)


@given(st.lists(GARBAGE, max_size=6), st.lists(st.integers(0, 10_000), max_size=6))
@settings(max_examples=300, deadline=None)
@example([b'data: {"choices":[{"delta":{"content":"x"}}],"skipped":"\xff"}\n\n'], [])
@example([b'data: {"choices":[{"delta":{"content":"x"}}],"skipped":"\\ud800"}\n\n'], [])
@example([frame(finish()), frame(chunk("x")), frame(finish())], [])
def test_only_json_is_relayed(pieces: list[bytes], positions: list[int]) -> None:
    outcome = read(cut(b"".join(pieces), positions))
    for each in chunks_of(outcome.relay):
        assert isinstance(each["choices"], list)
        assert "usage" not in each
    if outcome.tail is not None:
        json.dumps(outcome.tail)
    assert isinstance(outcome.text, str)


# Events that differ only in their text

_HEAD = b'data: {"id":"1","model":"acme","object":"chat.completion.chunk","created":1,"choices":[{"index":0,"delta":{"content":'
_END = b'},"finish_reason":null}]}\n\n'
_OTHER_ENDS = (
    b'},"finish_reason":"stop"}]}\n\n',
    b'},"finish_reason":null}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b',"role":"assistant"},"finish_reason":null}]}\n\n',
    b',"content":"twice"},"finish_reason":null}]}\n\n',
    b',"reasoning_content":"why"},"finish_reason":null}]}\n\n',
)
STRINGS = st.one_of(
    TEXT.map(lambda text: json.dumps(text).encode()),
    TEXT.map(lambda text: json.dumps(text, ensure_ascii=False).encode()),
    st.binary(max_size=6).map(lambda data: b'"' + data + b'"'),
    st.sampled_from(
        [b'""', b'"', b"", b"null", b"5", b' "a" ', b'"\\ud83d"', b'"\\ude00"', b'"a","b"', b'"a\\"', b'"\n"', b'["a"]']
    ),
)
TEXT_EVENTS = st.one_of(
    STRINGS.map(lambda string: _HEAD + string + _END),
    st.tuples(STRINGS, st.sampled_from(_OTHER_ENDS)).map(lambda pair: _HEAD + pair[0] + pair[1]),
    st.sampled_from([frame(chunk("x")), frame(chunk("y", index=1)), frame(usage()), frame(finish()), DONE]),
)


@given(st.lists(TEXT_EVENTS, max_size=12), st.lists(st.integers(0, 10_000), max_size=8))
@settings(max_examples=500, deadline=None)
@example([_HEAD + b'"a"' + _END, _HEAD + b'"b"' + _END, _HEAD + b'"c","content":"d"' + _END], [])
@example([_HEAD + b'"a"' + _END, _HEAD + b'"b\xff"' + _END, _HEAD + b'"c"' + _END], [])
def test_templates_change_neither_output_nor_usage(events: list[bytes], positions: list[int]) -> None:
    data = b"".join(events)
    without = OpenAIStream("our-model", OUR_ID, BEGAN)
    without._templates_left = 0
    with_templates = OpenAIStream("our-model", OUR_ID, BEGAN)
    assert read(cut(data, positions), with_templates) == read(cut(data, positions), without)
    assert with_templates.text_bytes == without.text_bytes
    assert with_templates.finished == without.finished


def test_an_event_that_differs_only_in_its_text_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = OpenAIStream("our-model", OUR_ID, BEGAN)
    reader.feed(openai_payloads.frames(role(), chunk("a")))
    monkeypatch.setattr(openai_stream, "_decode", None)
    relay = reader.feed(openai_payloads.frames(chunk("b"), chunk('"ö"')))
    assert [each["choices"][0]["delta"] for each in chunks_of(relay)] == [{"content": "b"}, {"content": '"ö"'}]
    assert {each["model"] for each in chunks_of(relay)} == {"our-model"}
    assert reader.text() == 'ab"ö"'


def test_large_events_do_not_become_templates() -> None:
    reader = OpenAIStream("our-model", OUR_ID, BEGAN)
    reader.feed(openai_payloads.frames(role(), event([chunk("a")["choices"][0]], padding="x" * MAX_TEMPLATE_BYTES)))
    assert reader._template is None
    reader.feed(frame(chunk("b")))
    assert reader._template is not None


# Single cases


@pytest.mark.parametrize("end", [b"", frame(chunk("x")), frame(role()) + frame(usage())])
def test_an_end_before_the_finish_reason_is_a_broken_stream(end: bytes) -> None:
    assert read([end]).error == "BrokenStream"


def test_one_unfinished_choice_is_a_broken_stream() -> None:
    assert read([openai_payloads.frames(chunk("a"), chunk("b", index=1), finish())]).error == "BrokenStream"


def test_output_before_an_error_is_returned_first() -> None:
    reader = OpenAIStream("m", OUR_ID, BEGAN)
    assert b"Hello" in reader.feed(openai_payloads.frames(role(), chunk("Hello"), openai_payloads.failure("Boom.")))
    assert isinstance(reader.error, BrokenStream)


def test_an_event_without_an_end_is_rejected() -> None:
    reader = OpenAIStream("m", OUR_ID, BEGAN)
    for _ in range(8):
        assert reader.feed(b"x" * 1_000_000) == b""
    with pytest.raises(MalformedStream):
        reader.feed(b"x")


def test_a_chunk_that_needs_no_change_is_relayed_byte_for_byte() -> None:
    reader = OpenAIStream(openai_payloads.MODEL, OUR_ID, BEGAN)
    odd = frame(chunk("Größe")).replace("ö".encode(), b"\\u00f6").replace(b"ss", b"\\u0073s").replace(b',"', b' , "')
    first = frame(role())
    assert reader.feed(first + odd) == first + odd


def test_an_early_finish_reason_is_moved_to_the_end() -> None:
    early = event([{"index": 0, "delta": {"content": "Hel"}, "finish_reason": "length"}])
    outcome = read([openai_payloads.frames(role(), early, chunk("lo")) + DONE])
    assert [each["choices"][0]["finish_reason"] for each in chunks_of(outcome.relay)] == [None, None, None]
    assert outcome.tail is not None
    assert outcome.tail["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]


def test_an_empty_stream_ends_with_one_complete_chunk() -> None:
    outcome = read([DONE])
    assert outcome.tail == {
        "id": OUR_ID,
        "object": "chat.completion.chunk",
        "created": BEGAN,
        "model": "our-model",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
    }
    assert not outcome.delivered


def test_audio_without_usage_counts_by_its_length() -> None:
    second = "A" * (24_000 * 2 * 4 // 3)  # pcm16 at 24 kHz, as base64
    reader = OpenAIStream("m", "chatcmpl-1", 0)
    reader.feed(frame(chunk(audio={"id": "a", "data": second})) + frame(chunk(audio={"transcript": "Hi"})))
    assert reader.usage().extra == {"audio_output_tokens": 21}
    used = resolve_usage(reader.usage(), input_estimate=7, output_estimate=1, delivered=True, plausible_output=100)
    assert (used.output_tokens, used.extra, used.estimated) == (22, ExtraUsage(audio_output_tokens=21), True)
    reader.feed(frame(usage(7, 30)))
    assert (reader.usage().output_tokens, reader.usage().extra) == (30, None)
