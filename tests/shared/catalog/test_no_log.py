"""No-log signals of channels that were created without a template, and the warning if none is known."""

from __future__ import annotations

from typing import Any

import pytest

from shared.catalog.templates import TEMPLATES, no_log_warning, with_no_log_signals

DENY = {"provider": {"data_collection": "deny", "zdr": True}}
OPENROUTER = "https://openrouter.ai/api/v1"


@pytest.mark.parametrize(
    ("dialect", "base_url", "settings", "expected"),
    [
        ("openai", "https://api.openai.com/v1", {}, {"body": {"store": False}}),
        ("openai", "https://API.OpenAI.com/v1", {"body": {"a": 1}}, {"body": {"store": False, "a": 1}}),
        ("openai", "https://api.openai.com/v1", {"body": {"store": True}}, {"body": {"store": True}}),
        ("responses", "https://api.openai.com/v1", {}, {"body": {"store": False}}),
        ("openai", OPENROUTER, {"provider": "or"}, {"provider": "or", "body": DENY, "data_collection": "deny"}),
        (
            "openai",
            OPENROUTER,
            {"body": {"provider": {"order": ["x"]}}},
            {"body": {"provider": {**DENY["provider"], "order": ["x"]}}, "data_collection": "deny"},
        ),
        (
            "openai",
            OPENROUTER,
            {"body": {"provider": {"data_collection": "allow"}}},
            {"body": {"provider": {"data_collection": "allow", "zdr": True}}},
        ),
        ("anthropic", "https://api.anthropic.com/v1", {"efforts": []}, {"efforts": []}),
        ("openai", "https://api.openai.com.example/v1", {}, {}),
        ("openai", "http://127.0.0.1:11434/v1", {}, {}),
    ],
)
def test_a_known_host_gets_the_signals_of_its_provider(
    dialect: str, base_url: str, settings: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = str(settings)
    assert with_no_log_signals(dialect, base_url, settings) == expected
    assert str(settings) == before


@pytest.mark.parametrize(
    ("dialect", "base_url", "settings", "warning"),
    [
        ("openai", "https://api.openai.com/v1", {"body": {"store": False}}, None),
        ("openai", "https://api.openai.com/v1", {}, "OpenAI is not sent"),
        ("openai", "https://api.openai.com/v1", {"body": {"store": True}}, "OpenAI is not sent"),
        ("openai", OPENROUTER, {"body": {"provider": {"zdr": True}}}, "OpenRouter is not sent"),
        ("openai", "https://llm.acme.example/v1", {}, "known for llm.acme.example"),
        ("openai", "https://llm.acme.example/v1", {"headers": {"x-no-log": "1"}}, "known for llm.acme.example"),
        ("openai", "https://llm.acme.example/v1", {"data_collection": "deny"}, None),
        ("openai", "https://llm.acme.example/v1", {"data_collection": "allow"}, None),
        ("anthropic", "https://api.anthropic.com/v1", {}, "Anthropic has no no-log signal"),
        ("openai", "https://ours.openai.azure.com", {}, "Azure OpenAI has no no-log signal"),
        ("openai", "http://10.0.0.7:8000/v1", {}, None),
        ("openai", "http://[::1]:8000/v1", {}, None),
        ("openai", "http://vllm:8000/v1", {}, None),
        ("openai", "https://8.8.8.8/v1", {}, "known for 8.8.8.8"),
    ],
)
def test_staff_are_warned_if_no_signal_is_sent(
    dialect: str, base_url: str, settings: dict[str, Any], warning: str | None
) -> None:
    found = no_log_warning(dialect, base_url, settings)
    assert found is None if warning is None else found is not None and warning in found


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_is_found_by_its_own_host(template: Any) -> None:
    url = template.base_url.format(resource="ours", host="10.0.0.1")
    made = with_no_log_signals(template.dialect, url, template.channel_settings)
    assert made == template.channel_settings, "a template has its signals already"
    warning = no_log_warning(template.dialect, url, template.channel_settings)
    assert warning is None or template.name in warning
