"""Calls of the Responses API on a channel of the same API: the body that is relayed, and the events that come back."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edge.call.exchange import Finished
from edge.v1.provider_fields import encode_thinking
from edge.v1.responses.request import parse
from edge.v1.responses.response_renderer import ResponseRenderer
from shared.billing.token_usage import TokenUsage
from shared.core.errors import UpstreamFailed
from shared.dialects import DIALECTS
from shared.dialects.base import BlockedPrompt, BrokenStream, MalformedStream, UnsupportedField
from shared.ledger import Settled
from tests import responses_payloads as responses
from tests.shared.dialects.calls import BEGAN, CALL_ID, Json, read_stream, split, target_of

CALL = UUID(int=7)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
REQUEST: Json = {
    "model": "our-model",
    "input": "Hi",
    "instructions": "Be brief.",
    "metadata": {"project": "secret"},
    "user": "ada@example.com",
    "prompt_cache_key": "ada's",
}
TOOL: Json = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
WHOLES = {
    "text": responses.response(responses.text("Grüße 🙂, naïve Ωmega")),
    "refusal": responses.response(responses.refusal("I cannot do that.")),
    "reasoning": responses.response(
        responses.reasoning("Let me see.", "Yes."), responses.text("42", "!"), reported=responses.usage(9, 8)
    ),
    "tools": responses.response(
        responses.reasoning(), responses.call("weather", city="Köln 🙂"), responses.custom_call("patch", "+x", id="call_2")
    ),
    "limit": responses.response(responses.text("Hi"), incomplete="max_output_tokens"),
}
each = pytest.mark.parametrize("whole", WHOLES.values(), ids=WHOLES)


class Relayed:
    """What a caller gets for a stream in these reads, as the edge does it."""

    def __init__(self, pieces: list[bytes], *, cut: bool = False, **fields: Any) -> None:
        request = parse(orjson.dumps({**REQUEST, "stream": True, **fields}))
        self.reader = DIALECTS["responses"].new_stream_reader(request.call, CALL_ID, BEGAN)
        renderer = ResponseRenderer(CALL, BEGAN, request)
        self.data = b""
        self.failed = False
        try:
            for piece in pieces:
                self._relay(renderer, self.reader.feed(piece))
                if self.reader.error is not None:
                    raise self.reader.error
            if cut:
                self.reader.truncate()
            elif not self.reader.done:
                self._relay(renderer, self.reader.close())
        except (BrokenStream, MalformedStream):
            self.failed = True
            self.data += renderer.render_failure(UpstreamFailed("It broke."))
        else:
            finished = Finished(self.reader.final_chunk(), self.reader.chunk_fields(), TokenUsage(7, 3), Settled(1, 2))
            self.data += renderer.finish(finished)

    def _relay(self, renderer: ResponseRenderer, events: bytes) -> None:
        self.data += renderer.transform_chunks(events) if events else b""

    @property
    def events(self) -> list[Json]:
        return [json.loads(line[6:]) for line in self.data.decode().splitlines() if line.startswith("data: ")]


def answer_of(whole: Json, **fields: Any) -> Json:
    """The caller's response to a call that is not streamed."""
    request = parse(orjson.dumps({**REQUEST, **fields}))
    answer = DIALECTS["responses"].parse_response(orjson.dumps(whole), request.call, CALL_ID, BEGAN)
    return ResponseRenderer(CALL, BEGAN, request).render_complete(Finished(answer.body, {}, TokenUsage(7, 3), Settled(1, 2)))


@each
def test_events_are_relayed_byte_for_byte_except_the_response(whole: Json) -> None:
    result = Relayed([responses.wire(whole)])
    sent = [responses.event(event) for event in responses.events(whole)]
    assert result.data.split(b"\n\n")[2:-2] == [event.removesuffix(b"\n\n") for event in sent[2:-1]]
    for event in result.events:
        EVENTS.validate_python(event)
    assert [event["sequence_number"] for event in result.events] == list(range(len(sent)))
    for event in (*result.events[:2], result.events[-1]):
        response = event["response"]
        assert (response["id"], response["model"]) == (f"resp_{CALL.hex}", "our-model")
        assert {name: response[name] for name in REQUEST if name not in ("model", "input")} == {
            name: REQUEST[name] for name in REQUEST if name not in ("model", "input")
        }
        assert response["safety_identifier"] is None, "the provider got a pseudonym"


