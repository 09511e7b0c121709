"""Content of messages as every dialect needs it: text, data URLs, arguments of tool calls. Pure."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from shared.dialects.field_support import Fields, check_fields, refuse
from shared.dialects.json_schema import Profile, Unconvertible, Work, convert
from shared.text.media_types import HEAD_BYTES, media_type

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*;base64,(?P<data>[A-Za-z0-9+/=\s]*)")
_HEAD_CHARACTERS = (HEAD_BYTES + 2) // 3 * 4  # of base64
_SPELLINGS = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
SYSTEM_ROLES = frozenset({"system", "developer"})


class Inline(NamedTuple):
    """What a data URL holds: its media type, by the content where that is known, and the base64 as it came."""

    media_type: str
    data: str


class Message(NamedTuple):
    """One message of a call, its path (`messages[3]`) for errors, and its parts with theirs; text alone is one part."""

    where: str
    fields: Mapping[str, Any]
    parts: list[tuple[str, dict[str, Any]]]

    @property
    def role(self) -> str:
        return str(self.fields["role"])


def messages(body: Mapping[str, Any], fields: Fields, part_fields: Fields) -> Iterator[Message]:
    """The messages of a call whose fields and parts the dialect has a place for. Raises `UnsupportedField` for others."""
    for index, message in enumerate(body["messages"]):
        where = f"messages[{index}]"
        if message["role"] == "function":
            refuse(f"{where}.role", "use a message of the role 'tool'")
        check_fields({name: value for name, value in message.items() if value not in ("", [], {})}, fields, f"{where}.")
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) and content else content or []
        found = [(f"{where}.content[{position}]", part) for position, part in enumerate(parts)]
        for path, part in found:
            kind = part["type"]
            field = part_fields.get(kind)
            if field is None or field.how == "refused":
                refuse(f"{path}.type", f"no part of the type '{kind[:40]}'")
        if message.get("name") and message["role"] != "tool":
            found = _named(where, message["name"], found)
        yield Message(where, message, found)


def _named(where: str, name: str, parts: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The parts with the speaker's name before them."""
    if not parts or parts[0][1]["type"] != "text":
        return [(where, {"type": "text", "text": f"{name}: "}), *parts]
    (path, first), *rest = parts
    return [(path, {**first, "text": f"{name}: {first['text']}"}), *rest]


def text_of_part(part: Mapping[str, Any]) -> str | None:
    """The text of a part that is text, or a refusal; None of another."""
    text = part.get("text") if part["type"] == "text" else part.get("refusal") if part["type"] == "refusal" else None
    return text if isinstance(text, str) else None


def plain_text(message: Message) -> str:
    """The text of a message that may hold nothing else. Raises `UnsupportedField`."""
    pieces = []
    for where, part in message.parts:
        text = text_of_part(part)
        if text is None:
            refuse(f"{where}.type", "only text in a message of this role")
        pieces.append(text or "")
    return "\n".join(pieces)


def url_of(where: str, part: Mapping[str, Any], kind: str) -> str:
    """The URL of an `image_url` or `video_url` part, whose value is an object or, in loose clients, the URL itself."""
    value = part.get(kind)
    url = value.get("url") if isinstance(value, dict) else value
    if not isinstance(url, str) or not url:
        refuse(f"{where}.{kind}.url", "give a data URL with base64, or an https URL")
    if isinstance(value, dict) and value.get("detail") == "low":
        refuse(f"{where}.{kind}.detail", "images are always seen whole")
    return str(url)


def file_of(where: str, part: Mapping[str, Any]) -> tuple[str, str | None]:
    """The data URL (or https URL) of a `file` part, and its name."""
    file = part.get("file")
    if not isinstance(file, dict):
        refuse(f"{where}.file", "give an object with 'file_data'")
    if file.get("file_id") is not None:
        refuse(f"{where}.file.file_id", "send the file itself, as a data URL in 'file_data'")
    data = file.get("file_data")
    if not isinstance(data, str) or not data:
        refuse(f"{where}.file.file_data", "give a data URL with base64")
    name = file.get("filename")
    return str(data), name if isinstance(name, str) and name else None


def inline(url: str) -> Inline | None:
    """What a data URL holds; None of any other URL."""
    match = _DATA_URL.fullmatch(url) if url.startswith("data:") else None
    return Inline(_media_type(match["type"].lower(), match["data"]), match["data"]) if match else None


