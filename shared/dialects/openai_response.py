"""Normalizes answers of OpenAI-compatible providers to OpenAI's types: complete messages and stream deltas. Pure.

Every endpoint renders its response from the output of this module. Fields that OpenAI does not have are kept
(`reasoning_content`, `images`, …). If content is a list of parts (Mistral, some gateways), its text becomes the content. Other
parts go to fields of their own: `reasoning_content`, `refusal`, `images`, and `content_parts` for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from shared.dialects.finish_reasons import to_openai_reason
from shared.dialects.tool_calls import ToolCalls, arguments_text, json_text, normalize_calls

Json = dict[str, Any]
CALL_REASONS = ("tool_calls", "function_call")  # finish reasons of answers with tool calls
CUT_REASONS = ("length", "content_filter")  # finish reasons of incomplete answers
LABELS = ("service_tier", "system_fingerprint")  # field names of a whole answer, and of a chunk
LIST_FIELDS = ("images", "content_parts", "thinking_blocks", "reasoning_details", "annotations")
TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "refusal")


class Delivered(NamedTuple):
    """What an answer delivered: the text for counting tokens, whether there was any output, and the number of images.

    The text includes content, reasoning, refusals, and names and arguments of calls, without the JSON around them.
    """

    text: str
    anything: bool
    images: int


class DeltaNormalizer:
    """The deltas of one choice of a stream. `name` and `custom_tools` as for `ToolCalls`."""

    __slots__ = ("_calls", "_function", "_numbers")

    def __init__(self, name: str, custom_tools: AbstractSet[str] = frozenset()) -> None:
        self._calls = ToolCalls(name, custom_tools)
        self._function = ""  # the relayed name of a legacy `function_call`
        self._numbers = dict.fromkeys(LIST_FIELDS, 0)

    def add_indexes(self, owner: Mapping[str, Any], changes: Json) -> None:
        """Add an `index` to entries of `LIST_FIELDS`: OpenAI's SDKs merge the lists of all deltas by index, and raise without
        one."""
        for name in LIST_FIELDS:
            entries = changes.get(name, owner.get(name))
            if not isinstance(entries, list):
                continue
            if not all(isinstance(entry, dict) and type(entry.get("index")) is int for entry in entries):
                dicts = [entry for entry in entries if isinstance(entry, dict)]
                changes[name] = [{**entry, "index": number} for number, entry in enumerate(dicts, self._numbers[name])]
            self._numbers[name] += len(entries)

    def calls(self, sent: Any, changes: Json) -> str:
        """Process `tool_calls`. Returns the text to count, and adds the necessary changes of the delta to `changes`."""
        relay, text = self._calls.add(sent)
        if relay is not None:
            changes["tool_calls"] = relay or None
        return text

    def function_call(self, sent: Any, changes: Json) -> str:
        """Process a legacy `function_call`. See `calls`."""
        function = sent if isinstance(sent, dict) else {}
        name, arguments = function.get("name"), function.get("arguments")
        relayed = {key: value for key, value in function.items() if key not in ("name", "arguments")}
        text = ""
        if isinstance(name, str) and name and not self._function:
            text = self._function = relayed["name"] = name
        if arguments is not None or "name" in relayed:
            relayed["arguments"] = arguments_text(arguments)
            text += relayed["arguments"]
        if relayed != sent or not relayed:
            changes["function_call"] = relayed or None
        return text

    @property
    def called(self) -> bool:
        """Whether the choice has tool calls."""
        return bool(self._calls)

    def missing_fragments(self, reason: str) -> list[Json]:
        """Return fragments of tool calls that are still missing at the end of the choice."""
        return self._calls.missing_fragments(cut=reason in CUT_REASONS)


def normalize_texts(owner: Mapping[str, Any]) -> Json:
    """Return the changes to a delta or message that make its text fields text, and `images` a list of images."""
    changes: Json = {
        name: text_of(owner[name]) for name in TEXT_FIELDS[1:] if owner.get(name) is not None and not isinstance(owner[name], str)
    }
    images = owner.get("images")
    if images and not (isinstance(images, list) and all(map(_is_image, images))):
        changes["images"] = [image_of(image) for image in (images if isinstance(images, list) else [images])]
    content = owner.get("content")
    if content is None or isinstance(content, str):
        return changes
    for name, more in _split(content).items():
        before = None if name == "content" else changes.get(name, owner.get(name))
        changes[name] = before + more if isinstance(before, type(more)) else more
    return changes


def normalize_chunk(value: Any) -> Json | None:
    """Return a decoded chunk with fields converted to OpenAI's types where possible; None for an empty value.

    PHP serializes an empty object as `[]`; others write indexes as text, `false` or 0 for no finish reason, a single call without
    a list, or `message` instead of `delta`.
    """
    if not value or not isinstance(value, dict):
        return {"choices": value} if value else None
    value = {name: field for name, field in value.items() if name not in LABELS or isinstance(field, str)}
    choices = value.get("choices")
    if not isinstance(choices, list):
        return {**value, "choices": choices or []}
    return {**value, "choices": [_mended_choice(choice) for choice in choices if choice is not None]}


def _mended_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    index = choice.get("index")
    if (isinstance(index, str) and index.isdecimal() and len(index) < 4) or (
        isinstance(index, float) and index.is_integer() and 0 <= index < 1_000
    ):
        choice = {**choice, "index": int(index)}
    message = choice.get("message")
    delta = choice.get("delta") or (message if isinstance(message, dict) else {})
    if isinstance(delta, dict):
        delta = {name: value for name, value in delta.items() if name not in CALL_REASONS or _is_call(name, value)}
        if isinstance(delta.get("tool_calls"), dict):
            delta["tool_calls"] = [delta["tool_calls"]]
        delta = with_valid_objects({**delta, **normalize_texts(delta)})
    mended = {
        name: value for name, value in choice.items() if name != "message" and (name != "logprobs" or isinstance(value, dict))
    }
    return {**mended, "delta": delta, "finish_reason": choice.get("finish_reason") or None}


def _is_call(name: str, value: Any) -> bool:
    return bool(value) and isinstance(value, (list, dict) if name == "tool_calls" else dict)


def with_valid_objects(owner: Json) -> Json:
    """Return a delta or message in which `audio` is an object and lists of objects contain only objects."""
    kept = {
        name: value for name, value in owner.items() if name != "audio" or value is None or (value and isinstance(value, dict))
    }
    for name in LIST_FIELDS[2:]:
        if isinstance(kept.get(name), list):
            kept[name] = [entry for entry in kept[name] if isinstance(entry, dict)]
        elif kept.get(name) is not None:
            del kept[name]
    return kept


def countable_text(owner: Mapping[str, Any]) -> tuple[str, int]:
    """Return the text of a delta or message to count, without its calls, and its number of images."""
    reasoning = owner.get("reasoning_content") or owner.get("reasoning") or ""  # some providers send the same text in both
    images = owner.get("images")
    return (owner.get("content") or "") + reasoning + (owner.get("refusal") or ""), len(images) if isinstance(images, list) else 0


def normalize_choices(choices: list[Json], call_id: str, custom_tools: AbstractSet[str] = frozenset()) -> Delivered:
    """Normalize the choices of a complete answer in place. Returns what they deliver."""
    texts: list[str] = []
    images = 0
    other = False
    for position, choice in enumerate(choices):
        if type(choice.get("index")) is not int:
            choice["index"] = position
        if choice.get("logprobs") is not None and not isinstance(choice["logprobs"], dict):
            del choice["logprobs"]
        if _is_plain(choice["message"]):  # most answers
            choice["message"]["role"] = "assistant"
            texts.append(choice["message"]["content"])
            continue
        message: Json = with_valid_objects(choice["message"])
        choice["message"] = message
        message["role"] = "assistant"
        message.setdefault("content", None)
        message.update(normalize_texts(message))
        text, more = countable_text(message)
        texts.append(text)
        images += more
        calls = message.pop("tool_calls", None)
        if calls:
            cut = to_openai_reason(str(choice.get("finish_reason") or "stop"), delivered=True) in CUT_REASONS
            calls, text = normalize_calls(calls, f"{call_id}_{choice['index']}", cut=cut, custom_tools=custom_tools)
            texts.append(text)
        if calls:
            message["tool_calls"] = calls
        if not isinstance(message.get("function_call"), dict) or not message["function_call"]:
            message.pop("function_call", None)
        else:
            texts.append(_mend_function_call(message))
        other = other or any(message.get(name) for name in ("tool_calls", "function_call", "audio", "content_parts"))
    text = "".join(texts)
    return Delivered(text, bool(text) or bool(images) or other, images)


_PLAIN_FIELDS = frozenset({"role", "content", "refusal", "annotations"})


def _is_plain(message: Json) -> bool:
    """Return whether a message is a text that needs no change."""
    return (
        message.keys() <= _PLAIN_FIELDS
        and isinstance(message.get("content"), str)
        and message.get("refusal") is None
        and message.get("annotations", []) == []
    )


def finish_reason_of(reason: str, message: Mapping[str, Any]) -> str:
    """Return the finish reason of a choice: some providers use `stop` despite tool calls, others `tool_calls` without any."""
    if reason == "stop" and (message.get("tool_calls") or message.get("function_call")):
        return "tool_calls" if message.get("tool_calls") else "function_call"
    called = message.get("tool_calls") or message.get("function_call")
    return "stop" if reason in CALL_REASONS and not called else reason


def image_of(value: Any) -> Json:
    """Return an image in the format of OpenRouter and others. `value` is such an image, its `image_url`, or the URL."""
    if isinstance(value, dict) and "image_url" in value:
        value = value["image_url"]
    return {"type": "image_url", "image_url": value if isinstance(value, dict) else {"url": text_of(value)}}


def text_of(value: Any) -> str:
    """Return text unchanged; for parts, their text."""
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if isinstance(value, dict):
        return text_of(value.get("text"))
    return value if isinstance(value, str) else ""


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("image_url"), dict)


def _split(content: Any) -> Json:
    """Split content that is not text by the fields that its parts belong to."""
    found: Json = {"content": ""}
    for part in content if isinstance(content, list) else [content]:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            found["content"] += part
        elif kind == "thinking":
            found["reasoning_content"] = found.get("reasoning_content", "") + text_of(part.get("thinking"))
        elif kind == "refusal":
            found["refusal"] = found.get("refusal", "") + text_of(part.get("refusal"))
        elif kind == "image_url":
            found.setdefault("images", []).append(image_of(part))
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            found["content"] += part["text"]
        elif isinstance(part, dict):
            found.setdefault("content_parts", []).append(part)
        elif part is not None:
            found["content"] += json_text(part)
    return found


def _mend_function_call(message: Json) -> str:
    """Normalize a legacy function call in place. Returns its text to count."""
    function = message["function_call"]
    name, arguments = function.get("name"), arguments_text(function.get("arguments"))
    name = name if isinstance(name, str) else ""
    message["function_call"] = {**function, "name": name, "arguments": arguments if arguments.strip() else "{}"}
    return name + arguments
