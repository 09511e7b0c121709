"""Unmodified pydantic-ai and OpenAI Agents on each API that they support: text, streams, tools, typed output, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import agents
import openai
import pytest
from agents import OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticResponsesModel
from pydantic_ai.output import NativeOutput
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, text_answer, weather_call
from tests.edge.shared_edge import DEFAULT_COST, Sandbox

KINDS = ("chat", "responses", "messages")


class City(BaseModel):
    city: str


Clients = Callable[..., Any]


@pytest.fixture
async def clients(sandbox: Sandbox) -> AsyncIterator[Clients]:
    """`clients(AsyncOpenAI, secret)`: a client of the sandbox's edge, closed after the test."""
    made: list[Any] = []

    def make(kind: type[Any], secret: str = "") -> Any:
        url = sandbox.edge.url if kind is AsyncAnthropic else sandbox.api
        made.append(kind(base_url=url, api_key=secret or sandbox.secret, max_retries=0))
        return made[-1]

    yield make
    for client in made:
        await client.close()


def weather(city: str) -> str:
    """The weather of a city."""
    return f"Rain in {city}."


def pydantic_model(kind: str, sandbox: Sandbox, clients: Clients, secret: str = "") -> Model:
    if kind == "messages":
        return AnthropicModel(sandbox.model, provider=AnthropicProvider(anthropic_client=clients(AsyncAnthropic, secret)))
    provider = OpenAIProvider(openai_client=clients(AsyncOpenAI, secret))
    return (PydanticResponsesModel if kind == "responses" else OpenAIChatModel)(sandbox.model, provider=provider)


@pytest.mark.parametrize("kind", KINDS)
async def test_pydantic_ai_talks_and_streams(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(text_answer("Hello there."), text_answer("Hello there."))
    agent = Agent(pydantic_model(kind, sandbox, clients), instructions="Be brief.")
    answer = await agent.run("Hi")
    assert answer.output == "Hello there."
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 3)
    async with agent.run_stream("Hi") as stream:
        assert await stream.get_output() == "Hello there."
    assert sandbox.charged == 2 * DEFAULT_COST
    assert sandbox.provider.calls[0].json["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("kind", KINDS)
async def test_pydantic_ai_uses_tools(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(weather_call(), text_answer("Rain."))
    agent = Agent(pydantic_model(kind, sandbox, clients), tools=[weather])
    assert (await agent.run("Hi")).output == "Rain."
    result = sandbox.provider.calls[1].json["messages"]
    assert result[-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}


@pytest.mark.parametrize("kind", KINDS)
async def test_pydantic_ai_types_its_output_by_a_tool(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(weather_call("final_result"))
    assert (await Agent(pydantic_model(kind, sandbox, clients), output_type=City).run("Hi")).output == City(city="Bonn")
    assert sandbox.provider.calls[0].json["tools"][0]["function"]["name"] == "final_result"


@pytest.mark.parametrize("kind", ["chat", "responses"])  # the library requests a schema only from Anthropic's own models
async def test_pydantic_ai_types_its_output(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(text_answer(ARGUMENTS))
    agent = Agent(pydantic_model(kind, sandbox, clients), output_type=NativeOutput(City))
    assert (await agent.run("Hi")).output == City(city="Bonn")
    assert sandbox.provider.calls[0].json["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("kind", KINDS)
async def test_pydantic_ai_errors(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    poor = factories.api_key(factories.account(credits=9))[1]
    for secret, status in (("yout-wrong", 401), (poor, 402)):
        with pytest.raises(ModelHTTPError) as caught:
            await Agent(pydantic_model(kind, sandbox, clients, secret)).run("Hi")
        assert caught.value.status_code == status


AGENT_MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


def agent_of(kind: str, sandbox: Sandbox, clients: Clients, secret: str = "", **fields: Any) -> agents.Agent[Any]:
    agents.set_tracing_disabled(True)
    model = AGENT_MODELS[kind](sandbox.model, clients(AsyncOpenAI, secret))
    return agents.Agent(name="a", instructions="Be brief.", model=model, **fields)


@pytest.mark.parametrize("kind", AGENT_MODELS)
async def test_openai_agents_talk_and_stream(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(text_answer("Hello there."), text_answer("Hello there."))
    agent = agent_of(kind, sandbox, clients)
    assert (await Runner.run(agent, "Hi")).final_output == "Hello there."
    streamed = Runner.run_streamed(agent, "Hi")
    async for _ in streamed.stream_events():
        pass
    assert streamed.final_output == "Hello there."
    assert sandbox.charged == 2 * DEFAULT_COST


@pytest.mark.parametrize("kind", AGENT_MODELS)
async def test_openai_agents_use_tools_and_types(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    sandbox.provider.script(weather_call(), text_answer(ARGUMENTS))
    agent = agent_of(kind, sandbox, clients, tools=[agents.function_tool(weather)], output_type=City)
    assert (await Runner.run(agent, "Hi")).final_output == City(city="Bonn")
    first, second = (call.json for call in sandbox.provider.calls)
    assert first["response_format"]["type"] == "json_schema"
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}


@pytest.mark.parametrize("kind", AGENT_MODELS)
async def test_openai_agents_errors(sandbox: Sandbox, clients: Clients, kind: str) -> None:
    poor = factories.api_key(factories.account(credits=9))[1]
    with pytest.raises(openai.AuthenticationError):
        await Runner.run(agent_of(kind, sandbox, clients, "yout-wrong"), "Hi")
    with pytest.raises(openai.APIStatusError) as caught:
        await Runner.run(agent_of(kind, sandbox, clients, poor), "Hi")
    assert caught.value.status_code == 402