@each
def test_the_whole_answer_is_the_last_event(whole: Json) -> None:
    last = Relayed([responses.wire(whole)]).events[-1]
    assert last["type"] == f"response.{whole['status']}"
    whole_answer = answer_of(whole)
    assert last["response"] == whole_answer
    Response.model_validate(whole_answer)
    assert (whole_answer["output"], whole_answer["yout"]) == (whole["output"], {"credits_charged": 1, "balance": 2})
    assert whole_answer["usage"]["total_tokens"] == 10


@each
def test_it_is_counted_like_a_translated_stream(whole: Json) -> None:
    reader = Relayed([responses.wire(whole)]).reader
    translated = read_stream("responses", [responses.wire(whole)])
    paragraphs = translated.text.replace("\n\n", "")
    assert (reader.text(), reader.usage(), reader.delivered, reader.finished) == (paragraphs, translated.usage, True, True)


@given(st.sampled_from(list(WHOLES.values())), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_splits_give_the_same_result(whole: Json, positions: list[int]) -> None:
    data = responses.wire(whole)
    assert Relayed(split(data, positions)).data == Relayed([data]).data


@given(st.binary(max_size=300))
def test_noise_is_rejected(noise: bytes) -> None:
    assert Relayed([noise, b"\n\n"]).failed


@pytest.mark.parametrize("field", ["sequence_number", "output_index", "content_index", "summary_index"])
@pytest.mark.parametrize("value", [None, "1", 1.5, []])
def test_an_event_with_an_invalid_position_is_rejected_before_it_is_relayed(field: str, value: object) -> None:
    first, *rest = responses.events(WHOLES["text"])
    assert Relayed([responses.event(event) for event in ({**first, field: value}, *rest)]).failed


@pytest.mark.parametrize("fields", [{"output": 5}, {"output": [{"type": "message", "content": 5}]}, {"output": [None]}])
def test_a_response_with_invalid_output_fails_without_an_internal_error(fields: Json) -> None:
    last = {"type": "response.completed", "response": {**WHOLES["text"], **fields}}
    assert Relayed([responses.event(last)]).reader.delivered is False


@pytest.mark.parametrize(
    "last", [b"", responses.event({"type": "response.failed", "response": responses.failed()}), b"data: {\n\n"]
)
def test_a_failure_after_the_first_token_keeps_what_was_delivered(last: bytes) -> None:
    events = responses.events(WHOLES["reasoning"])
    begun = next(place for place, event in enumerate(events) if event["type"] == "response.output_text.delta") + 1
    result = Relayed([*map(responses.event, events[:begun]), last])
    failed, error = result.events[-2:]
    assert (failed["type"], error["type"], error["error"]["message"]) == ("response.failed", "error", "It broke.")
    assert failed["sequence_number"] == begun
    reasoning, message = failed["response"]["output"]
    assert reasoning == WHOLES["reasoning"]["output"][0]
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "42")
    assert b"acme" not in result.data.split(b"event: response.failed")[1]


@pytest.mark.parametrize(("code", "error"), [("server_error", BrokenStream), ("invalid_prompt", BlockedPrompt)])
def test_a_failure_before_the_first_token_is_raised_for_the_fallback(code: str, error: type[Exception]) -> None:
    call = parse(orjson.dumps({**REQUEST, "stream": True})).call
    reader = DIALECTS["responses"].new_stream_reader(call, CALL_ID, BEGAN)
    for event in responses.events(WHOLES["text"])[:4]:
        reader.feed(responses.event(event))
    assert not reader.delivered
    with pytest.raises(error):
        reader.feed(responses.event({"type": "response.failed", "response": responses.failed(code)}))


