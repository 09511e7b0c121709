"""How the edge handles a misbehaving provider: what the caller gets, what it costs, and that nothing stays held."""

from __future__ import annotations

import json

import pytest

from tests import factories, openai_payloads
from tests.edge.assertions import HELLO, assert_nothing_charged, assert_valid_stream, both, valid_answer
from tests.edge.shared_edge import DEFAULT_COST, PRICES, Sandbox, Stack
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.process import eventually
from tests.upstream_responses import (
    CLOSE,
    HANG,
    RESET,
    Gate,
    ScriptedResponse,
    TruncatedChunk,
    context_too_long,
    delayed,
    error_response,
    html_response,
    json_response,
    no_response,
    stream,
)

# Before the first byte: retried, or reported with a real status


@both
@pytest.mark.parametrize(
    "fault",
    [
        error_response(500),
        error_response(502),
        error_response(503),
        error_response(529),
        error_response(408),
        error_response(409),
        error_response(429),
        no_response(RESET),
        no_response(CLOSE),
        no_response(b"this is no HTTP\r\n\r\n"),
        stream(openai_payloads.frames(role(), chunk("Hel")) + b"data: {garbage\n\n"),
        html_response(),
        html_response(502),
        json_response(b"", 200),
        json_response(b"{", 200),
        json_response(b"[]", 200),
        json_response({"error": {"message": "overloaded"}}, 200),
        json_response(b"\x00\xff\xfe garbage", 200),
        stream(openai_payloads.failure("The engine exploded.")),
        stream(RESET),
        stream(b"data: {}\n", TruncatedChunk(b"data: {}\n\n")),
    ],
)
def test_a_failure_before_the_first_byte_is_retried_and_charged_once(
    sandbox: Sandbox, fault: ScriptedResponse, streaming: bool
) -> None:
    sandbox.provider.script(fault, valid_answer(streaming))
    answer = sandbox.chat(stream=streaming)
    assert answer.status == 200
    assert len(sandbox.provider.calls) == 2
    assert (sandbox.charged, sandbox.held) == (DEFAULT_COST, 0)
    [row] = sandbox.usage()
    assert (row.status, row.credits, row.estimated) == ("completed", DEFAULT_COST, False)
    assert row.attempts in (1, 2), "a stale keep-alive connection is replaced within one attempt"


@both
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (error_response(500), (502, "upstream_error")),
        (error_response(401), (502, "upstream_error")),
        (error_response(402), (502, "upstream_error")),
        (error_response(403), (502, "upstream_error")),
        (error_response(404), (502, "upstream_error")),
        (error_response(302, headers={"location": "http://127.0.0.1/"}), (502, "upstream_error")),
        (error_response(429), (503, "no_upstream_available")),
        (error_response(504), (504, "upstream_timeout")),
        (html_response(), (502, "upstream_error")),
    ],
)
def test_when_all_attempts_fail_nothing_is_charged(
    sandbox: Sandbox, fault: ScriptedResponse, expected: tuple[int, str], streaming: bool
) -> None:
    sandbox.provider.default = fault
    answer = sandbox.chat(stream=streaming)
    assert (answer.status, answer.error["code"]) == expected
    assert answer.headers["content-type"] == "application/json"
    assert "acme" not in answer.body.decode().lower()
    assert_nothing_charged(sandbox)
    assert sandbox.usage()[0].error_code == expected[1]


def test_a_rejected_credential_is_not_retried_on_the_same_channel(sandbox: Sandbox) -> None:
    sandbox.provider.default = error_response(401)
    sandbox.chat()
    assert len(sandbox.provider.calls) == 1


@both
@pytest.mark.parametrize("fault", [no_response(), stream(HANG), json_response(b"{", headers={"content-length": "99"})])
def test_silence_before_the_first_byte_is_a_timeout(
    short_timeout_sandbox: Sandbox, fault: ScriptedResponse, streaming: bool
) -> None:
    short_timeout_sandbox.provider.default = fault
    answer = short_timeout_sandbox.chat(stream=streaming)
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert len(short_timeout_sandbox.provider.calls) == 1, "a slow channel must not be retried"
    assert_nothing_charged(short_timeout_sandbox)


