"""Content parts of messages, as needed by all dialects: text, data URLs, arguments of tool calls. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from shared.dialects.field_support import Fields, check_fields, raise_unsupported
from shared.dialects.json_schema import Profile, Unconvertible, WorkBudget, convert
from shared.text.data_urls import parse_data_url as parse_data_url

SYSTEM_ROLES = frozenset({"system", "developer"})


class Message(NamedTuple):
    """A message of a call, its path (`messages[3]`) for errors, and its parts with their paths. Plain text counts as one part."""

    path: str
    fields: Mapping[str, Any]
    parts: list[tuple[str, dict[str, Any]]]

    @property
    def role(self) -> str:
        return str(self.fields["role"])


def messages(body: Mapping[str, Any], fields: Fields, part_fields: Fields) -> Iterator[Message]:
    """Yield the messages of a call. Raises `UnsupportedField` for fields and parts that the dialect does not support."""
    for index, message in enumerate(body["messages"]):
        where = f"messages[{index}]"
        if message["role"] == "function":
            raise_unsupported(f"{where}.role", "use the role 'tool'")
        check_fields({name: value for name, value in message.items() if value not in ("", [], {})}, fields, f"{where}.")
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        found = [(f"{where}.content[{position}]", part) for position, part in enumerate(parts)]
        for path, part in found:
            kind = part["type"]
            field = part_fields.get(kind)
            if field is None or field.support == "refused":
                raise_unsupported(f"{path}.type", f"content parts of the type '{kind[:40]}' are not supported")
        if message.get("name") and message["role"] != "tool":
            found = _named(where, message["name"], found)
        yield Message(where, message, found)


def _named(where: str, name: str, parts: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the parts with the name prefixed to their text."""
    if not parts or parts[0][1]["type"] != "text":
        return [(where, {"type": "text", "text": f"{name}: "}), *parts]
    (path, first), *rest = parts
    return [(path, {**first, "text": f"{name}: {first['text']}"}), *rest]


def text_of_part(part: Mapping[str, Any]) -> str | None:
    """Return the text of a text or refusal part; None for other parts."""
    text = part.get("text") if part["type"] == "text" else part.get("refusal") if part["type"] == "refusal" else None
    return text if isinstance(text, str) else None


def plain_text(message: Message) -> str:
    """Return the text of a message in which only text is allowed. Raises `UnsupportedField`."""
    pieces = []
    for where, part in message.parts:
        text = text_of_part(part)
        if text is None:
            raise_unsupported(f"{where}.type", "messages with this role can only contain text")
        pieces.append(text or "")
    return "\n".join(pieces)


def media_url(where: str, part: Mapping[str, Any], kind: str) -> str:
    """Return the URL of an `image_url` or `video_url` part, whose value is an object or, in some clients, the URL itself."""
    value = part.get(kind)
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        raise_unsupported(f"{where}.{kind}.url", "must be a base64 data URL or an https URL")
    if isinstance(value, dict) and value.get("detail") == "low":
        raise_unsupported(f"{where}.{kind}.detail", "images are always used in full")
    return str(url)


def file_url(where: str, part: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the data URL (or https URL) of a `file` part, and its name."""
    file = part.get("file")
    if not isinstance(file, dict):
        raise_unsupported(f"{where}.file", "must be an object with 'file_data'")
    if file.get("file_id") is not None:
        raise_unsupported(f"{where}.file.file_id", "send the file as a data URL in 'file_data'")
    data = file.get("file_data")
    if not isinstance(data, str) or not data:
        raise_unsupported(f"{where}.file.file_data", "must be a base64 data URL")
    name = file.get("filename")
    return str(data), name if isinstance(name, str) and name else None


def require_https(where: str, url: str) -> str:
    """Return an https URL, which the provider fetches itself. Raises `UnsupportedField` for other URLs."""
    if not url.startswith("https://"):
        raise_unsupported(where, "must be a base64 data URL or an https URL")
    return url


def parse_tool_call(where: str, call: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return id, name and arguments of a function call in an assistant message. Raises `UnsupportedField`."""
    function = call.get("function")
    if call.get("type", "function") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise_unsupported(f"{where}.function", "only function calls with a name are supported")
    text = function.get("arguments") or "{}"
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise_unsupported(f"{where}.function.arguments", "must be a JSON object as a string")
    return str(call.get("id") or ""), function["name"], arguments


def function_tools(
    body: Mapping[str, Any], is_other: Callable[[Mapping[str, Any]], bool] | None = None
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return every tool with its path and its function, except those for which `is_other` is true.

    Raises `UnsupportedField` for other types of tools.
    """
    found = []
    for index, tool in enumerate(body.get("tools") or ()):
        if is_other is not None and is_other(tool):
            continue
        where, function = f"tools[{index}]", tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            raise_unsupported(f"{where}.type", "only function tools are supported")
        if not isinstance(function.get("name"), str):
            raise_unsupported(f"{where}.function.name", "must be a string")
        found.append((where, tool, function))
    return found


def chosen_function(body: Mapping[str, Any]) -> str | None:
    """Return the function named by `tool_choice`, or None for a mode. Raises `UnsupportedField` for other choices."""
    choice = body.get("tool_choice")
    if isinstance(choice, str) or choice is None:
        if choice not in (None, "auto", "none", "required"):
            raise_unsupported("tool_choice", "must be auto, none, required or a function")
        return None
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise_unsupported("tool_choice", "must be auto, none, required or a function")
    return str(function["name"])


def response_format(body: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return the type of `response_format` (`text`, `json_object` or `json_schema`) and its schema. Raises `UnsupportedField`."""
    response_format = body.get("response_format")
    if not response_format:
        return "text", None
    kind = response_format.get("type")
    if kind in ("text", "json_object"):
        return kind, None
    named = response_format.get("json_schema")
    if kind != "json_schema" or not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        raise_unsupported("response_format", "must be text, json_object, or json_schema with a schema")
    return "json_schema", named["schema"]


def convert_schema(
    where: str, schema: Mapping[str, Any], profile: Profile, *, object_root: bool = False, work: WorkBudget | None = None
) -> dict[str, Any]:
    """Convert the schema at the path `where` to a provider's subset. `work` as for `convert`.

    Raises `UnsupportedField` with the path of the unsupported part.
    """
    try:
        return convert(schema, profile, object_root=object_root, work=work)
    except Unconvertible as error:
        raise_unsupported(".".join(filter(None, (where, error.where))), error.why)


def output_limit(body: Mapping[str, Any], clamp: int | None) -> int | None:
    """Return the smallest of the caller's limits and `clamp`, or None if there are none."""
    limits = [body.get("max_completion_tokens"), body.get("max_tokens"), clamp]
    return min((limit for limit in limits if limit is not None), default=None)


def stop_sequences(body: Mapping[str, Any]) -> list[str]:
    """Return `stop` as a list without empty strings."""
    stop = body.get("stop")
    return [each for each in ([stop] if isinstance(stop, str) else stop or ()) if each]


def check_options(body: Mapping[str, Any]) -> None:
    """Raise `UnsupportedField` for keys of `stream_options` that no dialect supports."""
    for key, value in (body.get("stream_options") or {}).items():
        if key != "include_usage" and value not in (None, False):
            raise_unsupported(f"stream_options.{key[:40]}", "only include_usage is supported")
