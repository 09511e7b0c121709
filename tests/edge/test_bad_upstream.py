"""What the edge makes of a vendor that misbehaves: what the caller gets, what it costs, and that nothing stays held."""

from __future__ import annotations

import json
import re

import pytest

from tests import wire
from tests.answers import (
    CLOSE,
    HANG,
    RESET,
    Answer,
    Gate,
    Torn,
    context_too_long,
    html,
    later,
    reply,
    silence,
    status,
    stream,
)
from tests.edge.stack import POLITE_COST, Lane, Stack
from tests.servers.process import eventually
from tests.wire import DONE, chunk, completion, finish, role, tokens, usage

both = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
HELLO = (role(), chunk("Hello"), finish())
WHOLE_STREAM = (*HELLO, usage(7, 3), DONE)


def said(text: str, reason: str | None = None, **delta: object) -> wire.Json:
    """A chunk with text and a finish reason at once."""
    return wire.event([{"index": 0, "delta": {"content": text, **delta}, "finish_reason": reason}])


def without(piece: wire.Json, *names: str) -> wire.Json:
    return {name: value for name, value in piece.items() if name not in names}


def good(streaming: bool) -> Answer:
    return stream(*WHOLE_STREAM) if streaming else reply(completion("Hello", usage=tokens(7, 3)))


def assert_nothing_taken(lane: Lane) -> None:
    assert (lane.charged, lane.held) == (0, 0)
    assert [(row.status, row.credits) for row in lane.usage()] in ([("failed", 0)], [("completed", 0)])


# Before the first byte: tried again, or told with a real status


@both
@pytest.mark.parametrize(
    "fault",
    [
        status(500),
        status(502),
        status(503),
        status(529),
        status(408),
        status(409),
        status(429),
        silence(RESET),
        silence(CLOSE),
        silence(b"this is no HTTP\r\n\r\n"),
        stream(wire.frames(role(), chunk("Hel")) + b"data: {garbage\n\n"),
        html(),
        html(502),
        reply(b"", 200),
        reply(b"{", 200),
        reply(b"[]", 200),
        reply({"error": {"message": "overloaded"}}, 200),
        reply(b"\x00\xff\xfe garbage", 200),
        stream(wire.failure("The engine exploded.")),
        stream(RESET),
        stream(b"data: {}\n", Torn(b"data: {}\n\n")),
    ],
)
def test_a_failure_before_the_first_byte_is_tried_again_and_charged_once(lane: Lane, fault: Answer, streaming: bool) -> None:
    lane.vendor.script(fault, good(streaming))
    answer = lane.chat(stream=streaming)
    assert answer.status == 200
    assert len(lane.vendor.calls) == 2
    assert (lane.charged, lane.held) == (POLITE_COST, 0)
    [row] = lane.usage()
    assert (row.status, row.credits, row.estimated) == ("completed", POLITE_COST, False)
    assert row.attempts in (1, 2), "a kept connection that ends without a byte is replaced within one attempt"


@both
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (status(500), (502, "upstream_error")),
        (status(401), (502, "upstream_error")),
        (status(402), (502, "upstream_error")),
        (status(403), (502, "upstream_error")),
        (status(404), (502, "upstream_error")),
        (status(302, headers={"location": "http://127.0.0.1/"}), (502, "upstream_error")),
        (status(429), (503, "no_upstream_available")),
        (status(504), (504, "upstream_timeout")),
        (html(), (502, "upstream_error")),
    ],
)
def test_when_all_attempts_fail_nothing_is_charged(lane: Lane, fault: Answer, expected: tuple[int, str], streaming: bool) -> None:
    lane.vendor.default = fault
    answer = lane.chat(stream=streaming)
    assert (answer.status, answer.error["code"]) == expected
    assert answer.headers["content-type"] == "application/json"
    assert "vendor" not in answer.body.decode().lower()
    assert_nothing_taken(lane)
    assert lane.usage()[0].error_code == expected[1]


