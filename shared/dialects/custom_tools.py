"""Custom tools, whose input is free text, for providers that only support functions. Pure.

Canonical calls have custom tools in OpenAI's chat format. For other providers, each becomes a function with one string, `input`,
and the provider's calls of that function become custom calls again, also in streams.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

Json = dict[str, Any]

_PARAMETERS: Json = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The complete input of the tool, as plain text."}},
    "required": ["input"],
    "additionalProperties": False,
}
_START = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_END = re.compile(r'"\s*\}?\s*$')
# The longest prefix of a JSON string's content that can be decoded, because it does not end within an escape sequence.
_CHARACTERS = re.compile(
    r"""(?:[^"\\]++|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*+"""
)


def custom_names(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of a chat body's custom tools."""
    tools = body.get("tools")
    if not tools:  # most calls
        return frozenset()
    return frozenset(
        tool["custom"]["name"]
        for tool in tools
        if tool.get("type") == "custom" and isinstance(tool.get("custom"), dict) and isinstance(tool["custom"].get("name"), str)
    )


def as_functions(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chat body with functions instead of custom tools, also in its history and its `tool_choice`."""
    changed: Json = {}
    if custom_names(body):
        changed["tools"] = [_function_tool(tool) for tool in body["tools"]]
    messages = [message for message in body["messages"] if "tool_calls" in message]
    if messages and any(map(_has_custom_call, messages)):
        changed["messages"] = [_with_function_calls(message) for message in body["messages"]]
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "custom" and isinstance(choice.get("custom"), dict):
        changed["tool_choice"] = {"type": "function", "function": choice["custom"]}
    return {**body, **changed} if changed else body


def _function_tool(tool: Json) -> Json:
    custom = tool.get("custom")
    if tool.get("type") != "custom" or not isinstance(custom, dict) or not isinstance(custom.get("name"), str):
        return tool
    described = [custom["description"]] if isinstance(custom.get("description"), str) and custom["description"] else []
    description = "\n\n".join([*described, *_grammar(custom.get("format"))])
    function = {"name": custom["name"], "parameters": _PARAMETERS, **({"description": description} if description else {})}
    return {**{name: value for name, value in tool.items() if name != "custom"}, "type": "function", "function": function}


def _grammar(format: object) -> Iterable[str]:
    """Yield the grammar of the input as text for the model. The provider does not enforce it."""
    grammar = format.get("grammar") if isinstance(format, dict) else None
    if isinstance(grammar, dict) and grammar.get("definition"):
        yield f"The input must match this grammar ({grammar.get('syntax', 'lark')}):\n{grammar['definition']}"


def _has_custom_call(message: Mapping[str, Any]) -> bool:
    return any(call.get("type") == "custom" for call in message.get("tool_calls") or ())


def _with_function_calls(message: Json) -> Json:
    if not _has_custom_call(message):
        return message
    return {**message, "tool_calls": [_function_call(call) for call in message["tool_calls"]]}


def _function_call(call: Json) -> Json:
    custom = call.get("custom")
    if call.get("type") != "custom" or not isinstance(custom, dict):
        return call
    arguments = orjson.dumps({"input": custom.get("input") or ""}).decode()
    function = {"name": custom.get("name"), "arguments": arguments}
    return {**{name: value for name, value in call.items() if name != "custom"}, "type": "function", "function": function}


class InputReader:
    """Reads the `input` of a custom tool from a function's JSON arguments, as they arrive."""

    __slots__ = ("_begun", "_done", "_held")

    def __init__(self) -> None:
        self._begun = self._done = False
        self._held = ""  # arguments that cannot be decoded yet

    def feed(self, arguments: str) -> str:
        """Add arguments and return the text that they complete."""
        if self._done:
            return ""
        self._held += arguments
        if not self._begun:
            start = _START.match(self._held)
            if start is None:
                return ""
            self._begun = True
            self._held = self._held[start.end() :]
        found = _CHARACTERS.match(self._held)
        piece = found[0] if found else ""
        self._held = self._held[len(piece) :]
        if self._held.startswith('"'):
            self._done, self._held = True, ""
        return str(json.loads(f'"{piece}"', strict=False))

    def finish(self, *, cut: bool) -> str:
        """Return the text that is left when the call ends. `cut` means that the arguments may be incomplete.

        Models that ignore the schema send plain text, or an object with another string.
        """
        rest, self._held, done, self._done = self._held, "", self._done, True
        if done or not rest.strip():
            return ""
        if self._begun:
            return "" if cut else _valid(_END.sub("", rest))
        try:
            value = json.loads(rest, strict=False)
        except (json.JSONDecodeError, RecursionError):
            return "" if cut else rest
        return _valid(_only_text(value, rest))


def input_of(arguments: str, *, cut: bool = False) -> str:
    """Return the `input` in a function's complete arguments."""
    reader = InputReader()
    return reader.feed(arguments) + reader.finish(cut=cut)


def _only_text(value: Any, raw: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if isinstance(value.get("input"), str):
            return str(value["input"])
        texts = list(value.values())
        if not texts:
            return ""
        if len(texts) == 1 and isinstance(texts[0], str):
            return texts[0]
    return raw


def _valid(text: str) -> str:
    """Replace unpaired surrogates, which cannot be sent."""
    return text.encode(errors="replace").decode()
