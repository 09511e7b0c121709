"""Fields that only some dialects know, in a chat body that a surface has made. Pure.

A caller of `/v1/chat/completions` knows whom it calls, and what it sends is passed on as it is. A caller of the Messages API
marks its text for Anthropic's cache, whatever model it calls, and other vendors would refuse the mark. So there is one body that
every vendor takes, and richer ones for those who know more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from shared.dialects.base import REASONING, ChatCall

Body = dict[str, Any]

# Field (of the body, a message, a part, a tool or a tool call) → the dialects that have it.
NATIVE: dict[str, tuple[str, ...]] = {
    "thinking": ("anthropic",),
    "thinking_blocks": ("anthropic",),
    "cache_control": ("anthropic",),
    "top_k": ("anthropic", "gemini"),
    "extra_content": ("gemini",),
    "reasoning_content": (REASONING,),
}
_DIALECTS = ("anthropic", "gemini", REASONING)
# Between the id of a tool call and the signature that Gemini wants back with it; SDKs keep nothing else of a call.
_SIGNED = "__signed_"


def with_natives(rich: Body, check: Callable[[Body], ChatCall]) -> ChatCall:
    """The call of a body with native fields: `check` validates the portable one, and may take fields out of it."""
    portable = _without(rich, frozenset(NATIVE))
    call = check(portable)
    if not _has_native(rich):
        return call
    taken = portable.keys() - call.body.keys()
    has_thoughts = any("reasoning_content" in message for message in rich["messages"])
    names = _DIALECTS if has_thoughts else _DIALECTS[:-1]
    return call._replace(natives={name: _without(rich, _unknown_to(name) | taken) for name in names})


def _unknown_to(dialect: str) -> frozenset[str]:
    return frozenset(field for field, known in NATIVE.items() if dialect not in known)


def _has_native(body: Mapping[str, Any]) -> bool:
    return any(field in owner for owner in _owners(body) for field in NATIVE)


def _owners(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    owners = [body, *body.get("tools", ())]
    for message in body["messages"]:
        owners.append(message)
        owners += message.get("tool_calls", ())
        if isinstance(message.get("content"), list):
            owners += message["content"]
    return owners


def _without(body: Mapping[str, Any], left_out: frozenset[str]) -> Body:
    """A copy without these fields. Parts that are text alone then become one text, which every vendor reads."""
    kept = _keep(body, left_out)
    kept["messages"] = [_message(message, left_out) for message in body["messages"]]
    if "tools" in body:
        kept["tools"] = [_keep(tool, left_out) for tool in body["tools"]]
    return kept


def _message(message: Mapping[str, Any], left_out: frozenset[str]) -> Body:
    kept = _keep(message, left_out)
    if "tool_calls" in kept:
        kept["tool_calls"] = [_keep(call, left_out) for call in kept["tool_calls"]]
    if isinstance(kept.get("content"), list):
        parts = [_keep(part, left_out) for part in kept["content"]]
        plain = all(part["type"] == "text" and len(part) == 2 for part in parts)
        kept["content"] = "\n\n".join(part["text"] for part in parts) if plain else parts
    return kept


def _keep(owner: Mapping[str, Any], left_out: frozenset[str]) -> Body:
    return {name: value for name, value in owner.items() if name not in left_out}


def signed_id(id: str, signature: str) -> str:
    """A tool call's id that carries the vendor's signature of the call."""
    return f"{id}{_SIGNED}{_encode(signature.encode())}" if signature else id


def tool_call(id: str, name: str, arguments: str) -> Body:
    """A tool call as chats have it; a signature that its id carries goes back to its place."""
    plain, _, signature = id.partition(_SIGNED)
    call: Body = {"id": plain, "type": "function", "function": {"name": name, "arguments": arguments}}
    told = _decode(signature) if signature else None
    if told is not None:
        call["extra_content"] = {"google": {"thought_signature": told.decode(errors="replace")}}
    return call


def plain_id(id: str) -> str:
    """A tool call's id as the vendor gave it."""
    return id.partition(_SIGNED)[0]


def seal_thinking(blocks: list[Any]) -> str:
    """Signed thinking as one opaque text, for SDKs that send such a text back."""
    return _encode(orjson.dumps(blocks))


def open_thinking(text: str) -> list[Any]:
    """What `seal_thinking` made; nothing of what somebody else did."""
    data = _decode(text)
    try:
        blocks = orjson.loads(data) if data else []
    except orjson.JSONDecodeError:
        return []
    return blocks if isinstance(blocks, list) and all(isinstance(block, dict) for block in blocks) else []


def thoughts_in(blocks: list[Any]) -> str:
    """The text of thinking blocks, signed or not."""
    texts = [block.get("thinking") for block in blocks]
    return "\n".join(text for text in texts if isinstance(text, str) and text)


def signed(blocks: list[Any]) -> list[Any]:
    """The thinking blocks that can be sent back to their provider."""
    return [block for block in blocks if block.get("signature") or block.get("type") == "redacted_thinking"]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
