"""Unmodified LiteLLM, LlamaIndex and instructor, in a separate environment."""

from __future__ import annotations

import json
from typing import Any

from tests import factories
from tests.edge.sdks.scripts import ARGUMENTS, text_answer, weather_call
from tests.edge.shared_edge import Sandbox
from tests.servers.process import ROOT
from tests.servers.sdks import PythonSdks

SCRIPTS = ROOT / "tests" / "sdks"
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}


def run(sdks: PythonSdks, script: str, sandbox: Sandbox) -> Any:
    """Run a script to its end and return its output."""
    poor = factories.api_key(factories.account(credits=9))[1]
    env = {"EDGE": sandbox.edge.url, "BASE_URL": sandbox.api, "API_KEY": sandbox.secret, "POOR_KEY": poor, "MODEL": sandbox.model}
    done = sdks.run(SCRIPTS / script, env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_litellm(python_sdks: PythonSdks, sandbox: Sandbox) -> None:
    hello = text_answer("Hello there.")
    sandbox.provider.script(*[hello, hello, weather_call(), text_answer("Rain.")] * 2, hello)
    found = run(python_sdks, "litellm_calls.py", sandbox)
    for provider in ("openai", "anthropic"):
        result = found[provider]
        assert (result["text"], result["total"], result["streamed"], result["answer"]) == (
            "Hello there.",
            10,
            "Hello there.",
            "Rain.",
        )
        id, name, arguments = result["call"]
        assert (id, name, json.loads(arguments)) == ("call_1", "weather", {"city": "Bonn"})
    assert found["responses"] == "Hello there."
    statuses = {name: status for name, (_, status) in found["errors"].items()}
    assert statuses == {"wrongKey": 401, "noCredits": 402, "noModel": 404, "noCreditsMessages": 402}
    assert [sandbox.provider.calls[index].json["messages"][-1] for index in (3, 7)] == [RESULT, RESULT]
    assert sandbox.held == 0


def test_llama_index(python_sdks: PythonSdks, sandbox: Sandbox) -> None:
    hello = text_answer("Hello there.")
    sandbox.provider.script(hello, hello, hello, hello, weather_call(), text_answer("Rain."))
    found = run(python_sdks, "llama_index_calls.py", sandbox)
    assert found["chat"] == found["streamed"] == found["older"] == found["olderStreamed"] == "Hello there."
    assert found["call"] == ["call_1", "weather", {"city": "Bonn"}]
    assert (found["answer"], found["errors"]) == ("Rain.", [401, 402])
    assert sandbox.provider.calls[5].json["messages"][-1] == RESULT
    assert sandbox.held == 0


def test_instructor(python_sdks: PythonSdks, sandbox: Sandbox) -> None:
    sandbox.provider.script(weather_call("City"), text_answer(ARGUMENTS), text_answer(ARGUMENTS))
    found = run(python_sdks, "instructor_calls.py", sandbox)
    assert found == {mode: {"city": "Bonn"} for mode in ("TOOLS", "JSON", "JSON_SCHEMA")}
    formats = [call.json.get("response_format", {}).get("type") for call in sandbox.provider.calls]
    assert formats == [None, "json_object", "json_schema"]
