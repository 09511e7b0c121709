"""Filters of a table, kept in the URL: what was asked for, as conditions, and as chips that can be taken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import request, url_for

from shared.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter in force, and the address of the page without it."""

    label: str
    value: str
    without: str


def asked(names: Sequence[str]) -> dict[str, str]:
    """The filters of `names` that the URL sets, without blanks around them."""
    found = {name: request.args.get(name, "").strip() for name in names}
    return {name: value for name, value in found.items() if value}


def chips(
    endpoint: str,
    filters: dict[str, str],
    names: Mapping[str, Mapping[str, str]] | None = None,
    held: Mapping[str, str] | None = None,
) -> list[Chip]:
    """One chip for each filter. `names` has, by filter, what to show for a value; `held` is what the address keeps besides."""
    return [
        Chip(
            name.replace("_", " "),
            (names or {}).get(name, {}).get(value, value),
            _address(endpoint, {**(held or {}), **{other: filters[other] for other in filters if other != name}}),
        )
        for name, value in filters.items()
    ]


def _address(endpoint: str, values: dict[str, Any]) -> str:
    return url_for(endpoint, **values)


def narrowed(query: Any, conditions: Sequence[Any]) -> Any:
    """`query` under all `conditions`, of which there may be none."""
    return query.where(*conditions) if conditions else query


def as_uuid(what: str, text: str) -> UUID:
    """Raises `InvalidInput` when `text` is no id."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no {what} id; it looks like 019ab3c4-….") from None
