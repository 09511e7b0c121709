"""Converts tools of the Responses API to tools of a chat body, and calls of them back to items. Pure.

The caller executes these tools: functions, custom tools, namespaces of both, client-side tool search, shells and patches. A
namespace becomes part of the function's name. Of the tools that OpenAI executes itself, those that clients send by default are
left out (except in relayed calls, if a price covers them), and the others are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from shared.core.errors import InvalidRequest

Json = dict[str, Any]
MAX_NAME_LENGTH = 64  # OpenAI's limit for the name of a function, and Gemini's

# Tools that OpenAI executes. Clients send the optional ones by default, because they cannot find out which are available.
_OPTIONAL = ("web_search", "web_search_preview", "image_generation", "code_interpreter")
_REFUSED = ("file_search", "mcp", "computer", "computer_use_preview", "programmatic_tool_calling")
_DATED = re.compile(r"_\d{4}_\d{2}_\d{2}$")  # of web_search_preview_2025_03_11
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


class ClientTool(NamedTuple):
    """A tool as the caller knows it. `kind` is the type of the tool, `name` is "" for types without a name."""

    kind: str
    name: str
    namespace: str | None = None


_STRINGS = {"type": "array", "items": {"type": "string"}}
_MILLISECONDS = {"type": "integer", "description": "Timeout in milliseconds."}


def _object(required: Sequence[str], **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


# Type of a tool without a name → description and parameters of its function.
_BUILT_IN: dict[str, tuple[str, Json]] = {
    "local_shell": (
        "Runs a command on the user's computer and returns its output.",
        _object(
            ["command"],
            command={**_STRINGS, "description": "The program and its arguments."},
            working_directory={"type": "string"},
            timeout_ms=_MILLISECONDS,
        ),
    ),
    "shell": (
        "Runs shell commands on the user's computer and returns their output.",
        _object(
            ["commands"],
            commands={**_STRINGS, "description": "The commands, which may run at the same time."},
            timeout_ms=_MILLISECONDS,
            max_output_length={"type": "integer", "description": "Maximum number of characters of output."},
        ),
    ),
    "apply_patch": (
        "Creates, updates or deletes one file. A diff consists of lines that begin with '+', '-' or a space, in sections that"
        " begin with '@@' and, optionally, a line that precedes the change.",
        _object(
            ["type", "path"],
            type={"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
            path={"type": "string"},
            diff={"type": "string", "description": "Required unless the file is deleted."},
        ),
    ),
    "tool_search": (
        "Searches for tools by what they do, and makes them available.",
        _object(["query"], query={"type": "string"}),
    ),
}


class ToolSet:
    """The tools of one call. `chat_tools` are those of the chat body, `ignored` the types that were left out.

    `added_bytes` is the size of the functions whose descriptions and parameters the caller did not send.
    """

    def __init__(self) -> None:
        self.chat_tools: list[Json] = []
        self.ignored: list[str] = []
        self.added_bytes = 0
        self._paths: list[str] = []  # of each chat tool, in the caller's body
        self._added: set[ClientTool] = set()
        self._names: dict[ClientTool, str] = {}
        self._tools: dict[str, ClientTool] = {}
        self._searches = False

    def add(self, tools: object, where: str, *, deferred: bool = False) -> list[str]:
        """Add the tools at the path `where`. Returns their names in the chat body.

        `deferred` is true for tools that a search found. Raises `InvalidRequest`.
        """
        if not isinstance(tools, list):
            raise InvalidRequest(f"'{where}' must be a list.", where)
        self._searches = self._searches or any(_is_client_search(tool) for tool in tools)
        names: list[str] = []
        for index, tool in enumerate(tools):
            at = f"{where}[{index}]"
            if not isinstance(tool, dict):
                raise InvalidRequest(f"'{at}' must be an object.", at)
            names += self._add(tool, at, deferred=deferred)
        return names

    def _add(self, tool: Json, where: str, *, deferred: bool) -> list[str]:
        kind = _text(tool.get("type"))
        if kind == "namespace":
            return self._add_namespace(tool, where, deferred=deferred)
        if kind in ("function", "custom"):
            return [self._add_named(tool, where, None, deferred=deferred)]
        if kind in _BUILT_IN and not _is_hosted(tool):
            return [self._add_built_in(tool, where)]
        if kind == "tool_search":
            return []  # of the provider: it is not needed, because without it no tool is deferred
        plain = plain_kind(kind)
        if is_left_out(tool):
            self.ignored += [plain] if plain not in self.ignored else []
            return []
        if plain in _REFUSED:
            raise InvalidRequest(
                f"'{plain}' is executed by the provider, which is not supported. Send functions instead.", f"{where}.type"
            )
        raise InvalidRequest(
            f"Unsupported tool type; the supported types are function, custom, namespace, {', '.join(_BUILT_IN)}.",
            f"{where}.type",
        )

    def _add_namespace(self, tool: Json, where: str, *, deferred: bool) -> list[str]:
        namespace, members = _name(tool, where), tool.get("tools")
        if not isinstance(members, list):
            raise InvalidRequest(f"'{where}.tools' must be a list.", f"{where}.tools")
        names = []
        for index, member in enumerate(members):
            at = f"{where}.tools[{index}]"
            if not isinstance(member, dict) or member.get("type") not in ("function", "custom"):
                raise InvalidRequest(f"'{at}' must be a tool of type 'function' or 'custom'.", f"{at}.type")
            if index == 0 and isinstance(tool.get("description"), str) and tool["description"]:
                # Chat bodies have no namespaces, so the first tool has the description of its namespace.
                member = {**member, "description": f"{tool['description']}\n\n{member.get('description') or ''}".rstrip()}
            names.append(self._add_named(member, at, namespace, deferred=deferred))
        return names

    def _add_named(self, tool: Json, where: str, namespace: str | None, *, deferred: bool) -> str:
        kind = str(tool["type"])
        known = ClientTool(kind, _name(tool, where), namespace)
        name = self.chat_name(*known)
        if kind == "function":
            fields = ("description", "parameters", "strict")
            made: Json = {"name": name, **{field: tool[field] for field in fields if tool.get(field) is not None}}
        else:
            made = {"name": name, **({"description": tool["description"]} if tool.get("description") else {})}
            made |= _format(tool.get("format"), where)
        defers = {"defer_loading": True} if deferred or tool.get("defer_loading") else {}
        self._append(known, {"type": kind, kind: made, **defers}, where)
        return name

    def _add_built_in(self, tool: Json, where: str) -> str:
        kind = str(tool["type"])
        if not isinstance(tool.get("environment") or {}, dict):
            raise InvalidRequest(f"'{where}.environment' must be an object.", f"{where}.environment")
        description, parameters = _BUILT_IN[kind]
        if isinstance(tool.get("description"), str):
            description = tool["description"]
        if isinstance(tool.get("parameters"), dict):
            parameters = tool["parameters"]
        name = self.chat_name(kind, "", None)
        function = {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
        self.added_bytes += len(orjson.dumps(function))
        self._append(ClientTool(kind, ""), function, where)
        return name

    def _append(self, tool: ClientTool, chat_tool: Json, where: str) -> None:
        """Add a tool, unless the call already has it: a search may find a tool again."""
        if tool not in self._added:
            self._added.add(tool)
            self.chat_tools.append(chat_tool)
            self._paths.append(where)

    def finish(self) -> list[Json]:
        """Return the chat tools. No tool is deferred if the call has no tool that searches for them."""
        if not self._searches:
            for tool in self.chat_tools:
                tool.pop("defer_loading", None)
        return self.chat_tools

    def chat_name(self, kind: str, name: str, namespace: str | None) -> str:
        """Return the unique name of a tool in the chat body. The tool may occur in the history only."""
        tool = ClientTool(kind, name, namespace)
        known = self._names.get(tool)
        if known is None:
            known = plain = _plain_name(name or kind, namespace)
            number = 1
            while known in self._tools:
                number += 1
                known = f"{plain[: MAX_NAME_LENGTH - 4]}_{number}"
            self._names[tool] = known
            self._tools[known] = tool
        return known

    def client_tool(self, chat_name: str) -> ClientTool:
        """Return the tool with this name in the chat body. Unknown names become functions, because models may invent names."""
        return self._tools.get(chat_name) or ClientTool("function", chat_name)

    def caller_path(self, param: str) -> str | None:
        """Return the caller's path for a path of a tool in the chat body; None for other paths."""
        found = re.match(r"tools\[(\d+)\](?:\.function)?", param)
        if found is None or int(found[1]) >= len(self._paths):
            return None
        return self._paths[int(found[1])] + param[found.end() :]

    def choose(self, choice: object) -> tuple[Any, list[Json]]:
        """Convert `tool_choice`. Returns the choice and the tools: with `allowed_tools`, only the allowed ones.

        Raises `InvalidRequest` for a choice that requires a tool that was left out.
        """
        tools = self.finish()
        if choice == "required" and not tools and self.ignored:
            raise _not_available(self.ignored[0])
        if not isinstance(choice, dict):
            return choice, tools
        kind = _text(choice.get("type"))
        if kind == "allowed_tools" and isinstance(choice.get("tools"), list):
            mode = choice.get("mode", "auto")
            chosen = [name for entry in choice["tools"] if isinstance(entry, dict) for name in self._named_by(entry)]
            allowed = [tool for tool in tools if _chat_name(tool) in chosen]
            if mode == "required" and not allowed:
                self._check_available(
                    {"type": next((entry.get("type") for entry in choice["tools"] if isinstance(entry, dict)), None)}
                )
            return mode, allowed
        self._check_available(choice)
        names = self._named_by(choice)
        if len(names) != 1:
            raise InvalidRequest(
                "'tool_choice' must be 'auto', 'none', 'required', or an object that names one of the tools.", "tool_choice"
            )
        kind = next((tool["type"] for tool in tools if _chat_name(tool) == names[0]), "function")
        return {"type": kind, kind: {"name": names[0]}}, tools

    def _check_available(self, choice: Mapping[str, Any]) -> None:
        plain = plain_kind(_text(choice.get("type")))
        if plain in self.ignored or plain in (*_OPTIONAL, *_REFUSED):
            raise _not_available(plain)

    def _named_by(self, choice: Mapping[str, Any]) -> list[str]:
        """Return the names, in the chat body, of the tools that an entry of `tool_choice` selects."""
        kind, name, namespace = (_text(choice.get(field)) for field in ("type", "name", "namespace"))
        if kind == "namespace":
            return [chat for tool, chat in self._names.items() if tool.namespace == name]
        if kind == "function" and name and not namespace:
            return [self.chat_name("function", name, None)]
        found = self._names.get(ClientTool(kind, "" if kind in _BUILT_IN else name, namespace or None))
        return [found] if found else []


