"""Unusual but valid provider streams: the caller gets a well-formed response, charged exactly."""

from __future__ import annotations

import json

import pytest

from shared.tokenizer import count_tokens
from tests import openai_payloads
from tests.edge.assertions import WHOLE_STREAM, assert_nothing_charged, assert_valid_stream, both
from tests.edge.shared_edge import DEFAULT_COST, Sandbox
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.upstream_responses import json_response, stream


def one_chunk_answer(text: str, reason: str | None = None, **delta: object) -> openai_payloads.Json:
    """A chunk with both text and a finish reason."""
    return openai_payloads.event([{"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason}])


def without(piece: openai_payloads.Json, *names: str) -> openai_payloads.Json:
    return {name: value for name, value in piece.items() if name not in names}


def relayed(sandbox: Sandbox, *pieces: object, **options: object) -> list[openai_payloads.Json]:
    """The chunks of a complete stream."""
    sandbox.provider.script(stream(*pieces, **options))  # type: ignore[arg-type]  # pieces of several types
    answer = sandbox.chat(stream=True, stream_options={"include_usage": True})
    assert answer.status == 200
    assert_valid_stream(answer.body)
    return answer.chunks


def text_of(chunks: list[openai_payloads.Json]) -> str:
    return "".join(choice["delta"].get("content") or "" for found in chunks for choice in found["choices"])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_ending_is_accepted(sandbox: Sandbox, line_end: str) -> None:
    pieces = [*WHOLE_STREAM[:-1], f"data: [DONE]{line_end}{line_end}".encode()]
    assert text_of(relayed(sandbox, *pieces, line_end=line_end)) == "Hello"


def test_text_split_inside_a_character_arrives_intact(sandbox: Sandbox) -> None:
    first, second = openai_payloads.split_utf8(openai_payloads.frame(chunk("naïve 🙂 Größe")))
    assert text_of(relayed(sandbox, role(), first, second, finish(), usage(), DONE)) == "naïve 🙂 Größe"


def test_events_that_break_official_sdks_are_dropped(sandbox: Sandbox) -> None:
    hello = b"event: message\nid: 7\nretry: 3\n" + openai_payloads.frame(chunk("Hello"))
    noise = (
        b": comment\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"event: ping\ndata:\n\n",
        b"\n\n\n",
        b"id: 3\n\n",
        b": OPENROUTER\n\n",
    )
    chunks = relayed(sandbox, *noise, role(), *noise, hello, *noise, finish(), *noise, usage(), *noise, DONE, *noise)
    assert text_of(chunks) == "Hello"


def test_a_byte_order_mark_and_unknown_fields_are_ignored(sandbox: Sandbox) -> None:
    first = "\ufeff".encode() + b"data: " + json.dumps(role()).encode() + b"\n\n"
    marked = b"x-unknown: 1\nstray\ndata\nfoo:bar\n" + openai_payloads.frame(chunk("Hello"))
    chunks = relayed(sandbox, first[:2], first[2:], b"<!-- proxy -->\n\n", marked, b"\xff\xfe: x\n\n", finish(), usage(), DONE)
    assert text_of(chunks) == "Hello"


def test_json_over_several_data_lines_is_joined(sandbox: Sandbox) -> None:
    lines = json.dumps(chunk("Hello"), indent=1).split("\n")
    pretty = "".join(f"data: {line}\n" for line in lines).encode() + b"\n"
    assert text_of(relayed(sandbox, role(), pretty, finish(), usage(), DONE)) == "Hello"


def test_events_without_a_space_after_the_colon(sandbox: Sandbox) -> None:
    frames = [openai_payloads.frame(piece).replace(b"data: ", b"data:") for piece in WHOLE_STREAM[:-1]]  # type: ignore[arg-type]  # pieces of several types
    assert text_of(relayed(sandbox, *frames, b"data:[DONE]\n\n")) == "Hello"


@pytest.mark.parametrize(
    "pieces",
    [
        (role(), chunk("Hello"), finish(), usage()),  # no [DONE]
        (role(), chunk("Hello"), usage(), DONE),  # no finish reason
        (chunk("Hello"), finish(), usage(), DONE),  # no role
        (role(), chunk("Hello"), finish(), finish(), usage(), DONE),  # two finish reasons
        (role(), chunk("Hello"), finish(), chunk(""), usage(), DONE),  # an event after the finish reason
        (role(), chunk("Hello"), finish(), usage(), DONE, chunk("late"), DONE),
        (role(), openai_payloads.frames(chunk("Hel"), chunk("lo"), finish(), usage()) + DONE),
        (
            role(),
            chunk("Hello"),
            openai_payloads.event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
            openai_payloads.frame(usage())[:-2],
        ),
        (openai_payloads.event([]), role(), chunk("Hello"), openai_payloads.event([]), finish(), usage(), DONE),
        (role(), chunk("Hel"), finish(), chunk("lo"), usage(), DONE),
        (
            role(),
            *(
                openai_payloads.event([{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}])
                for text in ("Hel", "lo")
            ),
            usage(),
            DONE,
        ),
        (
            openai_payloads.event([{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]),
            usage(),
            DONE,
        ),
        (
            role(),
            {name: value for name, value in chunk("Hello").items() if name not in ("object", "created")},
            finish(),
            usage(),
            DONE,
        ),
        (
            role(),
            openai_payloads.event([{"index": 0, "delta": {"content": "Hello"}, "finish_reason": ""}]),
            finish(),
            usage(),
            DONE,
        ),
        (role(), chunk("Hello"), openai_payloads.event([{"delta": {}, "finish_reason": "stop"}]), usage(), DONE),
        (
            role(),
            openai_payloads.event([{"index": None, "delta": {"content": "Hello"}, "finish_reason": None}]),
            finish(),
            usage(),
            DONE,
        ),
        (
            role(),
            openai_payloads.event([{"index": 0, "delta": None, "finish_reason": None}]),
            chunk("Hello"),
            finish(),
            usage(),
            DONE,
        ),
        (role(), chunk("Hello"), {**finish(), "error": None}, usage(), DONE),
        ({**role(), "usage": None}, {**chunk("Hello"), "usage": None}, {**finish(), "usage": None}, usage(), DONE),
    ],
)
def test_an_odd_stream_is_normalized(sandbox: Sandbox, pieces: tuple[object, ...]) -> None:
    chunks = relayed(sandbox, *pieces)
    assert text_of(chunks) == "Hello"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10
    assert chunks[-1]["yout"] == {"credits_charged": DEFAULT_COST, "balance": 1_000_000 - DEFAULT_COST}
    assert [found for found in chunks[:-1] if found.get("usage") is not None] == []


@pytest.mark.parametrize("id", [None, "", "gen-123", 7, 'a"b', "chatcmpl-ok"])
def test_id_and_model_are_ours_in_every_chunk(sandbox: Sandbox, id: object) -> None:
    pieces = [{**piece, "id": id, "model": "accounts/acme/models/x-1"} for piece in WHOLE_STREAM[:-1] if isinstance(piece, dict)]
    chunks = relayed(sandbox, *pieces, DONE)
    assert {found["model"] for found in chunks} == {sandbox.model}
    assert (chunks[0]["id"] == "chatcmpl-ok") == (id == "chatcmpl-ok")


def test_changing_ids_and_missing_fields_become_one_id(sandbox: Sandbox) -> None:
    pieces = [{**role(), "id": "x-1"}, {**chunk("Hello"), "id": "x-2"}, {"choices": finish()["choices"]}, usage(), DONE]
    assert len({found["model"] for found in relayed(sandbox, *pieces)}) == 1


def test_the_providers_model_name_in_the_text_is_unchanged(sandbox: Sandbox) -> None:
    quoted = 'I am {"model":"acme-model","id":"chatcmpl-upstream-1"}'
    assert text_of(relayed(sandbox, role(), chunk(quoted), finish(), usage(), DONE)) == quoted


def test_two_choices_each_have_a_role_and_an_end(sandbox: Sandbox) -> None:
    pieces = (chunk("A", index=0), chunk("B", index=1), finish(index=0), chunk("C", index=1), finish(index=1), usage(), DONE)
    chunks = relayed(sandbox, *pieces)
    assert sorted(choice["index"] for found in chunks for choice in found["choices"] if choice["finish_reason"]) == [0, 1]
    assert text_of(chunks) == "ABC"


def test_tool_calls_pass_through_unchanged(sandbox: Sandbox) -> None:
    first = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]
    more = [{"index": 0, "function": {"arguments": '{"n": 12345678901234567890123}'}}]
    big = [{"index": 0, "function": {"arguments": ""}, "n": 10**30}]
    deltas = [chunk(tool_calls=calls) for calls in (first, more, big)]
    chunks = relayed(sandbox, role(), *deltas, finish("tool_calls"), usage(), DONE)
    calls = [choice["delta"]["tool_calls"] for found in chunks for choice in found["choices"] if "tool_calls" in choice["delta"]]
    assert calls == [first, more, big]


@both
def test_compressed_responses_are_decoded(sandbox: Sandbox, streaming: bool) -> None:
    packed = (
        stream(*WHOLE_STREAM, compressed=True)
        if streaming
        else json_response(completion("Hello", usage=tokens(7, 3)), compressed=True)
    )
    sandbox.provider.script(packed)
    answer = sandbox.chat(stream=streaming)
    assert answer.status == 200
    assert "content-encoding" not in answer.headers
    assert sandbox.charged == DEFAULT_COST


@both
def test_a_huge_answer_passes_through(sandbox: Sandbox, streaming: bool) -> None:
    text = "Hello there! " * 300_000
    whole = (
        stream(role(), chunk(text), finish(), usage(7, 3), DONE)
        if streaming
        else json_response(completion(text, usage=tokens(7, 3)))
    )
    sandbox.provider.script(whole)
    answer = sandbox.chat(stream=streaming)
    assert (answer.text if streaming else answer.json["choices"][0]["message"]["content"]) == text
    assert sandbox.charged == DEFAULT_COST


def test_a_long_stream_of_small_chunks_passes_through(sandbox: Sandbox) -> None:
    words = [f"w{number} " for number in range(2_000)]
    assert text_of(relayed(sandbox, role(), *map(chunk, words), finish(), usage(), DONE)) == "".join(words)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "gen-1"},
        {"id": None},
        {"object": None},
        {"created": None},
        {"model": "x"},
        {"service_tier": "default"},
    ],
)
def test_a_whole_answer_has_our_id_and_model(sandbox: Sandbox, change: openai_payloads.Json) -> None:
    body = {**completion("Hello", usage=tokens(7, 3)), **change}
    sandbox.provider.script(json_response({name: value for name, value in body.items() if value is not None}))
    answer = sandbox.chat().json
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["model"], answer["object"]) == (sandbox.model, "chat.completion")
    assert isinstance(answer["created"], int)
    assert answer["choices"] == body["choices"]
    assert answer["yout"] == {"credits_charged": DEFAULT_COST, "balance": 1_000_000 - DEFAULT_COST}


