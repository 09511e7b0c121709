"""Converts the messages of the Messages API to chat messages. Raises `InvalidRequest` with the field's path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from edge.v1.images_in_text import without_images
from edge.v1.provider_fields import id_without_signature, signed_blocks, thinking_text, tool_call
from shared.core.errors import InvalidRequest
from shared.dialects.anthropic_search import BLOCKS_FIELD, has_searches, kept_blocks

Json = dict[str, Any]
_ERROR_PREFIX = "Error: "  # prefix of failed tool results, which chat messages cannot mark otherwise


def convert_messages(system: object, turns: list[Json]) -> list[Json]:
    """Return the chat messages for checked `system` and `messages`."""
    messages: list[Json] = []
    if system is not None:
        messages.append({"role": "system", "content": _text_content(system, "system")})
    for index, turn in enumerate(turns):
        where, role, content = f"messages[{index}]", turn["role"], turn["content"]
        if role == "system":
            messages.append({"role": role, "content": _text_content(content, f"{where}.content")})
        elif isinstance(content, str) and (role == "user" or "](data:image/" not in content):
            messages.append({"role": role, "content": content})
        elif isinstance(content, str):
            messages += _assistant([{"type": "text", "text": content}], f"{where}.content")
        else:
            messages += (_user if role == "user" else _assistant)(content, f"{where}.content")
    return messages


def _text_content(content: object, where: str) -> str | list[Json]:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"'{where}' must be a string or an array of text blocks.", where)
    parts = []
    for at, block in _blocks(content, where):
        if block["type"] != "text":
            raise _unknown_type(at, "text")
        parts.append(_text(block, at))
    return parts


def _user(content: list[Any], where: str) -> list[Json]:
    """Convert a user turn: one message per tool result, then a user message with the rest, including images from results."""
    results: list[Json] = []
    parts: list[Json] = []
    for at, block in _blocks(content, where):
        if block["type"] == "tool_result":
            message, shown = _tool_result(block, at)
            results.append(message)
            parts += shown
        else:
            parts += _parts(block, at)
    return [*results, {"role": "user", "content": parts}] if parts or not results else results


def _assistant(content: list[Any], where: str) -> list[Json]:
    text = ""
    calls: list[Json] = []
    thoughts: list[Json] = []
    images: list[str] = []
    for at, block in _blocks(content, where):
        match block["type"]:
            case "text":
                plain, shown = without_images(_string(block, "text", at))
                text += plain
                images += shown
            case "tool_use":
                if not isinstance(block.get("input"), dict):
                    raise InvalidRequest(f"'{at}.input' must be an object.", f"{at}.input")
                arguments = orjson.dumps(block["input"]).decode()
                calls.append(tool_call(_string(block, "id", at), _string(block, "name", at), arguments))
            case "thinking":
                thoughts.append({name: block.get(name) for name in ("type", "thinking", "signature")})
            case "redacted_thinking":
                thoughts.append({"type": "redacted_thinking", "data": _string(block, "data", at)})
            case "server_tool_use" | "web_search_tool_result":
                pass  # kept below, for the provider that created them
            case _:
                raise _unknown_type(at, "text", "tool_use", "thinking", "redacted_thinking")
    message: Json = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    elif not text:
        message["content"] = ""
    if images:
        message["images"] = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    if thought := thinking_text(thoughts):
        message["reasoning_content"] = thought
    if blocks := signed_blocks(thoughts):
        message["thinking_blocks"] = blocks
    if has_searches(kept := kept_blocks(content)):
        message[BLOCKS_FIELD] = kept
    return [message]


def _tool_result(block: Json, where: str) -> tuple[Json, list[Json]]:
    """Return the tool message with the result's text, and its other content as parts for the user message."""
    id = id_without_signature(_string(block, "tool_use_id", where))
    content = block.get("content")
    parts: list[Json] = []
    references: list[Json] = []
    if isinstance(content, str):
        parts = [{"type": "text", "text": content}]
    elif isinstance(content, list):
        blocks = _blocks(content, f"{where}.content")
        parts = [part for at, inner in blocks if inner["type"] != "tool_reference" for part in _parts(inner, at)]
        references = [_reference(inner, at) for at, inner in blocks if inner["type"] == "tool_reference"]
    elif content is not None:
        raise InvalidRequest(f"'{where}.content' must be a string or an array of content blocks.", f"{where}.content")
    text = "\n\n".join(part["text"] for part in parts if part["type"] == "text")
    shown = [part for part in parts if part["type"] != "text"]
    failed = _ERROR_PREFIX if block.get("is_error") is True else ""
    message: Json = {"role": "tool", "tool_call_id": id, "content": failed + text, **_cache_control(block)}
    if references:
        message["content"] = [*references, *([{"type": "text", "text": failed + text}] if failed + text else [])]
    return message, [{"type": "text", "text": f"What the tool call {id} returned:"}, *shown] if shown else []


