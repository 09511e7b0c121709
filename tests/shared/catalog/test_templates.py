"""Channel templates are complete: each creates a channel with settings that its dialect understands."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from shared.catalog.list_prices import find_list_price
from shared.catalog.snapshot import Route
from shared.catalog.templates import TEMPLATES, ChannelTemplate
from shared.dialects import DIALECTS
from shared.dialects.base import ProviderRequest, Target
from shared.models import DIALECTS as KNOWN_DIALECTS
from shared.operations.channels import check_base_url
from tests.shared.dialects.calls import call_of

PROVIDERS = {
    *("openai", "anthropic", "google", "openrouter", "groq", "mistral", "deepseek", "xai", "together", "fireworks"),
    *("openai-responses", "azure-openai", "vllm", "ollama", "llama.cpp"),
}
DOCUMENT = Path(__file__).parents[3] / "docs" / "dialects.md"
UNDERSTOOD = {
    *("provider", "public_name", "data_collection", "body", "headers", "thinking", "structured_output", "version"),
    *("max_tokens", "stream_usage", "path", "query", "key_header", "identity", "efforts", "system_in_place", "history"),
    *("sampling", "effort_with_tools", "no_thinking", "strict_schemas", "roles", "named_roles", "tool_ids", "required_history"),
    *(
        "thinking_off",
        "forced_tools",
        "prefill",
        "image_format",
        "media_body",
        "cancel",
        "image_tokens",
        "allowed_parameters",
        "reasoning_tokens_limit",
        "reasoning_summary",
        "custom_tools",
        "tool_search",
    ),
}
each = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)


def test_every_provider_has_a_template() -> None:
    assert set(TEMPLATES) == PROVIDERS


def base_url_of(template: ChannelTemplate) -> str:
    return template.base_url.format(resource="ours", host="10.0.0.1")


def request_of(template: ChannelTemplate, upstream: str = "acme-model", **fields: object) -> ProviderRequest:
    id = UUID(int=1)
    route = Route(id, id, "c", template.dialect, base_url_of(template), "", template.channel_settings, upstream, 0, 1)
    return DIALECTS[template.dialect].build_request(call_of(**fields), Target(route, "sk-1", "https://yout.chat", str, None, 100))


@each
def test_a_template_makes_a_request(template: ChannelTemplate) -> None:
    assert template.dialect in KNOWN_DIALECTS
    assert check_base_url(base_url_of(template))
    assert set(template.channel_settings) <= UNDERSTOOD
    json.dumps(template.channel_settings)
    request = request_of(template, max_tokens=50, stream=True)
    assert request.url.startswith(base_url_of(template))
    assert [value for value in dict(request.headers).values() if "sk-1" in value]
    assert "sk-1" not in request.url


def test_the_documentation_lists_every_setting() -> None:
    table = DOCUMENT.read_text().split("## Settings of a channel")[1].split("\n## ")[0]
    listed = {
        name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }
    assert listed == UNDERSTOOD


def test_azure() -> None:
    request = request_of(TEMPLATES["azure-openai"], max_tokens=50)
    assert request.url == ("https://ours.openai.azure.com/openai/deployments/acme-model/chat/completions?api-version=2024-10-21")
    headers = dict(request.headers)
    assert headers["api-key"] == "sk-1"
    assert "authorization" not in headers
    assert json.loads(request.body)["max_completion_tokens"] == 50


def test_openrouter_requests_forbid_data_collection() -> None:
    assert json.loads(request_of(TEMPLATES["openrouter"]).body)["provider"] == {"data_collection": "deny", "zdr": True}


def test_groq_gets_supported_efforts() -> None:
    template = TEMPLATES["groq"]
    assert set(template.settings["efforts"]) == {model.upstream or model.id for model in template.models}
    for upstream, expected in (("llama-3.1-8b-instant", None), ("openai/gpt-oss-20b", "high"), ("qwen/qwen3-32b", "default")):
        request = request_of(template, upstream, reasoning_effort="max")
        assert json.loads(request.body).get("reasoning_effort") == expected


@pytest.mark.parametrize("provider", ["openai", "azure-openai", "groq", "mistral", "fireworks"])
def test_strict_providers_get_no_fields_of_other_providers(provider: str) -> None:
    signed = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]
    answer = {
        "role": "assistant",
        "content": "Hi",
        "thinking_blocks": signed,
        "reasoning_details": [{}],
        "cache_control": {"type": "ephemeral"},
    }
    request = request_of(TEMPLATES[provider], messages=[answer, {"role": "user", "content": "Go on"}])
    assert json.loads(request.body)["messages"][0] == {"role": "assistant", "content": "Hi"}


def test_providers_get_their_own_reasoning_back() -> None:
    answer = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "reasoning": "hm"}
    for provider, own in (
        ("deepseek", {"reasoning_content"}),
        ("groq", {"reasoning"}),
        ("openrouter", {"reasoning", "reasoning_content"}),
    ):
        request = request_of(TEMPLATES[provider], messages=[answer, {"role": "user", "content": "Go on"}])
        assert json.loads(request.body)["messages"][0].keys() - {"role", "content"} == own


def test_mistral_gets_no_stream_options() -> None:
    assert "stream_options" not in json.loads(request_of(TEMPLATES["mistral"], stream=True).body)


@each
def test_known_models_are_plausible(template: ChannelTemplate) -> None:
    assert len({model.id for model in template.models}) == len(template.models)
    for model in template.models:
        assert 0 < model.max_output_tokens <= model.context_window
        assert "tools" in model.tags


@each
def test_known_models_have_plausible_list_prices(template: ChannelTemplate) -> None:
    for model in template.models:
        price = find_list_price(template.base_url, template.id, model.upstream or model.id, datetime.now(UTC))
        assert price.uncovered == ()
        base = {kind: steps[0] for kind, steps in price.rates.items()}
        assert 0 < base["input"] <= base["output"]
        assert 0 < base.get("cached_input", base["input"]) <= base["input"]
        assert base["input"] <= base.get("cache_write", base["input"]) <= 2 * base["input"]