def _media_type(told: str, data: str) -> str:
    """What the content is: clients label images wrongly, and providers refuse a label that the content does not have.

    Labels of sound, video and text are kept: their containers and first bytes do not say enough.
    """
    if told.startswith(("audio/", "video/", "text/")):
        return told
    text = "".join(data[: 2 * _HEAD_CHARACTERS].split())[:_HEAD_CHARACTERS]
    try:
        head = binascii.a2b_base64(text[: len(text) // 4 * 4])
    except binascii.Error:
        head = b""
    found = "application/pdf" if head.startswith(b"%PDF-") else media_type(head)
    return found or _SPELLINGS.get(told, told)


def require_https(where: str, url: str) -> str:
    """An https URL, which the vendor fetches by itself. Raises `UnsupportedField` for another."""
    if not url.startswith("https://"):
        refuse(where, "give a data URL with base64, or an https URL")
    return url


def arguments_of(where: str, call: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Id, name and arguments of a function call in an assistant's message. Raises `UnsupportedField`."""
    function = call.get("function")
    if call.get("type", "function") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        refuse(f"{where}.function", "only calls of functions, with a name")
    text = function.get("arguments") or "{}"
    try:
        arguments = orjson.loads(text) if isinstance(text, str) else None
    except orjson.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        refuse(f"{where}.function.arguments", "they must be a JSON object, as a string")
    return str(call.get("id") or ""), function["name"], arguments


def functions_of(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every tool with its path and its function. Raises `UnsupportedField` for tools that are no functions."""
    found = []
    for index, tool in enumerate(body.get("tools") or ()):
        where, function = f"tools[{index}]", tool.get("function")
        if tool.get("type", "function") != "function" or not isinstance(function, dict):
            refuse(f"{where}.type", "only functions")
        if not isinstance(function.get("name"), str):
            refuse(f"{where}.function.name", "it must be a string")
        found.append((where, tool, function))
    return found


def chosen_function(body: Mapping[str, Any]) -> str | None:
    """The function that `tool_choice` names, None where it names a mode. Raises `UnsupportedField` for other choices."""
    choice = body.get("tool_choice")
    if isinstance(choice, str) or choice is None:
        if choice not in (None, "auto", "none", "required"):
            refuse("tool_choice", "one of auto, none, required, or a function")
        return None
    function = choice.get("function")
    if choice.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        refuse("tool_choice", "one of auto, none, required, or a function")
    return str(function["name"])


def json_format(body: Mapping[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """What `response_format` asks for: `text`, `json_object` or `json_schema`, and the schema. Raises `UnsupportedField`."""
    wanted = body.get("response_format")
    if not wanted:
        return "text", None
    kind = wanted.get("type")
    if kind in ("text", "json_object"):
        return kind, None
    named = wanted.get("json_schema")
    if kind != "json_schema" or not isinstance(named, dict) or not isinstance(named.get("schema"), dict):
        refuse("response_format", "one of text, json_object, or json_schema with a schema")
    return "json_schema", named["schema"]


def converted(
    where: str, schema: Mapping[str, Any], profile: Profile, *, object_root: bool = False, work: Work | None = None
) -> dict[str, Any]:
    """The schema at the path `where` in a provider's subset. `work` as for `convert`.

    Raises `UnsupportedField` that names the place inside of it.
    """
    try:
        return convert(schema, profile, object_root=object_root, work=work)
    except Unconvertible as problem:
        refuse(".".join(filter(None, (where, problem.where))), problem.why)


def output_limit(body: Mapping[str, Any], clamp: int | None) -> int | None:
    """The smallest of the caller's limits and `clamp`; None where nobody set one."""
    limits = [body.get("max_completion_tokens"), body.get("max_tokens"), clamp]
    return min((limit for limit in limits if limit is not None), default=None)


def stops(body: Mapping[str, Any]) -> list[str]:
    """`stop` as a list, without empty ones."""
    stop = body.get("stop")
    return [each for each in ([stop] if isinstance(stop, str) else stop or ()) if each]


def check_options(body: Mapping[str, Any]) -> None:
    """Refuse keys of `metadata` and `stream_options` that have no place anywhere."""
    for name, known in (("metadata", ("user_id",)), ("stream_options", ("include_usage",))):
        for key, value in (body.get(name) or {}).items():
            if key not in known and value not in (None, False):
                refuse(f"{name}.{key[:40]}", f"only {', '.join(known)}")
