"""References among input items, to items of earlier answers: libraries send them for what they take to be stored. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edge.v1.responses.items import REFERENCE
from shared.core.errors import InvalidRequest

_THOUGHT = "rs_"
_WHOLE = (
    "With 'store': false, libraries send items whole: in the Vercel AI SDK, providerOptions.openai.store = false. Or send the"
    " item itself."
)
_NOT_THERE = f"There is no such stored item: only calls with 'store': true are stored, so say so from the first one on. {_WHOLE}"
_NO_PLAN = f"Your plan does not store responses, so that no item can be looked up. {_WHOLE}"


def references_of(items: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids that items which have been read refer to."""
    return [item["id"] for item in items if item.get("type") == REFERENCE]


def resolve(items: Sequence[dict[str, Any]], found: Mapping[str, dict[str, Any]], *, included: bool) -> list[dict[str, Any]]:
    """`items`, with those that were `found` in the place of the references to them.

    A thought that is not there is left out, as one without its vendor's signature is (`items`): vendors take no other. Raises
    `InvalidRequest` for all else that is not there; `included` tells whether the account's plan stores content.
    """
    whole = []
    for index, item in enumerate(items):
        if item.get("type") != REFERENCE:
            whole.append(item)
        elif item["id"] in found:
            whole.append(found[item["id"]])
        elif not item["id"].startswith(_THOUGHT):
            raise InvalidRequest(_NOT_THERE if included else _NO_PLAN, f"input[{index}]", "item_not_found")
    return whole