def test_a_too_deeply_nested_answer_is_an_upstream_error(sandbox: Sandbox) -> None:
    deep = json.dumps(completion("Hello", usage=tokens(7, 3))).encode()[:-1] + b',"x":' + b"[" * 400 + b"]" * 400 + b"}"
    sandbox.provider.default = json_response(deep)
    assert (sandbox.chat().status, sandbox.charged, sandbox.held) == (502, 0, 0)


# Usage


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"prompt_tokens": -1, "completion_tokens": -1},
        {"prompt_tokens": 7.0, "completion_tokens": 3.0},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": "7", "completion_tokens": "3"},
        {"prompt_tokens": 10**12, "completion_tokens": 10**12},
        {"prompt_tokens": 10**30, "completion_tokens": 10**30},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        [7, 3],
        "7",
    ],
)
@both
def test_missing_or_impossible_usage_is_counted_locally(sandbox: Sandbox, result: object, streaming: bool) -> None:
    text = "one two three four five six seven eight"
    if streaming:
        sandbox.provider.script(stream(role(), chunk(text), finish(), openai_payloads.event([], usage=result), DONE))
    else:
        sandbox.provider.script(json_response({**completion(text), "usage": result}))
    answer = sandbox.chat(stream=streaming, **({"stream_options": {"include_usage": True}} if streaming else {}))
    [row] = sandbox.usage()
    assert (row.estimated, row.output_tokens) == (True, 8)
    assert 1 <= row.input_tokens < 40
    assert row.credits == sandbox.charged == max(10, row.input_tokens + 16)
    shown = answer.chunks[-1]["usage"] if streaming else answer.json["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == (row.input_tokens, 8)
    assert shown["total_tokens"] == row.input_tokens + 8


@pytest.mark.parametrize(
    "pieces",
    [
        (role(), chunk("Hello"), finish(usage=tokens(7, 3)), DONE),
        (role(), chunk("Hello", usage=tokens(7, 1)), finish(usage=tokens(7, 3)), DONE),
        (role(), chunk("Hello"), finish(), usage(7, 3), usage(7, 3), DONE),
        (role(), chunk("Hello"), usage(7, 3), finish(), DONE),
        (
            openai_payloads.event([], usage={"prompt_tokens": 7}),
            chunk("Hello"),
            finish(),
            openai_payloads.event([], usage={"completion_tokens": 3}),
            DONE,
        ),
        (role(), chunk("Hello"), finish(), openai_payloads.event([], usage={"input_tokens": 7, "output_tokens": 3}), DONE),
        (role(), chunk("Hello"), finish(), {"usage": tokens(7, 3)}, DONE),
        (role(), chunk("Hello"), finish(), {"choices": None, "usage": tokens(7, 3)}, DONE),
    ],
)
def test_usage_is_found_wherever_it_is_reported(sandbox: Sandbox, pieces: tuple[object, ...]) -> None:
    chunks = relayed(sandbox, *pieces)
    assert text_of(chunks) == "Hello"
    assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (7, 3)
    [row] = sandbox.usage()
    assert (row.input_tokens, row.output_tokens, row.estimated, row.credits) == (7, 3, False, DEFAULT_COST)


CALL = {"name": "look_up", "arguments": '{"city":"Bonn","days":[1,2,3]}'}


@both
@pytest.mark.parametrize(
    ("message", "counted"),
    [
        ({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": CALL}]}, "".join(CALL.values())),
        ({"function_call": CALL}, "".join(CALL.values())),
        ({"reasoning_content": "one two three", "reasoning": "one two three"}, "one two three"),
        ({"refusal": "one two three"}, "one two three"),
        ({"content": [{"type": "thinking", "thinking": "one two"}, {"type": "text", "text": " three"}]}, "one two three"),
    ],
)
def test_local_counts_are_the_same_streamed_and_whole(
    sandbox: Sandbox, message: openai_payloads.Json, counted: str, streaming: bool
) -> None:
    pieces = [chunk(**message)]
    if "tool_calls" in message:  # in fragments, whose JSON envelopes are not counted
        edges = range(len(CALL["arguments"]) + 1)
        calls = [{"index": 0, "function": {"arguments": CALL["arguments"][edge : edge + 1]}} for edge in edges]
        first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": CALL["name"], "arguments": ""}}
        pieces = [chunk(tool_calls=[each]) for each in (first, *calls)]
    content = {**message, "text": message.get("content")}
    content.pop("content", None)
    body = completion(**content)
    if "content" in message:
        body["choices"][0]["message"]["content"] = message["content"]
    sandbox.provider.script(stream(role(), *pieces, finish(), DONE) if streaming else json_response(body))
    assert sandbox.chat(stream=streaming).status == 200
    [row] = sandbox.usage()
    assert (row.estimated, row.output_tokens) == (True, count_tokens(counted))


@both
def test_an_image_without_usage_is_delivered_and_charged(sandbox: Sandbox, streaming: bool) -> None:
    images = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    body = completion("", images=images)
    sandbox.provider.script(stream(role(), chunk(images=images), finish(), DONE) if streaming else json_response(body))
    answer = sandbox.chat(stream=streaming, max_tokens=2_000)
    owner = answer.chunks[1]["choices"][0]["delta"] if streaming else answer.json["choices"][0]["message"]
    assert owner["images"] == ([{**images[0], "index": 0}] if streaming else images)
    assert [(row.estimated, row.output_tokens) for row in sandbox.usage()] == [(True, 1_290)]


def test_usage_has_the_fields_that_openai_promises(sandbox: Sandbox) -> None:
    result = {"input_tokens": 7, "output_tokens": 3, "prompt_tokens_details": {"audio_tokens": 1}, "own": 5}
    sandbox.provider.script(json_response(completion("Hello", usage=result)))
    shown = sandbox.chat().json["usage"]
    assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"], shown["own"]) == (7, 3, 10, 5)
    assert shown["prompt_tokens_details"] == {"audio_tokens": 1, "cached_tokens": 0}


@both
@pytest.mark.parametrize("result", [tokens(7, 0), tokens(0, 0), None])
def test_an_empty_completion_costs_nothing(sandbox: Sandbox, result: openai_payloads.Json | None, streaming: bool) -> None:
    if streaming:
        sandbox.provider.script(stream(role(), finish(), openai_payloads.event([], usage=result), DONE))
    else:
        sandbox.provider.script(json_response(completion("", usage=result)))
    assert sandbox.chat(stream=streaming).status == 200
    assert_nothing_charged(sandbox)


def test_a_stream_with_only_an_end_is_an_empty_answer(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(DONE))
    answer = sandbox.chat(stream=True)
    assert_valid_stream(answer.body)
    assert_nothing_charged(sandbox)