def test_retry_after_pauses_a_channel(sandbox: Sandbox) -> None:
    sandbox.provider.script(error_response(429, headers={"retry-after": "30"}))
    assert sandbox.chat().error["code"] == "no_upstream_available"
    assert sandbox.chat().error["code"] == "no_upstream_available"
    assert len(sandbox.provider.calls) == 1


@both
def test_another_channel_takes_over(sandbox: Sandbox, streaming: bool) -> None:
    sandbox.provider.default = error_response(500)
    answer = sandbox.chat(model=sandbox.pair, stream=streaming)
    assert answer.status == 200
    assert (len(sandbox.provider.calls), len(sandbox.second.calls)) == (1, 1)
    assert sandbox.charged == DEFAULT_COST
    assert sandbox.usage()[0].attempts == 2


@pytest.mark.parametrize("wait", ["\u00b2", "-1", "9" * 400, "Mon, 21 Sep 99999 14:13:50 GMT", "soon"])
def test_an_invalid_retry_after_is_ignored(sandbox: Sandbox, wait: str) -> None:
    sandbox.provider.script(error_response(429, headers={"retry-after": wait}))
    answer = sandbox.chat(model=sandbox.pair)
    assert (answer.status, len(sandbox.second.calls)) == (200, 1)
    assert sandbox.provider.calls[0].wait_outcome() == "answered"
    assert sandbox.charged == DEFAULT_COST
    assert sandbox.chat().status == 200, "the channel must not be paused"
    assert len(sandbox.provider.calls) == 2


def test_a_rejected_request_is_not_sent_to_another_channel(sandbox: Sandbox) -> None:
    sandbox.provider.default = error_response(400)
    assert sandbox.chat(model=sandbox.pair).status == 400
    assert sandbox.second.calls == []


def test_the_breaker_opens_and_a_probe_closes_it(sandbox: Sandbox) -> None:
    sandbox.provider.default = error_response(500)
    assert [sandbox.chat().status for _ in range(3)] == [502, 502, 503]
    assert len(sandbox.provider.calls) == 5, "five consecutive failures open the breaker"
    sandbox.provider.default = error_response(429, headers={"retry-after": "2"})
    eventually(
        lambda: sandbox.chat().status == 503 and len(sandbox.provider.calls) > 5, "a probe is let through after the cooldown"
    )
    sandbox.provider.default = valid_answer(streaming=False)
    eventually(lambda: sandbox.chat().status == 200, "a good probe closes the breaker")
    assert [sandbox.chat().status for _ in range(3)] == [200] * 3
    assert sandbox.charged == 4 * DEFAULT_COST


@pytest.mark.parametrize(
    "answer",
    [
        *(error_response(code) for code in (400, 413, 422)),
        context_too_long(),
        error_response(400, {"error": {"message": "Blocked.", "code": "content_filter"}}),
    ],
    ids=["400", "413", "422", "too long", "content filter"],
)
def test_requests_that_a_provider_refuses_never_open_the_breaker(sandbox: Sandbox, answer: ScriptedResponse) -> None:
    sandbox.provider.default = answer
    assert {sandbox.chat().status for _ in range(6)} == {400}
    sandbox.provider.default = valid_answer(streaming=False)
    assert sandbox.chat().status == 200


@pytest.mark.parametrize("code", [404, 500, 504])
def test_requests_that_a_provider_fails_on_close_its_channel_to_their_payer_alone(sandbox: Sandbox, code: int) -> None:
    sandbox.provider.default = error_response(code)
    eventually(lambda: sandbox.chat().status == 503, "the payer's breaker opens")
    sandbox.provider.default = valid_answer(streaming=False)
    _, other = factories.api_key(factories.account())
    assert sandbox.chat(headers={"authorization": f"Bearer {other}"}).status == 200


# Rejected requests


def test_a_too_long_context_stays_a_400(sandbox: Sandbox) -> None:
    sandbox.provider.default = context_too_long()
    answer = sandbox.chat()
    assert answer.status == 400
    assert answer.error["code"] == "context_length_exceeded"
    assert answer.error["param"] == "messages"
    assert "maximum context length is 8192 tokens" in answer.error["message"]
    assert len(sandbox.provider.calls) == 1
    assert_nothing_charged(sandbox)