def _not_available(kind: str) -> InvalidRequest:
    return InvalidRequest(f"'tool_choice' requires '{kind}', a tool of the provider that is not available.", "tool_choice")


def _is_client_search(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "tool_search" and not _is_hosted(tool)


def plain_kind(kind: str) -> str:
    """Return a type of tools without its date."""
    return _DATED.sub("", kind)


def is_left_out(tool: Mapping[str, Any]) -> bool:
    """Return whether the provider would execute the tool, and the call can do without it."""
    return plain_kind(_text(tool.get("type"))) in _OPTIONAL or runs_in_container(tool)


def runs_in_container(tool: Mapping[str, Any]) -> bool:
    """Return whether the tool is a shell in a container of the provider."""
    kind = _text(tool.get("type"))
    return kind in _BUILT_IN and kind != "tool_search" and _is_hosted(tool)


def _is_hosted(tool: Mapping[str, Any]) -> bool:
    """Return whether OpenAI executes a tool of a type that the caller could execute."""
    if tool["type"] == "tool_search":
        return tool.get("execution") != "client"
    environment = tool.get("environment")
    return isinstance(environment, dict) and environment.get("type", "local") != "local"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(tool: Mapping[str, Any], where: str) -> str:
    name = tool.get("name")
    if not isinstance(name, str):
        raise InvalidRequest(f"'{where}.name' must be a string.", f"{where}.name")
    return name


def _chat_name(tool: Mapping[str, Any]) -> str:
    return str(tool[tool["type"]]["name"])


def _format(format: object, where: str) -> Json:
    """Convert the input format of a custom tool. In chat bodies, a grammar is an object of its own."""
    if format is None:
        return {}
    if not isinstance(format, dict):
        raise InvalidRequest(f"'{where}.format' must be an object.", f"{where}.format")
    if format.get("type") != "grammar":
        return {"format": format}
    return {"format": {"type": "grammar", "grammar": {name: format.get(name) for name in ("definition", "syntax")}}}


def _plain_name(name: str, namespace: str | None) -> str:
    """Return the name of a function. A tool in a namespace gets a combined name that all providers accept."""
    if namespace is None:
        return name
    whole = _NOT_IN_NAMES.sub("_", f"{namespace}__{name}")
    if not (whole[0].isalpha() or whole[0] == "_"):
        whole = f"_{whole}"
    if len(whole) > MAX_NAME_LENGTH:
        digest = hashlib.sha256(f"{namespace}\0{name}".encode(errors="surrogatepass")).hexdigest()[:8]
        whole = f"{whole[: MAX_NAME_LENGTH - 9]}_{digest}"
    return whole


def call_item(tool: ClientTool, id: str, call_id: str, arguments: str, *, status: str) -> Json:
    """Return the output item of a call. `arguments` is the JSON of a function, or the input of a custom tool."""
    head = {"id": id, "status": status, "call_id": call_id}
    namespace = {"namespace": tool.namespace} if tool.namespace is not None else {}
    match tool.kind:
        case "custom":
            return {**head, "type": "custom_tool_call", "name": tool.name, **namespace, "input": arguments}
        case "tool_search":
            return {**head, "type": "tool_search_call", "execution": "client", "arguments": _parsed(arguments)}
        case "local_shell":
            sent = _parsed(arguments)
            action = {"type": "exec", "command": _strings(sent.get("command")), "env": {}}
            return {**head, "type": "local_shell_call", "action": {**action, **_present(sent, "working_directory", "timeout_ms")}}
        case "shell":
            sent = _parsed(arguments)
            limits = {name: sent.get(name) for name in ("timeout_ms", "max_output_length")}
            return {**head, "type": "shell_call", "action": {"commands": _strings(sent.get("commands")), **limits}}
        case "apply_patch":
            sent = _parsed(arguments)
            operation = {"type": sent.get("type", "update_file"), "path": sent.get("path", "")}
            diff = {"diff": sent.get("diff") or ""} if operation["type"] != "delete_file" else {}
            return {**head, "type": "apply_patch_call", "operation": {**operation, **diff}}
    return {**head, "type": "function_call", "name": tool.name, **namespace, "arguments": arguments}


def sent_arguments(item: Mapping[str, Any]) -> str:
    """Return the function arguments for a call in the history. The reverse of `call_item`."""
    details = item.get("action") or item.get("operation") or item.get("arguments") or {}
    known = ("command", "working_directory", "timeout_ms", "commands", "max_output_length", "path", "diff")
    if item["type"] == "tool_search_call" or not isinstance(details, dict):
        return orjson.dumps(details).decode()
    kept = _present(details, *known)
    return orjson.dumps({"type": details.get("type"), **kept} if item["type"] == "apply_patch_call" else kept).decode()


def _parsed(arguments: str) -> Json:
    """Parse arguments. Some models write something else than an object; it becomes an empty object."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _present(owner: Mapping[str, Any], *names: str) -> Json:
    return {name: owner[name] for name in names if owner.get(name) is not None}
