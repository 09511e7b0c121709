"""Converts chat messages to Anthropic's Messages API: system blocks, and turns of content blocks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from shared.catalog.model_settings import of_model
from shared.dialects import content_parts, tool_ids
from shared.dialects.anthropic_fields import MESSAGE_FIELDS, PART_FIELDS
from shared.dialects.anthropic_search import BLOCKS_FIELD, has_searches, kept_blocks
from shared.dialects.base import Target
from shared.dialects.content_parts import SYSTEM_ROLES, Message
from shared.dialects.field_support import raise_unsupported
from shared.dialects.responses_reasoning import is_encrypted_reasoning
from shared.dialects.strip_foreign_fields import signed_blocks

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})  # "Vision"
TOOL_IDS = "[A-Za-z0-9_-]+"
_NOT_IN_IDS = "[^A-Za-z0-9_-]"
Json = dict[str, Any]
Ids = Mapping[str, str]


def convert_messages(request: Mapping[str, Any], target: Target) -> tuple[list[Json], list[Json]]:
    """Return the system blocks and the turns. Consecutive messages of one role form one turn; tool results are user turns.

    If the model accepts it, later instructions stay in place, right after a user turn. So the provider's cache of the beginning
    stays valid; a longer `system` would invalidate it. Text that is empty or only whitespace is left out, because the provider
    rejects it. Raises `UnsupportedField`.
    """
    in_place = _takes_system_in_place(target)
    ids = tool_ids.rewrite_ids(request["messages"], TOOL_IDS, invalid_characters=_NOT_IN_IDS)
    system: list[Json] = []
    turns: list[Json] = []
    later: list[Json] = []  # instructions to insert after the user turn
    for message in content_parts.messages(request, MESSAGE_FIELDS, PART_FIELDS):
        if message.role in SYSTEM_ROLES:
            target_blocks = later if in_place and turns else system
            target_blocks += _cached(message, _with_text([_text(message, where, part) for where, part in message.parts]))
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _cached(message, _blocks(message, ids))
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            later = _insert_instructions(turns, later)
            turns.append({"role": role, "content": blocks})
    system += _insert_instructions(turns, later)
    _check_last_turn(turns, request, target)
    return system, turns


def _check_last_turn(turns: list[Json], request: Mapping[str, Any], target: Target) -> None:
    """Check the last turn. An assistant turn is a prefill, which the model continues: it must not end in whitespace."""
    last = turns[-1] if turns else None
    if last is not None and last["role"] == "assistant" and not has_searches(last["content"][-1:]):
        if not of_model(target.route.settings, "prefill", target.route.upstream_model, True):
            position = max(index for index, message in enumerate(request["messages"]) if message["role"] == "assistant")
            raise_unsupported(f"messages[{position}].role", "this model cannot continue an assistant message")
        block = last["content"][-1]
        if block["type"] == "text":
            last["content"][-1] = {**block, "text": block["text"].rstrip()}
    if not turns:
        raise_unsupported("messages", "at least one message must have content")


def _with_text(blocks: list[Json]) -> list[Json]:
    """Return the blocks without empty text."""
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _insert_instructions(turns: list[Json], later: list[Json]) -> list[Json]:
    """Insert instructions after a user turn. Returns those that have no user turn before them yet."""
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
            raise_unsupported(f"{message.path}.tool_call_id", "the id of the call with this result is required")
        return [{"type": "tool_result", "tool_use_id": ids.get(id, id), "content": content}]
    blocks = [_block(message, where, part) for where, part in message.parts]
    if message.role == "assistant":
        if isinstance(message.fields.get("refusal"), str) and message.fields["refusal"]:
            blocks.append({"type": "text", "text": message.fields["refusal"]})
        thinking = signed_blocks(message.fields.get("thinking_blocks"))
        blocks = [*(block for block in thinking if not is_encrypted_reasoning(block)), *blocks]
        blocks = kept_blocks(message.fields.get(BLOCKS_FIELD)) or _with_text(blocks)
        for index, call in enumerate(message.fields.get("tool_calls") or ()):
            id, name, arguments = content_parts.parse_tool_call(f"{message.path}.tool_calls[{index}]", call)
            if not id:
                raise_unsupported(f"{message.path}.tool_calls[{index}].id", "an id is required, because the result refers to it")
            blocks.append({"type": "tool_use", "id": ids.get(id, id), "name": name, "input": arguments})
    return _with_text(blocks)


def _block(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    """Return a content block, with its `cache_control`."""
    match part["type"]:
        case "image_url":
            block = _media(f"{where}.image_url.url", content_parts.media_url(where, part, "image_url"), None, "image")
        case "file":
            url, name = content_parts.file_url(where, part)
            block = _media(f"{where}.file.file_data", url, name, "document")
        case "tool_reference":
            if message.role != "tool" or not isinstance(part.get("tool_name"), str):
                raise_unsupported(f"{where}.type", "references to tools are only accepted in tool results")
            block = {"type": "tool_reference", "tool_name": part["tool_name"]}
        case "thinking":
            if message.role != "assistant" or not isinstance(part.get("signature"), str):
                raise_unsupported(f"{where}.signature", "only signed thinking is accepted, in assistant messages")
            block = {"type": "thinking", "thinking": part.get("thinking", ""), "signature": part["signature"]}
        case _:
            return _text(message, where, part)
    return {**block, **_cache_control(part)}


def _text(message: Message, where: str, part: Mapping[str, Any]) -> Json:
    text = content_parts.text_of_part(part)
    if text is None:
        raise_unsupported(f"{where}.type", f"messages with the role '{message.role}' can only contain text")
    return {"type": "text", "text": text, **_cache_control(part)}


def _cache_control(part: Mapping[str, Any]) -> Json:
    return {"cache_control": part["cache_control"]} if part.get("cache_control") else {}


def _cached(message: Message, blocks: list[Json]) -> list[Json]:
    """Put a message's own `cache_control` on its last block."""
    if blocks and message.fields.get("cache_control"):
        blocks[-1] = {**blocks[-1], "cache_control": message.fields["cache_control"]}
    return blocks


def _media(where: str, url: str, name: str | None, of_url: str) -> Json:
    """Return an image or document block by the content's type. `of_url` is the block type of an https URL."""
    found = content_parts.parse_data_url(url)
    if found is None:
        block: Json = {"type": of_url, "source": {"type": "url", "url": content_parts.require_https(where, url)}}
    elif found.media_type in IMAGE_TYPES:
        return {"type": "image", "source": {"type": "base64", "media_type": found.media_type, "data": found.data}}
    elif found.media_type.startswith("text/"):
        block = {"type": "document", "source": _plain_text(where, found.data)}
    elif found.media_type == "application/pdf":
        block = {"type": "document", "source": {"type": "base64", "media_type": found.media_type, "data": found.data}}
    else:
        raise_unsupported(where, "must be JPEG, PNG, GIF, WebP, PDF or plain text")
    return {**block, "title": name} if name and block["type"] == "document" else block


def _plain_text(where: str, data: str) -> Json:
    try:
        text = base64.b64decode(data).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise_unsupported(where, "text files must be base64-encoded UTF-8")
    return {"type": "text", "media_type": "text/plain", "data": text}
