"""Compares providers' token counts with ours, on samples of calls: see `edge.store.token_sampling`.

Only calls that we can count exactly are sampled: text, without tools or response formats (which providers render in their own
way), to models of OpenAI's vocabulary o200k_base. They are counted after they have been settled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from edge.call.outcome import Outcome
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import TokenUsage
from shared.catalog.snapshot import Route
from shared.dialects.base import ChatCall
from shared.rollup import TokenSums

MAX_PROMPT_CHARS = 100_000  # takes tens of milliseconds
# Prefixes of the provider's model names. gpt-oss is left out, because its template adds a preamble of some hundred tokens.
_EXACT_FAMILIES = ("gpt-4o", "chatgpt-4o", "gpt-4.1", "gpt-5", "o1", "o3", "o4")
_HIDDEN_FIELDS = ("tools", "functions", "response_format", "prediction", "web_search_options", "modalities", "audio")
# OpenAI Cookbook, "How to count tokens with tiktoken": tokens of each message, of a name, and before the answer.
_MESSAGE_TOKENS, _NAME_TOKENS, _PRIMING_TOKENS = 3, 1, 3


def is_countable(call: ChatCall, route: Route, usage: TokenUsage) -> bool:
    """Return whether we can count the tokens of a completed call exactly."""
    if usage.estimated or usage.extra is not None or call.kind != "chat" or call.choices != 1:
        return False
    if not route.upstream_model.lower().rpartition("/")[2].startswith(_EXACT_FAMILIES):
        return False
    body = call.body
    if any(body.get(field) for field in _HIDDEN_FIELDS):
        return False
    texts = [_texts(message) for message in body["messages"]]
    return None not in texts and sum(len(text) for pieces in texts if pieces for text in pieces) <= MAX_PROMPT_CHARS


async def count_sample(
    call: ChatCall, outcome: Outcome, usage: TokenUsage, count_tokens: Callable[[str], Awaitable[int]]
) -> TokenSums:
    """Count a call for which `is_countable` is true."""
    counted = _PRIMING_TOKENS
    for message in call.body["messages"]:
        counted += _MESSAGE_TOKENS + (_NAME_TOKENS if message.get("name") else 0)
        for text in (message["role"], message.get("name") or "", *(_texts(message) or ())):
            counted += await count_tokens(text)
    text, size = outcome.delivered_text()
    if usage.reasoning_tokens or size > MAX_KEPT_TEXT_BYTES:  # reasoning is hidden, and longer texts are not kept
        return TokenSums(1, counted, usage.input_tokens)
    return TokenSums(1, counted, usage.input_tokens, await count_tokens(text), usage.output_tokens)


def _texts(message: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the texts of a message, or None if it has other content."""
    if not message.keys() <= {"role", "content", "name"}:
        return None
    content = message.get("content")
    if isinstance(content, str):
        return (content,)
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        return None
    return tuple(part["text"] for part in content)
