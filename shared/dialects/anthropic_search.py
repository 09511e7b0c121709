"""Anthropic's own web search: its tool in requests, and the content blocks of its searches. Pure.

Source: Anthropic, "Web search tool". The blocks of an answer must come back unchanged and in order with the next call, because
only the provider can read the encrypted results. Only documented fields are sent, so that nothing else can cause a cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.billing.cost_effects import max_searches

Json = dict[str, Any]
BLOCKS_FIELD = "anthropic_blocks"  # of an assistant message with searches: all its blocks except tool calls, in order
PAUSE: Json = {"type": "pause_turn"}  # a long turn, which the caller continues by sending it back
_TYPE = re.compile(r"web_search_\d{8}")
SEARCH_FIELDS = ("type", "name", "max_uses", "allowed_domains", "blocked_domains", "user_location", "cache_control")
_FIRST_TYPE = "web_search_20250305"  # only the model can call it
# Fields of the blocks by type. `citations` and `content` are lists, of whose entries these fields are kept:
_BLOCKS = {
    "text": ("type", "text", "citations"),
    "thinking": ("type", "thinking", "signature"),
    "redacted_thinking": ("type", "data"),
    "server_tool_use": ("type", "id", "name", "input"),
    "web_search_tool_result": ("type", "tool_use_id", "content"),
}
_ENTRY_FIELDS = {
    "web_search_result": ("type", "url", "title", "encrypted_content", "page_age"),
    "web_search_result_location": ("type", "url", "title", "encrypted_index", "cited_text"),
    "web_search_tool_result_error": ("type", "error_code"),
}


def is_web_search(tool: Mapping[str, Any]) -> bool:
    """Return whether a tool of the Messages API is its web search."""
    kind = tool.get("type")
    return isinstance(kind, str) and _TYPE.fullmatch(kind) is not None


def search_tool(tool: Mapping[str, Any]) -> Json:
    """Return the tool for the provider, with a limit of searches, which are billed.

    Newer versions would also search from code in a container, which no price covers: only the model may call the tool.
    """
    sent = {name: tool[name] for name in SEARCH_FIELDS if tool.get(name) is not None}
    direct = {} if tool["type"] == _FIRST_TYPE else {"allowed_callers": ["direct"]}
    return {**sent, "max_uses": max_searches(tool), **direct}


def is_search(block: Mapping[str, Any]) -> bool:
    """Return whether a content block is the call of a web search."""
    return block.get("type") == "server_tool_use" and block.get("name") == "web_search"


def is_failed_search(block: Mapping[str, Any]) -> bool:
    """Return whether a block is the result of a search that failed. It is not billed."""
    return block.get("type") == "web_search_tool_result" and not isinstance(block.get("content"), list)


def kept_blocks(value: Any) -> list[Json]:
    """Return the blocks of an answer with their documented fields, without blocks of other types and without empty text."""
    blocks = [_kept(block) for block in value if isinstance(block, dict)] if isinstance(value, list) else []
    return [block for block in blocks if block and (block["type"] != "text" or str(block.get("text") or "").strip())]


def has_searches(blocks: list[Json]) -> bool:
    """Return whether an assistant turn contains web searches that the provider executed."""
    return any(block.get("type") in ("server_tool_use", "web_search_tool_result") for block in blocks)


def result_bytes(block: Mapping[str, Any]) -> int:
    """Return the size of the encrypted results in a block."""
    content = block.get("content")
    entries = content if isinstance(content, list) else ()
    return sum(len(str(entry.get("encrypted_content") or "")) for entry in entries if isinstance(entry, dict))


def _kept(block: Mapping[str, Any]) -> Json:
    kind = block["type"] if isinstance(block.get("type"), str) else ""
    if kind == "server_tool_use" and not is_search(block):
        return {}
    kept = _fields(block, _BLOCKS)
    if kind == "web_search_tool_result":
        content = kept.get("content")
        kept["content"] = [_fields(one, _ENTRY_FIELDS) for one in content] if isinstance(content, list) else content
        if isinstance(content, dict):
            kept["content"] = _fields(content, _ENTRY_FIELDS)
    elif kind == "text" and isinstance(kept.get("citations"), list):
        kept["citations"] = [found for one in kept["citations"] if (found := _fields(one, _ENTRY_FIELDS))]
    return {name: value for name, value in kept.items() if value is not None or name == "content"}


def _fields(owner: Any, known: Mapping[str, tuple[str, ...]]) -> Json:
    kind = owner.get("type") if isinstance(owner, dict) else None
    return {name: owner[name] for name in known.get(kind, ()) if name in owner} if isinstance(kind, str) else {}
