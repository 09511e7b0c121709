"""Unmodified Node libraries: Anthropic's SDK, the Vercel AI SDK with four providers, LangChain."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, broken_stream, text_answer, weather_call
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox
from tests.servers.node import NodeSdk
from tests.servers.process import ROOT, eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, json_response

SCRIPTS = ROOT / "tests" / "node"


def run(sdk: NodeSdk, script: str, sandbox: Sandbox, **env: str) -> Any:
    """Run a script to its end and return its output."""
    poor = factories.api_key(factories.account(credits=9))[1]
    given = {
        "EDGE": sandbox.edge.url,
        "BASE_URL": sandbox.api,
        "API_KEY": sandbox.secret,
        "POOR_KEY": poor,
        "MODEL": sandbox.model,
        **env,
    }
    done = sdk.run((SCRIPTS / script).read_text(), given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_anthropic(node_sdk: NodeSdk, sandbox: Sandbox) -> None:
    hello = text_answer("Hello there.")
    sandbox.provider.script(hello, hello, weather_call(), text_answer("Rain."), weather_call(), broken_stream())
    found = run(node_sdk, "anthropic.mjs", sandbox)
    assert found["whole"]["content"] == [{"type": "text", "text": "Hello there."}]
    assert found["whole"]["yout"] == {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}
    assert found["text"] == found["final"]["content"][0]["text"] == "Hello there."
    assert found["final"]["usage"]["output_tokens"] == 3
    for use in (found["use"], found["streamedUse"]):
        assert (use["type"], use["id"], use["name"], use["input"]) == ("tool_use", "call_1", "weather", {"city": "Bonn"})
    assert found["answer"]["content"][0]["text"] == "Rain."
    assert found["count"]["input_tokens"] > 0
    assert (found["wrongKey"]["status"], found["wrongKey"]["type"]) == (401, "authentication_error")
    assert (found["noCredits"]["status"], found["noCredits"]["type"]) == (402, "billing_error")
    assert (found["noModel"]["status"], found["noModel"]["type"]) == (404, "not_found_error")
    assert found["breaksOff"]["type"] == "api_error"
    result = sandbox.provider.calls[3].json["messages"]
    assert result[-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}
    assert sandbox.held == 0


@pytest.mark.parametrize("provider", ["responses", "chat", "messages", "compatible"])
def test_the_vercel_ai_sdk(node_sdk: NodeSdk, sandbox: Sandbox, provider: str) -> None:
    hello, rain = text_answer("Hello there."), text_answer("Rain.")
    sandbox.provider.script(hello, hello, weather_call(), rain, weather_call(), rain, text_answer(ARGUMENTS), broken_stream())
    found = run(node_sdk, "vercel.mjs", sandbox, PROVIDER=provider)
    assert (found["whole"]["text"], found["whole"]["finish"]) == ("Hello there.", "stop")
    assert (found["whole"]["usage"]["inputTokens"], found["whole"]["usage"]["outputTokens"]) == (7, 3)
    assert (found["streamed"], found["streamedFinish"]) == ("Hello there.", "stop")
    assert found["steps"] == {"text": "Rain.", "count": 2}
    assert found["streamedSteps"] == "Rain."
    assert found["object"] == {"city": "Bonn"}
    assert (found["wrongKey"]["status"], found["noCredits"]["status"]) == (401, 402)
    assert found["noCredits"]["retryable"] is False
    assert "error" in found["parts"]
    for call in (sandbox.provider.calls[3], sandbox.provider.calls[5]):
        assert call.json["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}
    assert sandbox.held == 0


@pytest.mark.parametrize("responses", ["yes", "no"])
def test_langchain(node_sdk: NodeSdk, sandbox: Sandbox, upstream: Upstream, responses: str) -> None:
    def embedded(request: Request) -> ScriptedResponse:
        rows = [{"index": index, "embedding": [0.5, index]} for index, _ in enumerate(request.json["input"])]
        return json_response({"object": "list", "data": rows, "usage": {"prompt_tokens": 4, "total_tokens": 4}})

    vectors = f"js-{sandbox.model}"
    factories.model(vectors, factories.channel(upstream.url), kind="embedding", minimum=10)
    upstream.default = embedded
    eventually(lambda: sandbox.get(f"/v1/models/{vectors}").status == 200, "the edge knows the model")
    sandbox.provider.script(
        text_answer("Hello there."), text_answer("Hello there."), weather_call(), text_answer("Rain."), text_answer(ARGUMENTS)
    )
    found = run(node_sdk, "langchain.mjs", sandbox, RESPONSES=responses, VECTORS=vectors)
    assert found["whole"]["text"] == found["streamed"] == "Hello there."
    assert found["whole"]["usage"]["total_tokens"] == 10
    [call] = found["calls"]
    assert (call["id"], call["name"], call["args"]) == ("call_1", "weather", {"city": "Bonn"})
    assert (found["answer"], found["object"]) == ("Rain.", {"city": "Bonn"})
    assert found["vectors"] == [[0.5, 0], [0.5, 1]]
    assert (found["wrongKey"], found["noCredits"]) == (401, 402)
    assert sandbox.held == 0
