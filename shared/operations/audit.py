"""The audit log: who changed what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.models import AuditEntry


@dataclass(frozen=True, slots=True)
class Origin:
    """Who acts (`operator:name`, a staff member's email, `seed`) and from which IP address ("" for local commands)."""

    actor: str
    address: str = ""


def record_audit_entry(
    origin: Origin,
    action: str,
    target: object,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Insert one entry. `before` and `after` are JSON objects and must not contain secrets, hashes or passwords."""
    AuditEntry.create(
        actor=origin.actor[:254],
        action=action,
        target=str(target)[:254],
        before=before,
        after=after,
        address=origin.address[:64],
    )