def test_a_providers_message_is_scrubbed(sandbox: Sandbox) -> None:
    secret = f"sk-acme-{sandbox.model.removeprefix('solo-')}-secret"
    result = (
        f"Bad image for acme-model at {sandbox.provider.url}/chat/completions (127.0.0.1:{sandbox.provider.port}) with key"
        f" {secret}, "
        "Authorization: Bearer abcdef0123456789abcdef, org-AbCdEf123, admin@acme.example, api.acme.example, "
        "AIzaSyA1234567890abcdefghijklmnopqrstuv, request 0b0c1c1e-6c0e-4b7a-9d55-0123456789ab."
    )
    sandbox.provider.default = error_response(400, {"error": {"message": result, "param": "messages", "code": "invalid_image"}})
    answer = sandbox.chat()
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_image", "messages")
    message = answer.error["message"]
    assert message.startswith("Bad image for ")
    kept = ("127.0.0.1", str(sandbox.provider.port), "sk-acme", "abcdef01", "org-", "acme", "AIza", "6c0e-4b7a")
    assert [word for word in kept if word in message.replace(sandbox.model, "")] == []
    assert sandbox.model in message, "the provider's model name must become the caller's"


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b'{"error": 3}', b'{"error": {"message": 3}}', b"[[]]", b"\xff"])
def test_a_rejection_without_a_readable_message_is_still_a_400(sandbox: Sandbox, body: bytes) -> None:
    sandbox.provider.default = json_response(body, 422)
    answer = sandbox.chat()
    assert answer.status == 400
    assert answer.error["message"]
    assert answer.error["code"] == "invalid_request"


@pytest.mark.parametrize("shape", ['{{"error": {0}}}', '[{{"error": {{"message": {0}}}}}]', '{{"message": {0}}}'])
def test_a_rejection_in_another_format_keeps_its_message(sandbox: Sandbox, shape: str) -> None:
    sandbox.provider.default = json_response(shape.format('"Too many images."').encode(), 400)
    assert sandbox.chat().error["message"] == "Too many images."


def test_an_oversized_error_is_truncated(sandbox: Sandbox) -> None:
    sandbox.provider.default = error_response(400, {"error": {"message": "a" * 60_000 + " " + "." * 3_000}})
    answer = sandbox.chat()
    assert answer.status == 400
    assert len(answer.error["message"]) < 700


@pytest.mark.parametrize("code", ["no code at all", "x" * 500, 42, None, {"a": 1}])
def test_an_invalid_error_code_is_replaced(sandbox: Sandbox, code: object) -> None:
    sandbox.provider.default = error_response(400, {"error": {"message": "No.", "param": {"x": 1}, "code": code}})
    answer = sandbox.chat()
    assert (answer.error["code"], answer.error["param"]) == ("invalid_request", None)
    assert sandbox.usage()[0].error_code == "invalid_request"


# Mid-stream


@pytest.mark.parametrize(
    "breaks",
    [
        RESET,
        CLOSE,
        TruncatedChunk(b"data: " + b"x" * 100),
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
def test_a_broken_stream_ends_with_one_error_and_bills_delivered_output(sandbox: Sandbox, breaks: object) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), gate, breaks))
    running = sandbox.open()
    running.read_until(b"Hello there, you ")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in running.received
    assert running.received.count(b'data: {"error"') == 1
    assert b"10.0.0.1" not in running.received
    error = json.loads(running.received.split(b"data: ")[-1].split(b"\n")[0])["error"]
    assert (error["code"], error["type"], error["param"]) == ("upstream_error", "upstream_error", None)
    assert len(sandbox.provider.calls) == 1, "no retry once the caller has received output"
    assert_billed_in_part(sandbox)


def one_chunk_answer(text: str, reason: str) -> openai_payloads.Json:
    """A complete answer in one chunk."""
    return openai_payloads.event([{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}])


def assert_billed_in_part(sandbox: Sandbox, status: str = "failed") -> None:
    eventually(lambda: sandbox.held == 0, "the hold is gone")
    [row] = sandbox.usage()
    assert (row.status, row.estimated) == (status, True)
    assert row.output_tokens in (4, 5)
    assert row.credits == sandbox.charged == max(10, row.input_tokens + 2 * row.output_tokens)


