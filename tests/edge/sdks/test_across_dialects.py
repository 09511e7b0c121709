"""SDK tool round trips on providers that require their reasoning or signatures back: every endpoint returns them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from shared.catalog.templates import TEMPLATES
from tests import anthropic_payloads as claude
from tests import factories
from tests import gemini_payloads as gemini
from tests.edge.sdks.scripts import WEATHER_CALL, text_answer, weather_call
from tests.edge.shared_edge import Sandbox
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.upstream import Upstream

SCHEMA: Json = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL: Any = {"name": "weather", "description": "d", "input_schema": SCHEMA}
FUNCTION: Any = {"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": False}
HI: Any = [{"role": "user", "content": "Hi"}]
THOUGHT = claude.thinking("Hm.")
CALL = claude.tool_use("toolu_1", "weather", city="Bonn")
SIGNED = gemini.call("weather", signature="c2lnbmVk", city="Bonn")
SCRIPTS: dict[str, Any] = {
    "anthropic": (
        claude.script_of(claude.message(THOUGHT, CALL, stop="tool_use")),
        claude.script_of(claude.message(claude.text("Rain."))),
    ),
    "gemini": (gemini.script_of(gemini.answer(SIGNED)), gemini.script_of(gemini.answer(gemini.text("Rain.")))),
    "deepseek": (weather_call(reasoning="Hm."), text_answer("Rain.")),
}
CHANNELS: dict[str, Json] = {"deepseek": {"dialect": "openai", "settings": {**TEMPLATES["deepseek"].settings}}}


@pytest.fixture(params=sorted(SCRIPTS))
def dialect(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def model(sandbox: Sandbox, upstream: Upstream, dialect: str) -> str:
    """A model behind a channel of the dialect, which calls a tool and then says that it rains."""
    name = f"{dialect}-{sandbox.model}"
    factories.model(name, factories.channel(upstream.url, **CHANNELS.get(dialect, {"dialect": dialect})), max_output_tokens=8_000)
    eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
    upstream.script(*SCRIPTS[dialect])
    return name


@pytest.fixture
def anthropic(sandbox: Sandbox) -> Iterator[Anthropic]:
    with Anthropic(base_url=sandbox.edge.url, api_key=sandbox.secret, max_retries=0) as made:
        yield made


@pytest.fixture
def openai(sandbox: Sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


def check(upstream: Upstream, dialect: str) -> None:
    """Asserts that the second call has the model's own reasoning or signature at its tool call, and the tool's result."""
    turns = upstream.calls[1].json["contents" if dialect == "gemini" else "messages"]
    if dialect == "deepseek":
        assert turns[1] == {"role": "assistant", "content": None, "reasoning_content": "Hm.", "tool_calls": [WEATHER_CALL]}
        assert turns[2]["tool_call_id"] == "call_1"
    elif dialect == "anthropic":
        assert turns[1] == {"role": "assistant", "content": [THOUGHT, CALL]}
        assert turns[2]["content"][0]["tool_use_id"] == "toolu_1"
    else:
        assert turns[1]["parts"] == [SIGNED]
        assert turns[2]["parts"][0]["functionResponse"]["name"] == "weather"
    assert "Rain in Bonn." in json.dumps(turns[2])


@pytest.mark.parametrize("streaming", [False, True])
def test_messages(anthropic: Anthropic, upstream: Upstream, model: str, dialect: str, streaming: bool) -> None:
    ask: Any = {"model": model, "max_tokens": 4_000, "tools": [TOOL], "thinking": {"type": "enabled", "budget_tokens": 1_024}}

    def answer(turns: Any) -> Any:
        if not streaming:
            return anthropic.messages.create(**ask, messages=turns)
        with anthropic.messages.stream(**ask, messages=turns) as helper:
            return helper.get_final_message()

    called = answer(HI)
    use = called.content[-1]
    assert (use.name, use.input, called.stop_reason) == ("weather", {"city": "Bonn"}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Rain in Bonn."}
    turns = [*HI, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}]
    assert answer(turns).content[0].text == "Rain."
    check(upstream, dialect)
    assert (upstream.calls[0].json.get("thinking") is not None) == (dialect == "anthropic")


@pytest.mark.parametrize("streaming", [False, True])
def test_responses(openai: OpenAI, upstream: Upstream, model: str, dialect: str, streaming: bool) -> None:
    ask: Any = {"model": model, "tools": [FUNCTION], "include": ["reasoning.encrypted_content"], "store": False}

    def answer(items: Any) -> Any:
        if not streaming:
            return openai.responses.create(**ask, input=items)
        with openai.responses.stream(**ask, input=items) as helper:
            return helper.get_final_response()

    called = answer(HI)
    call = called.output[-1]
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "weather", {"city": "Bonn"})
    items = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in called.output]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain in Bonn."}
    assert answer([*HI, *items, result]).output_text == "Rain."
    check(upstream, dialect)
