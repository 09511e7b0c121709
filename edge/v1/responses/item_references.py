"""Resolves item references, which client libraries send for items that they assume are stored. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.v1.responses.items import REFERENCE, input_items
from shared.core.errors import InvalidRequest

_THOUGHT = "rs_"
_WHOLE = (
    "With 'store': false, client libraries send complete items (Vercel AI SDK: providerOptions.openai.store = false)."
    " Or send the item itself."
)
_NOT_THERE = f"Item not found. Responses are stored only with 'store': true, so set it from the first call on. {_WHOLE}"
_NO_PLAN = f"Your plan does not include stored responses, so item references cannot be resolved. {_WHOLE}"


def referenced_ids(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids that validated items refer to."""
    return [item["id"] for item in items if item.get("type") == REFERENCE]


def needs_stored_items(body: Mapping[str, Any]) -> bool:
    """Return whether a validated body continues a stored response or refers to stored items."""
    return bool(body.get("previous_response_id") or referenced_ids(input_items(body["input"])))


def resolve_references(
    items: Sequence[dict[str, Any]], found: Mapping[str, dict[str, Any]], *, plan_stores: bool
) -> list[dict[str, Any]]:
    """Return `items` with references replaced by the items in `found`.

    Missing reasoning is dropped, because providers only accept reasoning with their signature. Raises `InvalidRequest` for any
    other missing item; `plan_stores` is whether the account's plan stores content.
    """
    whole = []
    for index, item in enumerate(items):
        if item.get("type") != REFERENCE:
            whole.append(item)
        elif item["id"] in found:
            whole.append(found[item["id"]])
        elif not item["id"].startswith(_THOUGHT):
            raise InvalidRequest(_NOT_THERE if plan_stores else _NO_PLAN, f"input[{index}]", "item_not_found")
    return whole
