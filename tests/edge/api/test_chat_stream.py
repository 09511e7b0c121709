"""The native stream: its request body and events; limits, billing and errors match those of /v1."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.api import chat_stream as native
from shared.core.errors import InvalidRequest
from shared.models import ApiKey
from shared.operations.keys import revoke_key
from tests.edge.api.conftest import CREDITS, ApiStack, Customer, stream_body
from tests.factories import ORIGIN
from tests.openai_payloads import DONE, chunk, event, finish, frame, frames, role, split_utf8, usage
from tests.upstream import default_script
from tests.upstream_responses import HANG, RESET, Gate, ScriptedResponse, context_too_long, error_response, stream

COST = 13  # for the 7 and 3 tokens that the default upstream response reports
HI = [{"role": "user", "content": "Hi"}]
PATH = "/api/chat/stream/"


# The body


def body_of(**fields: Any) -> Any:
    return native.parse(orjson.dumps(stream_body(**fields))).call.body


def test_a_prompt_becomes_one_user_message() -> None:
    assert body_of() == {"model": "m-1", "messages": HI, "stream": True}


def test_options_are_forwarded_and_nulls_are_omitted() -> None:
    chosen = {"temperature": 0, "top_p": 0.5, "max_tokens": 5, "seed": 1, "reasoning_effort": "low"}
    assert body_of(messages=HI, **chosen) == {"model": "m-1", "messages": HI, "stream": True, **chosen}
    left_out = dict.fromkeys(("temperature", "top_p", "max_tokens", "conversation_id", "store", "prompt"))
    assert body_of(messages=HI, **left_out) == body_of(prompt="Hi", messages=None, store=False) == body_of()


def test_a_message_may_have_content_parts() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert body_of(messages=parts)["messages"] == parts


WRONG: list[tuple[dict[str, Any], str]] = [
    *(({"prompt": "Hi", "model": value}, "model") for value in (None, "", 1)),
    *((stream_body(prompt=value), "prompt") for value in ("", 1, ["Hi"])),
    (stream_body(prompt="Hi", messages=HI), "prompt"),
    *((stream_body(messages=value), "messages") for value in (None, [], "Hi")),
    *((stream_body(messages=[value]), "messages[0]") for value in (None, "Hi")),
    *((stream_body(messages=[{**HI[0], "role": value}]), "messages[0].role") for value in (None, "tool", [])),
    (stream_body(messages=[*HI, {"role": "assistant"}]), "messages[1].content"),
    (stream_body(messages=[{**HI[0], "tool_calls": []}]), "messages[0].tool_calls"),
    (stream_body(messages=[{**HI[0], "content": 1}]), "messages[0].content"),
    *((stream_body(temperature=value), "temperature") for value in ("1", 3)),
    (stream_body(top_p=2), "top_p"),
    (stream_body(seed=1.5), "seed"),
    *((stream_body(max_tokens=value), "max_tokens") for value in (0, "9")),
    *((stream_body(store=value), "store") for value in (1, "true")),
    *((stream_body(conversation_id=value), "conversation_id") for value in (1, [])),
    *((stream_body(**{name: None}), name) for name in ("stream", "tools", "n", "max_completion_tokens")),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=lambda value: value if isinstance(value, str) else json.dumps(value)[:60])
def test_an_invalid_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        native.parse(orjson.dumps(body))
    assert caught.value.param == param
    assert f"'{param}'" in str(caught.value) or f"'{param.split('[')[0]}" in str(caught.value)


# The events


def rendered(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    relay = native.NativeEvents().transform_chunks
    assert relay is not None
    return [json.loads(line[6:]) for line in relay(frames(*chunks)).split(b"\n\n") if line]


@pytest.mark.parametrize(
    ("sent", "result"),
    [
        (role(), []),
        (chunk("Hi"), [{"delta": "Hi"}]),
        (chunk(reasoning_content="hm"), [{"reasoning": "hm"}]),
        (chunk(reasoning="hm"), [{"reasoning": "hm"}]),
        (chunk("So", reasoning="hm"), [{"reasoning": "hm"}, {"delta": "So"}]),
        (chunk(refusal="No."), [{"delta": "No."}]),
        (chunk("second", index=1), []),
        (chunk(tool_calls=[{"index": 0, "function": {"name": "f", "arguments": "{}"}}]), []),
        (
            chunk(images=[{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
            [{"image": "data:image/png;base64,AA=="}],
        ),
        (event([{"index": 0, "delta": {"content": {"odd": 1}, "reasoning": 7}}]), []),
        (event([]), []),
    ],
)
def test_the_fields_of_a_chunk(sent: dict[str, Any], result: list[dict[str, Any]]) -> None:
    assert rendered(sent) == result


@given(st.lists(st.text(), max_size=5))
def test_any_text_round_trips(texts: list[str]) -> None:
    assert rendered(*(chunk(text) for text in texts)) == [{"delta": text} for text in texts if text]


# A call


@pytest.mark.parametrize("path", [PATH, PATH.rstrip("/")])
def test_a_prompt_is_answered_and_charged(customer: Customer, path: str) -> None:
    answer = customer.post(path, stream_body())
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["x-ratelimit-limit-requests"]) > 0
    *deltas, done = answer.chunks
    assert deltas == [{"delta": "Hello"}, {"delta": " there."}]
    result = done.pop("usage")
    assert (result["prompt_tokens"], result["completion_tokens"], result["total_tokens"]) == (7, 3, 10)
    assert done == {
        "done": True,
        "finish_reason": "stop",
        "credits_charged": COST,
        "balance": CREDITS - COST,
        "conversation_id": None,
    }
    assert b"[DONE]" not in answer.body
    assert customer.balance == CREDITS - COST
    row = customer.usage()
    assert (row.status, row.streamed, row.credits) == ("completed", True, COST)


def test_the_provider_gets_the_requested_options(customer: Customer) -> None:
    customer.stream(messages=[{"role": "system", "content": "Be brief."}, *HI], temperature=0.5, max_tokens=9)
    sent = customer.shop.upstream.calls[-1].json
    assert sent.pop("stream_options") == {"include_usage": True}
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    assert sent == {"model": "acme-model", "messages": messages, "stream": True, "temperature": 0.5, "max_tokens": 9}


def test_reasoning_precedes_text_and_the_last_chunk_may_contain_text(customer: Customer) -> None:
    last = event([{"index": 0, "delta": {"content": "!"}, "finish_reason": "length"}])
    customer.shop.upstream.script(stream(role(), chunk(reasoning_content="Hm."), chunk("Yes"), last, usage(7, 3), DONE))
    *result, done = customer.stream().chunks
    assert result == [{"reasoning": "Hm."}, {"delta": "Yes"}, {"delta": "!"}]
    assert done["finish_reason"] == "length"


def test_text_split_inside_a_character(customer: Customer) -> None:
    customer.shop.upstream.script(stream(role(), *split_utf8(frame(chunk("日本 🎉"))), finish(), usage(7, 3), DONE))
    assert customer.stream().chunks[0] == {"delta": "日本 🎉"}


def test_a_free_model_costs_nothing(customer: Customer) -> None:
    assert customer.stream(model="free").chunks[-1]["credits_charged"] == 0
    assert customer.balance == CREDITS


# Errors keep their status


def assert_refused(customer: Customer, code: int, name: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
    answer = customer.stream(headers, **fields)
    assert (answer.status, answer.error["code"]) == (code, name)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")


def test_no_key(customer: Customer) -> None:
    assert_refused(customer, 401, "invalid_api_key", {"authorization": ""})


def test_an_unknown_model(customer: Customer) -> None:
    assert_refused(customer, 404, "model_not_found", model="m-unknown")


def test_a_conversation_requires_a_plan(customer: Customer) -> None:
    assert_refused(customer, 403, "plan_required", store=True)


def test_a_body_must_be_json(customer: Customer) -> None:
    assert customer.post(PATH, b"{").status == 400


def test_an_empty_pool(api: ApiStack) -> None:
    assert_refused(api.customer(credits=0), 402, "insufficient_credits")


def test_a_cap_below_the_minimum(customer: Customer) -> None:
    assert_refused(customer, 402, "insufficient_credits", {"x-yout-max-credits": "9"})


def test_a_cap_bounds_the_charge(customer: Customer) -> None:
    customer.shop.upstream.script(stream(role(), chunk("Hello"), finish(), usage(500, 500), DONE))
    assert customer.stream({"x-yout-max-credits": "100"}).chunks[-1]["credits_charged"] == 100


@pytest.mark.parametrize(
    ("answers", "code", "name"),
    [
        ([context_too_long()], 400, "context_length_exceeded"),
        ([error_response(500)] * 4, 502, "upstream_error"),
    ],
)
def test_a_provider_error(customer: Customer, answers: list[ScriptedResponse], code: int, name: str) -> None:
    upstream = customer.shop.upstream
    remaining = list(answers)
    upstream.default = lambda request: remaining.pop(0) if remaining else default_script(request)
    try:
        assert_refused(customer, code, name)
    finally:
        upstream.default = default_script
    assert customer.balance == CREDITS


def test_only_post(customer: Customer) -> None:
    answer = customer.get(PATH)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_an_idempotency_key_prevents_a_second_call(customer: Customer) -> None:
    first = customer.stream({"idempotency-key": "k"})
    assert_refused(customer, 409, "idempotency_key_used", {"idempotency-key": "k"})
    assert_refused(customer, 400, "idempotency_key_reused", {"idempotency-key": "k"}, prompt="Something else")
    assert customer.balance == first.chunks[-1]["balance"]


# After the first byte


def test_a_broken_stream_ends_with_an_error_and_is_billed(customer: Customer) -> None:
    customer.shop.upstream.script(stream(role(), chunk("Hello"), RESET))
    first, last = customer.stream().chunks
    assert first == {"delta": "Hello"}
    assert set(last) == {"error"}
    assert set(last["error"]) == {"code", "message"}
    assert last["error"]["code"] == "upstream_error"
    row = customer.usage()
    assert (row.status, row.estimated) == ("failed", True)
    assert 0 < row.credits == CREDITS - customer.balance


def read_event(response: http.client.HTTPResponse) -> Any:
    """The next event of an open stream; None at the end."""
    while line := response.readline():
        if line.startswith(b"data: "):
            return json.loads(line[6:])
    return None


def test_a_client_disconnect_ends_the_call(customer: Customer) -> None:
    upstream = customer.shop.upstream
    upstream.script(stream(role(), chunk("Hello"), HANG))
    with closing(customer.open()) as connection:
        assert read_event(connection.getresponse()) == {"delta": "Hello"}
        assert connection.sock is not None
        connection.sock.close()
    assert upstream.calls[-1].wait_outcome() == "disconnected"
    row = customer.usage()
    assert (row.status, row.error_code) == ("cancelled", "client_closed")
    assert 0 < row.credits == CREDITS - customer.balance


def test_revoking_a_key_ends_its_stream(customer: Customer) -> None:
    gate = Gate()
    customer.shop.upstream.script(stream(role(), chunk("Hello"), gate))
    with closing(customer.open()) as connection:
        response = connection.getresponse()
        assert read_event(response) == {"delta": "Hello"}
        revoke_key(ApiKey.get(ApiKey.account == customer.account.id).id, origin=ORIGIN)
        assert read_event(response)["error"]["code"] == "invalid_api_key"
        assert read_event(response) is None
    assert customer.usage().status == "cancelled"
