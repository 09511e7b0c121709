"""How the edge handles a misbehaving provider: what the caller gets, what it costs, and that nothing stays held."""

from __future__ import annotations

import json

import pytest

from tests import factories, openai_payloads
from tests.edge.assertions import HELLO, assert_clean, assert_nothing_taken, both, good
from tests.edge.shared_edge import POLITE_COST, PRICES, Lane, Stack
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import (
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

# Before the first byte: retried, or reported with a real status


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
        stream(openai_payloads.frames(role(), chunk("Hel")) + b"data: {garbage\n\n"),
        html(),
        html(502),
        reply(b"", 200),
        reply(b"{", 200),
        reply(b"[]", 200),
        reply({"error": {"message": "overloaded"}}, 200),
        reply(b"\x00\xff\xfe garbage", 200),
        stream(openai_payloads.failure("The engine exploded.")),
        stream(RESET),
        stream(b"data: {}\n", Torn(b"data: {}\n\n")),
    ],
)
def test_a_failure_before_the_first_byte_is_retried_and_charged_once(lane: Lane, fault: Answer, streaming: bool) -> None:
    lane.vendor.script(fault, good(streaming))
    answer = lane.chat(stream=streaming)
    assert answer.status == 200
    assert len(lane.vendor.calls) == 2
    assert (lane.charged, lane.held) == (POLITE_COST, 0)
    [row] = lane.usage()
    assert (row.status, row.credits, row.estimated) == ("completed", POLITE_COST, False)
    assert row.attempts in (1, 2), "a stale keep-alive connection is replaced within one attempt"


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


def test_a_rejected_credential_is_not_retried_on_the_same_channel(lane: Lane) -> None:
    lane.vendor.default = status(401)
    lane.chat()
    assert len(lane.vendor.calls) == 1


@both
@pytest.mark.parametrize("fault", [silence(), stream(HANG), reply(b"{", headers={"content-length": "99"})])
def test_silence_before_the_first_byte_is_a_timeout(hasty_lane: Lane, fault: Answer, streaming: bool) -> None:
    hasty_lane.vendor.default = fault
    answer = hasty_lane.chat(stream=streaming)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert len(hasty_lane.vendor.calls) == 1, "a slow channel must not be retried"
    assert_nothing_taken(hasty_lane)


def test_retry_after_pauses_a_channel(lane: Lane) -> None:
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


@pytest.mark.parametrize("wait", ["\u00b2", "-1", "9" * 400, "Mon, 21 Sep 99999 14:13:50 GMT", "soon"])
def test_an_invalid_retry_after_is_ignored(lane: Lane, wait: str) -> None:
    lane.vendor.script(status(429, headers={"retry-after": wait}))
    answer = lane.chat(model=lane.pair)
    assert (answer.status, len(lane.second.calls)) == (200, 1)
    assert lane.vendor.calls[0].wait_outcome() == "answered"
    assert lane.charged == POLITE_COST
    assert lane.chat().status == 200, "the channel must not be paused"
    assert len(lane.vendor.calls) == 2


def test_a_rejected_request_is_not_sent_to_another_channel(lane: Lane) -> None:
    lane.vendor.default = status(400)
    assert lane.chat(model=lane.pair).status == 400
    assert lane.second.calls == []


def test_the_breaker_opens_and_a_probe_closes_it(lane: Lane) -> None:
    lane.vendor.default = status(500)
    assert [lane.chat().status for _ in range(3)] == [502, 502, 503]
    assert len(lane.vendor.calls) == 5, "five consecutive failures open the breaker"
    lane.vendor.default = status(429, headers={"retry-after": "2"})
    eventually(lambda: lane.chat().status == 503 and len(lane.vendor.calls) > 5, "a probe is let through after the cooldown")
    lane.vendor.default = good(streaming=False)
    eventually(lambda: lane.chat().status == 200, "a good probe closes the breaker")
    assert [lane.chat().status for _ in range(3)] == [200] * 3
    assert lane.charged == 4 * POLITE_COST