def _reference(block: Json, where: str) -> Json:
    return {"type": "tool_reference", "tool_name": _string(block, "tool_name", where)}


def _parts(block: Json, where: str) -> list[Json]:
    """Convert a block other than a tool result to parts of a chat message."""
    match block["type"]:
        case "text":
            return [_text(block, where)]
        case "image":
            return [{"type": "image_url", "image_url": {"url": _source(block, where)}, **_cache_control(block)}]
        case "document":
            return _document(block, where)
        case "search_result":
            found = _text_content(block.get("content"), f"{where}.content")
            text = found if isinstance(found, str) else "\n".join(part["text"] for part in found)
            return [{"type": "text", "text": f"{block.get('title', '')}\n{block.get('source', '')}\n{text}"}]
    raise _unknown_type(where, "text", "image", "document", "search_result", "tool_result")  # and `tool_reference` in results


def _document(block: Json, where: str) -> list[Json]:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        raise InvalidRequest("'citations' is not supported.", f"{where}.citations")
    header = [str(block[name]) for name in ("title", "context") if block.get(name)]
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(source, dict) and kind == "text":
        text = "\n".join([*header, _string(source, "data", f"{where}.source")])
        return [{"type": "text", "text": text, **_cache_control(block)}]
    if isinstance(source, dict) and kind == "content":
        inner, at = source.get("content"), f"{where}.source.content"
        parts = [{"type": "text", "text": inner}] if isinstance(inner, str) else []
        if isinstance(inner, list):
            parts = [part for path, each in _blocks(inner, at) for part in _parts(each, path)]
        return [*({"type": "text", "text": line} for line in header), *parts]
    file = {"file_data": _source(block, where), "filename": str(block.get("title") or "document.pdf")}
    described = [{"type": "text", "text": str(block["context"])}] if block.get("context") else []
    return [*described, {"type": "file", "file": file, **_cache_control(block)}]


def _source(block: Json, where: str) -> str:
    """Return the URL of an image or a file; base64 becomes a data URL."""
    source, at = block.get("source"), f"{where}.source"
    if isinstance(source, dict) and source.get("type") == "base64":
        return f"data:{_string(source, 'media_type', at)};base64,{_string(source, 'data', at)}"
    if isinstance(source, dict) and source.get("type") == "url":
        return _string(source, "url", at)
    raise InvalidRequest("The source type must be 'base64' or 'url'; uploaded files are not supported.", f"{at}.type")


def _text(block: Json, where: str) -> Json:
    return {"type": "text", "text": _string(block, "text", where), **_cache_control(block)}


def _cache_control(block: Mapping[str, Any]) -> Json:
    return {"cache_control": block["cache_control"]} if block.get("cache_control") else {}


def _blocks(blocks: list[Any], where: str) -> list[tuple[str, Json]]:
    """Return each block with its path."""
    for position, block in enumerate(blocks):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"'{where}[{position}]' must be an object with a 'type'.", f"{where}[{position}]")
    return [(f"{where}[{position}]", block) for position, block in enumerate(blocks)]


def _unknown_type(where: str, *known: str) -> InvalidRequest:
    return InvalidRequest(f"'{where}.type' must be one of {', '.join(known)}.", f"{where}.type")


def _string(owner: Mapping[str, Any], name: str, where: str) -> str:
    value = owner.get(name)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{where}.{name}' must be a string.", f"{where}.{name}")
    return value
