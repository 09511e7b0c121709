"""Unmodified LangChain on chat completions, Responses and Messages: text, streams, tools, structured output, errors."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, WEATHER_CALL, broken_stream, text_answer, weather_call
from tests.edge.shared_edge import DEFAULT_COST, Sandbox
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, json_response

KINDS = ("chat", "responses", "messages")


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Rain in {city}."


class City(BaseModel):
    """A city."""

    city: str


def model_of(kind: str, sandbox: Sandbox, secret: str | None = None) -> BaseChatModel:
    key: Any = SecretStr(secret or sandbox.secret)
    if kind == "messages":
        return ChatAnthropic(
            model_name=sandbox.model, base_url=sandbox.edge.url, api_key=key, max_retries=0, timeout=60, stop=None
        )
    return ChatOpenAI(
        model=sandbox.model, base_url=sandbox.api, api_key=key, max_retries=0, use_responses_api=kind == "responses", timeout=60
    )


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_streams(sandbox: Sandbox, kind: str) -> None:
    sandbox.provider.script(text_answer("Hello there."), text_answer("Hello there."))
    model = model_of(kind, sandbox)
    whole = model.invoke("Hi")
    assert whole.text == "Hello there."
    assert (whole.usage_metadata or {}).get("total_tokens") == 10
    assert "".join(piece.text for piece in model.stream("Hi")) == "Hello there."
    assert sandbox.charged == 2 * DEFAULT_COST


@pytest.mark.parametrize("kind", KINDS)
def test_a_tool_round_trip(sandbox: Sandbox, kind: str) -> None:
    sandbox.provider.script(weather_call(), weather_call(), text_answer("Rain."))
    model = model_of(kind, sandbox).bind_tools([weather])
    asked: Any = [HumanMessage("Hi")]
    called = model.invoke(asked)
    [call] = called.tool_calls
    assert (call["id"], call["name"], call["args"]) == ("call_1", "weather", {"city": "Bonn"})
    streamed: Any = None
    for piece in model.stream(asked):
        streamed = piece if streamed is None else streamed + piece
    assert streamed.tool_calls[0]["args"] == {"city": "Bonn"}
    result: ToolMessage = weather.invoke(call)
    assert model.invoke([*asked, called, result]).text == "Rain."
    result = sandbox.provider.calls[2].json["messages"]
    assert result[1]["tool_calls"][0]["function"]["name"] == WEATHER_CALL["function"]["name"]
    assert result[2] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}
    assert sandbox.provider.calls[0].json["tools"][0]["function"]["name"] == "weather"


@pytest.mark.parametrize("kind", KINDS)
def test_structured_output(sandbox: Sandbox, kind: str) -> None:
    sandbox.provider.script(text_answer(ARGUMENTS))
    model = model_of(kind, sandbox).with_structured_output(City, method="json_schema")
    assert model.invoke("Hi") == City(city="Bonn")
    assert sandbox.provider.calls[0].json["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize("kind", KINDS)
def test_errors(sandbox: Sandbox, kind: str) -> None:
    library: Any = anthropic if kind == "messages" else openai
    poor = factories.api_key(factories.account(credits=9))[1]
    with pytest.raises(library.AuthenticationError):
        model_of(kind, sandbox, "yout-wrong").invoke("Hi")
    with pytest.raises(library.APIStatusError) as broke:
        model_of(kind, sandbox, poor).invoke("Hi")
    assert broke.value.status_code == 402
    sandbox.provider.script(broken_stream())
    seen: list[Any] = []
    with pytest.raises((library.APIError, ValueError)):  # LangChain raises ValueError for a failed response
        seen.extend(model_of(kind, sandbox).stream("Hi"))  # collects the chunks before the error
    assert "".join(piece.text for piece in seen) == "Hel"


def test_embeddings(sandbox: Sandbox, upstream: Upstream) -> None:
    def embedded(request: Request) -> ScriptedResponse:
        rows = [{"index": index, "embedding": [0.5, index]} for index, _ in enumerate(request.json["input"])]
        return json_response({"object": "list", "data": rows, "usage": {"prompt_tokens": 4, "total_tokens": 4}})

    name = f"lc-{sandbox.model}"
    factories.model(name, factories.channel(upstream.url), kind="embedding", minimum=10)
    eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
    upstream.default = embedded
    key: Any = SecretStr(sandbox.secret)
    client = OpenAIEmbeddings(model=name, base_url=sandbox.api, api_key=key, check_embedding_ctx_length=False)
    assert client.embed_documents(["a", "b"]) == [[0.5, 0.0], [0.5, 1.0]]
