"""Verification of an account's email address: sends the email with the link, and handles the link."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared import ledger
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.account_links import LASTS_MS, VERIFY_EMAIL, make_token
from shared.mail.address import recipient
from shared.mail.outbox import cancel_mails, queue_mail
from shared.mail.texts import MailText, verify_email
from shared.models import Account, AuditEntry
from shared.operations.accounts import find_account, remember_language
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import sync_owner
from shared.operations.purges import lock_account
from shared.text.translation import in_language, lazy_gettext

KIND = "verify_email"
MAIL_ACTION = "account.verification_mail"  # in the audit log
MAX_A_DAY = 5  # verification emails per account and day: the address may belong to someone else
_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


class Verified(NamedTuple):
    """A verified address, and the credits that this verification granted: 0 if it was verified before."""

    email: str
    credits: int


def request_verification(account: UUID, *, language: str = "", origin: Origin) -> bool:
    """Queue a verification email at the owner's request; False at the daily limit, or if there is nothing to verify.

    `language` is that of the owner's page; empty keeps the account's. Raises `InvalidInput` for an address that we cannot send
    email to.
    """
    with transaction():
        lock_account(account)
        if language:
            remember_language(account, language)
        # The audit log is counted, because a purge deletes the emails.
        mails = (AuditEntry.target == str(account)) & (AuditEntry.action == MAIL_ACTION)
        if AuditEntry.select().where(mails & (AuditEntry.created_at >= now_ms() - _DAY_MS)).count() >= MAX_A_DAY:
            return False
        return queue_verification(account, origin=origin)


def queue_verification(account: UUID, *, origin: Origin) -> bool:
    """The same without a limit, for a sign-up and for staff. Run inside the transaction of its cause."""
    row = Account.get_by_id(account)
    if row.email_verified_at is not None or row.status == "closed":
        return False
    recipient(row.email)
    queue_mail(account, KIND, row.email)
    record_audit_entry(origin, MAIL_ACTION, account)
    return True


def resend_verification(email_or_id: str | UUID, *, origin: Origin) -> Account:
    """Queue a verification email on behalf of staff. Raises `NotFound`, and `InvalidInput` if there is nothing to verify."""
    with transaction():
        account = find_account(email_or_id)
        if not queue_verification(account.id, origin=origin):
            raise InvalidInput(lazy_gettext("{email} is verified already, or the account is closed.", email=account.email))
        return account


def confirm_email(account: UUID, email: str, *, origin: Origin) -> Verified:
    """Mark the address as verified, and grant the credits that wait for it, once.

    `email` is the address that the link was created for. Raises `NotFound` if the account has another one now, or is closed.
    """
    with transaction():
        lock_account(account)
        row = Account.get_by_id(account)
        if row.email != email or row.status == "closed":
            raise NotFound(lazy_gettext("This link is not valid."))
        if row.email_verified_at is not None:
            return Verified(email, 0)
        credits = row.pending_credits
        Account.update(email_verified_at=now_ms(), pending_credits=0).where(Account.id == account).execute()
        sync_owner(account)
        if credits:
            ledger.post_entry(account, "grant", credits, actor="sign-up", reason="opening credits")
        cancel_mails(account, KIND)
        record_audit_entry(origin, "account.verify_email", account, after={"email": email, "credits": credits})
        return Verified(email, credits)


def compose(account: UUID, email: str, *, secret_key: str, edge_url: str) -> MailText | None:
    """The text of a verification email to `email` in the account's language, with a new link.

    Returns None if there is nothing to verify any more.
    """
    row: Account | None = Account.get_or_none(Account.id == account)
    if row is None or row.email != email or row.email_verified_at is not None or row.status == "closed":
        return None
    token = make_token(secret_key, VERIFY_EMAIL, account, email, now_ms() + LASTS_MS)
    with in_language(row.language):
        return verify_email(email, f"{edge_url}/verify-email/{token}", row.pending_credits, LASTS_MS // _HOUR_MS)
