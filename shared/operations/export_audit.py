"""Audit entries for what staff export or read in the console, because it contains customer data."""

from __future__ import annotations

import re

from shared.core.database import transaction
from shared.identity.api_key_format import PREFIX
from shared.models import OutgoingMail
from shared.operations.audit import Origin, record_audit_entry

_KEY = re.compile(rf"({PREFIX}(?:admin-)?[0-9A-Za-z]{{4}})[0-9A-Za-z]+")


def record_export(what: str, filters: dict[str, str], *, origin: Origin) -> None:
    """Record that `what` (`usage`, `ledger`, …) was exported with these filters, where an API key is shortened to its prefix."""
    kept = {name: _KEY.sub(r"\1…", value) for name, value in filters.items()}
    with transaction():
        record_audit_entry(origin, f"export.{what}", what, after=kept)


def record_mail_read(mail: OutgoingMail, *, origin: Origin) -> None:
    """Record that the text of an email, which may contain a one-time link, was shown to staff."""
    with transaction():
        record_audit_entry(origin, "mail.read", mail.id, after={"account": str(mail.__data__["account"]), "kind": mail.kind})
