"""Requests with the fields that Claude Code sends work on models behind all three dialects without upsetting a provider.

Claude Code itself is not part of this project. The fields were recorded from one of its calls; the texts are our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from anthropic import Anthropic

from shared.billing.rates import Rate
from tests import anthropic_payloads as claude
from tests import factories
from tests import gemini_payloads as gemini
from tests.edge.sdks.scripts import text_answer, weather_call
from tests.edge.shared_edge import Sandbox
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.shared.dialects.test_anthropic import valid as valid_claude
from tests.shared.dialects.test_gemini import valid as valid_gemini
from tests.upstream import Upstream

BETAS = [
    *("claude-code-20250219", "interleaved-thinking-2025-05-14", "thinking-token-count-2026-05-13"),
    *("context-management-2025-06-27", "prompt-caching-scope-2026-01-05", "mid-conversation-system-2026-04-07"),
    "effort-2025-11-24",
]
CLAUDE: Json = {"max_output_tokens": 64_000, "cache_write": 125, "rates": (Rate("cache_write_1h", 0, 200),)}
MARK: Json = {"cache_control": {"type": "ephemeral"}}
SYSTEM: Any = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cc_entrypoint=sdk-cli;"},
    {"type": "text", "text": "You write programs.", **MARK},
    {"type": "text", "text": "You are brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
]
TOOL: Any = {
    "name": "weather",
    "description": "d",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "exclusiveMinimum": 0}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
USER = json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "3f1c"})
ASK: Json = {
    "max_tokens": 32_000,
    "system": SYSTEM,
    "tools": [TOOL],
    "metadata": {"user_id": USER},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "betas": BETAS,
}
CALL = claude.tool_use("toolu_1", "weather", city="Bonn")
SCRIPTS: dict[str, Any] = {
    "anthropic": (
        claude.script_of(claude.message(claude.thinking("Hm."), CALL, stop="tool_use")),
        claude.script_of(claude.message(claude.text("Rain."))),
    ),
    "gemini": (
        gemini.script_of(gemini.answer(gemini.call("weather", signature="c2lnbmVk", city="Bonn"))),
        gemini.script_of(gemini.answer(gemini.text("Rain."))),
    ),
    "openai": (weather_call(), text_answer("Rain.")),
}
SETTINGS: dict[str, Json] = {"anthropic": {"system_in_place": True}, "gemini": {}, "openai": {}}


@pytest.fixture(params=sorted(SCRIPTS))
def dialect(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def model(sandbox: Sandbox, upstream: Upstream, dialect: str) -> str:
    """A model behind a channel of the dialect."""
    name = f"code-{dialect}-{sandbox.model}"
    factories.model(name, factories.channel(upstream.url, dialect=dialect, settings=SETTINGS[dialect]), **CLAUDE)
    eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
    return name


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Anthropic]:
    with Anthropic(base_url=sandbox.edge.url, auth_token=sandbox.secret, max_retries=0) as made:
        yield made


def first_turns() -> list[Json]:
    words = [
        {"type": "text", "text": "<system-reminder>The date.</system-reminder>"},
        {"type": "text", "text": "Weather?", **MARK},
    ]
    return [{"role": "user", "content": words}, {"role": "system", "content": "Some agents are there."}]


def stream(client: Anthropic, **fields: Any) -> Any:
    with client.beta.messages.stream(**fields) as helper:
        return helper.get_final_message()


def test_a_tool_round_trip(client: Anthropic, upstream: Upstream, model: str, dialect: str) -> None:
    upstream.script(*SCRIPTS[dialect])
    called = stream(client, model=model, messages=first_turns(), **ASK)
    use = called.content[-1]
    assert (use.name, use.input, called.stop_reason) == ("weather", {"city": "Bonn"}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "Rain in Bonn.", "is_error": False, **MARK}
    answered = [
        block.model_dump(include={"type", "text", "thinking", "signature", "id", "name", "input"}) for block in called.content
    ]
    turns = [*first_turns(), {"role": "assistant", "content": answered}, {"role": "user", "content": [result]}]
    assert stream(client, model=model, messages=turns, **ASK).content[0].text == "Rain."
    first, second = upstream.calls
    CHECKS[dialect](first.json, second.json)
    for call in (first, second):
        assert "anthropic-beta" not in call.headers, "a channel can opt in by its settings"
        assert USER not in call.body.decode()


def check_anthropic(first: Json, second: Json) -> None:
    for body in (first, second):
        valid_claude(body)
        assert (body["thinking"], body["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
        assert "context_management" not in body
        assert body["system"] == SYSTEM
        assert body["tools"] == [TOOL]
    assert first["messages"][0]["content"][1] == {"type": "text", "text": "Weather?", **MARK}
    roles = [turn["role"] for turn in second["messages"]]
    assert roles == ["user", "system", "assistant", "user"]
    assert second["messages"][2]["content"] == [claude.thinking("Hm."), CALL]
    assert second["messages"][3]["content"][0]["cache_control"] == MARK["cache_control"]


def check_openai(first: Json, second: Json) -> None:
    for body in (first, second):
        assert set(body) == {
            *("model", "stream", "stream_options", "messages", "max_tokens", "tools", "user", "reasoning_effort"),
        }
        assert body["reasoning_effort"] == "high"
        assert "cache_control" not in json.dumps(body)
    assert [message["role"] for message in first["messages"]] == ["system", "user", "system"]
    assert [message["role"] for message in second["messages"]] == ["system", "user", "system", "assistant", "tool"]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "Rain in Bonn."}


def check_gemini(first: Json, second: Json) -> None:
    for body in (first, second):
        valid_gemini(body)
        assert body["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "HIGH"
    assert [turn["role"] for turn in second["contents"]] == ["user", "model", "user"]
    assert second["contents"][1]["parts"][0]["thoughtSignature"] == "c2lnbmVk"


CHECKS: Any = {"anthropic": check_anthropic, "openai": check_openai, "gemini": check_gemini}


def test_a_title_in_json_without_thinking(client: Anthropic, upstream: Upstream, model: str, dialect: str) -> None:
    title = '{"title":"Weather"}'
    script = {
        "anthropic": claude.script_of(claude.message(claude.text(title))),
        "gemini": gemini.script_of(gemini.answer(gemini.text(title))),
        "openai": text_answer(title),
    }
    upstream.script(script[dialect])
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"], "additionalProperties": False}
    config = {"effort": "high", "format": {"type": "json_schema", "schema": schema}}
    asked = {**ASK, "thinking": {"type": "disabled"}, "output_config": config, "tools": []}
    said = stream(client, model=model, messages=first_turns()[:1], **asked)
    assert said.content[0].text == title
    [call] = upstream.calls
    if dialect == "anthropic":
        assert valid_claude(call.json)["output_config"] == config
        assert call.json["thinking"] == {"type": "disabled"}


def test_a_failed_tool_result_with_an_image(client: Anthropic, upstream: Upstream, model: str, dialect: str) -> None:
    upstream.script(SCRIPTS[dialect][1])
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bonn"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image], "is_error": True}
    turns = [*first_turns(), {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    assert stream(client, model=model, messages=turns, **ASK).content[0].text == "Rain."
    assert "iVBORw0KGgo=" in upstream.calls[0].body.decode()


def test_the_probe_call_and_token_counting(client: Anthropic, sandbox: Sandbox, model: str) -> None:
    assert sandbox.request("HEAD", "/").status == 200
    counted = client.beta.messages.count_tokens(
        model=model, messages=[{"role": "user", "content": "foo"}], tools=[TOOL], betas=BETAS
    )
    assert counted.input_tokens > 10
    assert sandbox.charged == 0
