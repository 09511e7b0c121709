"""Audit entries for exports from the console, because they contain customer data."""

from __future__ import annotations

from shared.core.database import transaction
from shared.operations.audit import Origin, record_audit_entry


def record_export(what: str, filters: dict[str, str], *, origin: Origin) -> None:
    """Record that `what` (`usage`, `ledger`, …) was exported with these filters."""
    with transaction():
        record_audit_entry(origin, f"export.{what}", what, after={**filters})
