"""The Responses API of the unmodified official Python SDK, against a real edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, SCHEMA, WEATHER_CALL, broken_stream, streamed_or_whole, text_answer, weather_call
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox
from tests.openai_payloads import chunk, completion, finish, tokens
from tests.upstream_responses import context_too_long, error_response

YOUT = {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}
WEATHER: Any = {"type": "function", "name": "weather", "description": "d", "strict": True, "parameters": SCHEMA}
EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


def checked(response: Response) -> Response:
    """Validates every field of `response` against the SDK's own types."""
    Response.model_validate(response.model_dump(warnings="error"), strict=True)
    return response


def events_of(client: OpenAI, sandbox: Sandbox, **fields: Any) -> list[Any]:
    """All events of a stream, validated against the SDK's types; asserts sequence numbers without gaps."""
    with client.responses.create(model=sandbox.model, input="Hi", stream=True, **fields) as stream:
        events: list[Any] = list(stream)
    for event in events:
        EVENTS.validate_python(event.model_dump(warnings=False))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events


def test_a_response_is_complete_and_charged(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    response = checked(client.responses.create(model=sandbox.model, input="Hi", instructions="Be brief.", metadata={"a": "b"}))
    assert (response.output_text, response.status, response.model) == ("Hello there.", "completed", sandbox.model)
    assert response.id == f"resp_{sandbox.usage()[0].id.hex}"
    assert (response.instructions, response.metadata) == ("Be brief.", {"a": "b"})
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (7, 3, 10)
    assert response.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    assert response._request_id == f"req_{sandbox.usage()[0].id.hex}"
    assert sandbox.provider.calls[0].json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert sandbox.charged == DEFAULT_COST


def test_the_events_of_a_text(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    events = events_of(client, sandbox)
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    final = checked(events[-1].response)
    assert final.output_text == events[6].text == "Hello there."
    assert final.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    assert {event.response.id for event in events if hasattr(event, "response")} == {final.id}
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {final.output[0].id}


def test_reasoning_is_a_separate_item(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Rain.", reasoning="Clouds."), text_answer("Rain.", reasoning="Clouds."))
    events = events_of(client, sandbox, reasoning={"effort": "low", "summary": "auto"})
    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    whole = checked(client.responses.create(model=sandbox.model, input="Hi"))
    for response in (events[-1].response, whole):
        thought, said = response.output
        assert thought.summary[0].text == "Clouds."
        assert said.content[0].text == "Rain."
    assert sandbox.provider.calls[0].json["reasoning_effort"] == "low"


def test_a_tool_round_trip(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call(), text_answer("Rain."))
    response = checked(client.responses.create(model=sandbox.model, input="Hi", tools=[WEATHER]))
    [call] = response.output
    assert call.type == "function_call"
    assert (call.call_id, call.name, call.arguments, call.status) == ("call_1", "weather", ARGUMENTS, "completed")
    asked: Any = [{"role": "user", "content": "Hi"}, *response.output]
    asked.append({"type": "function_call_output", "call_id": call.call_id, "output": "Rain in Bonn."})
    answer = client.responses.create(model=sandbox.model, input=asked, tools=[WEATHER])
    assert answer.output_text == "Rain."
    first, second = sandbox.provider.calls
    assert first.json["tools"][0]["function"]["parameters"] == SCHEMA
    assert second.json["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."},
    ]
    assert sandbox.charged == 2 * DEFAULT_COST


def test_the_events_of_a_tool_call(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call())
    events = events_of(client, sandbox, tools=[WEATHER])
    kinds = [event.type.removeprefix("response.") for event in events[2:-1]]
    deltas = ["function_call_arguments.delta"] * 2
    assert kinds == ["output_item.added", *deltas, "function_call_arguments.done", "output_item.done"]
    assert "".join(event.delta for event in events if event.type.endswith(".delta")) == ARGUMENTS
    assert events[-2].item == events[-1].response.output[0]


def test_the_stream_helper_assembles_and_parses(client: OpenAI, sandbox: Sandbox) -> None:
    class City(BaseModel):
        city: str

    sandbox.provider.script(text_answer(ARGUMENTS), text_answer(ARGUMENTS))
    with client.responses.stream(model=sandbox.model, input="Hi", text_format=City) as stream:
        final = stream.get_final_response()
    whole = client.responses.parse(model=sandbox.model, input="Hi", text_format=City)
    assert final.output_parsed == whole.output_parsed == City(city="Bonn")
    asked = sandbox.provider.calls[0].json["response_format"]
    assert (asked["type"], asked["json_schema"]["strict"]) == ("json_schema", True)


@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_a_truncated_response_is_incomplete(client: OpenAI, sandbox: Sandbox, reason: str, why: str) -> None:
    cut = streamed_or_whole(completion("Hel", usage=tokens(), finish=reason), chunk("Hel"), finish(reason))
    sandbox.provider.script(cut, cut)
    whole = checked(client.responses.create(model=sandbox.model, input="Hi", max_output_tokens=16))
    last = events_of(client, sandbox)[-1]
    assert last.type == "response.incomplete"
    for response in (whole, last.response):
        assert (response.status, response.incomplete_details.reason) == ("incomplete", why)
        assert response.output[0].status == "incomplete"
    assert sandbox.provider.calls[0].json["max_completion_tokens"] == 16


def test_log_probabilities(client: OpenAI, sandbox: Sandbox) -> None:
    result = [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}]
    body = completion("Hi", usage=tokens())
    body["choices"][0]["logprobs"] = {"content": result}
    said = chunk("Hi")
    said["choices"][0]["logprobs"] = {"content": result}
    sandbox.provider.script(streamed_or_whole(body, said, finish()), streamed_or_whole(body, said, finish()))
    whole = checked(client.responses.create(model=sandbox.model, input="Hi", include=["message.output_text.logprobs"]))
    events = events_of(client, sandbox, include=["message.output_text.logprobs"])
    for response in (whole, events[-1].response):
        assert response.output[0].content[0].logprobs[0].logprob == -0.5
    assert sandbox.provider.calls[0].json["logprobs"] is True


def test_a_broken_stream_raises(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(broken_stream())
    events: list[Any] = []
    with (
        client.responses.create(model=sandbox.model, input="Hi", stream=True) as stream,
        pytest.raises(openai.APIError) as caught,
    ):
        events.extend(stream)  # collects the events before the error
    assert (caught.value.code, caught.value.type) == ("upstream_error", "upstream_error")
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "upstream_error"
    assert events[-1].response.output[0].content[0].text == "Hel"
    assert sandbox.usage()[0].status == "failed"
    assert sandbox.charged > 0


def test_errors_have_their_classes(client: OpenAI, sandbox: Sandbox) -> None:
    poor = factories.api_key(factories.account(credits=9))[1]

    def ask(key: str = sandbox.secret, **fields: Any) -> Any:
        with OpenAI(base_url=sandbox.api, api_key=key, max_retries=0) as made:
            return made.responses.create(**{"model": sandbox.model, "input": "Hi", **fields})

    with pytest.raises(openai.AuthenticationError) as unknown:
        ask("yout-wrong")
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.APIStatusError) as broke:
        ask(poor)
    assert (broke.value.status_code, broke.value.code) == (402, "insufficient_credits")
    with pytest.raises(openai.NotFoundError) as missing:
        ask(model="nobody")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as stored:
        ask(store=True)
    assert stored.value.param == "store"
    sandbox.provider.script(context_too_long(), error_response(401))
    with pytest.raises(openai.BadRequestError) as long:
        ask(stream=True)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.InternalServerError) as failed:
        ask()
    assert failed.value.status_code == 502
    assert sandbox.charged == 0


def test_an_unstored_response_is_not_found(client: OpenAI) -> None:
    for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError) as caught:
            ask("resp_1")
        assert caught.value.code == "not_found"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="yout-wrong").responses.retrieve("resp_1")