def test_a_refused_credential_is_not_tried_again_on_the_same_channel(lane: Lane) -> None:
    lane.vendor.default = status(401)
    lane.chat()
    assert len(lane.vendor.calls) == 1


@both
@pytest.mark.parametrize("fault", [silence(), stream(HANG), reply(b"{", headers={"content-length": "99"})])
def test_silence_before_the_first_byte_is_a_timeout(hasty_lane: Lane, fault: Answer, streaming: bool) -> None:
    hasty_lane.vendor.default = fault
    answer = hasty_lane.chat(stream=streaming)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert len(hasty_lane.vendor.calls) == 1, "a slow channel is not asked twice"
    assert_nothing_taken(hasty_lane)


def test_a_vendor_that_asks_for_time_is_left_alone_for_it(lane: Lane) -> None:
    lane.vendor.script(status(429, headers={"retry-after": "30"}))
    assert lane.chat().error["code"] == "no_upstream_available"
    assert lane.chat().error["code"] == "no_upstream_available"
    assert len(lane.vendor.calls) == 1


@both
def test_another_channel_takes_over(lane: Lane, streaming: bool) -> None:
    lane.vendor.default = status(500)
    answer = lane.chat(model=lane.pair, stream=streaming)
    assert answer.status == 200
    assert (len(lane.vendor.calls), len(lane.second.calls)) == (1, 1)
    assert lane.charged == POLITE_COST
    assert lane.usage()[0].attempts == 2


def test_a_refused_request_is_not_carried_to_another_channel(lane: Lane) -> None:
    lane.vendor.default = status(400)
    assert lane.chat(model=lane.pair).status == 400
    assert lane.second.calls == []


def test_the_breaker_opens_and_a_probe_closes_it(lane: Lane) -> None:
    lane.vendor.default = status(500)
    assert [lane.chat().status for _ in range(3)] == [502, 502, 503]
    assert len(lane.vendor.calls) == 5, "five failures in a row open the breaker"
    lane.vendor.default = status(429, headers={"retry-after": "2"})
    eventually(lambda: lane.chat().status == 503 and len(lane.vendor.calls) > 5, "a probe is let through after the cooldown")
    lane.vendor.default = good(streaming=False)
    eventually(lambda: lane.chat().status == 200, "a good probe closes the breaker")
    assert [lane.chat().status for _ in range(3)] == [200] * 3
    assert lane.charged == 4 * POLITE_COST


# A refusal of the request


def test_a_context_that_is_too_long_stays_a_400(lane: Lane) -> None:
    lane.vendor.default = context_too_long()
    answer = lane.chat()
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["param"] == "messages"
    assert "maximum context length is 8192 tokens" in answer.error["message"]
    assert len(lane.vendor.calls) == 1
    assert_nothing_taken(lane)


def test_a_vendors_message_is_scrubbed(lane: Lane) -> None:
    secret = lane.vendor.calls or f"sk-vendor-{lane.model.removeprefix('solo-')}-secret"
    told = (
        f"Bad image for vendor-model at {lane.vendor.url}/chat/completions (127.0.0.1:{lane.vendor.port}) with key {secret}, "
        "Authorization: Bearer abcdef0123456789abcdef, org-AbCdEf123, admin@vendor.example, api.vendor.example, "
        "AIzaSyA1234567890abcdefghijklmnopqrstuv, request 0b0c1c1e-6c0e-4b7a-9d55-0123456789ab."
    )
    lane.vendor.default = status(400, {"error": {"message": told, "param": "messages", "code": "invalid_image"}})
    answer = lane.chat()
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_image", "messages")
    message = answer.error["message"]
    assert message.startswith("Bad image for ")
    kept = ("127.0.0.1", str(lane.vendor.port), "sk-vendor", "abcdef01", "org-", "vendor", "AIza", "6c0e-4b7a")
    assert [word for word in kept if word in message.replace(lane.model, "")] == []
    assert lane.model in message, "the vendor's name of the model becomes the caller's"


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"error": 3}', b'{"error": {"message": 3}}', b"[[]]", b"\xff"])
def test_a_refusal_without_a_readable_message_is_a_400_all_the_same(lane: Lane, body: bytes) -> None:
    lane.vendor.default = reply(body, 422)
    answer = lane.chat()
    assert answer.status == 400
    assert answer.error["message"]
    assert answer.error["code"] == "invalid_request"


