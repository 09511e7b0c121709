"""Known models of each provider, with list prices in credits: drafts for staff to review, never served automatically.

List prices are the providers' own of October 2026, from the `genai-prices` data set: dollars per million tokens are thousands of
credits per 1,000 tokens. If a provider charges more for long prompts, the context window here ends where that price begins, so
that no call is charged below cost. `max_output_tokens` is the provider's figure if published, else a cautious one. Staff can
raise both.
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
    """A provider's model: context window and maximum output in tokens, prices in credits per 1,000 tokens.

    `cached` and `written` are the prices of cache reads and writes. `upstream` is the provider's model name if it differs.
    `rates` are further rates by kind (`shared.billing.rates`).
    """

    id: str
    context_window: int
    max_output_tokens: int
    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    tags: tuple[str, ...] = TAGS_TOOLS
    upstream: str = ""
    rates: tuple[tuple[str, int], ...] = ()


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
    KnownModel("gpt-6.1-sol", 272_000, 128_000, 2_000, 10_000, cached_input=100, cache_write=2_500, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-6.1-terra", 272_000, 128_000, 1_000, 5_000, cached_input=50, cache_write=1_250, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-6-luna", 272_000, 128_000, 100, 500, cached_input=10, cache_write=125, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4", 272_000, 128_000, 2_500, 15_000, cached_input=250, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4-mini", 400_000, 128_000, 750, 4_500, cached_input=75, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5.4-nano", 400_000, 128_000, 200, 1_250, cached_input=20, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5", 400_000, 128_000, 1_250, 10_000, cached_input=125, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5-mini", 400_000, 128_000, 250, 2_000, cached_input=25, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-5-nano", 400_000, 128_000, 50, 400, cached_input=5, tags=TAGS_VISION_REASONING),
    KnownModel("gpt-4.1", 1_000_000, 32_768, 2_000, 8_000, cached_input=500, tags=TAGS_VISION),
    KnownModel("gpt-4.1-mini", 1_000_000, 32_768, 400, 1_600, cached_input=100, tags=TAGS_VISION),
)
_ANTHROPIC = (
    KnownModel(
        "claude-fable-5-2", 1_000_000, 64_000, 8_000, 40_000, cached_input=200, cache_write=10_000, tags=TAGS_VISION_REASONING
    ),
    KnownModel(
        "claude-opus-5-5", 1_000_000, 64_000, 4_000, 20_000, cached_input=200, cache_write=5_000, tags=TAGS_VISION_REASONING
    ),
    KnownModel(
        "claude-sonnet-5-5", 1_000_000, 64_000, 2_000, 10_000, cached_input=100, cache_write=2_500, tags=TAGS_VISION_REASONING
    ),
    KnownModel("claude-haiku-5-5", 100_000, 64_000, 100, 500, cached_input=10, cache_write=125, tags=TAGS_VISION_REASONING),
    KnownModel(
        "claude-opus-4-8", 1_000_000, 64_000, 5_000, 25_000, cached_input=500, cache_write=6_250, tags=TAGS_VISION_REASONING
    ),
    KnownModel(
        "claude-sonnet-4-6", 1_000_000, 64_000, 3_000, 15_000, cached_input=300, cache_write=3_750, tags=TAGS_VISION_REASONING
    ),
    KnownModel(
        "claude-haiku-4-5", 200_000, 64_000, 1_000, 5_000, cached_input=100, cache_write=1_250, tags=TAGS_VISION_REASONING
    ),
)
# Anthropic, "Prompt caching": writes to a cache that is kept for an hour cost twice the input price.
ANTHROPIC = tuple(model._replace(rates=(("cache_write_1h", 2 * model.input),)) for model in _ANTHROPIC)
_MAX_OUTPUT_TOKENS = {model.upstream or model.id: model.max_output_tokens for model in ANTHROPIC}


def max_output_tokens(upstream_model: str) -> int:
    """Return the maximum output tokens of an Anthropic model, or a limit that all of them accept if it is not known."""
    return _MAX_OUTPUT_TOKENS.get(upstream_model, DEFAULT_MAX_OUTPUT)


GOOGLE = (
    KnownModel(
        "gemini-4-argon", 1_048_576, 65_536, 4_000, 20_000, cached_input=200, tags=TAGS_AUDIO, rates=(("audio_input", 4_000),)
    ),
    KnownModel(
        "gemini-3.8-flash", 1_000_000, 65_536, 1_500, 7_500, cached_input=150, tags=TAGS_AUDIO, rates=(("audio_input", 1_500),)
    ),
    KnownModel(
        "gemini-3.5-flash-lite", 1_000_000, 65_536, 300, 2_500, cached_input=30, tags=TAGS_AUDIO, rates=(("audio_input", 300),)
    ),
    KnownModel(
        "gemini-3.1-flash-lite",
        1_000_000,
        65_536,
        250,
        1_500,
        cached_input=25,
        tags=TAGS_AUDIO,
        rates=(("audio_input", 500), ("cached_audio_input", 50)),
    ),
    KnownModel(
        "gemini-2.5-pro", 200_000, 65_536, 1_250, 10_000, cached_input=125, tags=TAGS_AUDIO, rates=(("audio_input", 1_250),)
    ),
    KnownModel(
        "gemini-2.5-flash",
        1_048_576,
        65_536,
        300,
        2_500,
        cached_input=30,
        tags=TAGS_AUDIO,
        rates=(("audio_input", 1_000), ("cached_audio_input", 100)),
    ),
    KnownModel(
        "gemini-2.5-flash-lite",
        1_000_000,
        65_536,
        100,
        400,
        cached_input=10,
        tags=TAGS_AUDIO,
        rates=(("audio_input", 300), ("cached_audio_input", 30)),
    ),
)
GROQ = (
    KnownModel("gpt-oss-120b", 131_072, 32_768, 150, 600, cached_input=75, tags=TAGS_TOOLS, upstream="openai/gpt-oss-120b"),
    KnownModel("gpt-oss-20b", 131_072, 32_768, 75, 300, cached_input=38, tags=TAGS_TOOLS, upstream="openai/gpt-oss-20b"),
    KnownModel("qwen3-32b", 131_072, 32_768, 290, 590, tags=TAGS_TOOLS, upstream="qwen/qwen3-32b"),
    KnownModel(
        "llama-4-maverick-17b-128e-instruct",
        131_072,
        32_768,
        200,
        600,
        tags=TAGS_TOOLS,
        upstream="meta-llama/llama-4-maverick-17b-128e-instruct",
    ),
    KnownModel("llama-3.3-70b-versatile", 131_072, 32_768, 590, 790, tags=TAGS_TOOLS),
    KnownModel("llama-3.1-8b-instant", 131_072, 32_768, 50, 80, tags=TAGS_TOOLS),
)
MISTRAL = (
    KnownModel("mistral-large-4", 1_048_576, 32_768, 700, 2_100, cached_input=70, tags=TAGS_VISION),
    KnownModel("mistral-medium-3-5", 262_144, 32_768, 1_500, 7_500, cached_input=150, tags=TAGS_VISION),
    KnownModel("mistral-small-2603", 262_144, 32_768, 150, 600, cached_input=15, tags=TAGS_VISION),
    KnownModel("devstral-2512", 262_144, 32_768, 400, 2_000, cached_input=40, tags=TAGS_VISION),
)
DEEPSEEK = (
    KnownModel("deepseek-v4-pro", 1_000_000, 32_768, 1_320, 3_960, cached_input=44, tags=TAGS_REASONING),
    KnownModel("deepseek-v4-flash", 1_000_000, 32_768, 300, 1_200, cached_input=6, tags=TAGS_REASONING),
)
X_AI = (
    KnownModel("grok-4.7", 199_999, 32_768, 2_000, 6_000, cached_input=500, tags=TAGS_VISION_REASONING),
    KnownModel("grok-4.3", 199_999, 32_768, 1_250, 2_500, cached_input=200, tags=TAGS_VISION_REASONING),
    KnownModel("grok-4-1-fast-reasoning", 2_000_000, 32_768, 200, 500, cached_input=50, tags=TAGS_VISION_REASONING),
    KnownModel("grok-code-fast-1", 256_000, 32_768, 200, 1_500, cached_input=20, tags=TAGS_VISION_REASONING),
)
TOGETHER = (
    KnownModel("kimi-k3", 1_048_576, 32_768, 3_000, 15_000, cached_input=300, tags=TAGS_TOOLS, upstream="moonshotai/Kimi-K3"),
    KnownModel(
        "kimi-k3.1-pro", 1_048_576, 32_768, 2_000, 10_000, cached_input=200, tags=TAGS_TOOLS, upstream="moonshotai/Kimi-K3.1-Pro"
    ),
    KnownModel("glm-5.3", 1_048_575, 32_768, 1_400, 4_400, cached_input=260, tags=TAGS_TOOLS, upstream="zai-org/GLM-5.3"),
    KnownModel("qwen3.7-plus", 1_000_000, 32_768, 320, 1_280, tags=TAGS_TOOLS, upstream="Qwen/Qwen3.7-Plus"),
    KnownModel(
        "deepseek-v4-pro-0813",
        1_048_576,
        32_768,
        1_320,
        3_960,
        cached_input=130,
        tags=TAGS_TOOLS,
        upstream="deepseek-ai/DeepSeek-V4-Pro-0813",
    ),
    KnownModel("gpt-oss-120b", 131_072, 32_768, 150, 600, tags=TAGS_TOOLS, upstream="openai/gpt-oss-120b"),
)
FIREWORKS = (
    KnownModel(
        "deepseek-v4-pro",
        1_048_576,
        32_768,
        1_740,
        3_480,
        cached_input=145,
        tags=TAGS_TOOLS,
        upstream="accounts/fireworks/models/deepseek-v4-pro",
    ),
    KnownModel(
        "kimi-k3",
        1_040_000,
        32_768,
        3_000,
        15_000,
        cached_input=300,
        tags=TAGS_TOOLS,
        upstream="accounts/fireworks/models/kimi-k3",
    ),
    KnownModel(
        "glm-5p2",
        1_040_000,
        32_768,
        1_400,
        4_400,
        cached_input=140,
        tags=TAGS_TOOLS,
        upstream="accounts/fireworks/models/glm-5p2",
    ),
    KnownModel(
        "minimax-m3",
        524_288,
        32_768,
        300,
        1_200,
        cached_input=60,
        tags=TAGS_TOOLS,
        upstream="accounts/fireworks/models/minimax-m3",
    ),
    KnownModel(
        "gpt-oss-120b",
        131_072,
        32_768,
        150,
        600,
        cached_input=15,
        tags=TAGS_TOOLS,
        upstream="accounts/fireworks/models/gpt-oss-120b",
    ),
)