@pytest.mark.parametrize("breaks", [b"data: {garbage\n\n", openai_payloads.frame(openai_payloads.failure("Boom."))])
def test_output_received_together_with_the_failure_is_delivered(sandbox: Sandbox, breaks: bytes) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Hello"), gate, openai_payloads.frame(chunk(" there, you ")) + breaks, HANG))
    running = sandbox.open()
    running.read_until(b"Hello")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b" there, you " in running.received
    assert running.received.count(b'data: {"error"') == 1
    assert b"[DONE]" not in running.received
    assert_billed_in_part(sandbox)


@pytest.mark.parametrize("breaks", [RESET, CLOSE, openai_payloads.failure("Boom."), b"garbage\n\n"])
def test_a_stream_that_breaks_after_its_finish_reason_is_complete(sandbox: Sandbox, breaks: object) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Hello"), finish(), gate, breaks))
    running = sandbox.open()
    running.read_until(b"Hello")
    gate.open()
    running.read_until(b"\r\n0\r\n\r\n")
    assert b"data: [DONE]" in running.received
    assert b'"finish_reason":"stop"' in running.received
    assert [(row.status, row.estimated) for row in sandbox.usage()] == [("completed", True)]


@pytest.mark.parametrize("late", [b"data: {garbage\n\n", b"data: []\n\n", b'data: {"choices":[],"usage":{"a":\xff}}\n\n'])
@pytest.mark.parametrize(
    "opening", [(role(), chunk("Hello"), finish()), (one_chunk_answer("Hello", "stop"),)], ids=["chunks", "one chunk"]
)
def test_an_answer_in_one_read_survives_an_invalid_usage_event(
    sandbox: Sandbox, opening: tuple[openai_payloads.Json, ...], late: bytes
) -> None:
    sandbox.provider.script(stream(openai_payloads.frames(*opening) + late + DONE))
    answer = sandbox.chat(stream=True, stream_options={"include_usage": True})
    assert_valid_stream(answer.body)
    assert "".join(each["choices"][0]["delta"].get("content", "") for each in answer.chunks if each["choices"]) == "Hello"
    assert len(sandbox.provider.calls) == 1
    [row] = sandbox.usage()
    assert (row.status, row.estimated, row.output_tokens) == ("completed", True, 1)


@pytest.mark.parametrize("late", [b"data: {garbage\n\n", openai_payloads.frame(openai_payloads.failure("Boom."))])
def test_an_error_before_any_output_is_retried(sandbox: Sandbox, late: bytes) -> None:
    sandbox.provider.script(stream(openai_payloads.frames(role(), finish()) + late))
    assert_valid_stream(sandbox.chat(stream=True).body)
    assert [(row.attempts, row.credits) for row in sandbox.usage()] == [(2, DEFAULT_COST)]


def test_a_stream_that_fails_after_only_the_role_is_retried(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), RESET))
    answer = sandbox.chat(stream=True)
    assert_valid_stream(answer.body)
    assert len(sandbox.provider.calls) == 2
    assert [(row.attempts, row.failed_attempts, row.credits) for row in sandbox.usage()] == [(2, "connection", DEFAULT_COST)]


def test_a_stream_with_only_a_role_costs_nothing(sandbox: Sandbox) -> None:
    sandbox.provider.default = stream(role(), RESET)
    assert sandbox.chat(stream=True).status == 502
    assert_nothing_charged(sandbox)