def test_a_stream_that_is_cut_ends_as_incomplete_with_the_output_so_far() -> None:
    events = responses.events(responses.response(responses.text("Hello there."), responses.call("weather", city="Bonn")))
    place = next(place for place, event in enumerate(events) if "arguments.delta" in event["type"]) + 1
    done, last = Relayed([*map(responses.event, events[:place])], cut=True).events[-2:]
    message, call = last["response"]["output"]
    assert (last["type"], last["response"]["incomplete_details"]) == ("response.incomplete", {"reason": "max_output_tokens"})
    assert (message["content"][0]["text"], call["arguments"], call["status"]) == ("Hello there.", '{"ci', "incomplete")
    assert (done["type"], done["item"]) == ("response.output_item.done", call)
    assert [done["sequence_number"], last["sequence_number"]] == [place, place + 1]
    Response.model_validate(last["response"])


def test_a_large_request_is_not_repeated_by_the_provider_before_the_first_token() -> None:
    whole = responses.response(responses.text("Hi"), instructions="x" * 100_000)
    call = parse(orjson.dumps({**REQUEST, "stream": True})).call
    reader = DIALECTS["responses"].new_stream_reader(call, CALL_ID, BEGAN)
    assert len(b"".join(reader.feed(responses.event(event)) for event in responses.events(whole)[:2])) < 3_000


def relayed_body(*, settings: Json | None = None, clamp: int | None = None, **fields: Any) -> Json:
    """The body that the provider gets."""
    call = parse(orjson.dumps({**REQUEST, **fields})).call
    sent: Json = orjson.loads(
        DIALECTS["responses"].build_request(call, target_of("responses", settings=settings, clamp=clamp)).body
    )
    return sent


def test_the_body_is_relayed_without_what_the_provider_may_not_keep() -> None:
    fields = {
        "text": {"verbosity": "low", "format": {"type": "text"}},
        "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns"},
        "include": ["reasoning.encrypted_content"],
        "tools": [TOOL],
        "stream": True,
    }
    body = relayed_body(**fields, models=["our-model", "b"], provider={"sort": "price"}, usage={"include": True})
    assert body == {
        **fields,
        "model": "acme-model",
        "input": "Hi",
        "instructions": "Be brief.",
        "store": False,
        "user": "hash-of-15",
        "prompt_cache_key": "hash-of-22",
    }


def test_items_keep_what_the_provider_can_read() -> None:
    signed = {
        "type": "reasoning",
        "summary": [],
        "encrypted_content": encode_thinking([{"type": "thinking", "signature": "c2ln"}]),
    }
    call = {"type": "function_call", "call_id": "call_1__signed_c2ln", "name": "weather", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "call_1__signed_c2ln", "output": "Rain"}
    items = [
        {"role": "user", "content": "Hi"},
        responses.reasoning("Hm"),
        signed,
        responses.reasoning(encrypted=None),
        call,
        output,
    ]
    assert relayed_body(input=items)["input"] == [
        items[0],
        items[1],
        {**call, "call_id": "call_1"},
        {**output, "call_id": "call_1"},
    ]


@pytest.mark.parametrize(
    ("fields", "settings", "clamp", "expected"),
    [
        ({"max_output_tokens": 50}, {}, 30, {"max_output_tokens": 30}),
        ({"max_output_tokens": 50}, {}, 90, {"max_output_tokens": 50}),
        ({}, {}, 3, {"max_output_tokens": 16}),
        ({"reasoning": {"effort": "max"}}, {"efforts": ["low", "high"]}, None, {"reasoning": {"effort": "high"}}),
        ({"reasoning": {"effort": "max", "summary": "auto"}}, {"efforts": []}, None, {"reasoning": {"summary": "auto"}}),
        ({"store": True}, {"efforts": ["low"]}, None, {"store": False, "include": ["reasoning.encrypted_content"]}),
        ({"store": True}, {"efforts": []}, None, {"store": False, "include": None}),
        ({"temperature": 0.5}, {"sampling": "none"}, None, {"temperature": None}),
        ({}, {"body": {"store": False, "x": 1}}, None, {"x": 1}),
    ],
)
def test_settings_and_limits(fields: Json, settings: Json, clamp: int | None, expected: Json) -> None:
    body = relayed_body(settings=settings, clamp=clamp, **fields)
    assert {name: body.get(name) for name in expected} == expected


