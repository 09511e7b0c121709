"""Removes fields that earlier answers left in the messages and that the provider would reject. Pure.

Callers send earlier answers back unchanged, even if they switch models, and a call may fail over to another provider. One
provider's signatures and reasoning mean nothing to another, and strict providers reject unknown fields with a 400 or 422.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Fields of messages, parts and tool calls. `thinking` is also a type of part; `cache_control` also occurs in tools and the body.
ANSWER_FIELDS = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "annotations", "extra_content"),
    *("cache_control", "thinking", "images", "content_parts"),
)
_MARKS = (*(f'"{name}":'.encode() for name in ANSWER_FIELDS if name != "thinking"), b'"type":"thinking"')
Json = dict[str, Any]


def has_no_answer_fields(data: bytes) -> bool:
    """Return whether a body, serialized by orjson, has none of these fields, as most do."""
    return not any(mark in data for mark in _MARKS)


def strip_foreign_fields(body: Mapping[str, Any], accepted: Collection[str]) -> Json:
    """Return a copy of `body` without these fields, except those that the provider accepts."""
    foreign = frozenset(ANSWER_FIELDS) - set(accepted)
    kept: Json = _keep(body, foreign & {"cache_control"})
    kept["messages"] = [_message(message, foreign) for message in body["messages"]]
    if isinstance(body.get("tools"), list):
        kept["tools"] = [_tool(tool, foreign & {"cache_control"}) for tool in body["tools"]]
    return kept


# Anthropic, "Messages": the blocks of thinking, and their fields.
_BLOCKS = ("thinking", "redacted_thinking")
_BLOCK_FIELDS = ("type", "thinking", "signature", "data")


def reasoning_of(message: Mapping[str, Any]) -> str:
    """Return the reasoning before a message, under whichever name its provider uses; "" if there is none."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return str(message[name])
    blocks = message.get("thinking_blocks")
    texts = [block.get("thinking") for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def signed_blocks(value: Any) -> list[Json]:
    """Return `thinking_blocks` as signed by Anthropic: without the `index` that stream chunks add, and without other blocks.

    Other blocks and fields, such as documents and marks for a cache, may cost what no quote covers.
    """
    blocks = value if isinstance(value, list) else []
    return [
        {name: block[name] for name in _BLOCK_FIELDS if name in block}
        for block in blocks
        if isinstance(block, dict) and block.get("type") in _BLOCKS
    ]


def _message(message: Mapping[str, Any], foreign: frozenset[str]) -> Json:
    kept: Json = _keep(message, foreign)
    if "thinking_blocks" in kept:
        kept["thinking_blocks"] = signed_blocks(kept["thinking_blocks"])
    thought = message.get("reasoning_content")
    if "thinking" not in foreign and "reasoning_content" in foreign and isinstance(thought, str) and thought:
        kept["content"] = _with_thought(thought, kept.get("content"))
    if isinstance(kept.get("tool_calls"), list):
        kept["tool_calls"] = [_keep(call, foreign) for call in kept["tool_calls"]]
    if isinstance(kept.get("content"), list):
        parts = [_keep(part, foreign & {"cache_control"}) for part in kept["content"] if part.get("type") not in foreign]
        kept["content"] = parts or (None if kept.get("tool_calls") else "")
    return kept


def _with_thought(thought: str, content: Any) -> list[Any]:
    """Return content with the reasoning as a separate part, in Mistral's format ("Reasoning", `ThinkChunk`)."""
    part = {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}
    if isinstance(content, list):
        return content if any(isinstance(one, dict) and one.get("type") == "thinking" for one in content) else [part, *content]
    return [part, {"type": "text", "text": content}] if isinstance(content, str) and content else [part]


def _tool(tool: Any, foreign: frozenset[str]) -> Any:
    if not isinstance(tool, dict):
        return tool
    kept = _keep(tool, foreign)
    if isinstance(kept.get("function"), dict):
        kept["function"] = _keep(kept["function"], foreign)
    return kept


def _keep(owner: Any, foreign: frozenset[str]) -> Any:
    return {name: value for name, value in owner.items() if name not in foreign} if isinstance(owner, dict) else owner