@pytest.mark.parametrize(
    "answer",
    [
        *(status(code) for code in (400, 413, 422)),
        context_too_long(),
        status(400, {"error": {"message": "Blocked.", "code": "content_filter"}}),
    ],
    ids=["400", "413", "422", "too long", "content filter"],
)
def test_requests_that_a_provider_refuses_never_open_the_breaker(lane: Lane, answer: Answer) -> None:
    lane.vendor.default = answer
    assert {lane.chat().status for _ in range(6)} == {400}
    lane.vendor.default = good(streaming=False)
    assert lane.chat().status == 200


@pytest.mark.parametrize("code", [404, 500, 504])
def test_requests_that_a_provider_fails_on_close_its_channel_to_their_payer_alone(lane: Lane, code: int) -> None:
    lane.vendor.default = status(code)
    eventually(lambda: lane.chat().status == 503, "the payer's breaker opens")
    lane.vendor.default = good(streaming=False)
    _, other = factories.api_key(factories.account())
    assert lane.chat(headers={"authorization": f"Bearer {other}"}).status == 200


# Rejected requests


def test_a_too_long_context_stays_a_400(lane: Lane) -> None:
    lane.vendor.default = context_too_long()
    answer = lane.chat()
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["param"] == "messages"
    assert "maximum context length is 8192 tokens" in answer.error["message"]
    assert len(lane.vendor.calls) == 1
    assert_nothing_taken(lane)


def test_a_providers_message_is_scrubbed(lane: Lane) -> None:
    secret = f"sk-vendor-{lane.model.removeprefix('solo-')}-secret"
    result = (
        f"Bad image for vendor-model at {lane.vendor.url}/chat/completions (127.0.0.1:{lane.vendor.port}) with key {secret}, "
        "Authorization: Bearer abcdef0123456789abcdef, org-AbCdEf123, admin@vendor.example, api.vendor.example, "
        "AIzaSyA1234567890abcdefghijklmnopqrstuv, request 0b0c1c1e-6c0e-4b7a-9d55-0123456789ab."
    )
    lane.vendor.default = status(400, {"error": {"message": result, "param": "messages", "code": "invalid_image"}})
    answer = lane.chat()
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_image", "messages")
    message = answer.error["message"]
    assert message.startswith("Bad image for ")
    kept = ("127.0.0.1", str(lane.vendor.port), "sk-vendor", "abcdef01", "org-", "vendor", "AIza", "6c0e-4b7a")
    assert [word for word in kept if word in message.replace(lane.model, "")] == []
    assert lane.model in message, "the provider's model name must become the caller's"


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"error": 3}', b'{"error": {"message": 3}}', b"[[]]", b"\xff"])
def test_a_rejection_without_a_readable_message_is_still_a_400(lane: Lane, body: bytes) -> None:
    lane.vendor.default = reply(body, 422)
    answer = lane.chat()
    assert answer.status == 400
    assert answer.error["message"]
    assert answer.error["code"] == "invalid_request"


@pytest.mark.parametrize("shape", ['{{"error": {0}}}', '[{{"error": {{"message": {0}}}}}]', '{{"message": {0}}}'])
def test_a_rejection_in_another_format_keeps_its_message(lane: Lane, shape: str) -> None:
    lane.vendor.default = reply(shape.format('"Too many images."').encode(), 400)
    assert lane.chat().error["message"] == "Too many images."


def test_an_oversized_error_is_truncated(lane: Lane) -> None:
    lane.vendor.default = status(400, {"error": {"message": "a" * 60_000 + " " + "." * 3_000}})
    answer = lane.chat()
    assert answer.status == 400
    assert len(answer.error["message"]) < 700


@pytest.mark.parametrize("code", ["no code at all", "x" * 500, 42, None, {"a": 1}])
def test_an_invalid_error_code_is_replaced(lane: Lane, code: object) -> None:
    lane.vendor.default = status(400, {"error": {"message": "No.", "param": {"x": 1}, "code": code}})
    answer = lane.chat()
    assert (answer.error["code"], answer.error["param"]) == ("invalid_request", None)
    assert lane.usage()[0].error_code == "invalid_request"


