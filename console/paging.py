"""Keyset pagination: each page starts after the last row of the previous one, so page 1,000 costs as much as page 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import UUIDField

from shared.core.errors import InvalidInput
from shared.text.translation import gettext

PAGE_SIZE = 50
BATCH_SIZE = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and the cursor of the next, older page (None on the last page)."""

    rows: list[Any]
    next_cursor: str | None


def fetch_page(query: Any, columns: Sequence[Any], cursor: str | None, size: int = PAGE_SIZE) -> Page:
    """Return the page of `query` after `cursor`, in descending order of `columns`, which must be unique together.

    Raises `InvalidInput` for an invalid cursor.
    """
    if cursor:
        query = query.where(_older_than(columns, _decode_cursor(columns, cursor)))
    rows = list(query.order_by(*(column.desc() for column in columns)).limit(size + 1))
    return Page(rows[:size], _encode_cursor(columns, rows[size - 1]) if len(rows) > size else None)


def iterate_batches(query: Any, columns: Sequence[Any], size: int = BATCH_SIZE) -> Iterator[list[tuple[Any, ...]]]:
    """Yield all rows of `query` in batches, in descending order of `columns`. Its tuples must begin with `columns`."""
    ordered = query.order_by(*(column.desc() for column in columns)).limit(size).tuples()
    following = ordered
    while rows := list(following):
        yield rows
        if len(rows) < size:
            return
        following = ordered.where(_older_than(columns, rows[-1][: len(columns)]))


def _older_than(columns: Sequence[Any], values: Sequence[Any]) -> Any:
    """Compare rows with `values` lexicographically. The separate bound on the first column lets its index be used."""
    condition = columns[-1] < values[-1]
    for column, value in zip(reversed(columns[:-1]), reversed(values[:-1]), strict=True):
        condition = (column < value) | ((column == value) & condition)
    return (columns[0] <= values[0]) & condition


def _encode_cursor(columns: Sequence[Any], row: Any) -> str:
    values = (row.__data__[column.name] for column in columns)  # for a foreign key, the id
    return "_".join(value.hex if isinstance(value, UUID) else str(value) for value in values)


def _decode_cursor(columns: Sequence[Any], cursor: str) -> list[int | UUID]:
    parts = cursor.split("_")
    try:
        if len(parts) != len(columns):
            raise ValueError
        return [UUID(part) if _is_uuid(column) else _bigint(part) for column, part in zip(columns, parts, strict=True)]
    except ValueError:
        raise InvalidInput(gettext("Invalid page cursor. Start from the first page.")) from None


def _bigint(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ValueError
    return int(text)


def _is_uuid(column: Any) -> bool:
    return isinstance(getattr(column, "rel_field", column), UUIDField)
