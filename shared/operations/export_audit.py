"""Audit entries for exports from the console, because they contain customer data."""

from __future__ import annotations

import re

from shared.core.database import transaction
from shared.identity.api_key_format import PREFIX
from shared.operations.audit import Origin, record_audit_entry

_KEY = re.compile(rf"({PREFIX}(?:admin-)?[0-9A-Za-z]{{4}})[0-9A-Za-z]+")


def record_export(what: str, filters: dict[str, str], *, origin: Origin) -> None:
    """Record that `what` (`usage`, `ledger`, …) was exported with these filters, where an API key is shortened to its prefix."""
    kept = {name: _KEY.sub(r"\1…", value) for name, value in filters.items()}
    with transaction():
        record_audit_entry(origin, f"export.{what}", what, after=kept)