@pytest.mark.parametrize("shape", ['{{"error": {0}}}', '[{{"error": {{"message": {0}}}}}]', '{{"message": {0}}}'])
def test_a_refusal_in_another_shape_keeps_its_message(lane: Lane, shape: str) -> None:
    lane.vendor.default = reply(shape.format('"Too many images."').encode(), 400)
    assert lane.chat().error["message"] == "Too many images."


def test_a_refusal_of_megabytes_is_cut_quickly(lane: Lane) -> None:
    lane.vendor.default = status(400, {"error": {"message": "a" * 60_000 + " " + "." * 3_000}})
    answer = lane.chat()
    assert answer.status == 400
    assert len(answer.error["message"]) < 700


@pytest.mark.parametrize("code", ["no code at all", "x" * 500, 42, None, {"a": 1}])
def test_a_code_that_is_no_code_is_replaced(lane: Lane, code: object) -> None:
    lane.vendor.default = status(400, {"error": {"message": "No.", "param": {"x": 1}, "code": code}})
    answer = lane.chat()
    assert (answer.error["code"], answer.error["param"]) == ("invalid_request", None)
    assert lane.usage()[0].error_code == "invalid_request"


# In the middle of a stream


@pytest.mark.parametrize(
    "breaks",
    [
        RESET,
        CLOSE,
        Torn(b"data: " + b"x" * 100),
        wire.failure("The engine at http://10.0.0.1/ exploded."),
        b"data: {garbage\n\n",
        b"<html>\n\n",
        b"data: []\n\n",
        b"data: " + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[],"junk":"\xff"}\n\n',
        b'event: error\ndata: {"error": {"message": "x"}}\n\n',
    ],
)
def test_a_stream_that_breaks_off_ends_with_one_error_and_is_billed_for_what_came(lane: Lane, breaks: object) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), chunk("Hello there, you "), gate, breaks))
    running = lane.open()
    running.read_until(b"Hello there, you ")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in running.received
    assert running.received.count(b'data: {"error"') == 1
    assert b"10.0.0.1" not in running.received
    error = json.loads(running.received.split(b"data: ")[-1].split(b"\n")[0])["error"]
    assert (error["code"], error["type"], error["param"]) == ("upstream_error", "upstream_error", None)
    assert len(lane.vendor.calls) == 1, "nothing is tried again once the caller has a part"
    assert_billed_in_part(lane)


def assert_billed_in_part(lane: Lane, status: str = "failed") -> None:
    eventually(lambda: lane.held == 0, "the hold is gone")
    [row] = lane.usage()
    assert (row.status, row.estimated) == (status, True)
    assert row.output_tokens in (4, 5)
    assert row.credits == lane.charged == max(10, row.input_tokens + 2 * row.output_tokens)


@pytest.mark.parametrize("breaks", [b"data: {garbage\n\n", wire.frame(wire.failure("Boom."))])
def test_what_came_in_one_piece_with_the_failure_is_delivered_before_it(lane: Lane, breaks: bytes) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), gate, wire.frame(chunk("Hello there, you ")) + breaks, HANG))
    running = lane.open()
    running.read_until(b"assistant")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"Hello there, you " in running.received
    assert running.received.count(b'data: {"error"') == 1
    assert b"[DONE]" not in running.received
    assert_billed_in_part(lane)


