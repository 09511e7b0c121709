"""Channel templates of known providers and servers: base URL, settings, models and data policy.

`{…}` in a base URL is a placeholder; a channel made from such a template needs a base URL of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from shared.catalog.templates import known_models as known
from shared.catalog.templates.known_models import KnownModel
from shared.text.translation import lazy_gettext


class ChannelTemplate(NamedTuple):
    """One provider. `settings` are channel settings (`docs/dialects.md`); `note` describes the provider's data policy."""

    id: str
    name: str
    dialect: str
    base_url: str
    settings: Mapping[str, Any] = MappingProxyType({})
    needs_secret: bool = True
    models: tuple[KnownModel, ...] = ()
    note: str = ""

    @property
    def needs_base_url(self) -> bool:
        return "{" in self.base_url

    @property
    def channel_settings(self) -> dict[str, Any]:
        """The settings of a new channel: the template's, and the provider's slug."""
        return {"provider": self.id, **self.settings}


_AT_MOST_40 = ".{1,40}"  # maximum characters of a tool call's id

_ALL = (
    ChannelTemplate(
        "openai",
        "OpenAI",
        "openai",
        "https://api.openai.com/v1",
        {
            "body": {"store": False},
            "max_tokens": "max_completion_tokens",
            "efforts": known.OPENAI_EFFORTS,
            "effort_with_tools": known.OPENAI_EFFORT_WITH_TOOLS,
            "custom_tools": known.OPENAI_CUSTOM_TOOLS,
            "sampling": known.OPENAI_SAMPLING,
            "strict_schemas": True,
            "tool_ids": _AT_MOST_40,
            "history": [],
        },
        models=known.OPENAI,
        note=lazy_gettext(
            "`store: false` excludes calls from stored completions; retention for abuse monitoring depends on the contract."
        ),
    ),
    ChannelTemplate(
        "openai-responses",
        "OpenAI (Responses API)",
        "responses",
        "https://api.openai.com/v1",
        {
            "provider": "openai",
            "body": {"store": False},
            "efforts": known.OPENAI_EFFORTS,
            "sampling": known.OPENAI_SAMPLING,
        },
        models=known.OPENAI,
        note=lazy_gettext("No response is stored (`store: false`); retention for abuse monitoring depends on the contract."),
    ),
    ChannelTemplate(
        "anthropic",
        "Anthropic",
        "anthropic",
        "https://api.anthropic.com/v1",
        {
            "thinking": known.ANTHROPIC_THINKING,
            "thinking_off": known.ANTHROPIC_THINKING_OFF,
            "efforts": known.ANTHROPIC_EFFORTS,
            "sampling": known.ANTHROPIC_SAMPLING,
            "forced_tools": known.ANTHROPIC_FORCED_TOOLS,
            "prefill": known.ANTHROPIC_PREFILL,
            "system_in_place": known.SYSTEM_IN_PLACE,
        },
        models=known.ANTHROPIC,
        note=lazy_gettext(
            "API data is not used for training. Retention depends on the contract; there is no setting per request."
        ),
    ),
    ChannelTemplate(
        "google",
        "Google Gemini",
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        {
            "thinking": {"gemini-2.5-pro": "budget", "gemini-2.5-flash": "budget", "gemini-2.5-flash-lite": "budget"},
            "efforts": known.GOOGLE_EFFORTS,
        },
        models=known.GOOGLE,
        note=lazy_gettext("Only paid projects are excluded from training; there is no setting per request."),
    ),
    ChannelTemplate(
        "openrouter",
        "OpenRouter",
        "openai",
        "https://openrouter.ai/api/v1",
        {"body": {"provider": {"data_collection": "deny", "zdr": True}}, "data_collection": "deny"},
        note=lazy_gettext(
            "`data_collection: deny` and `zdr` route only to providers that neither store requests nor train on them."
        ),
    ),
    ChannelTemplate(
        "groq",
        "Groq",
        "openai",
        "https://api.groq.com/openai/v1",
        {"roles": known.FOUR_ROLES, "efforts": known.GROQ_EFFORTS, "history": ["reasoning"]},
        models=known.GROQ,
        note=lazy_gettext("Retention is an account setting."),
    ),
    ChannelTemplate(
        "mistral",
        "Mistral",
        "openai",
        "https://api.mistral.ai/v1",
        {
            "max_tokens": "max_tokens",
            "stream_usage": False,
            "roles": known.FOUR_ROLES,
            "named_roles": ["tool"],
            "tool_ids": "[a-zA-Z0-9]{9}",
            "history": ["thinking"],
        },
        models=known.MISTRAL,
        note=lazy_gettext("Usage in streams is always sent; `stream_options` is refused. Training is an account setting."),
    ),
    ChannelTemplate(
        "deepseek",
        "DeepSeek",
        "openai",
        "https://api.deepseek.com/v1",
        {
            "max_tokens": "max_tokens",
            "roles": known.FOUR_ROLES,
            "no_thinking": {"thinking": {"type": "disabled"}},
            "required_history": {"reasoning_content": " "},
            "history": ["reasoning_content"],
        },
        models=known.DEEPSEEK,
        note=lazy_gettext("No documented way to opt out of retention or training."),
    ),
    ChannelTemplate(
        "xai",
        "xAI",
        "openai",
        "https://api.x.ai/v1",
        {"body": {"store": False}, "efforts": known.X_AI_EFFORTS, "history": ["reasoning_content"]},
        models=known.X_AI,
        note=lazy_gettext("Retained for 30 days by default."),
    ),
    ChannelTemplate(
        "together",
        "Together AI",
        "openai",
        "https://api.together.xyz/v1",
        {"max_tokens": "max_tokens", "roles": known.FOUR_ROLES, "history": ["reasoning", "reasoning_content"]},
        models=known.TOGETHER,
        note=lazy_gettext("Retention is an account setting."),
    ),
    ChannelTemplate(
        "fireworks",
        "Fireworks AI",
        "openai",
        "https://api.fireworks.ai/inference/v1",
        {"max_tokens": "max_tokens", "roles": known.FOUR_ROLES, "history": ["reasoning_content"]},
        models=known.FIREWORKS,
        note=lazy_gettext("Prompts to open models are not retained by default."),
    ),
    ChannelTemplate(
        "azure-openai",
        "Azure OpenAI",
        "openai",
        "https://{resource}.openai.azure.com",
        {
            "path": "/openai/deployments/{model}/chat/completions",
            "query": {"api-version": "2024-10-21"},
            "key_header": "api-key",
            "max_tokens": "max_completion_tokens",
            "strict_schemas": True,
            "tool_ids": _AT_MOST_40,
            "history": [],
        },
        note=lazy_gettext("Use the deployment's name as the provider's model name. Abuse monitoring depends on the contract."),
    ),
    ChannelTemplate(
        "vllm",
        "vLLM",
        "openai",
        "http://{host}:8000/v1",
        {"roles": known.FOUR_ROLES, "data_collection": "deny"},
        needs_secret=False,
        note=lazy_gettext("Self-hosted."),
    ),
    ChannelTemplate(
        "ollama",
        "Ollama",
        "openai",
        "http://127.0.0.1:11434/v1",
        {"max_tokens": "max_tokens", "roles": known.FOUR_ROLES, "data_collection": "deny"},
        needs_secret=False,
        note=lazy_gettext("Self-hosted."),
    ),
    ChannelTemplate(
        "llama.cpp",
        "llama.cpp server",
        "openai",
        "http://127.0.0.1:8080/v1",
        {"max_tokens": "max_tokens", "roles": known.FOUR_ROLES, "data_collection": "deny"},
        needs_secret=False,
        note=lazy_gettext("Self-hosted."),
    ),
)
TEMPLATES: Mapping[str, ChannelTemplate] = MappingProxyType({template.id: template for template in _ALL})
