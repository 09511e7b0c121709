"""The tools a chat request offers, and whether the caller forces one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedded.errors import invalid


@dataclass(frozen=True, slots=True)
class Tool:
    """A function on offer. `parameters` is a JSON schema."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`mode` is none, auto or required; `name` is set when the caller wants that very function."""

    mode: str
    name: str | None = None


def read_tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    """Check `tools`. Raises ApiError 400 with param "tools"."""
    tools = body.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise invalid("tools", "'tools' must be a list.")
    return tuple(_tool(raw, place) for place, raw in enumerate(tools))


def read_tool_choice(body: dict[str, Any], tools: tuple[Tool, ...]) -> ToolChoice:
    """Check `tool_choice` against the tools on offer. Raises ApiError 400 with param "tool_choice"."""
    choice = body.get("tool_choice")
    if choice is None:
        return ToolChoice("auto" if tools else "none")
    name = _named_function(choice)
    if name is None and choice not in ("none", "auto", "required"):
        raise invalid("tool_choice", "'tool_choice' must be none, auto, required or a named function.")
    if not tools and choice != "none":
        raise invalid("tool_choice", "'tool_choice' is only allowed together with 'tools'.")
    if name is None:
        return ToolChoice(choice)
    if name not in {tool.name for tool in tools}:
        raise invalid("tool_choice", f"'tool_choice' names the function {name!r}, which 'tools' does not hold.")
    return ToolChoice("required", name)


def _named_function(choice: Any) -> str | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _tool(raw: Any, place: int) -> Tool:
    function = raw.get("function") if isinstance(raw, dict) and raw.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise invalid("tools", f"'tools[{place}]' must be a function tool with a name.")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid("tools", f"'tools[{place}].function.parameters' must be a JSON schema object.")
    # Arguments are an object even when the schema does not say so.
    return Tool(function["name"], {"type": "object", **(parameters or {})})
