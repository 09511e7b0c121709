"""The unmodified official Anthropic SDK for Python, on models behind an OpenAI-shaped provider."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, SCHEMA, WEATHER_CALL, broken_stream, streamed_or_whole, text_answer, weather_call
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.process import eventually
from tests.upstream_responses import HANG, context_too_long, error_response, stream

HI: Any = [{"role": "user", "content": "Hi"}]
YOUT = {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}
WEATHER: Any = {"name": "weather", "description": "d", "input_schema": SCHEMA}
EVENTS: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Anthropic]:
    with Anthropic(base_url=sandbox.edge.url, api_key=sandbox.secret, max_retries=0) as made:
        yield made


def ask(client: Anthropic, sandbox: Sandbox, **fields: Any) -> Any:
    return client.messages.create(**{"model": sandbox.model, "max_tokens": 100, "messages": HI, **fields})


def checked(message: Any) -> Message:
    """Validates every field of `message` against the SDK's own types."""
    Message.model_validate(message.model_dump(warnings="error"), strict=True)
    found: Message = message
    return found


def events_of(client: Anthropic, sandbox: Sandbox, **fields: Any) -> list[Any]:
    """All raw events of a stream, each validated against the SDK's types."""
    events: list[Any] = list(ask(client, sandbox, stream=True, **fields))
    for event in events:
        EVENTS.validate_python(event.model_dump(warnings=False))
    return events


def test_a_message_is_answered_and_charged(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    message = checked(ask(client, sandbox, system="Be brief."))
    [block] = message.content
    assert (block.type, block.text) == ("text", "Hello there.")  # type: ignore[union-attr]  # one of many kinds of blocks
    assert (message.id, message.model, message.stop_reason) == (f"msg_{sandbox.usage()[0].id.hex}", sandbox.model, "end_turn")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)
    assert message.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    assert message._request_id == f"req_{sandbox.usage()[0].id.hex}"
    assert sandbox.provider.calls[0].json["messages"] == [{"role": "system", "content": "Be brief."}, *HI]
    assert sandbox.provider.calls[0].json["max_tokens"] == 100
    assert sandbox.charged == DEFAULT_COST