@pytest.mark.parametrize("breaks", [RESET, CLOSE, wire.failure("Boom."), b"garbage\n\n"])
def test_a_stream_that_breaks_after_its_finish_reason_is_whole(lane: Lane, breaks: object) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), chunk("Hello"), finish(), gate, breaks))
    running = lane.open()
    running.read_until(b"Hello")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"data: [DONE]" in running.received
    assert b'"finish_reason":"stop"' in running.received
    assert [(row.status, row.estimated) for row in lane.usage()] == [("completed", True)]


def test_a_stream_that_fails_after_the_role_alone_costs_nothing(lane: Lane) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), gate, RESET))
    running = lane.open()
    running.read_until(b"assistant")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b'data: {"error"' in running.received
    assert_nothing_taken(lane)


def test_a_stream_that_falls_silent_is_given_up(hasty_lane: Lane) -> None:
    hasty_lane.vendor.script(stream(role(), chunk("Hello there, you "), HANG))
    answer = hasty_lane.chat(stream=True)
    assert answer.chunks[-1]["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in answer.body
    assert hasty_lane.vendor.calls[0].wait_outcome() == "disconnected"
    assert_billed_in_part(hasty_lane)


def test_a_vendor_that_never_ends_a_finished_stream_is_not_waited_for(hasty_lane: Lane) -> None:
    hasty_lane.vendor.script(stream(*HELLO, usage(7, 3), HANG))
    answer = hasty_lane.chat(stream=True)
    assert_clean(answer.body)
    assert [(row.status, row.estimated, row.credits) for row in hasty_lane.usage()] == [("completed", False, POLITE_COST)]


@pytest.mark.parametrize("fast_http", [True, False])
def test_both_http_connections_send_the_same_and_notice_a_client_that_leaves(stack: Stack, lane: Lane, fast_http: bool) -> None:
    lane.edge = stack.edge(fast_http=fast_http)
    answer = lane.chat(stream=True)
    assert_clean(answer.body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert {"server", "content-length"} & set(answer.headers) == set()
    assert lane.chat(n=0).error["param"] == "n"
    lane.vendor.script(stream(role(), chunk("Hello there, you "), HANG))
    running = lane.open()
    running.read_until(b"Hello there, you ")
    running.leave()
    assert lane.vendor.calls[1].wait_outcome() == "disconnected"
    eventually(lambda: lane.held == 0, "the hold is gone")


def test_a_client_that_leaves_cancels_the_upstream_and_pays_for_what_came(lane: Lane) -> None:
    lane.vendor.script(stream(role(), chunk("Hello there, you "), HANG))
    running = lane.open()
    running.read_until(b"Hello there, you ")
    running.leave()
    assert lane.vendor.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(lane.usage()), "the call is settled")
    assert_billed_in_part(lane, "cancelled")
    assert lane.usage()[0].error_code == "client_closed"


@both
def test_a_client_that_leaves_before_the_first_byte_pays_nothing(lane: Lane, streaming: bool) -> None:
    gate = Gate()
    lane.vendor.script(later(gate, good(streaming)))
    running = lane.open() if streaming else lane.open(stream=False)
    gate.wait_reached()
    running.leave()
    assert lane.vendor.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(lane.usage()), "the call is settled")
    assert (lane.charged, lane.held) == (0, 0)


# Odd, but usable


def relayed(lane: Lane, *pieces: object, **options: object) -> list[wire.Json]:
    """The chunks of a complete stream."""
    lane.vendor.script(stream(*pieces, **options))  # type: ignore[arg-type]
    answer = lane.chat(stream=True, stream_options={"include_usage": True})
    assert answer.status == 200
    assert_clean(answer.body)
    return answer.chunks


