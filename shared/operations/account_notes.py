"""Internal notes about an account. Customers never see them."""

from __future__ import annotations

from uuid import UUID

from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.models import AccountNote
from shared.operations.accounts import find_account
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

MAX_NOTE_LENGTH = 4_000
MAX_NOTES = 50


def add_note(account: UUID, text: str, *, origin: Origin) -> AccountNote:
    """Add a note. The audit log records that a note exists, but not its text, because notes can be deleted."""
    text = text.strip()
    if not 0 < len(text) <= MAX_NOTE_LENGTH:
        raise InvalidInput(lazy_gettext("A note must have 1 to {maximum} characters.", maximum=MAX_NOTE_LENGTH))
    with transaction():
        row = AccountNote.create(account=find_account(account), author=origin.actor[:254], text=text)
        record_audit_entry(origin, "account.note", account, after={"note": str(row.id)})
        return row


def remove_note(account: UUID, note: UUID, *, origin: Origin) -> None:
    """Delete a note of this account, if it exists."""
    with transaction():
        if AccountNote.delete().where((AccountNote.id == note) & (AccountNote.account == account)).execute():
            record_audit_entry(origin, "account.note", account, before={"note": str(note)}, after={"note": None})


def list_notes(account: UUID) -> list[AccountNote]:
    """Return the account's latest notes, newest first."""
    return list(
        AccountNote.select()
        .where(AccountNote.account == account)
        .order_by(AccountNote.created_at.desc(), AccountNote.id.desc())
        .limit(MAX_NOTES)
    )