def test_the_events_of_a_text(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    events = events_of(client, sandbox)
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[-2].delta.stop_reason == "end_turn"
    assert (events[-2].usage.input_tokens, events[-2].usage.output_tokens) == (7, 3)
    assert events[-2].yout == YOUT


def test_the_stream_helper_assembles_the_message(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Rain.", reasoning="Clouds."))
    with client.messages.stream(model=sandbox.model, max_tokens=100, messages=HI) as helper:
        text = "".join(helper.text_stream)
        final = helper.get_final_message()
    assert text == "Rain."
    thought, said = final.content
    assert (thought.type, thought.thinking) == ("thinking", "Clouds.")  # type: ignore[union-attr]  # one of many kinds of blocks
    assert said.text == "Rain."  # type: ignore[union-attr]  # one of many kinds of blocks
    assert (final.usage.input_tokens, final.usage.output_tokens) == (7, 3)


def test_a_tool_round_trip(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call(), text_answer("Rain."))
    message = checked(ask(client, sandbox, tools=[WEATHER], tool_choice={"type": "any", "disable_parallel_tool_use": True}))
    [use] = message.content
    assert use.type == "tool_use"
    assert (use.id, use.name, use.input, message.stop_reason) == ("call_1", "weather", {"city": "Bonn"}, "tool_use")
    result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "Rain in Bonn."}]}
    turns = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = ask(client, sandbox, messages=turns, tools=[WEATHER])
    assert answer.content[0].text == "Rain."
    first, second = sandbox.provider.calls
    assert first.json["tools"] == [
        {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "description": "d"}}
    ]
    assert (first.json["tool_choice"], first.json["parallel_tool_calls"]) == ("required", False)
    assert second.json["messages"] == [
        *HI,
        {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."},
    ]


def test_the_events_of_a_tool_call(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call(), weather_call())
    events = events_of(client, sandbox, tools=[WEATHER])
    pieces = [event.delta.partial_json for event in events if event.type == "content_block_delta"]
    assert "".join(pieces) == ARGUMENTS
    assert len(pieces) == 2
    with client.messages.stream(model=sandbox.model, max_tokens=100, messages=HI, tools=[WEATHER]) as helper:
        [use] = helper.get_final_message().content
    assert (use.type, use.input) == ("tool_use", {"city": "Bonn"})  # type: ignore[union-attr]  # one of many kinds of blocks


def test_structured_output_is_parsed(client: Anthropic, sandbox: Sandbox) -> None:
    class City(BaseModel):
        city: str

    sandbox.provider.script(text_answer(ARGUMENTS))
    message = client.messages.parse(model=sandbox.model, max_tokens=100, messages=HI, output_format=City)
    assert message.parsed_output == City(city="Bonn")
    asked = sandbox.provider.calls[0].json["response_format"]
    assert asked["json_schema"]["schema"]["properties"]["city"]["type"] == "string"


@pytest.mark.parametrize(("reason", "result"), [("length", "max_tokens"), ("content_filter", "refusal"), ("stop", "end_turn")])
def test_stop_reasons(client: Anthropic, sandbox: Sandbox, reason: str, result: str) -> None:
    answer = streamed_or_whole(completion("Hel", usage=tokens(), finish=reason), chunk("Hel"), finish(reason))
    sandbox.provider.script(answer, answer)
    assert ask(client, sandbox).stop_reason == result
    assert events_of(client, sandbox)[-2].delta.stop_reason == result


def test_cached_tokens_are_reported_separately(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hi"), finish(), usage(100, 3, cached=40), DONE))
    used = events_of(client, sandbox)[-2].usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens) == (60, 40, 0)


def test_anthropic_only_fields_do_not_reach_other_providers(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Rain."))
    marked: Any = {"cache_control": {"type": "ephemeral"}}
    ask(
        client,
        sandbox,
        system=[{"type": "text", "text": "Be brief.", **marked}],
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", **marked}, {"type": "text", "text": "there"}]}],
        tools=[{**WEATHER, **marked}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        metadata={"user_id": "ann"},
        extra_body={"top_k": 5, "temperature": 0.5},
        stop_sequences=["END"],
    )
    [received] = sandbox.provider.calls
    assert received.json["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n\nthere"}]
    assert received.json["stop"] == ["END"]
    assert received.json["temperature"] == 0.5
    assert received.json["user"] not in (None, "ann")
    text = json.dumps(received.json)
    assert [name for name in ("cache_control", "thinking", "top_k", "user_id") if name in text] == []


def test_errors_have_their_classes(client: Anthropic, sandbox: Sandbox) -> None:
    poor = factories.api_key(factories.account(credits=9))[1]
    with pytest.raises(anthropic.AuthenticationError) as unknown:
        ask(client.with_options(api_key="yout-wrong"), sandbox)
    assert unknown.value.request_id
    with pytest.raises(anthropic.APIStatusError) as broke:
        ask(client.with_options(api_key=poor, max_retries=2), sandbox)
    assert broke.value.status_code == 402
    result: Any = broke.value.body
    assert (result["type"], result["error"]["type"], result["error"]["code"]) == (
        "error",
        "billing_error",
        "insufficient_credits",
    )
    assert result["request_id"] == broke.value.request_id
    assert result["yout"]["required"] > result["yout"]["balance"] == 9
    with pytest.raises(anthropic.NotFoundError) as missing:
        ask(client, sandbox, model="nobody")
    result = missing.value.body
    assert result["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError) as bad:
        ask(client, sandbox, max_tokens=0)
    result = bad.value.body
    assert (result["error"]["type"], result["error"]["param"]) == ("invalid_request_error", "max_tokens")
    sandbox.provider.script(context_too_long(), error_response(401))
    with pytest.raises(anthropic.BadRequestError):
        ask(client, sandbox, stream=True)
    with pytest.raises(anthropic.InternalServerError) as failed:
        ask(client, sandbox)
    assert failed.value.status_code == 502
    assert sandbox.charged == 0


def test_a_broken_stream_raises(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(broken_stream())
    events: list[Any] = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        events.extend(ask(client, sandbox, stream=True))  # collects the events before the error
    result: Any = caught.value.body
    assert (result["error"]["type"], result["error"]["code"]) == ("api_error", "upstream_error")
    assert events[-1].delta.text == "Hel"
    assert sandbox.charged > 0


def test_closing_a_stream(client: Anthropic, sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    with client.messages.stream(model=sandbox.model, max_tokens=100, messages=HI) as helper:
        assert next(iter(helper.text_stream)) == "Hello there, you "
    assert sandbox.provider.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: len(sandbox.usage()) == 1, "the call is settled")
    assert sandbox.usage()[0].status == "cancelled"
    assert (sandbox.charged, sandbox.held) == (sandbox.usage()[0].credits, 0)


def test_tokens_are_counted_without_a_call(client: Anthropic, sandbox: Sandbox) -> None:
    short = client.messages.count_tokens(model=sandbox.model, messages=HI).input_tokens
    long = client.messages.count_tokens(model=sandbox.model, messages=HI, system="Be brief. " * 50, tools=[WEATHER]).input_tokens
    assert 0 < short < 10 < long
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="nobody", messages=HI)
    with pytest.raises(anthropic.AuthenticationError) as caught:
        client.with_options(api_key="yout-wrong").messages.count_tokens(model=sandbox.model, messages=HI)
    result: Any = caught.value.body
    assert result["error"]["type"] == "authentication_error"
    assert (sandbox.charged, sandbox.provider.calls) == (0, [])


def test_both_key_headers_and_both_base_urls_work(sandbox: Sandbox) -> None:
    body = json.dumps({"model": sandbox.model, "max_tokens": 5, "messages": HI}).encode()
    for path in ("/v1/messages", "/v1/messages/", "/v1/v1/messages"):
        key = {"authorization": "", "x-api-key": sandbox.secret, "anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
        reply = sandbox.post(body, key, path=path)
        assert reply.status == 200
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
    count = sandbox.post(body, path="/v1/v1/messages/count_tokens")
    assert (count.status, count.json["input_tokens"] > 0) == (200, True)


def test_the_models_are_listed(client: Anthropic, sandbox: Sandbox) -> None:
    assert sandbox.model in [model.id for model in client.models.list()]


def test_other_methods_get_an_error_in_the_same_shape(sandbox: Sandbox) -> None:
    reply = sandbox.get("/v1/messages")
    assert (reply.status, reply.json["type"], reply.json["error"]["type"]) == (405, "error", "invalid_request_error")
    assert reply.json["request_id"] == reply.headers["request-id"]
    missing = sandbox.get("/v1/messages/batches")
    assert (missing.status, missing.json["error"]["type"]) == (404, "not_found_error")