def assert_clean(body: bytes) -> None:
    """Every rule for the bytes of a good stream."""
    assert body.endswith(b"\n\ndata: [DONE]\n\n")
    events = body.split(b"\n\n")[:-1]
    assert events[-1] == b"data: [DONE]"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    assert all(event.startswith(b"data: {") for event in events[:-1])
    assert all(isinstance(found["choices"], list) for found in chunks)
    assert len({found["id"] for found in chunks}) == 1
    assert chunks[0]["id"].startswith("chatcmpl-")
    assert {found["object"] for found in chunks} == {"chat.completion.chunk"}
    choices = [choice for found in chunks for choice in found["choices"]]
    for index in {choice["index"] for choice in choices}:
        own = [choice for choice in choices if choice["index"] == index]
        assert own[0]["delta"]["role"] == "assistant"
        assert [choice["finish_reason"] for choice in own[:-1] if choice["finish_reason"] is not None] == []
        assert own[-1]["finish_reason"]


def text_of(chunks: list[wire.Json]) -> str:
    return "".join(choice["delta"].get("content") or "" for found in chunks for choice in found["choices"])


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_any_line_end_will_do(lane: Lane, line_end: str) -> None:
    pieces = [*WHOLE_STREAM[:-1], f"data: [DONE]{line_end}{line_end}".encode()]
    assert text_of(relayed(lane, *pieces, line_end=line_end)) == "Hello"


def test_text_split_inside_a_character_arrives_whole(lane: Lane) -> None:
    first, second = wire.split_utf8(wire.frame(chunk("naïve 🙂 Größe")))
    assert text_of(relayed(lane, role(), first, second, finish(), usage(), DONE)) == "naïve 🙂 Größe"


def test_what_official_sdks_choke_on_is_dropped(lane: Lane) -> None:
    hello = b"event: message\nid: 7\nretry: 3\n" + wire.frame(chunk("Hello"))
    noise = (
        b": comment\n\n",
        b"data:\n\n",
        b"data: \n\n",
        b"event: ping\ndata:\n\n",
        b"\n\n\n",
        b"id: 3\n\n",
        b": OPENROUTER\n\n",
    )
    chunks = relayed(lane, *noise, role(), *noise, hello, *noise, finish(), *noise, usage(), *noise, DONE, *noise)
    assert text_of(chunks) == "Hello"


def test_json_over_several_data_lines_becomes_one(lane: Lane) -> None:
    lines = json.dumps(chunk("Hello"), indent=1).split("\n")
    pretty = "".join(f"data: {line}\n" for line in lines).encode() + b"\n"
    assert text_of(relayed(lane, role(), pretty, finish(), usage(), DONE)) == "Hello"


def test_events_without_a_space_after_the_colon(lane: Lane) -> None:
    frames = [wire.frame(piece).replace(b"data: ", b"data:") for piece in WHOLE_STREAM[:-1]]  # type: ignore[arg-type]
    assert text_of(relayed(lane, *frames, b"data:[DONE]\n\n")) == "Hello"