# Mid-stream


@pytest.mark.parametrize(
    "breaks",
    [
        RESET,
        CLOSE,
        Torn(b"data: " + b"x" * 100),
        openai_payloads.failure("The engine at http://10.0.0.1/ exploded."),
        b"data: {garbage\n\n",
        b"<html>\n\n",
        b"data: []\n\n",
        b"data: " + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"\n\n",
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[],"junk":"\xff"}\n\n',
        b'event: error\ndata: {"error": {"message": "x"}}\n\n',
    ],
)
def test_a_broken_stream_ends_with_one_error_and_bills_delivered_output(lane: Lane, breaks: object) -> None:
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
    assert len(lane.vendor.calls) == 1, "no retry once the caller has received output"
    assert_billed_in_part(lane)


def one_chunk_answer(text: str, reason: str) -> openai_payloads.Json:
    """A complete answer in one chunk."""
    return openai_payloads.event([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}])


def assert_billed_in_part(lane: Lane, status: str = "failed") -> None:
    eventually(lambda: lane.held == 0, "the hold is gone")
    [row] = lane.usage()
    assert (row.status, row.estimated) == (status, True)
    assert row.output_tokens in (4, 5)
    assert row.credits == lane.charged == max(10, row.input_tokens + 2 * row.output_tokens)


@pytest.mark.parametrize("breaks", [b"data: {garbage\n\n", openai_payloads.frame(openai_payloads.failure("Boom."))])
def test_output_received_together_with_the_failure_is_delivered(lane: Lane, breaks: bytes) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), chunk("Hello"), gate, openai_payloads.frame(chunk(" there, you ")) + breaks, HANG))
    running = lane.open()
    running.read_until(b"Hello")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b" there, you " in running.received
    assert running.received.count(b'data: {"error"') == 1
    assert b"[DONE]" not in running.received
    assert_billed_in_part(lane)


@pytest.mark.parametrize("breaks", [RESET, CLOSE, openai_payloads.failure("Boom."), b"garbage\n\n"])
def test_a_stream_that_breaks_after_its_finish_reason_is_complete(lane: Lane, breaks: object) -> None:
    gate = Gate()
    lane.vendor.script(stream(role(), chunk("Hello"), finish(), gate, breaks))
    running = lane.open()
    running.read_until(b"Hello")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"data: [DONE]" in running.received
    assert b'"finish_reason":"stop"' in running.received
    assert [(row.status, row.estimated) for row in lane.usage()] == [("completed", True)]


@pytest.mark.parametrize("late", [b"data: {garbage\n\n", b"data: []\n\n", b'data: {"choices":[],"usage":{"a":\xff}}\n\n'])
@pytest.mark.parametrize(
    "opening", [(role(), chunk("Hello"), finish()), (one_chunk_answer("Hello", "stop"),)], ids=["chunks", "one chunk"]
)
def test_an_answer_in_one_read_survives_an_invalid_usage_event(
    lane: Lane, opening: tuple[openai_payloads.Json, ...], late: bytes
) -> None:
    lane.vendor.script(stream(openai_payloads.frames(*opening) + late + DONE))
    answer = lane.chat(stream=True, stream_options={"include_usage": True})
    assert_clean(answer.body)
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in answer.chunks if each["choices"]) == "Hello"
    assert len(lane.vendor.calls) == 1
    [row] = lane.usage()
    assert (row.status, row.estimated, row.output_tokens) == ("completed", True, 1)


@pytest.mark.parametrize("late", [b"data: {garbage\n\n", openai_payloads.frame(openai_payloads.failure("Boom."))])
def test_an_error_before_any_output_is_retried(lane: Lane, late: bytes) -> None:
    lane.vendor.script(stream(openai_payloads.frames(role(), finish()) + late))
    assert_clean(lane.chat(stream=True).body)
    assert [(row.attempts, row.credits) for row in lane.usage()] == [(2, POLITE_COST)]


