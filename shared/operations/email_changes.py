"""Changes of a person's email address that wait until the new address is confirmed. Until then the former one stays.

The new address gets a link to confirm the change. The former one, if it was verified, gets a link to cancel it: whoever requested
the change knows the password, but may not be the person.
"""

from __future__ import annotations

from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.account_links import LASTS_MS, AccountLink, proves
from shared.identity.emails import normalize_email
from shared.mail.address import recipient
from shared.models import AuditEntry, EmailChange, Person
from shared.operations.account_mails import queue_email_change
from shared.operations.accounts import change_person_email, require_free_address
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import change_sign_in, current_sign_in, memberships, owned_account
from shared.operations.purges import lock_account
from shared.operations.verification import confirm_email
from shared.text.translation import lazy_gettext

MAX_A_DAY = 5  # per person: the new address may belong to someone else
_ACTION = "person.request_email"  # in the audit log
_DAY_MS = 86_400_000
_NOT_FOUND = lazy_gettext("This link is not valid.")


def request_change(person: UUID, new_email: str, *, origin: Origin) -> EmailChange | None:
    """Queue emails that let a person confirm or cancel a new address, which replaces one that they requested earlier.

    Returns None for the address that they have. Raises `InvalidInput` for one that is invalid, taken or cannot get email, and at
    the daily limit.
    """
    new_email = normalize_email(new_email)
    recipient(new_email)
    with transaction():
        former, belongs = current_sign_in(person).email, memberships(person)
        if not belongs:
            raise NotFound(lazy_gettext("There is no such person."))
        lock_account(belongs[0].account)  # two requests at the same time
        EmailChange.delete().where(EmailChange.person == person).execute()
        if new_email == former:
            return None
        require_free_address(new_email)
        requests = (AuditEntry.target == str(person)) & (AuditEntry.action == _ACTION)
        if AuditEntry.select().where(requests & (AuditEntry.created_at >= now_ms() - _DAY_MS)).count() >= MAX_A_DAY:
            raise InvalidInput(lazy_gettext("You changed your email address several times today. Try again tomorrow."))
        row = EmailChange.create(person=person, email=new_email, expires_at=now_ms() + LASTS_MS)
        verified = Person.get_by_id(person).email_verified_at is not None
        queue_email_change(belongs[0].account, row, former if verified else "")
        record_audit_entry(origin, _ACTION, person, before={"email": former}, after={"email": new_email})
        return row


def pending_change(person: UUID) -> EmailChange | None:
    """Return the change that waits for confirmation, or None."""
    own = (EmailChange.person == person) & (EmailChange.expires_at > now_ms())
    found: EmailChange | None = EmailChange.select().where(own).first()
    return found


def linked_change(link: AccountLink, secret_key: str, purpose: str) -> EmailChange | None:
    """Return the pending change of a link for this purpose, with its person, or None if the link is not valid any more."""
    pending = (EmailChange.id == link.account) & (EmailChange.expires_at > now_ms())
    row: EmailChange | None = EmailChange.select(EmailChange, Person).join(Person).where(pending).first()
    return row if row is not None and proves(link, secret_key, purpose, row.email, now_ms()) else None


def confirm_change(change: UUID, *, origin: Origin) -> str:
    """Give a person their new address, which this verifies, and return it. Credits that wait for verification are granted.

    Raises `NotFound` if the change was cancelled, replaced or confirmed, and `InvalidInput` if the address is taken by now.
    """
    with transaction():
        row = _claim(EmailChange.id == change)
        if row is None:
            raise NotFound(_NOT_FOUND)
        person, email = row.__data__["person"], str(row.email)
        change_person_email(person, email, notifies=True, origin=origin)
        owned = owned_account(person)
        if owned is not None:
            confirm_email(owned.id, email, origin=origin)
        else:
            change_sign_in(person, email_verified_at=now_ms())
        return email


def cancel_change(change: UUID, *, origin: Origin) -> None:
    """Cancel a pending change. Raises `NotFound` if there is none."""
    with transaction():
        row = _claim(EmailChange.id == change)
        if row is None:
            raise NotFound(_NOT_FOUND)
        record_audit_entry(origin, "person.cancel_email", row.__data__["person"], before={"email": row.email})


def forget_expired_changes() -> None:
    """Delete changes that were not confirmed in time."""
    EmailChange.delete().where(EmailChange.expires_at <= now_ms()).execute()


def _claim(condition: object) -> EmailChange | None:
    """Delete a pending change and return it: only one of several requests gets it."""
    query = EmailChange.delete().where(condition & (EmailChange.expires_at > now_ms())).returning(EmailChange)
    return next(iter(query.execute()), None)