def test_a_stalled_stream_times_out(short_timeout_sandbox: Sandbox) -> None:
    short_timeout_sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    answer = short_timeout_sandbox.chat(stream=True)
    assert answer.chunks[-1]["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in answer.body
    assert short_timeout_sandbox.provider.calls[0].wait_outcome() == "disconnected"
    assert_billed_in_part(short_timeout_sandbox)


def test_a_finished_stream_that_stays_open_is_closed(short_timeout_sandbox: Sandbox) -> None:
    short_timeout_sandbox.provider.script(stream(*HELLO, usage(7, 3), HANG))
    answer = short_timeout_sandbox.chat(stream=True)
    assert_valid_stream(answer.body)
    assert [(row.status, row.estimated, row.credits) for row in short_timeout_sandbox.usage()] == [
        ("completed", False, DEFAULT_COST)
    ]


@pytest.mark.parametrize("fast_http", [True, False])
def test_fast_and_stock_connections_send_the_same_and_notice_a_disconnect(
    stack: Stack, sandbox: Sandbox, fast_http: bool
) -> None:
    sandbox.edge = stack.edge(fast_http=fast_http)
    answer = sandbox.chat(stream=True)
    assert_valid_stream(answer.body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert {"server", "content-length"} & set(answer.headers) == set()
    assert sandbox.chat(n=0).error["param"] == "n"
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    running = sandbox.open()
    running.read_until(b"Hello there, you ")
    running.disconnect()
    assert sandbox.provider.calls[1].wait_outcome() == "disconnected"
    eventually(lambda: sandbox.held == 0, "the hold is gone")


def test_a_disconnect_cancels_the_upstream_and_bills_delivered_output(sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    running = sandbox.open()
    running.read_until(b"Hello there, you ")
    running.disconnect()
    assert sandbox.provider.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(sandbox.usage()), "the call is settled")
    assert_billed_in_part(sandbox, "cancelled")
    assert sandbox.usage()[0].error_code == "client_closed"


@both
def test_a_disconnect_before_the_first_byte_bills_only_the_prompt(sandbox: Sandbox, streaming: bool) -> None:
    gate = Gate()
    sandbox.provider.script(delayed(gate, valid_answer(streaming)))
    running = sandbox.open() if streaming else sandbox.open(stream=False)
    gate.wait_reached()
    running.disconnect()
    assert sandbox.provider.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(sandbox.usage()), "the call is settled")
    assert (sandbox.charged, sandbox.held) == (PRICES["minimum"], 0)
    assert (sandbox.usage()[0].output_tokens, sandbox.usage()[0].estimated) == (0, True)


def test_a_disconnect_between_two_attempts_costs_nothing(sandbox: Sandbox) -> None:
    """The first attempt has failed, and the next has not started."""
    sandbox.provider.script(error_response(503, headers={"retry-after": "8"}))
    running = sandbox.open()
    eventually(lambda: bool(sandbox.provider.calls), "the first attempt is made")
    assert sandbox.provider.calls[0].wait_outcome() == "answered"
    assert sandbox.chat().error["code"] == "no_upstream_available", "the failure was read, so the channel is paused"
    running.disconnect()
    eventually(lambda: len(sandbox.usage()) == 2, "the call is settled")
    assert (sandbox.charged, sandbox.held) == (0, 0)


# Keepalives


def test_keepalives_while_the_provider_is_silent_and_a_later_error(stack: Stack, sandbox: Sandbox) -> None:
    """The only slow test here: the first keepalive comes after 10 seconds of silence."""
    other = stack.new_sandbox()
    gates: list[Gate] = [Gate(), Gate()]
    sandbox.provider.script(delayed(gates[0], valid_answer(streaming=True)))
    other.provider.script(delayed(gates[1], error_response(401)))
    running = [sandbox.open(), other.open()]
    for opened, gate in zip(running, gates, strict=True):
        opened.read_until(b": keepalive\n")
        assert b" 200 " in opened.received.split(b"\r\n")[0]
        gate.open()
        opened.read_until(b"\r\n0\r\n\r\n")
    finished, failed = (_body(opened.received) for opened in running)
    assert finished.startswith(b": keepalive\ndata: {")
    assert_valid_stream(finished.removeprefix(b": keepalive\n"))
    assert sandbox.charged == DEFAULT_COST
    assert failed.startswith(b': keepalive\ndata: {"error":{')
    assert failed.count(b"data: ") == 1
    assert json.loads(failed.split(b"data: ")[1])["error"]["code"] == "upstream_error"
    assert_nothing_charged(other)


def _body(received: bytes) -> bytes:
    """The decoded body of a chunked HTTP response."""
    rest = received.split(b"\r\n\r\n", 1)[1]
    body = b""
    while True:
        size, rest = rest.split(b"\r\n", 1)
        if not int(size, 16):
            return body
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