def test_tools_that_the_provider_executes_are_refused() -> None:
    call = parse(orjson.dumps(REQUEST)).call
    for tools in ([{"type": "mcp"}], [{"type": "shell", "environment": {"type": "container_auto"}}]):
        hosted = call._replace(responses_body=lambda tools=tools: {**REQUEST, "tools": [TOOL, *tools]})
        with pytest.raises(UnsupportedField) as problem:
            DIALECTS["responses"].build_request(hosted, target_of("responses"))
        assert problem.value.param == "tools[1].type"
    local = [{"type": kind} for kind in ("custom", "local_shell", "apply_patch", "shell", "tool_search")]
    local.append({"type": "namespace", "tools": [TOOL]})
    passed = call._replace(responses_body=lambda: {**REQUEST, "tools": local})
    assert orjson.loads(DIALECTS["responses"].build_request(passed, target_of("responses")).body)["tools"] == local


NO_IMAGES: Json = {"input_tokens_details": {"image_tokens": 0, "text_tokens": 0}}
NO_IMAGES |= dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), 0)
THREE: Json = {"image_gen": NO_IMAGES, "web_search": {"num_requests": 3}}
SEARCHING = [{"type": "web_search", "external_web_access": True}, {"type": "web_search_preview"}]


def searched(*output: Json, **fields: Any) -> Json:
    return responses.response(*output, tools=SEARCHING[:1], **fields)


@pytest.mark.parametrize(
    ("whole", "count"),
    [
        (searched(responses.search(), responses.search("open_page", id="ws_2"), responses.text("Hi")), 1),
        (searched(responses.search(), responses.text("Hi"), tool_usage=THREE), 3),
        (searched(responses.text("Hi"), tool_usage=None), 0),
    ],
)
def test_searches_of_the_provider_are_counted(whole: Json, count: int) -> None:
    streamed = Relayed([responses.wire(whole)], tools=SEARCHING)
    call = parse(orjson.dumps({**REQUEST, "tools": SEARCHING})).call
    answer = DIALECTS["responses"].parse_response(orjson.dumps(whole), call, CALL_ID, BEGAN)
    for used in (streamed.reader.usage(), answer.usage):
        assert used.extra == {"web_searches": count, "service_tier": ""}
    for response in (streamed.events[-1]["response"], answer_of(whole, tools=SEARCHING)):
        Response.model_validate(response)
        assert response["tools"] == SEARCHING
        assert response["yout"]["ignored_tools"] == ["web_search_preview"], "the provider did not get this one"
        assert "served_tools" not in response


def test_searches_of_a_cut_stream_are_counted() -> None:
    whole = searched(responses.search(), responses.search("open_page", id="ws_2"), responses.text("Hi"))
    sent = b"".join(responses.event(event) for event in responses.events(whole)[:-2])
    assert Relayed([sent], cut=True, tools=SEARCHING).reader.usage().extra == {"web_searches": 1}
    begun = b"".join(responses.event(event) for event in responses.events(whole)[:3])
    assert Relayed([begun], cut=True, tools=SEARCHING).reader.usage().extra == {"web_searches": 1}, "one has begun"


def test_errors_name_the_callers_field() -> None:
    call = parse(orjson.dumps(REQUEST)).call
    data = orjson.dumps({"error": {"message": "Invalid.", "param": "input[2].content[0]", "code": "invalid_value"}})
    assert DIALECTS["responses"].parse_error(400, data, call, target_of("responses")).param == "input[2].content[0]"
