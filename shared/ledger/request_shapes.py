"""Request shapes of calls: the fields and headers that providers received. There are few, so each is stored once.

    RequestShapes          the shapes that a process has seen
    save_shape(…)          store a shape
    read_shape(…)          the shape with an id

Callers can vary the fields of their requests, so the number of shapes is limited: by account in each process, and in the table.
Calls beyond the limits have no shape.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from shared.billing.request_shape import RequestShape, channel_fields, request_shape
from shared.core.clock import now_ms
from shared.ledger.sql import execute

MAX_SHAPES = 20_000
MAX_SHAPES_PER_ACCOUNT = 100  # new ones, in each process
MAX_NAMES_LENGTH = 4_000  # of all fields; longer names are not kept in memory
_Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]


class RequestShapes:
    """The ids of the shapes that this process has seen. `client_headers` are those that the HTTP client adds to each request.

    `save` stores a new shape, at once or later. If that fails, call `forget`.
    """

    def __init__(self, client_headers: Sequence[str], save: Callable[[RequestShape], object]) -> None:
        self._client_headers = tuple(client_headers)
        self._save = save
        self._ids: dict[_Names, bytes] = {}
        self._new_by_account: Counter[UUID] = Counter()

    def find(
        self, fields: tuple[str, ...], headers: Sequence[tuple[str, str]], settings: Mapping[str, Any], account: UUID
    ) -> bytes | None:
        """Return the id of a request's shape (16 bytes), or None beyond the limits. Stores a new one."""
        names = fields, tuple([name for name, _ in headers]), channel_fields(settings)
        found = self._ids.get(names)
        return found if found is not None else self._add(names, account)

    def forget(self, id: bytes) -> None:
        """Store the shape again when a call has it next."""
        self._ids = {names: known for names, known in self._ids.items() if known != id}

    def _add(self, names: _Names, account: UUID) -> bytes | None:
        fields, headers, own_fields = names
        if len(self._ids) >= MAX_SHAPES or self._new_by_account[account] >= MAX_SHAPES_PER_ACCOUNT:
            return None
        if sum(map(len, fields)) > MAX_NAMES_LENGTH:
            return None
        self._new_by_account[account] += 1
        shape = request_shape(fields, (*headers, *self._client_headers), own_fields)
        self._ids[names] = shape.id
        self._save(shape)
        return shape.id


def save_shape(shape: RequestShape) -> None:
    """Store a shape unless it is stored already, or the table is full. Run inside a transaction."""
    if execute("SELECT 1 FROM request_shape WHERE id = ?", [shape.id]).fetchone() is not None:
        return
    if execute("SELECT count(*) FROM request_shape", []).fetchone()[0] < MAX_SHAPES:
        execute(
            "INSERT INTO request_shape (id, fields, headers, other_fields, created_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            [shape.id, json.dumps(shape.fields), json.dumps(shape.headers), shape.other_fields, now_ms()],
        )


def read_shape(id: bytes | None) -> RequestShape | None:
    """Return the stored shape with this id."""
    if id is None:
        return None
    row = execute("SELECT fields, headers, other_fields FROM request_shape WHERE id = ?", [bytes(id)]).fetchone()
    return None if row is None else RequestShape(tuple(json.loads(row[0])), tuple(json.loads(row[1])), row[2])
