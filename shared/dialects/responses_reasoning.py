"""Encrypted reasoning of the Responses API as `thinking_blocks`, the canonical form of signed reasoning. Pure.

A block's signature (or data) contains the item's id and its encrypted content, so that callers of every API send it back with
the message. Only the provider can read it. A prefix distinguishes it from Anthropic's signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.dialects.strip_foreign_fields import signed_blocks

_PREFIX = "openai-responses:"
Json = dict[str, Any]


def thinking_block(item: Mapping[str, Any], text: str) -> Json | None:
    """Return the block of a reasoning item with this summary; None if its content is not encrypted."""
    encrypted = item.get("encrypted_content")
    if not isinstance(encrypted, str) or not encrypted:
        return None
    sealed = f"{_PREFIX}{item.get('id') or ''}:{encrypted}"
    if text:
        return {"type": "thinking", "thinking": text, "signature": sealed}
    return {"type": "redacted_thinking", "data": sealed}


def reasoning_items(blocks: Any) -> list[Json]:
    """Return the reasoning items in `thinking_blocks`. Blocks of other providers are left out."""
    return [item for block in signed_blocks(blocks) if (item := _item(block)) is not None]


def is_encrypted_reasoning(block: Mapping[str, Any]) -> bool:
    """Return whether a block is reasoning of a Responses API."""
    sealed = block.get("signature") or block.get("data")
    return isinstance(sealed, str) and sealed.startswith(_PREFIX)


def _item(block: Mapping[str, Any]) -> Json | None:
    if not is_encrypted_reasoning(block):
        return None
    id, _, encrypted = str(block.get("signature") or block.get("data")).removeprefix(_PREFIX).partition(":")
    text = block.get("thinking")
    summary = [{"type": "summary_text", "text": text}] if isinstance(text, str) and text else []
    item = {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}
    return {"id": id, **item} if id else item
