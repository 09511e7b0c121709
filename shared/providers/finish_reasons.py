"""Why an answer ended, in the words of vendors of OpenAI's format who have some of their own. Callers get OpenAI's five. Pure.

Sources: the API references of Mistral (`model_length`, `error`), Together (`eos`), DeepSeek (`insufficient_system_resource`),
OpenRouter (`error`), Z.ai (`sensitive`, `network_error`) and vLLM (`abort`).
"""

from __future__ import annotations

KNOWN = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
BROKEN = frozenset({"error", "abort", "insufficient_system_resource", "network_error"})  # the vendor gave up
_MEANT = {
    **dict.fromkeys(("model_length", "max_tokens", "max_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(("tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(("safety", "sensitive", "refusal", "recitation"), "content_filter"),
}


def canonical(reason: str) -> str:
    """OpenAI's word; `stop` for words that nobody knows, such as `eos`."""
    return reason if reason in KNOWN else _MEANT.get(reason.lower(), "stop")
