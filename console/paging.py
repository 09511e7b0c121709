"""Keyset paging: a page begins after the last row of the one before, so that page 1,000 costs what page 1 does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import UUIDField

from shared.core.errors import InvalidInput

PAGE_SIZE = 50
BATCH_SIZE = 2_000


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, newest first, and the cursor of the page of older ones (None on the last)."""

    rows: list[Any]
    older: str | None


def page_of(query: Any, columns: Sequence[Any], cursor: str | None, size: int = PAGE_SIZE) -> Page:
    """The page of `query` after `cursor`, ordered by `columns` descending; together they must be unique.

    Raises `InvalidInput` for a cursor that no page gave.
    """
    if cursor:
        query = query.where(_older_than(columns, _read(columns, cursor)))
    rows = list(query.order_by(*(column.desc() for column in columns)).limit(size + 1))
    return Page(rows[:size], _write(columns, rows[size - 1]) if len(rows) > size else None)


def batches(query: Any, columns: Sequence[Any], size: int = BATCH_SIZE) -> Iterator[list[tuple[Any, ...]]]:
    """All rows of `query`, whose tuples begin with `columns`, in the order of a page's, a batch at a time."""
    ordered = query.order_by(*(column.desc() for column in columns)).limit(size).tuples()
    following = ordered
    while rows := list(following):
        yield rows
        if len(rows) < size:
            return
        following = ordered.where(_older_than(columns, rows[-1][: len(columns)]))


def _older_than(columns: Sequence[Any], values: Sequence[Any]) -> Any:
    """Lexicographic "less than". The bare bound on the first column is what lets an index on it alone be used."""
    condition = columns[-1] < values[-1]
    for column, value in zip(reversed(columns[:-1]), reversed(values[:-1]), strict=True):
        condition = (column < value) | ((column == value) & condition)
    return (columns[0] <= values[0]) & condition


def _write(columns: Sequence[Any], row: Any) -> str:
    values = (row.__data__[column.name] for column in columns)  # of a foreign key the id
    return "_".join(value.hex if isinstance(value, UUID) else str(value) for value in values)


def _read(columns: Sequence[Any], cursor: str) -> list[int | UUID]:
    parts = cursor.split("_")
    try:
        if len(parts) != len(columns):
            raise ValueError
        return [UUID(part) if _is_uuid(column) else _bigint(part) for column, part in zip(columns, parts, strict=True)]
    except ValueError:
        raise InvalidInput("This page's address was changed or cut off. Start from the first page.") from None


def _bigint(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ValueError
    return int(text)


def _is_uuid(column: Any) -> bool:
    return isinstance(getattr(column, "rel_field", column), UUIDField)
