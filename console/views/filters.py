"""Table filters, kept in the URL: reading them, and showing each as a removable chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flask import request, url_for

from shared.core.errors import InvalidInput
from shared.text.translation import gettext, lazy_gettext, translated
from shared.text.words import word

_LABELS = {
    "range": lazy_gettext("range"),
    "since": lazy_gettext("since"),
    "until": lazy_gettext("until"),
    "account": lazy_gettext("account"),
    "key": lazy_gettext("key"),
    "model": lazy_gettext("model"),
    "channel": lazy_gettext("channel"),
    "status": lazy_gettext("status"),
    "state": lazy_gettext("state"),
    "kind": lazy_gettext("kind"),
    "error": lazy_gettext("error"),
    "estimated": lazy_gettext("estimated"),
    "streamed": lazy_gettext("streamed"),
    "tag": lazy_gettext("tag"),
    "request": lazy_gettext("request"),
    "actor": lazy_gettext("actor"),
    "action": lazy_gettext("action"),
    "target": lazy_gettext("target"),
    "purpose": lazy_gettext("for"),
    "provider": lazy_gettext("paid by"),
    "payment": lazy_gettext("payment"),
}


@dataclass(frozen=True, slots=True)
class Chip:
    """An active filter, with the URL of the page without it."""

    label: str
    value: str
    remove_url: str


def active_filters(names: Sequence[str]) -> dict[str, str]:
    """Return the filters of `names` that the URL sets, with whitespace stripped."""
    values = {name: request.args.get(name, "").strip() for name in names}
    return {name: value for name, value in values.items() if value}


def chips(
    endpoint: str,
    filters: dict[str, str],
    names: Mapping[str, Mapping[str, str]] | None = None,
    extra_parameters: Mapping[str, str] | None = None,
) -> list[Chip]:
    """Return one chip per filter. `names` maps a filter's values to display names; `extra_parameters` are other parameters to
    keep."""
    return [
        Chip(
            translated(_LABELS.get(name, name.replace("_", " "))),
            (names or {}).get(name, {}).get(value) or word(value),
            _filter_url(endpoint, {**(extra_parameters or {}), **{other: filters[other] for other in filters if other != name}}),
        )
        for name, value in filters.items()
    ]


def _filter_url(endpoint: str, values: dict[str, Any]) -> str:
    return url_for(endpoint, **values)


def apply_conditions(query: Any, conditions: Sequence[Any]) -> Any:
    """Return `query` with all `conditions` applied."""
    return query.where(*conditions) if conditions else query


def parse_uuid(what: str, text: str) -> UUID:
    """Parse an id. Raises `InvalidInput` if `text` is not a UUID."""
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput(
            gettext("{text!r} is not a valid {what} ID. An ID looks like 019ab3c4-….", text=text, what=what)
        ) from None
