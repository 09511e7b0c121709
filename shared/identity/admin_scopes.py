"""Scopes of admin keys: what a key of the administration API may do. Pure.

A scope is a resource and a right, such as `accounts:read`. `write` does not include `read`. `all` includes every scope, and those
that a later release adds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.core.errors import InvalidInput
from shared.text.translation import lazy_gettext

ALL = "all"
_RESOURCES = ("accounts", "members", "keys", "credits", "plans", "models", "prices", "channels")
SCOPES: tuple[str, ...] = (*(f"{resource}:{right}" for resource in _RESOURCES for right in ("read", "write")), "usage:read")


def check_scopes(scopes: Collection[str]) -> list[str]:
    """Return the scopes in the order of `SCOPES`, without duplicates. Raises `InvalidInput` if there are none or unknown ones."""
    known = (ALL, *SCOPES)
    unknown = next((scope for scope in scopes if scope not in known), None)
    if unknown is not None:
        raise InvalidInput(
            lazy_gettext("There is no scope {scope!r}. The scopes are {scopes}.", scope=unknown, scopes=", ".join(known))
        )
    if not scopes:
        raise InvalidInput(lazy_gettext("Choose at least one scope: {scopes}.", scopes=", ".join(known)))
    return [ALL] if ALL in scopes else [scope for scope in SCOPES if scope in scopes]


def has_scope(granted: Sequence[str], scope: str) -> bool:
    """Return whether a key with the scopes `granted` may do what `scope` allows."""
    return ALL in granted or scope in granted
