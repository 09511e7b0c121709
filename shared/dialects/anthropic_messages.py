"""The messages of a chat call as Anthropic's Messages API wants them: system blocks and turns of content blocks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from shared.dialects import content_parts, tool_ids
from shared.dialects.anthropic_fields import MESSAGE_FIELDS, PART_FIELDS
from shared.dialects.base import Target
from shared.dialects.content_parts import SYSTEM_ROLES, Message
from shared.dialects.field_support import refuse
from shared.dialects.model_settings import of_model
from shared.dialects.strip_foreign_fields import signed_blocks

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # "Vision"
TOOL_IDS = "[A-Za-z0-9_-]+"
_NOT_IN_IDS = "[^A-Za-z0-9_-]"
Json = dict[str, Any]
Ids = Mapping[str, str]


def messages_of(asked: Mapping[str, Any], target: Target) -> tuple[list[Json], list[Json]]:
    """The system blocks, and the turns: messages of one side in a row are one turn, tool results belong to the user's.

    Instructions that come later stay where they are if the model takes them there, right after a user's turn as the provider
    wants them: then its cache holds what was said before, which a longer `system` would make useless. Text that is empty or white
    space alone is left out, for the provider refuses it. Raises `UnsupportedField`.
    """
    in_place = _takes_system_in_place(target)
    ids = tool_ids.rewritten(asked["messages"], TOOL_IDS, unwanted=_NOT_IN_IDS)
    system: list[Json] = []
    turns: list[Json] = []
    later: list[Json] = []  # instructions that wait for the end of the user's turn
    for message in content_parts.messages(asked, MESSAGE_FIELDS, PART_FIELDS):
        if message.role in SYSTEM_ROLES:
            told = later if in_place and turns else system
            told += _cached(message, _with_text([_text(message, where, part) for where, part in message.parts]))
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _cached(message, _blocks(message, ids))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            later = _instructed(turns, later)
            turns.append({"role": role, "content": blocks})
    system += _instructed(turns, later)
    _end(turns, asked, target)
    return system, turns


def _end(turns: list[Json], asked: Mapping[str, Any], target: Target) -> None:
    """Check the last turn. One of the assistant is a beginning to go on from: it must not end in white space."""
    last = turns[-1] if turns else None
    if last is not None and last["role"] == "assistant":
        if not of_model(target.route.settings, "prefill", target.route.upstream_model, True):
            position = max(index for index, message in enumerate(asked["messages"]) if message["role"] == "assistant")
            refuse(f"messages[{position}].role", "this model does not continue a message of the assistant")
        block = last["content"][-1]
        if block["type"] == "text":
            last["content"][-1] = {**block, "text": block["text"].rstrip()}
    if not turns:
        refuse("messages", "at least one must have content")


def _with_text(blocks: list[Json]) -> list[Json]:
    """The blocks without text that says nothing."""
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _instructed(turns: list[Json], later: list[Json]) -> list[Json]:
    """Put instructions after the user's turn that has ended; give back those that still wait for one."""
    if not later or turns[-1]["role"] != "user":
        return later
    turns.append({"role": "system", "content": later})
    return []


def _takes_system_in_place(target: Target) -> bool:
    models = target.route.settings.get("system_in_place")
    return target.route.upstream_model in models if isinstance(models, list) else bool(models)


def _blocks(message: Message, ids: Ids) -> list[Json]:
    if message.role == "tool":
        content = _with_text([_block(message, where, part) for where, part in message.parts])
        id = str(message.fields.get("tool_call_id") or "")
        if not id:
            refuse(f"{message.where}.tool_call_id", "it names the call that this is the result of")
        return [{"type": "tool_result", "tool_use_id": ids.get(id, id), "content": content}]
    blocks = [_block(message, where, part) for where, part in message.parts]
    if message.role == "assistant":
        if isinstance(message.fields.get("refusal"), str) and message.fields["refusal"]:
            blocks.append({"type": "text", "text": message.fields["refusal"]})
        blocks = [*signed_blocks(message.fields.get("thinking_blocks")), *blocks]
        blocks = _with_text(blocks)
        for index, call in enumerate(message.fields.get("tool_calls") or ()):
            id, name, arguments = content_parts.arguments_of(f"{message.where}.tool_calls[{index}]", call)
            if not id:
                refuse(f"{message.where}.tool_calls[{index}].id", "its result names it")
            blocks.append({"type": "tool_use", "id": ids.get(id, id), "name": name, "input": arguments})
    return _with_text(blocks)


def _block(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    """One content block; `cache_control` stays on it."""
    match part["type"]:
        case "image_url":
            block = _media(f"{where}.image_url.url", content_parts.url_of(where, part, "image_url"), None, "image")
        case "file":
            url, name = content_parts.file_of(where, part)
            block = _media(f"{where}.file.file_data", url, name, "document")
        case "thinking":
            if message.role != "assistant" or not isinstance(part.get("signature"), str):
                refuse(f"{where}.signature", "only thinking that the provider has signed, in an assistant message")
            block = {"type": "thinking", "thinking": part.get("thinking", ""), "signature": part["signature"]}
        case _:
            return _text(message, where, part)
    return {**block, **_cache_control(part)}


def _text(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    text = content_parts.text_of_part(part)
    if text is None:
        refuse(f"{where}.type", f"only text in a message of the role '{message.role}'")
    return {"type": "text", "text": text, **_cache_control(part)}


def _cache_control(part: Mapping[str, Any]) -> Json:
    return {"cache_control": part["cache_control"]} if part.get("cache_control") else {}


def _cached(message: Message, blocks: list[Json]) -> list[Json]:
    """A message's own `cache_control` marks its last block."""
    if blocks and message.fields.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": message.fields["cache_control"]}
    return blocks


def _media(where: str, url: str, name: str | None, of_url: str) -> Json:
    """An image or a document by its content, whichever part it came in; `of_url` is what an https URL stands for."""
    found = content_parts.inline(url)
    if found is None:
        block: Json = {"type": of_url, "source": {"type": "url", "url": content_parts.require_https(where, url)}}
    elif found.media_type in IMAGE_TYPES:
        return {"type": "image", "source": {"type": "base64", "media_type": found.media_type, "data": found.data}}
    elif found.media_type.startswith("text/"):
        block = {"type": "document", "source": _plain_text(where, found.data)}
    elif found.media_type == "application/pdf":
        block = {"type": "document", "source": {"type": "base64", "media_type": found.media_type, "data": found.data}}
    else:
        refuse(where, "JPEG, PNG, GIF, WebP, PDF or plain text")
    return {**block, "title": name} if name and block["type"] == "document" else block


def _plain_text(where: str, data: str) -> Json:
    try:
        text = base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        refuse(where, "a text file must be UTF-8, in base64")
    return {"type": "text", "media_type": "text/plain", "data": text}
