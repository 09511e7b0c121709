"""Cursor pagination with `?limit=` and `?after=`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar
from uuid import UUID

from quart import request

from shared.core.errors import InvalidRequest

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


T = TypeVar("T")


class Page(NamedTuple):
    """The requested page: `limit` entries after the entry with id `after`, or from the start."""

    limit: int
    after: UUID | None


def read_page() -> Page:
    """Parse `limit` and `after` from the current request. Raises `InvalidRequest`."""
    after = request.args.get("after")
    try:
        return Page(query_integer("limit", 1, MAX_LIMIT, DEFAULT_LIMIT), None if after is None else UUID(after))
    except ValueError:
        raise InvalidRequest("'after' must be the 'next' value of the previous page.", "after") from None


def split_page(rows: Sequence[T], limit: int) -> tuple[Sequence[T], T | None]:
    """Split rows that were read with a limit of `limit` + 1. Returns the page, and its last row if another page follows."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


def query_integer(name: str, low: int, high: int, default: int) -> int:
    """Parse the query parameter `name` as an integer between `low` and `high`. Raises `InvalidRequest`."""
    text = request.args.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise InvalidRequest(f"'{name}' must be an integer between {low} and {high}.", name)
    return int(text)
