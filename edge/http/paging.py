"""Pages of a list, by the last one's id: `?limit=` and `?after=`."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from quart import request

from shared.core.errors import InvalidRequest

USUAL = 20
MOST = 100


class Page(NamedTuple):
    """What to list: `limit` entries after the one with this id, or from the first on."""

    limit: int
    after: UUID | None


def read_page() -> Page:
    """The page that the current request asks for. Raises `InvalidRequest`."""
    after = request.args.get("after")
    try:
        return Page(whole_number("limit", 1, MOST, USUAL), None if after is None else UUID(after))
    except ValueError:
        raise InvalidRequest("'after' must be the id that the page before gave as 'next'.", "after") from None


def whole_number(name: str, low: int, high: int, usual: int) -> int:
    """The query parameter `name`. Raises `InvalidRequest`."""
    text = request.args.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) < 10 and low <= int(text) <= high):
        raise InvalidRequest(f"'{name}' must be a whole number from {low} to {high}.", name)
    return int(text)
