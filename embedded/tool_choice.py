"""Validates the tools and the tool choice of a chat request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedded.errors import invalid_request


@dataclass(frozen=True, slots=True)
class Tool:
    """A callable function. `parameters` is a JSON schema."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`mode` is none, auto or required; `name` is set if a specific function is forced."""

    mode: str
    name: str | None = None


def read_tools(body: dict[str, Any]) -> tuple[Tool, ...]:
    """Validate `tools`. Raises ApiError 400 with param "tools"."""
    tools = body.get("tools")
    if tools is None:
        return ()
    if not isinstance(tools, list):
        raise invalid_request("tools", "'tools' must be a list.")
    return tuple(_tool(raw, place) for place, raw in enumerate(tools))


def read_tool_choice(body: dict[str, Any], tools: tuple[Tool, ...]) -> ToolChoice:
    """Validate `tool_choice` against `tools`. Raises ApiError 400 with param "tool_choice"."""
    choice = body.get("tool_choice")
    if choice is None:
        return ToolChoice("auto" if tools else "none")
    name = _named_function(choice)
    if name is None and choice not in ("none", "auto", "required"):
        raise invalid_request("tool_choice", "'tool_choice' must be 'none', 'auto', 'required' or a named function.")
    if not tools and choice != "none":
        raise invalid_request("tool_choice", "'tool_choice' is only allowed with 'tools'.")
    if name is None:
        return ToolChoice(choice)
    if name not in {tool.name for tool in tools}:
        raise invalid_request("tool_choice", f"'tool_choice' names the function {name!r}, which is not in 'tools'.")
    return ToolChoice("required", name)


def _named_function(choice: Any) -> str | None:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else None


def _tool(raw: Any, place: int) -> Tool:
    function = raw.get("function") if isinstance(raw, dict) and raw.get("type") == "function" else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise invalid_request("tools", f"'tools[{place}]' must be a function tool with a name.")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise invalid_request("tools", f"'tools[{place}].function.parameters' must be a JSON schema object.")
    # Arguments are always an object, even if the schema omits the type.
    return Tool(function["name"], {"type": "object", **(parameters or {})})
