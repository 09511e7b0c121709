"""Exports: that somebody took rows out of the console stands in the trail, because they name customers."""

from __future__ import annotations

from shared.database import transaction
from shared.operations.audit import Origin, record


def record_export(what: str, filters: dict[str, str], *, actor: str, address: str = "") -> None:
    """Record that `what` (`usage`, `ledger`, …) was exported, and by which filters."""
    with transaction():
        record(Origin(actor, address), f"export.{what}", what, after={**filters})
