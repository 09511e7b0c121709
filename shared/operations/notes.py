"""Notes that staff keep on an account for each other. Customers never see them."""

from __future__ import annotations

from uuid import UUID

from shared.database import transaction
from shared.errors import InvalidInput
from shared.models import AccountNote
from shared.operations.accounts import find_account
from shared.operations.audit import Origin, record

LONGEST_NOTE = 4_000
NOTES_SHOWN = 50


def add_note(account: UUID, text: str, *, actor: str, address: str = "") -> AccountNote:
    """Write a note. The trail tells that there is one, not what it says: it can be taken away again."""
    text = text.strip()
    if not 0 < len(text) <= LONGEST_NOTE:
        raise InvalidInput(f"Write a note of 1 to {LONGEST_NOTE} characters.")
    with transaction():
        row = AccountNote.create(account=find_account(account), author=actor[:254], text=text)
        record(Origin(actor, address), "account.note", account, after={"note": str(row.id)})
        return row


def remove_note(account: UUID, note: UUID, *, actor: str, address: str = "") -> None:
    """Take a note of this account away; one that is gone is gone."""
    with transaction():
        if AccountNote.delete().where((AccountNote.id == note) & (AccountNote.account == account)).execute():
            record(Origin(actor, address), "account.note", account, before={"note": str(note)}, after={"note": None})


def notes_of(account: UUID) -> list[AccountNote]:
    """The newest notes first."""
    return list(
        AccountNote.select()
        .where(AccountNote.account == account)
        .order_by(AccountNote.created_at.desc(), AccountNote.id.desc())
        .limit(NOTES_SHOWN)
    )
