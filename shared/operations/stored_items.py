"""Items of stored responses: look up by public id, list a response's input.

Output items have ids of the form `<kind>_<call>_<place>`; input items that came without an id get `<kind>_<call>_in<place>`. So
an id identifies its row, and no index of items is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson

from shared.core.errors import InvalidRequest
from shared.models import StoredResponse

Item = dict[str, Any]

MAX_RESPONSES = 500  # maximum number of responses referenced by one call
_BATCH = 50
_ID = re.compile(r"[a-z]{1,8}_([0-9a-f]{32})_(in)?[0-9]{1,9}")
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}
_TEXT_PARTS: dict[str, Item] = {"assistant": {"type": "output_text", "annotations": [], "logprobs": []}}


def find_items(account: UUID, ids: Iterable[str], max_bytes: int) -> dict[str, Item]:
    """Return the account's stored items with these public ids; missing ones, and other accounts' items, are left out.

    Raises `InvalidRequest` if they are in more than `MAX_RESPONSES` responses or in more than `max_bytes` of them.
    """
    matches = {id: match for id in ids if (match := _ID.fullmatch(id)) is not None}
    outputs = {UUID(hex=match[1]) for match in matches.values() if match[2] is None}
    inputs = {UUID(hex=match[1]) for match in matches.values() if match[2] is not None}
    if len(outputs) + len(inputs) > MAX_RESPONSES:
        raise _too_many(max_bytes)
    found: dict[str, Item] = {}
    for row in _rows(account, [*outputs], max_bytes, StoredResponse.response):
        found |= {item["id"]: item for item in orjson.loads(row.response)["output"]}
    for row in _rows(account, [*inputs], max_bytes, StoredResponse.input):
        found |= {item["id"]: item for item in input_items(row)}
    return {id: found[id] for id in matches if id in found}


def _rows(account: UUID, ids: Sequence[UUID], most_bytes: int, column: Any) -> Iterable[StoredResponse]:
    """Yield the account's rows of these calls with only this column, in batches, because rows may be large."""
    size = 0
    for start in range(0, len(ids), _BATCH):
        mine = (StoredResponse.account == account) & StoredResponse.id.in_(ids[start : start + _BATCH])
        rows = list(StoredResponse.select(StoredResponse.id, column).where(mine))
        size += sum(len(getattr(row, column.name).encode()) for row in rows)
        if size > most_bytes:
            raise _too_many(most_bytes)
        yield from rows


def _too_many(most_bytes: int) -> InvalidRequest:
    return InvalidRequest(
        f"A request can reference items of at most {MAX_RESPONSES} responses with {most_bytes} bytes. Send older items in full.",
        "input",
    )


def input_items(row: StoredResponse) -> list[Item]:
    """Return a response's input items in order, each with a unique id."""
    listed: list[Item] = []
    ids: set[str] = set()
    for place, item in enumerate(orjson.loads(row.input)):
        kind = item.get("type") or "message"
        id = item.get("id")
        if not isinstance(id, str) or not id or id in ids:
            id = f"{_PREFIXES.get(kind, 'item')}_{row.id.hex}_in{place}"
        ids.add(id)
        listed.append(_with_defaults(item, id, kind))
    return listed


def _with_defaults(item: Item, id: str, kind: str) -> Item:
    """Return an item with the optional fields that clients may omit and readers may expect."""
    full = {**item, "id": id, "type": kind}
    if kind != "reasoning":
        full["status"] = item.get("status") or "completed"
    if kind == "message" and isinstance(item["content"], str):
        full["content"] = [{**_TEXT_PARTS.get(item["role"], {"type": "input_text"}), "text": item["content"]}]
    return full
