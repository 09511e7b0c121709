"""An upstream that never stops: relaying and charging end close to the held amount."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.call.requests import parse_chat_request
from edge.call.upstream import AFTER_FINISH_SECONDS, StreamTimeout
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES, RelayLimit
from shared.dialects import DIALECTS
from tests import openai_payloads
from tests.edge.shared_edge import CREDITS, Sandbox
from tests.openai_payloads import chunk, completion, finish, role, tokens
from tests.servers.process import eventually
from tests.upstream_responses import HANG, Gate, json_response, stream

LIMIT = 60
# More words than any margin allows, then silence: if the edge kept reading, it would hang.
FLOOD = (role(), *[openai_payloads.frames(*[chunk(f" word{number}") for number in range(100)])] * 20, HANG)
PROMPT = [{"role": "user", "content": "Hi"}]
MAX_CHARGE = 64 * 2 + 2 * LIMIT  # credits: the body's bytes in tokens, and the whole requested output


def assert_ended_and_paid(sandbox: Sandbox, output_tokens: int = LIMIT) -> None:
    assert sandbox.provider.calls[-1].wait_outcome() == "disconnected"
    eventually(lambda: sandbox.held == 0, "the hold is closed")
    [row] = sandbox.usage()
    assert (row.status, row.output_tokens, row.estimated, row.cut) == ("completed", output_tokens, True, "cancelled_upstream")
    assert row.overrun_credits == 0
    assert 2 * LIMIT < sandbox.charged == row.credits < MAX_CHARGE


def test_a_chat_stream_ends_as_length(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(*FLOOD))
    answer = sandbox.chat(stream=True, max_tokens=LIMIT)
    assert answer.lines[-1] == "data: [DONE]"
    assert answer.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert LIMIT < len(answer.text.split()) < 2_000
    assert_ended_and_paid(sandbox)
    assert answer.chunks[-1]["yout"]["credits_charged"] == sandbox.charged


def test_each_open_choice_ends_as_length(sandbox: Sandbox) -> None:
    words = [openai_payloads.frames(*[chunk(f" word{number}", index=number % 2) for number in range(100)])] * 30
    sandbox.provider.script(
        stream(openai_payloads.event([{"index": 1, "delta": {"content": "x"}, "finish_reason": "stop"}]), *words, HANG)
    )
    answer = sandbox.chat(stream=True, max_tokens=LIMIT // 2, n=2)
    reasons = {choice["index"]: choice["finish_reason"] for choice in answer.chunks[-1]["choices"]}
    assert reasons == {0: "length", 1: "length"}
    assert_ended_and_paid(sandbox)


def test_a_text_completion_ends_as_length(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(*FLOOD))
    body = {"model": sandbox.model, "prompt": "Hi", "max_tokens": LIMIT, "stream": True}
    answer = sandbox.post(json.dumps(body).encode(), path="/v1/completions")
    assert answer.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert_ended_and_paid(sandbox)


def test_a_message_ends_as_max_tokens(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(*FLOOD))
    body = {"model": sandbox.model, "messages": PROMPT, "max_tokens": LIMIT, "stream": True}
    answer = sandbox.post(json.dumps(body).encode(), path="/v1/messages")
    *_, delta, stop = answer.chunks
    assert (delta["type"], delta["delta"]["stop_reason"], stop["type"]) == ("message_delta", "max_tokens", "message_stop")
    assert_ended_and_paid(sandbox)


def test_a_response_ends_as_incomplete(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(*FLOOD))
    body = {"model": sandbox.model, "input": "Hi", "max_output_tokens": LIMIT, "stream": True}
    last = sandbox.post(json.dumps(body).encode(), path="/v1/responses").chunks[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert_ended_and_paid(sandbox)


def test_a_native_stream_ends_as_length(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(*FLOOD))
    body = {"model": sandbox.model, "prompt": "Hi", "max_tokens": LIMIT}
    answer = sandbox.post(json.dumps(body).encode(), path="/api/chat/stream/")
    assert (answer.chunks[-1]["done"], answer.chunks[-1]["finish_reason"]) == (True, "length")
    assert_ended_and_paid(sandbox)


@pytest.mark.parametrize(
    "delta", [{"reasoning_content": " word" * 50}, {"tool_calls": [{"index": 0, "function": {"arguments": " 1" * 50}}]}]
)
def test_reasoning_and_arguments_are_limited_too(sandbox: Sandbox, delta: dict[str, Any]) -> None:
    sandbox.provider.script(stream(role(), *[chunk(None, **delta)] * 200, HANG))
    answer = sandbox.chat(stream=True, max_tokens=LIMIT)
    assert answer.chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert_ended_and_paid(sandbox)


def _anthropic() -> bytes:
    usage = {"input_tokens": 7, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word" * 50}}] * 20,
    ]
    return openai_payloads.frames(*events)


def _gemini() -> bytes:
    return openai_payloads.frames(
        *[{"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": " word" * 50}]}}]}] * 20
    )


@pytest.mark.parametrize(("dialect", "flood"), [("anthropic", _anthropic()), ("gemini", _gemini())], ids=["anthropic", "gemini"])
def test_streams_of_other_dialects_are_limited_too(dialect: str, flood: bytes) -> None:
    call = parse_chat_request(json.dumps({"model": "m-1", "messages": PROMPT, "stream": True}).encode())
    reader = DIALECTS[dialect].new_stream_reader(call, "chatcmpl-1", 1)
    reader.feed(flood)
    assert reader.text_bytes == 20 * 50 * len(" word")
    assert RelayLimit(LIMIT).exceeded(reader.text().encode(), reader.text_bytes)
    reader.truncate()
    assert reader.final_chunk()["choices"][0]["finish_reason"] == "length"


def test_an_answer_with_a_finish_reason_in_every_chunk_is_read_completely() -> None:
    call = parse_chat_request(json.dumps({"model": "m-1", "messages": PROMPT, "stream": True}).encode())
    reader = DIALECTS["openai"].new_stream_reader(call, "chatcmpl-1", 1)
    patience = StreamTimeout(60)
    piece = openai_payloads.frames(openai_payloads.event([{"index": 0, "delta": {"content": " word"}, "finish_reason": "stop"}]))
    for now in (0, 9, 18, 27):
        reader.feed(piece)
        assert patience.seconds(reader, now) == AFTER_FINISH_SECONDS
    reader.feed(openai_payloads.frames(chunk("")))
    assert patience.seconds(reader, 30) == AFTER_FINISH_SECONDS - 3
    reader.feed(openai_payloads.frames(chunk(" word")))
    assert patience.seconds(reader, 40) == 60


def test_text_kept_for_counting_is_limited() -> None:
    call = parse_chat_request(json.dumps({"model": "m-1", "messages": PROMPT, "stream": True}).encode())
    reader = DIALECTS["openai"].new_stream_reader(call, "chatcmpl-1", 1)
    for _ in range(10):
        reader.feed(openai_payloads.frames(chunk("word " * 10_000)))
    assert reader.text_bytes == 500_000
    assert len(reader.text()) == MAX_KEPT_TEXT_BYTES


def test_an_upstream_that_continues_after_its_end_is_disconnected(sandbox: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Hello"), finish(), *[openai_payloads.event([], pad="x" * 80_000)] * 250, gate))
    answer = sandbox.chat(stream=True, max_tokens=LIMIT)
    assert answer.text == "Hello"
    assert sandbox.provider.calls[-1].wait_outcome() == "disconnected"
    assert not gate.is_open
    assert sandbox.usage()[0].status == "completed"


def test_megabytes_without_output_are_a_failure(sandbox: Sandbox) -> None:
    sandbox.provider.default = stream(*[b": " + b"x" * 80_000 + b"\n\n"] * 250, HANG)
    answer = sandbox.chat(stream=True)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert sandbox.charged == 0


def test_an_oversized_whole_answer_costs_about_the_held_amount(sandbox: Sandbox) -> None:
    """With usage slightly too high for the call, with absurd usage, and without usage."""
    held = 2 * LIMIT + len(json.dumps(sandbox.body(max_tokens=LIMIT)))
    margin = 100
    for usage in (tokens(7, 9 * LIMIT), tokens(7, 10**9), None):
        before = sandbox.charged
        sandbox.provider.script(json_response(completion("word " * 100_000, usage=usage)))
        answer = sandbox.chat(max_tokens=LIMIT)
        assert answer.json["choices"][0]["message"]["content"] == "word " * 100_000
        assert sandbox.charged - before <= held + margin + 8
    assert sandbox.held == 0
    assert sandbox.charged < CREDITS // 100


def test_the_size_of_a_whole_answer_is_limited(sandbox: Sandbox) -> None:
    sandbox.provider.default = json_response(completion("x" * 9_000_000))
    answer = sandbox.chat(max_tokens=LIMIT)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert sandbox.charged == 0
