"""Creates, changes and deletes aliases of models. An alias may point to another alias, but not in a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.models import AIModel, ModelAlias
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog import check_own_model_id, find_model
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.keys import YEAR_10000
from shared.text.translation import lazy_gettext

FIELDS = ("model", "successor", "deprecated_at", "shutdown_at")


def list_aliases() -> list[ModelAlias]:
    """Return all aliases, sorted by name."""
    return list(ModelAlias.select().order_by(ModelAlias.name))


def find_alias(name: str) -> ModelAlias:
    """Return the alias with this name. Raises `NotFound`."""
    alias = ModelAlias.get_or_none(ModelAlias.name == name)
    if alias is None:
        raise NotFound(lazy_gettext("No alias {name!r}. List them with `yout alias list`.", name=name))
    return alias


def create_alias(
    name: str,
    model: str,
    *,
    successor: str | None = None,
    deprecated_at: int | None = None,
    shutdown_at: int | None = None,
    origin: Origin,
) -> ModelAlias:
    """Create an alias for `model`, which is a model's id or another alias. Times are in milliseconds UTC.

    With `shutdown_at`, `deprecated_at` defaults to now. The name may be the id of a disabled model, which the alias replaces.
    Raises `NotFound` for an unknown model, and `InvalidInput`.
    """
    check_own_model_id(name)
    with transaction():
        if AIModel.select().where((AIModel.id == name) & (AIModel.status == "active")).exists():
            raise InvalidInput(lazy_gettext("{name!r} is an active model. Disable it first, or choose another name.", name=name))
        values = _checked(
            name, {"model": model, "successor": successor, "deprecated_at": deprecated_at, "shutdown_at": shutdown_at}
        )
        try:
            alias = ModelAlias.create(name=name, **values)
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext("An alias {name!r} already exists. Change it with `yout alias update`.", name=name)
            ) from None
        record_audit_entry(origin, "alias.create", name, after=values)
        bump_catalog_version()
        return alias


def update_alias(name: str, changes: Mapping[str, Any], *, origin: Origin) -> ModelAlias:
    """Change some of the `FIELDS`. None removes a successor or a date. Raises the errors of `create_alias`."""
    with transaction():
        alias = find_alias(name)
        before = {field: getattr(alias, field) for field in FIELDS}
        values = _checked(name, {**before, **changes})
        changed = {field: value for field, value in values.items() if before[field] != value}
        if changed:
            ModelAlias.update({**changed, "updated_at": now_ms()}).where(ModelAlias.name == name).execute()
            record_audit_entry(origin, "alias.update", name, before={field: before[field] for field in changed}, after=changed)
            bump_catalog_version()
        return ModelAlias.get_by_id(name)


def delete_alias(name: str, *, origin: Origin) -> None:
    """Delete an alias. Raises `NotFound`, and `InvalidInput` if another alias points to it."""
    with transaction():
        alias = find_alias(name)
        dependent = ModelAlias.get_or_none(ModelAlias.model == name)
        if dependent is not None and not AIModel.select().where(AIModel.id == name).exists():
            raise InvalidInput(
                lazy_gettext(
                    "The alias {dependent!r} points to {name!r}. Change or delete it first.", dependent=dependent.name, name=name
                )
            )
        alias.delete_instance()
        record_audit_entry(origin, "alias.delete", name, before={field: getattr(alias, field) for field in FIELDS})
        bump_catalog_version()


def _checked(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values to store. Raises `InvalidInput`, and `NotFound` for an unknown model or successor."""
    aliases = {row.name: row.model for row in ModelAlias.select()}
    seen = [name, values["model"]]
    while seen[-1] in aliases and seen[-1] not in seen[:-1]:
        seen.append(aliases[seen[-1]])
    if seen[-1] in seen[:-1]:
        raise InvalidInput(lazy_gettext("The alias would point to itself: {seen}.", seen=" → ".join(seen)))
    find_model(seen[-1])
    if values["successor"] is not None:
        if values["successor"] == name:
            raise InvalidInput(lazy_gettext("The successor must be another name."))
        if values["successor"] not in aliases:
            find_model(values["successor"])
    check_dates(values)
    return values


def check_dates(values: dict[str, Any]) -> None:
    """Check `deprecated_at` and `shutdown_at`. With a shutdown, the deprecation is now by default. Raises `InvalidInput`."""
    if values["shutdown_at"] is not None and values["deprecated_at"] is None:
        values["deprecated_at"] = min(now_ms(), values["shutdown_at"])
    times = [values[field] for field in ("deprecated_at", "shutdown_at") if values[field] is not None]
    if not all(type(time) is int and 0 <= time < YEAR_10000 for time in times) or times != sorted(times):
        raise InvalidInput(
            lazy_gettext("The dates must be before the year 10000, and the shutdown must not be before the deprecation.")
        )
