"""Provider-specific fields in chat bodies that were converted from another API format. Pure.

A caller of `/v1/chat/completions` chooses fields for its model, so they are forwarded unchanged. But a caller of the Messages
API may mark text for Anthropic's cache whatever model it calls, and other providers would reject the mark. So a call has one
portable body for all providers, and richer ones for the dialects that support more fields.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from shared.dialects.anthropic_search import BLOCKS_FIELD
from shared.dialects.base import REASONING, ChatCall

Body = dict[str, Any]

# Field (of the body, a message, a part, a tool or a tool call) → the dialects that support it.
PROVIDER_FIELDS: dict[str, tuple[str, ...]] = {
    "thinking": ("anthropic",),
    "thinking_blocks": ("anthropic", "responses"),
    BLOCKS_FIELD: ("anthropic",),
    "cache_control": ("anthropic",),
    "top_k": ("anthropic", "gemini"),
    "extra_content": ("gemini",),
    "reasoning_content": (REASONING,),
}
_DIALECTS = ("anthropic", "gemini", "responses", REASONING)
# Separates a tool call's id from the signature that Gemini requires back; SDKs preserve only the id.
_SIGNED = "__signed_"


def with_provider_fields(rich: Body, check: Callable[[Body], ChatCall]) -> ChatCall:
    """Return the call of a body that has provider-specific fields. `check` validates the portable body, and may remove fields
    from it."""
    portable = _without(rich, frozenset(PROVIDER_FIELDS))
    call = check(portable)
    if not _has_provider_field(rich):
        return call
    removed = portable.keys() - call.body.keys()
    has_thoughts = any("reasoning_content" in message for message in rich["messages"])
    names = _DIALECTS if has_thoughts else _DIALECTS[:-1]
    return call._replace(bodies_by_dialect={name: _without(rich, _unsupported_by(name) | removed) for name in names})


def _unsupported_by(dialect: str) -> frozenset[str]:
    return frozenset(field for field, known in PROVIDER_FIELDS.items() if dialect not in known)


def _has_provider_field(body: Mapping[str, Any]) -> bool:
    return any(field in owner for owner in _owners(body) for field in PROVIDER_FIELDS)


def _owners(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    owners = [body, *body.get("tools", ())]
    for message in body["messages"]:
        owners.append(message)
        owners += message.get("tool_calls", ())
        if isinstance(message.get("content"), list):
            owners += message["content"]
    return owners


def _without(body: Mapping[str, Any], excluded: frozenset[str]) -> Body:
    """Return a copy without these fields. Contents with only text parts become a string, which all providers accept."""
    kept = _keep(body, excluded)
    kept["messages"] = [_message(message, excluded) for message in body["messages"]]
    if "tools" in body:
        kept["tools"] = [_keep(tool, excluded) for tool in body["tools"]]
    return kept


def _message(message: Mapping[str, Any], excluded: frozenset[str]) -> Body:
    kept = _keep(message, excluded)
    if "tool_calls" in kept:
        kept["tool_calls"] = [_keep(call, excluded) for call in kept["tool_calls"]]
    if isinstance(kept.get("content"), list):
        parts = [_keep(part, excluded) for part in kept["content"]]
        plain = all(part["type"] == "text" and len(part) == 2 for part in parts)
        kept["content"] = "\n\n".join(part["text"] for part in parts) if plain else parts
    return kept


def _keep(owner: Mapping[str, Any], excluded: frozenset[str]) -> Body:
    return {name: value for name, value in owner.items() if name not in excluded}


def id_with_signature(id: str, signature: str) -> str:
    """Return a tool call's id with the provider's signature appended."""
    return f"{id}{_SIGNED}{_encode(signature.encode())}" if signature else id


def tool_call(id: str, name: str, arguments: str, *, custom: bool = False) -> Body:
    """Return a tool call in chat format. A signature in its id is moved back to its field. `custom`: `arguments` is free text."""
    plain, _, signature = id.partition(_SIGNED)
    call: Body = {"id": plain, "type": "function", "function": {"name": name, "arguments": arguments}}
    if custom:
        call = {"id": plain, "type": "custom", "custom": {"name": name, "input": arguments}}
    decoded = _decode(signature) if signature else None
    if decoded is not None:
        call["extra_content"] = {"google": {"thought_signature": decoded.decode(errors="replace")}}
    return call


def id_without_signature(id: str) -> str:
    """Return a tool call's id without the signature."""
    return id.partition(_SIGNED)[0]


def encode_thinking(blocks: list[Any]) -> str:
    """Encode signed thinking blocks as one opaque string, which SDKs send back."""
    return _encode(orjson.dumps(blocks))


def decode_thinking(text: str) -> list[Any]:
    """Decode the result of `encode_thinking`. Return an empty list for anything else."""
    data = _decode(text)
    try:
        blocks = orjson.loads(data) if data else []
    except orjson.JSONDecodeError:
        return []
    return blocks if isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks) else []


def thinking_text(blocks: list[Any]) -> str:
    """Return the text of thinking blocks, signed or not."""
    texts = [block.get("thinking") for block in blocks]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def signed_blocks(blocks: list[Any]) -> list[Any]:
    """Return the thinking blocks that can be sent back to their provider."""
    return [block for block in blocks if block.get("signature") or block.get("type") == "redacted_thinking"]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