@pytest.mark.parametrize(
    "pieces",
    [
        (role(), chunk("Hello"), finish(), usage()),  # no [DONE]
        (role(), chunk("Hello"), usage(), DONE),  # no finish reason
        (chunk("Hello"), finish(), usage(), DONE),  # no role
        (role(), chunk("Hello"), finish(), finish(), usage(), DONE),  # two finish reasons
        (role(), chunk("Hello"), finish(), chunk(""), usage(), DONE),  # something after it
        (role(), chunk("Hello"), finish(), usage(), DONE, chunk("late"), DONE),
        (role(), wire.frames(chunk("Hel"), chunk("lo"), finish(), usage()) + DONE),
        (role(), chunk("Hello"), wire.event([{"index": 0, "delta": {}, "finish_reason": "stop"}]), wire.frame(usage())[:-2]),
        (wire.event([]), role(), chunk("Hello"), wire.event([]), finish(), usage(), DONE),
        (role(), chunk("Hel"), finish(), chunk("lo"), usage(), DONE),
        (
            role(),
            *(wire.event([{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]) for text in ("Hel", "lo")),
            usage(),
            DONE,
        ),
        (wire.event([{"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]), usage(), DONE),
        (
            role(),
            {name: value for name, value in chunk("Hello").items() if name not in ("object", "created")},
            finish(),
            usage(),
            DONE,
        ),
        (role(), wire.event([{"index": 0, "delta": {"content": "Hello"}, "finish_reason": ""}]), finish(), usage(), DONE),
        (role(), chunk("Hello"), wire.event([{"delta": {}, "finish_reason": "stop"}]), usage(), DONE),
        (role(), wire.event([{"index": None, "delta": {"content": "Hello"}, "finish_reason": None}]), finish(), usage(), DONE),
        (role(), wire.event([{"index": 0, "delta": None, "finish_reason": None}]), chunk("Hello"), finish(), usage(), DONE),
        (role(), chunk("Hello"), {**finish(), "error": None}, usage(), DONE),
        ({**role(), "usage": None}, {**chunk("Hello"), "usage": None}, {**finish(), "usage": None}, usage(), DONE),
    ],
)
def test_an_odd_stream_is_put_in_order(lane: Lane, pieces: tuple[object, ...]) -> None:
    chunks = relayed(lane, *pieces)
    assert text_of(chunks) == "Hello"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 10
    assert chunks[-1]["yout"] == {"credits_charged": POLITE_COST, "balance": 1_000_000 - POLITE_COST}
    assert [found for found in chunks[:-1] if found.get("usage") is not None] == []


@pytest.mark.parametrize("id", [None, "", "gen-123", 7, 'a"b', "chatcmpl-ok"])
def test_id_and_model_are_ours_in_every_chunk(lane: Lane, id: object) -> None:
    pieces = [
        {**piece, "id": id, "model": "accounts/vendor/models/x-1"} for piece in WHOLE_STREAM[:-1] if isinstance(piece, dict)
    ]
    chunks = relayed(lane, *pieces, DONE)
    assert {found["model"] for found in chunks} == {lane.model}
    assert (chunks[0]["id"] == "chatcmpl-ok") == (id == "chatcmpl-ok")


def test_changing_ids_and_missing_fields_become_one_id(lane: Lane) -> None:
    pieces = [{**role(), "id": "x-1"}, {**chunk("Hello"), "id": "x-2"}, {"choices": finish()["choices"]}, usage(), DONE]
    assert len({found["model"] for found in relayed(lane, *pieces)}) == 1


def test_the_vendors_model_name_in_the_text_is_left_alone(lane: Lane) -> None:
    quoted = 'I am {"model":"vendor-model","id":"chatcmpl-upstream-1"}'
    assert text_of(relayed(lane, role(), chunk(quoted), finish(), usage(), DONE)) == quoted


def test_two_choices_each_have_a_role_and_an_end(lane: Lane) -> None:
    pieces = (chunk("A", index=0), chunk("B", index=1), finish(index=0), chunk("C", index=1), finish(index=1), usage(), DONE)
    chunks = relayed(lane, *pieces)
    assert sorted(choice["index"] for found in chunks for choice in found["choices"] if choice["finish_reason"]) == [0, 1]
    assert text_of(chunks) == "ABC"


def test_tool_calls_come_through_as_they_were(lane: Lane) -> None:
    first = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}]
    more = [{"index": 0, "function": {"arguments": '{"n": 12345678901234567890123}'}}]
    big = [{"index": 0, "function": {"arguments": ""}, "n": 10**30}]
    deltas = [chunk(tool_calls=calls) for calls in (first, more, big)]
    chunks = relayed(lane, role(), *deltas, finish("tool_calls"), usage(), DONE)
    calls = [choice["delta"]["tool_calls"] for found in chunks for choice in found["choices"] if "tool_calls" in choice["delta"]]
    assert calls == [first, more, big]


@both
def test_compressed_answers_are_read(lane: Lane, streaming: bool) -> None:
    packed = (
        stream(*WHOLE_STREAM, compressed=True) if streaming else reply(completion("Hello", usage=tokens(7, 3)), compressed=True)
    )
    lane.vendor.script(packed)
    answer = lane.chat(stream=streaming)
    assert answer.status == 200
    assert "content-encoding" not in answer.headers
    assert lane.charged == POLITE_COST


@both
def test_a_huge_answer_comes_through(lane: Lane, streaming: bool) -> None:
    text = "Hello there! " * 300_000
    whole = stream(role(), chunk(text), finish(), usage(7, 3), DONE) if streaming else reply(completion(text, usage=tokens(7, 3)))
    lane.vendor.script(whole)
    answer = lane.chat(stream=streaming)
    assert (answer.text if streaming else answer.json["choices"][0]["message"]["content"]) == text
    assert lane.charged == POLITE_COST


def test_a_long_stream_of_small_chunks_comes_through(lane: Lane) -> None:
    words = [f"w{number} " for number in range(2_000)]
    assert text_of(relayed(lane, role(), *map(chunk, words), finish(), usage(), DONE)) == "".join(words)


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
def test_a_whole_answer_has_our_id_and_model(lane: Lane, change: wire.Json) -> None:
    body = {**completion("Hello", usage=tokens(7, 3)), **change}
    lane.vendor.script(reply({name: value for name, value in body.items() if value is not None}))
    answer = lane.chat().json
    assert answer["id"].startswith("chatcmpl-")
    assert (answer["model"], answer["object"]) == (lane.model, "chat.completion")
    assert isinstance(answer["created"], int)
    assert answer["choices"] == body["choices"]
    assert answer["yout"] == {"credits_charged": POLITE_COST, "balance": 1_000_000 - POLITE_COST}


def test_a_whole_answer_nested_too_deeply_to_pass_on_is_a_failure_of_the_vendor(lane: Lane) -> None:
    deep = json.dumps(completion("Hello", usage=tokens(7, 3))).encode()[:-1] + b',"x":' + b"[" * 400 + b"]" * 400 + b"}"
    lane.vendor.default = reply(deep)
    assert (lane.chat().status, lane.charged, lane.held) == (502, 0, 0)


# Usage


@pytest.mark.parametrize(
    "told",
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
def test_missing_or_impossible_usage_is_counted_here(lane: Lane, told: object, streaming: bool) -> None:
    text = "one two three four five six seven eight"
    if streaming:
        lane.vendor.script(stream(role(), chunk(text), finish(), wire.event([], usage=told), DONE))
    else:
        lane.vendor.script(reply({**completion(text), "usage": told}))
    answer = lane.chat(stream=streaming, **({"stream_options": {"include_usage": True}} if streaming else {}))
    [row] = lane.usage()
    assert (row.estimated, row.output_tokens) == (True, 8)
    assert 1 <= row.input_tokens < 40
    assert row.credits == lane.charged == max(10, row.input_tokens + 16)
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
            wire.event([], usage={"prompt_tokens": 7}),
            chunk("Hello"),
            finish(),
            wire.event([], usage={"completion_tokens": 3}),
            DONE,
        ),
        (role(), chunk("Hello"), finish(), wire.event([], usage={"input_tokens": 7, "output_tokens": 3}), DONE),
        (role(), chunk("Hello"), finish(), {"usage": tokens(7, 3)}, DONE),
        (role(), chunk("Hello"), finish(), {"choices": None, "usage": tokens(7, 3)}, DONE),
    ],
)
def test_usage_is_found_wherever_it_is_told(lane: Lane, pieces: tuple[object, ...]) -> None:
    chunks = relayed(lane, *pieces)
    assert text_of(chunks) == "Hello"
    assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (7, 3)
    [row] = lane.usage()
    assert (row.input_tokens, row.output_tokens, row.estimated, row.credits) == (7, 3, False, POLITE_COST)


@both
@pytest.mark.parametrize("told", [tokens(7, 0), tokens(0, 0), None])
def test_an_empty_completion_costs_nothing(lane: Lane, told: wire.Json | None, streaming: bool) -> None:
    if streaming:
        lane.vendor.script(stream(role(), finish(), wire.event([], usage=told), DONE))
    else:
        lane.vendor.script(reply(completion("", usage=told)))
    assert lane.chat(stream=streaming).status == 200
    assert_nothing_taken(lane)


def test_a_stream_of_nothing_but_its_end_is_an_empty_answer(lane: Lane) -> None:
    lane.vendor.script(stream(DONE))
    answer = lane.chat(stream=True)
    assert_clean(answer.body)
    assert_nothing_taken(lane)


# What a vendor learns


def test_the_caller_stays_unknown_to_the_vendor(lane: Lane) -> None:
    who = {
        "user-agent": "MyApp/1.0",
        "x-forwarded-for": "203.0.113.7",
        "cookie": "session=1",
        "x-stainless-os": "Linux",
        "openai-organization": "org-mine",
        "referer": "https://mine.example",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "idempotency-key": "mine-1",
    }
    lane.chat(who, user="alice@example.com", safety_identifier="alice", metadata={"user_id": "alice", "run": "1"}, store=True)
    [call] = lane.vendor.calls
    assert set(call.headers) <= {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "http-referer", "authorization"),
    }
    assert call.headers["http-referer"] == "https://yout.chat"
    assert call.headers["user-agent"] == "yout"
    assert call.headers["authorization"].startswith("Bearer sk-vendor-")
    told = repr(call.headers) + call.body.decode()
    known = (*who.values(), "alice", lane.secret, str(lane.account.id), lane.account.id.hex, lane.account.email, lane.model)
    assert [word for word in known if word in told] == []
    assert call.json["store"] is False
    assert call.json["metadata"]["run"] == "1"


