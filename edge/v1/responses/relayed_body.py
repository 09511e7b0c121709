"""Body of a Responses call for a provider of the same API: the caller's body without Yout's own options. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.call.requests import OWN_FIELDS
from edge.v1.provider_fields import decode_thinking, id_without_signature
from edge.v1.responses.compaction import COMPACTIONS, last_compacted, read_summary
from edge.v1.responses.tools import is_left_out, runs_in_container

Body = dict[str, Any]
# Our own options, ids of our responses, and ids of the installation and session, which Codex sends and no provider needs.
_NOT_SENT = OWN_FIELDS | {"client_metadata", "previous_response_id"}


def relayed_body(body: Mapping[str, Any]) -> Body:
    """Return the provider's body for a validated body. Its input must already contain the earlier items."""
    relayed = {name: value for name, value in body.items() if name not in _NOT_SENT}
    if isinstance(relayed.get("tools"), list):
        relayed["tools"] = _served(relayed["tools"])
    if isinstance(relayed["input"], list):
        relayed["input"] = [_item(item) for item in _sent(relayed["input"]) if not _is_foreign_reasoning(item)]
    return relayed


def _sent(items: list[Body]) -> list[Body]:
    """Return the items without those that a compaction replaced. Only the others were validated."""
    compacted = last_compacted(items)
    return [item for index, item in enumerate(items) if index > compacted or item.get("type") == "additional_tools"]


def _is_foreign_reasoning(item: Mapping[str, Any]) -> bool:
    """Return whether the provider cannot read a reasoning item: it is not encrypted, or it is from another dialect's provider."""
    if item.get("type") != "reasoning":
        return False
    encrypted = item.get("encrypted_content")
    return not isinstance(encrypted, str) or not encrypted or bool(decode_thinking(encrypted))


def _served(tools: list[Body]) -> list[Body]:
    """Return the tools without shells in containers. Other tools of the provider are left out later if no price covers them."""
    return [tool for tool in tools if not runs_in_container(tool)]


def _item(item: Body) -> Body:
    """Return an item without the signature of another dialect's provider in the id of its call.

    A compaction becomes text, because only Yout can read it.
    """
    if item.get("type") in COMPACTIONS:
        return {"type": "message", "role": "user", "content": read_summary(item["encrypted_content"], "input")}
    if item.get("type") == "additional_tools":
        return {**item, "tools": _served(item["tools"])}
    if item.get("type") == "tool_search_output":
        return {**item, "tools": [tool for tool in item["tools"] if not is_left_out(tool)]}
    id = item.get("call_id")
    plain = id_without_signature(id) if isinstance(id, str) else id
    return item if plain == id else {**item, "call_id": plain}
