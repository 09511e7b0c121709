"""Known models of each provider: drafts for staff to review, never served automatically.

Prices are the list prices (`shared.catalog.list_prices`). Some context windows end where a provider's price for long prompts
begins. `max_output_tokens` is the provider's figure if published, else a cautious one. Staff can raise both.
"""

from __future__ import annotations

from typing import NamedTuple

TAGS_TOOLS = ("tools",)
TAGS_REASONING = ("tools", "reasoning")
TAGS_VISION = ("tools", "vision", "structured_output")
TAGS_VISION_REASONING = ("tools", "vision", "reasoning", "structured_output")
DEFAULT_MAX_OUTPUT = 8_192  # tokens; every model that Anthropic still offers accepts this limit
TAGS_AUDIO = ("tools", "vision", "audio", "reasoning", "structured_output")


class KnownModel(NamedTuple):
    """A provider's model: context window and maximum output in tokens. `upstream` is the provider's name if it differs."""

    id: str
    context_window: int
    max_output_tokens: int
    tags: tuple[str, ...] = TAGS_TOOLS
    upstream: str = ""


# Accepted values of `reasoning_effort` by model, as documented. The provider refuses others.
OPENAI_EFFORTS = {
    "gpt-5.4": ["none", "low", "medium", "high", "xhigh"],
    "gpt-5.4-mini": ["none", "low", "medium", "high", "xhigh"],
    "gpt-5.4-nano": ["none", "low", "medium", "high", "xhigh"],
    "gpt-5": ["minimal", "low", "medium", "high"],
    "gpt-5-mini": ["minimal", "low", "medium", "high"],
    "gpt-5-nano": ["minimal", "low", "medium", "high"],
    "gpt-4.1": [],
    "gpt-4.1-mini": [],
}
# OpenAI, "Using GPT-5.4" and "Using GPT-6": no sampling parameters while a model reasons, and no reasoning together with tools
# in chat completions.
OPENAI_SAMPLING = {
    **dict.fromkeys(("gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-6.1-sol"), "none"),
    **dict.fromkeys(("gpt-6.1-terra", "gpt-6-luna"), "without_reasoning"),
    **dict.fromkeys(("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"), "by_default_without_reasoning"),
}
OPENAI_EFFORT_WITH_TOOLS: dict[str, str | bool] = {
    "gpt-6.1-sol": False,
    **dict.fromkeys(("gpt-6.1-terra", "gpt-6-luna", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"), "none"),
}
# OpenAI, "Function calling": custom tools came with GPT-5.
OPENAI_CUSTOM_TOOLS = dict.fromkeys(
    (
        *("gpt-6.1-sol", "gpt-6.1-terra", "gpt-6-luna", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"),
        *("gpt-5", "gpt-5-mini", "gpt-5-nano"),
    ),
    True,
)
GROQ_EFFORTS = {
    "openai/gpt-oss-120b": ["low", "medium", "high"],
    "openai/gpt-oss-20b": ["low", "medium", "high"],
    "qwen/qwen3-32b": ["none", "default"],
    "meta-llama/llama-4-maverick-17b-128e-instruct": [],
    "llama-3.3-70b-versatile": [],
    "llama-3.1-8b-instant": [],
}
X_AI_EFFORTS: dict[str, list[str]] = {"grok-4-1-fast-reasoning": [], "grok-code-fast-1": []}
# Anthropic models that accept a `system` message after a user turn: Claude Opus 4.8 and later.
SYSTEM_IN_PLACE = ["claude-fable-5-2", "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8"]
# Anthropic, "What's new in Claude" and the migration guides of its models.
_ALWAYS_THINKING = ("claude-fable-5-2", "claude-opus-5-5")
ANTHROPIC_THINKING = {
    "claude-haiku-4-5": "budget",
    **dict.fromkeys((*_ALWAYS_THINKING, "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8"), "adaptive_only"),
}
ANTHROPIC_THINKING_OFF = {**dict.fromkeys(_ALWAYS_THINKING, "never"), "claude-sonnet-5-5": "between_tools"}
ANTHROPIC_FORCED_TOOLS = dict.fromkeys((*_ALWAYS_THINKING, "claude-sonnet-5-5"), False)
ANTHROPIC_SAMPLING = {
    **dict.fromkeys((*_ALWAYS_THINKING, "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8"), "none"),
    **dict.fromkeys(("claude-sonnet-4-6", "claude-haiku-4-5"), "one"),
}
ANTHROPIC_PREFILL = dict.fromkeys((*_ALWAYS_THINKING, "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8"), False)
ANTHROPIC_EFFORTS = {"claude-sonnet-4-6": ["none", "minimal", "low", "medium", "high", "max"]}
# Google, "Gemini thinking": levels and budgets by model; Pro models cannot turn thinking off.
_FROM_LOW = ["low", "medium", "high"]
GOOGLE_EFFORTS = {
    **dict.fromkeys(("gemini-4-argon", "gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.1-pro-preview"), _FROM_LOW),
    "gemini-3-pro-preview": ["low", "high"],
    "gemini-2.5-pro": ["minimal", "low", "medium", "high"],
}
FOUR_ROLES = ["system", "user", "assistant", "tool"]

OPENAI = (
    KnownModel("gpt-6.1-sol", 272_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-6.1-terra", 272_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-6-luna", 272_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4", 272_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4-mini", 400_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4-nano", 400_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5", 400_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5-mini", 400_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5-nano", 400_000, 128_000, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-4.1", 1_000_000, 32_768, tags=TAGS_VISION),
    KnownModel("gpt-4.1-mini", 1_000_000, 32_768, tags=TAGS_VISION),
)
ANTHROPIC = (
    KnownModel("claude-fable-5-2", 1_000_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-opus-5-5", 1_000_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-sonnet-5-5", 1_000_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-haiku-5-5", 100_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-opus-4-8", 1_000_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-sonnet-4-6", 1_000_000, 64_000, tags=TAGS_VISION_REASONING),
    KnownModel("claude-haiku-4-5", 200_000, 64_000, tags=TAGS_VISION_REASONING),
)
_MAX_OUTPUT_TOKENS = {model.upstream or model.id: model.max_output_tokens for model in ANTHROPIC}


def max_output_tokens(upstream_model: str) -> int:
    """Return the maximum output tokens of an Anthropic model, or a limit that all of them accept if it is not known."""
    return _MAX_OUTPUT_TOKENS.get(upstream_model, DEFAULT_MAX_OUTPUT)


GOOGLE = (
    KnownModel("gemini-4-argon", 1_048_576, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-3.8-flash", 1_000_000, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-3.5-flash-lite", 1_000_000, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-3.1-flash-lite", 1_000_000, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-2.5-pro", 200_000, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-2.5-flash", 1_048_576, 65_536, tags=TAGS_AUDIO),
    KnownModel("gemini-2.5-flash-lite", 1_000_000, 65_536, tags=TAGS_AUDIO),
)
GROQ = (
    KnownModel("gpt-oss-120b", 131_072, 32_768, upstream="openai/gpt-oss-120b"),
    KnownModel("gpt-oss-20b", 131_072, 32_768, upstream="openai/gpt-oss-20b"),
    KnownModel("qwen3-32b", 131_072, 32_768, upstream="qwen/qwen3-32b"),
    KnownModel("llama-4-maverick-17b-128e-instruct", 131_072, 32_768, upstream="meta-llama/llama-4-maverick-17b-128e-instruct"),
    KnownModel("llama-3.3-70b-versatile", 131_072, 32_768),
    KnownModel("llama-3.1-8b-instant", 131_072, 32_768),
)
MISTRAL = (
    KnownModel("mistral-large-4", 1_048_576, 32_768, tags=TAGS_VISION),
    KnownModel("mistral-medium-3-5", 262_144, 32_768, tags=TAGS_VISION),
    KnownModel("mistral-small-2603", 262_144, 32_768, tags=TAGS_VISION),
    KnownModel("devstral-2512", 262_144, 32_768, tags=TAGS_VISION),
)
DEEPSEEK = (
    KnownModel("deepseek-v4-pro", 1_000_000, 32_768, tags=TAGS_REASONING),
    KnownModel("deepseek-v4-flash", 1_000_000, 32_768, tags=TAGS_REASONING),
)
X_AI = (
    KnownModel("grok-4.7", 199_999, 32_768, tags=TAGS_VISION_REASONING),
    KnownModel("grok-4.3", 199_999, 32_768, tags=TAGS_VISION_REASONING),
    KnownModel("grok-4-1-fast-reasoning", 2_000_000, 32_768, tags=TAGS_VISION_REASONING),
    KnownModel("grok-code-fast-1", 256_000, 32_768, tags=TAGS_VISION_REASONING),
)
TOGETHER = (
    KnownModel("kimi-k3", 1_048_576, 32_768, upstream="moonshotai/Kimi-K3"),
    KnownModel("kimi-k3.1-pro", 1_048_576, 32_768, upstream="moonshotai/Kimi-K3.1-Pro"),
    KnownModel("glm-5.3", 1_048_575, 32_768, upstream="zai-org/GLM-5.3"),
    KnownModel("qwen3.7-plus", 1_000_000, 32_768, upstream="Qwen/Qwen3.7-Plus"),
    KnownModel("deepseek-v4-pro-0813", 1_048_576, 32_768, upstream="deepseek-ai/DeepSeek-V4-Pro-0813"),
    KnownModel("gpt-oss-120b", 131_072, 32_768, upstream="openai/gpt-oss-120b"),
)
FIREWORKS = (
    KnownModel("deepseek-v4-pro", 1_048_576, 32_768, upstream="accounts/fireworks/models/deepseek-v4-pro"),
    KnownModel("kimi-k3", 1_040_000, 32_768, upstream="accounts/fireworks/models/kimi-k3"),
    KnownModel("glm-5p2", 1_040_000, 32_768, upstream="accounts/fireworks/models/glm-5p2"),
    KnownModel("minimax-m3", 524_288, 32_768, upstream="accounts/fireworks/models/minimax-m3"),
    KnownModel("gpt-oss-120b", 131_072, 32_768, upstream="accounts/fireworks/models/gpt-oss-120b"),
)
