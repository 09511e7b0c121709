"""Deferred tools: tools with `defer_loading`, which the model does not see until a tool result refers to them. Pure.

Anthropic supports them ("Tool search tool"). For other providers, tools that are not loaded yet are left out, and a reference
becomes text that names the tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
REFERENCE = "tool_reference"  # type of a part in the content of a tool message, with a `tool_name`


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a function or custom tool in chat format."""
    definition = tool.get("custom" if tool.get("type") == "custom" else "function")
    name = definition.get("name") if isinstance(definition, dict) else None
    return name if isinstance(name, str) else None


def referenced_tools(body: Mapping[str, Any]) -> set[str]:
    """Return the names of the tools that tool results refer to."""
    found: set[str] = set()
    for message in body["messages"]:
        if message.get("role") == "tool":
            found.update(part["tool_name"] for part in _references(message))
    return found


def load_tools(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chat body without deferred tools and references."""
    referenced = referenced_tools(body)
    tools = body.get("tools") or ()
    if not referenced and not (tools and any("defer_loading" in tool for tool in tools)):
        return body
    loaded = {**body, "messages": [_with_text(message) if _references(message) else message for message in body["messages"]]}
    kept = [_loaded(tool) for tool in tools if not tool.get("defer_loading") or tool_name(tool) in referenced]
    if kept:
        return {**loaded, "tools": kept}
    return {name: value for name, value in loaded.items() if name not in ("tools", "tool_choice", "parallel_tool_calls")}


def can_defer(body: Mapping[str, Any]) -> bool:
    """Return whether Anthropic accepts a body's deferred tools: at least one tool is not deferred, and all references exist."""
    tools = body.get("tools") or ()
    names = {tool_name(tool) for tool in tools}
    return any(not tool.get("defer_loading") for tool in tools) and referenced_tools(body) <= names


def _references(message: Mapping[str, Any]) -> list[Json]:
    content = message.get("content")
    if message.get("role") != "tool" or not isinstance(content, list):
        return []
    return [part for part in content if part.get("type") == REFERENCE and isinstance(part.get("tool_name"), str)]


def _with_text(message: Mapping[str, Any]) -> Json:
    named = f"These tools are now available: {', '.join(part['tool_name'] for part in _references(message))}."
    texts = [part["text"] for part in message["content"] if isinstance(part.get("text"), str)]
    return {**message, "content": "\n".join([named, *texts])}


def _loaded(tool: Json) -> Json:
    return {name: value for name, value in tool.items() if name != "defer_loading"}
