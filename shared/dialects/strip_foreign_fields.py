"""What an earlier answer left in a history, perhaps of another vendor: what this one refuses is taken off. Pure.

A caller sends answers back as they came, and may change the model in between; or the model fails over. Signatures and thoughts of
one vendor mean nothing to another, and strict ones answer a field that they do not know with a 400 or 422.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

# Of a message, its parts and its tool calls. `thinking` is a type of parts; `cache_control` may be on tools and the body, too.
LEFT_BY_ANSWERS = (
    *("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks", "annotations", "extra_content"),
    *("cache_control", "thinking", "images", "content_parts"),
)
_MARKS = (*(f'"{name}":'.encode() for name in LEFT_BY_ANSWERS if name != "thinking"), b'"type":"thinking"')
Json = dict[str, Any]


def is_plain(data: bytes) -> bool:
    """Whether a body, as orjson writes it, has none of these fields: there is nothing to do, as for most."""
    return not any(mark in data for mark in _MARKS)


def without_foreign(body: Mapping[str, Any], taken: Collection[str]) -> Json:
    """A copy of `body` with no such fields but those that the vendor takes."""
    foreign = frozenset(LEFT_BY_ANSWERS) - set(taken)
    kept: Json = _keep(body, foreign & {"cache_control"})
    kept["messages"] = [_message(message, foreign) for message in body["messages"]]
    if isinstance(body.get("tools"), list):
        kept["tools"] = [_tool(tool, foreign & {"cache_control"}) for tool in body["tools"]]
    return kept


def thought_of(message: Mapping[str, Any]) -> str:
    """What the model thought before a message, under whichever name its provider gave it; empty where nothing is known."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str) and message[name]:
            return str(message[name])
    blocks = message.get("thinking_blocks")
    texts = [block.get("thinking") for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    return "\n".join(text for text in texts if isinstance(text, str))


def signed_blocks(value: Any) -> list[Json]:
    """`thinking_blocks` as Anthropic signed them: without the `index` that those of a stream have."""
    blocks = value if isinstance(value, list) else []
    return [{name: field for name, field in block.items() if name != "index"} for block in blocks if isinstance(block, dict)]


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
    """Content with the thought as a part of its own, as Mistral answers it ("Reasoning", `ThinkChunk`) and takes it back."""
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