def test_a_stream_that_fails_after_only_the_role_is_retried(lane: Lane) -> None:
    lane.vendor.script(stream(role(), RESET))
    answer = lane.chat(stream=True)
    assert_clean(answer.body)
    assert len(lane.vendor.calls) == 2
    assert [(row.attempts, row.failed_attempts, row.credits) for row in lane.usage()] == [(2, "connection", POLITE_COST)]


def test_a_stream_with_only_a_role_costs_nothing(lane: Lane) -> None:
    lane.vendor.default = stream(role(), RESET)
    assert lane.chat(stream=True).status == 502
    assert_nothing_taken(lane)


def test_a_stalled_stream_times_out(hasty_lane: Lane) -> None:
    hasty_lane.vendor.script(stream(role(), chunk("Hello there, you "), HANG))
    answer = hasty_lane.chat(stream=True)
    assert answer.chunks[-1]["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in answer.body
    assert hasty_lane.vendor.calls[0].wait_outcome() == "disconnected"
    assert_billed_in_part(hasty_lane)


def test_a_finished_stream_that_stays_open_is_closed(hasty_lane: Lane) -> None:
    hasty_lane.vendor.script(stream(*HELLO, usage(7, 3), HANG))
    answer = hasty_lane.chat(stream=True)
    assert_clean(answer.body)
    assert [(row.status, row.estimated, row.credits) for row in hasty_lane.usage()] == [("completed", False, POLITE_COST)]


@pytest.mark.parametrize("fast_http", [True, False])
def test_fast_and_stock_connections_send_the_same_and_notice_a_disconnect(stack: Stack, lane: Lane, fast_http: bool) -> None:
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


def test_a_disconnect_cancels_the_upstream_and_bills_delivered_output(lane: Lane) -> None:
    lane.vendor.script(stream(role(), chunk("Hello there, you "), HANG))
    running = lane.open()
    running.read_until(b"Hello there, you ")
    running.leave()
    assert lane.vendor.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(lane.usage()), "the call is settled")
    assert_billed_in_part(lane, "cancelled")
    assert lane.usage()[0].error_code == "client_closed"


@both
def test_a_disconnect_before_the_first_byte_bills_only_the_prompt(lane: Lane, streaming: bool) -> None:
    gate = Gate()
    lane.vendor.script(later(gate, good(streaming)))
    running = lane.open() if streaming else lane.open(stream=False)
    gate.wait_reached()
    running.leave()
    assert lane.vendor.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(lane.usage()), "the call is settled")
    assert (lane.charged, lane.held) == (PRICES["minimum"], 0)
    assert (lane.usage()[0].output_tokens, lane.usage()[0].estimated) == (0, True)


def test_a_disconnect_between_two_attempts_costs_nothing(lane: Lane) -> None:
    """The first attempt has failed, and the next has not started."""
    lane.vendor.script(status(503, headers={"retry-after": "8"}))
    running = lane.open()
    eventually(lambda: bool(lane.vendor.calls), "the first attempt is made")
    assert lane.vendor.calls[0].wait_outcome() == "answered"
    assert lane.chat().error["code"] == "no_upstream_available", "the failure was read, so the channel is paused"
    running.leave()
    eventually(lambda: len(lane.usage()) == 2, "the call is settled")
    assert (lane.charged, lane.held) == (0, 0)


# Keepalives


def test_keepalives_while_the_provider_is_silent_and_a_later_error(stack: Stack, lane: Lane) -> None:
    """The only slow test here: the first keepalive comes after 10 seconds of silence."""
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
    """The decoded body of a chunked HTTP response."""
    rest = received.split(b"\r\n\r\n", 1)[1]
    body = b""
    while True:
        size, rest = rest.split(b"\r\n", 1)
        if not int(size, 16):
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
