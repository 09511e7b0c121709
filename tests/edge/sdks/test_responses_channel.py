"""The unmodified official SDKs on a channel of OpenAI's Responses API, with a fallback to one of chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from shared.models import Account, UsageLedger
from tests import factories
from tests import responses_payloads as responses
from tests.edge.sdks.scripts import text_answer
from tests.edge.sdks.storing import subscribe
from tests.servers.edge import WebProcess
from tests.upstream import Upstream
from tests.upstream_responses import RESET, Gate, error_response, stream

CREDITS = 1_000_000
COUNTED = responses.usage(130, 5, cached=100, reasoning=2)
COST = 30 + 10 + 10  # fresh and cached input, and output
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {"type": "function", "name": "weather", "strict": False, "parameters": {"type": "object", "properties": {}}}
REASONED = responses.reasoning("Clouds, I think.")
pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


class Setup(NamedTuple):
    """One edge with the model `m`: its first channel speaks the Responses API, its second chat completions."""

    edge: WebProcess
    provider: Upstream
    second: Upstream
    owner: Account
    secret: str
    client: OpenAI

    @property
    def charged(self) -> int:
        account: Account = Account.get_by_id(self.owner.id)
        return CREDITS - account.balance

    def usage(self) -> UsageLedger:
        return UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()).get()


@pytest.fixture
def setup(
    bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_upstream: Any, start_edge: Any
) -> Iterator[Setup]:
    owner, second = factories.account(credits=CREDITS), start_upstream()
    subscribe(owner)
    _, secret = factories.api_key(owner)
    first = factories.channel(upstream.url, dialect="responses", settings={"provider": "acme", "efforts": ["low", "high"]})
    factories.model("m", first, factories.channel(second.url), input=1_000, output=2_000, cached_input=100, minimum=10)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    with OpenAI(base_url=f"{edge.url}/v1", api_key=secret, max_retries=0) as client:
        yield Setup(edge, upstream, second, owner, secret, client)


def test_a_response_is_relayed_whole_and_streamed(setup: Setup) -> None:
    whole = responses.response(REASONED, responses.text("Grüße 🙂"), responses.call("weather", city="Bonn"), reported=COUNTED)
    setup.provider.default = responses.script_of(whole)
    fields: dict[str, Any] = {
        "instructions": "Be brief.",
        "tools": [WEATHER],
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"project": "secret"},
        "safety_identifier": "ada@example.com",
    }
    first = setup.client.responses.create(model="m", input="Hi", **fields)
    with setup.client.responses.create(model="m", input="Hi", stream=True, **fields) as events:
        found: list[Any] = list(events)
    for event in found:
        EVENTS.validate_python(event.model_dump(warnings=False))
    assert [event.sequence_number for event in found] == list(range(len(responses.events(whole))))
    for response in (first, found[-1].response):
        Response.model_validate(response.model_dump(warnings="error"), strict=True)
        assert (response.output_text, response.model, response.metadata) == ("Grüße 🙂", "m", {"project": "secret"})
        assert response.output[0].encrypted_content == REASONED["encrypted_content"]
        assert response.usage.input_tokens_details.cached_tokens == 100
        assert response.yout["credits_charged"] == COST
        assert response.safety_identifier == "ada@example.com"
    assert first.id != found[-1].response.id == f"resp_{setup.usage().id.hex}"
    row = setup.usage()
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (130, 100, 5, 2)
    assert setup.charged == 2 * COST
    for call in setup.provider.calls:
        assert call.path == "/v1/responses"
        body = call.json
        assert body.pop("safety_identifier") not in (None, "ada@example.com")
        kept = {name: value for name, value in fields.items() if name not in ("metadata", "safety_identifier")}
        expected = {**kept, "model": "acme-model", "input": "Hi", "store": False}
        assert {name: body[name] for name in expected} == expected
        assert body.keys() - expected.keys() <= {"stream"}


@pytest.mark.parametrize("streams", [False, True])
def test_a_stored_response_is_continued_with_its_reasoning(setup: Setup, streams: bool) -> None:
    first = responses.response(REASONED, responses.call("weather", city="Bonn"), reported=COUNTED)
    setup.provider.script(responses.script_of(first), responses.script_of(responses.response(responses.text("Rain."))))
    made = _create(setup, streams, store=True, tools=[WEATHER])
    output: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "Rain in Bonn."}]
    again = _create(setup, streams, input=output, previous_response_id=made.id, tools=[WEATHER])
    assert (again.output_text, again.previous_response_id) == ("Rain.", made.id)
    stored, continued = setup.provider.calls
    assert (stored.json["store"], stored.json["include"]) == (False, ["reasoning.encrypted_content"])
    assert "previous_response_id" not in continued.json
    assert continued.json["input"] == [{"type": "message", "role": "user", "content": "Hi"}, *first["output"], *output]
    assert setup.client.responses.retrieve(made.id).output_text == made.output_text
    assert made.store  # type: ignore[attr-defined]  # their type leaves it out
    with pytest.raises(openai.BadRequestError) as problem:
        setup.client.responses.create(model="m", input="Hi", previous_response_id=responses.ID)
    assert problem.value.param == "previous_response_id", "an id of the provider is unknown here"


def _create(setup: Setup, streams: bool, **fields: Any) -> Response:
    fields = {"model": "m", "input": "Hi", **fields}
    if not streams:
        whole: Response = setup.client.responses.create(**fields)
        return whole
    with setup.client.responses.create(**fields, stream=True) as events:
        last: Response = list(events)[-1].response
    return last


def test_chats_and_messages_are_translated(setup: Setup) -> None:
    whole = responses.response(REASONED, responses.call("weather", city="Bonn"), reported=COUNTED)
    done = responses.response(responses.text("Rain."), reported=COUNTED)
    setup.provider.script(*[responses.script_of(one) for one in (whole, done, whole, done)])
    tool: Any = {"type": "function", "function": {"name": "weather", "parameters": WEATHER["parameters"]}}
    asked: list[Any] = [{"role": "user", "content": "Weather?"}]
    with setup.client.chat.completions.stream(model="m", messages=asked, tools=[tool]) as events:
        message = events.get_final_completion().choices[0].message
    assert message.reasoning_content == "Clouds, I think."  # type: ignore[attr-defined]  # not in OpenAI's API
    result = {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}
    history: Any = [*asked, message.model_dump(exclude_unset=True), result]
    answer = setup.client.chat.completions.create(model="m", messages=history, tools=[tool])
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Rain.", "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 2  # type: ignore[union-attr]

    with anthropic.Anthropic(base_url=setup.edge.url, api_key=setup.secret, max_retries=0) as client:
        tools: Any = [{"name": "weather", "input_schema": WEATHER["parameters"]}]
        with client.messages.stream(model="m", max_tokens=100, messages=asked, tools=tools) as reading:
            said = reading.get_final_message()
        assert [block.type for block in said.content] == ["thinking", "tool_use"]
        outcome: Any = {"type": "tool_result", "tool_use_id": "call_1", "content": "Rain in Bonn."}
        turns: Any = [*asked, {"role": "assistant", "content": said.content}, {"role": "user", "content": [outcome]}]
        end = client.messages.create(model="m", max_tokens=100, messages=turns, tools=tools)
    assert (end.content[0].text, end.stop_reason) == ("Rain.", "end_turn")  # type: ignore[union-attr]
    for call in (setup.provider.calls[1], setup.provider.calls[3]):
        kinds = [item["type"] for item in call.json["input"]]
        assert kinds == ["message", "reasoning", "function_call", "function_call_output"]
        assert call.json["input"][1] == REASONED
    assert setup.charged == 4 * COST


def test_failures_and_fallbacks(setup: Setup) -> None:
    whole = responses.response(responses.text("Hello there."), reported=COUNTED)
    begun = [responses.event(event) for event in responses.events(whole)[:5]]  # up to the first piece of text
    failure = responses.event({"type": "response.failed", "response": responses.failed()})
    setup.second.default = text_answer("From the second.")

    setup.provider.script(error_response(503))
    assert setup.client.responses.create(model="m", input="Hi").output_text == "From the second."
    setup.provider.script(stream(*begun[:4], failure))
    with setup.client.responses.create(model="m", input="Hi", stream=True) as events:
        assert list(events)[-1].response.output_text == "From the second."
    assert [call.json["messages"] for call in setup.second.calls] == [[{"role": "user", "content": "Hi"}]] * 2
    spent = setup.charged

    foreign = {"error": {"message": "Not verified.", "param": None, "code": "invalid_encrypted_content", "type": "x"}}
    setup.provider.script(error_response(400, foreign))
    items: Any = [REASONED, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hi"}]
    assert setup.client.responses.create(model="m", input=items).output_text == "From the second."
    assert "reasoning_content" not in setup.second.calls[-1].json["messages"][0]
    spent = setup.charged

    refused = error_response(400, {"error": {"message": "No.", "param": "input[0]", "code": "invalid_value", "type": "x"}})
    setup.provider.script(refused)
    with pytest.raises(openai.BadRequestError) as rejected:
        setup.client.responses.create(model="m", input="Hi")
    assert (rejected.value.param, rejected.value.code) == ("input[0]", "invalid_value")
    assert setup.charged == spent, "a rejected call costs nothing"

    for end in (failure, RESET):
        gate = Gate()
        setup.provider.script(stream(*begun, gate, end))
        types: list[str] = []
        with setup.client.responses.create(model="m", input="Hi", stream=True) as events, pytest.raises(openai.APIError):
            types.extend(_types(events, gate))
        assert types[-1] == "response.failed"
        assert setup.usage().cut == "broken_upstream"
    assert setup.charged > spent, "what was delivered is charged"


def _types(events: Any, gate: Gate) -> Iterator[str]:
    """Yield the types of events; open the gate after the first piece of text."""
    for event in events:
        yield event.type
        if event.type == "response.output_text.delta":
            gate.open()
