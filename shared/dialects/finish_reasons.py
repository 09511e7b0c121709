"""Translates providers' finish reasons to OpenAI's five. Pure.

Sources: the API references of Mistral (`model_length`, `error`), Together (`eos`), DeepSeek (`insufficient_system_resource`),
OpenRouter (`error`), Z.ai (`sensitive`, `network_error`), vLLM (`abort`) and Cohere (`ERROR`, `MAX_TOKENS`); `FinishReason` of
Google's generateContent, whose OpenAI endpoint writes `function_call_filter: MALFORMED_FUNCTION_CALL`; `StopReason` of
Anthropic's Messages.
"""

from __future__ import annotations

OPENAI_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
FAILED = "error"  # no answer; the call may be retried
_BROKEN = (
    *(
        "error",
        "abort",
        "aborted",
        "failed",
        "insufficient_system_resource",
        "network_error",
        "user_cancel",
        "function_call_filter",
    ),
    *("malformed_function_call", "malformed_response", "unexpected_tool_call"),
    *("too_many_tool_calls", "missing_thought_signature", "pup_limited_disabled"),
)
_FILTERED = (
    *("safety", "sensitive", "refusal", "recitation", "language", "blocklist", "prohibited_content", "spii", "model_armor"),
    *("image_safety", "image_prohibited_content", "image_recitation", "escalation", "error_toxic"),
)
_MEANINGS = {
    **dict.fromkeys(_BROKEN, FAILED),
    **dict.fromkeys(("model_length", "max_tokens", "max_length", "model_context_window_exceeded", "continuation"), "length"),
    **dict.fromkeys(("tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(_FILTERED, "content_filter"),
    **dict.fromkeys(("eos", "end_turn", "stop_sequence", "complete", "completed"), "stop"),
}


def to_openai_reason(reason: str, *, delivered: bool) -> str:
    """Return OpenAI's finish reason for `reason`, or `FAILED`.

    An unspecific reason (Gemini's `OTHER` and `NO_IMAGE`, Anthropic's `pause_turn`, unknown ones) means `stop` if
    something was delivered. Without any output it is a failure, because an empty answer without a reason is of no use.
    """
    if reason in OPENAI_REASONS:
        return reason
    word = reason.lower()
    plain = word.partition(":")[0].strip()
    return (
        _MEANINGS.get(word) or (plain if plain in OPENAI_REASONS else _MEANINGS.get(plain)) or ("stop" if delivered else FAILED)
    )