def test_a_pseudonym_is_stable_for_a_channel_and_differs_between_channels(lane: Lane) -> None:
    for user in ("alice", "alice", "bob"):
        lane.chat(user=user)
    lane.vendor.default = status(500)
    lane.chat(model=lane.pair, user="alice")
    alice, again, bob = (call.json["user"] for call in lane.vendor.calls[:3])
    assert alice == again != bob
    assert re.fullmatch(r"[0-9a-f]{32}", alice)
    assert lane.second.calls[0].json["user"] not in (alice, bob)


def test_the_vendor_is_called_by_its_own_name_of_the_model_and_asked_for_usage(lane: Lane) -> None:
    lane.chat(stream=True)
    lane.chat(stream=False)
    streamed, whole = (call.json for call in lane.vendor.calls)
    assert streamed["model"] == whole["model"] == "vendor-model"
    assert streamed["stream_options"] == {"include_usage": True}
    assert "stream_options" not in whole


# Keepalives


def test_keepalives_while_the_vendor_thinks_and_an_error_after_them(stack: Stack, lane: Lane) -> None:
    """One slow test: the first comment comes after 10 seconds of silence."""
    other = stack.take_lane()
    gates: list[Gate] = [Gate(), Gate()]
    lane.vendor.script(later(gates[0], good(streaming=True)))
    other.vendor.script(later(gates[1], status(401)))
    running = [lane.open(), other.open()]
    for opened, gate in zip(running, gates, strict=True):
        opened.read_until(b": keepalive\n")
        assert b" 200 " in opened.received.split(b"\r\n")[0]
        gate.open()
        opened.read_until(b"\r\n0\r\n\r\n")
    finished, failed = (_body(opened.received) for opened in running)
    assert finished.startswith(b": keepalive\ndata: {")
    assert_clean(finished.removeprefix(b": keepalive\n"))
    assert lane.charged == POLITE_COST
    assert failed.startswith(b': keepalive\ndata: {"error":{')
    assert failed.count(b"data: ") == 1
    assert json.loads(failed.split(b"data: ")[1])["error"]["code"] == "upstream_error"
    assert_nothing_taken(other)


def _body(received: bytes) -> bytes:
    """The body of a chunked HTTP answer."""
    rest = received.split(b"\r\n\r\n", 1)[1]
    body = b""
    while True:
        size, rest = rest.split(b"\r\n", 1)
        if not int(size, 16):
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
