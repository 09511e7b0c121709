"""Announces the deprecation of a model that still serves: its dates, and the successor that its calls go to afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.models import AIModel, ModelAlias
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.catalog import find_model
from shared.operations.catalog_version import bump_catalog_version
from shared.operations.model_aliases import check_dates
from shared.text.translation import lazy_gettext

FIELDS = ("successor", "deprecated_at", "shutdown_at")


def deprecate_model(model_id: str, changes: Mapping[str, Any], *, origin: Origin) -> AIModel:
    """Change some of the `FIELDS` of a model. None removes a successor or a date. Times are in milliseconds UTC.

    With a successor or a shutdown, `deprecated_at` defaults to now. Raises `NotFound` for an unknown model or successor, and
    `InvalidInput`.
    """
    with transaction():
        model = find_model(model_id)
        before = {field: getattr(model, field) for field in FIELDS}
        values = {**before, **changes}
        if values["successor"] is not None:
            _check_successor(model, values["successor"])
            if values["deprecated_at"] is None and values["shutdown_at"] is None:
                values["deprecated_at"] = now_ms()
        check_dates(values)
        changed = {field: value for field, value in values.items() if before[field] != value}
        if changed:
            AIModel.update({**changed, "updated_at": now_ms()}).where(AIModel.id == model_id).execute()
            old = {field: before[field] for field in changed}
            record_audit_entry(origin, "model.deprecate", model_id, before=old, after=changed)
            bump_catalog_version()
        return AIModel.get_by_id(model_id)


def _check_successor(model: AIModel, successor: str) -> None:
    aliases = {row.name: row.model for row in ModelAlias.select()}
    if successor not in aliases and find_model(successor).kind != model.kind:
        raise InvalidInput(lazy_gettext("The successor must be a model of the kind {kind}.", kind=model.kind))
    rows: Any = AIModel.select(AIModel.id, AIModel.successor).where(AIModel.successor.is_null(False)).tuples()
    following = {**aliases, **dict(rows)}
    seen = [model.id, successor]
    while seen[-1] in following and seen[-1] not in seen[:-1]:
        seen.append(following[seen[-1]])
    if seen[-1] in seen[:-1]:
        raise InvalidInput(lazy_gettext("The successors would form a cycle: {models}.", models=" → ".join(seen)))
