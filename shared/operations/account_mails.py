"""Emails about sign-ins and keys: queue them in the transaction of their cause. Composes these and those about payments.

Emails that tell a person about their sign-in only go to verified addresses, because others may belong to someone else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.identity.account_links import CANCEL_EMAIL, CONFIRM_EMAIL, LASTS_MS, PASSWORD, make_token
from shared.identity.emails import normalize_for_lookup
from shared.mail import texts
from shared.mail.outbox import queue_mail
from shared.mail.payment_mails import PAYMENT_FAILED, PAYMENT_REVIEW, TOP_UP_FAILED
from shared.mail.preferences import KEY_EXPIRING, RECEIPT, recipient_language, verified_address
from shared.mail.texts import MailText
from shared.models import Account, ApiKey, AuditEntry, EmailChange, Member, Payment, Person
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import find_sign_in, find_sign_in_by_id, memberships
from shared.payments.money import format_money
from shared.text.translation import in_language
from shared.text.words import agent_name

PASSWORD_RESET = "password_reset"
NEW_SIGN_IN = "new_sign_in"
EMAIL_CHANGED = "email_changed"
CONFIRM_NEW_EMAIL = "confirm_new_email"
EMAIL_CHANGE_REQUESTED = "email_change_requested"
ACCESS_REMOVED = "access_removed"  # `shared/operations/unverified_access.py`
MAX_RESETS_A_DAY = 5  # password emails per person: anyone can request them
EXPIRY_NOTICE_MS = 7 * 24 * 3_600_000
LONG_KEY_MS = 30 * 24 * 3_600_000  # keys with a shorter lifetime are meant to expire
_RESET_ACTION = "account.password_mail"  # in the audit log
_DAY_MS = 24 * 3_600_000
_HOUR_MS = 3_600_000
_LINK_HOURS = LASTS_MS // _HOUR_MS
_MAX_KEYS = 100  # per call of `queue_expiring_keys`


class MailContext(NamedTuple):
    """An email to compose (`OutgoingMail`), and what its links are made from."""

    account: UUID
    recipient: str
    subject: str
    secret_key: str
    edge_url: str


# Queuing: run inside a transaction.


def queue_password_reset(email: str, *, origin: Origin) -> bool:
    """Queue an email with a link to set a password. False for an unknown address, and at the daily limit."""
    found = find_sign_in(normalize_for_lookup(email))
    if found is None:
        return False
    account = _account_of(found.person)
    if account is None:
        return False
    mails = (AuditEntry.target == str(found.person)) & (AuditEntry.action == _RESET_ACTION)
    if AuditEntry.select().where(mails & (AuditEntry.created_at >= now_ms() - _DAY_MS)).count() >= MAX_RESETS_A_DAY:
        return False
    queue_mail(account, PASSWORD_RESET, found.email, subject=str(found.person), one_recipient=False)
    record_audit_entry(origin, _RESET_ACTION, found.person)
    return True


def queue_new_sign_in(account: UUID, person: UUID, agent: str) -> None:
    """Queue an email about a sign-in from a browser that the person has not used before. `agent` is its label."""
    row = Person.get_by_id(person)
    if row.email_verified_at is not None:
        queue_mail(account, NEW_SIGN_IN, row.email, subject=f"{now_ms()} {agent}", one_recipient=False)


def queue_email_changed(account: UUID, former: str, new: str) -> None:
    """Queue an email to a person's former address, which must have been verified, about their new one."""
    queue_mail(account, EMAIL_CHANGED, former, subject=new, one_recipient=False)


def queue_email_change(account: UUID, change: EmailChange, former: str) -> None:
    """Queue an email to a new address, which confirms it, and one to the former address, unless that is ""."""
    queue_mail(account, CONFIRM_NEW_EMAIL, change.email, subject=str(change.id), one_recipient=False)
    if former:
        queue_mail(account, EMAIL_CHANGE_REQUESTED, former, subject=str(change.id), one_recipient=False)


def queue_expiring_keys(now: int) -> int:
    """Queue an email for each key that expires within `EXPIRY_NOTICE_MS`, once per expiry. Return the number of keys.

    Each key is a transaction of its own: a compare-and-set decides which worker queues the email.
    """
    expires = (ApiKey.expires_at > now) & (ApiKey.expires_at <= now + EXPIRY_NOTICE_MS) & ApiKey.revoked_at.is_null()
    is_long = ApiKey.expires_at - ApiKey.created_at >= LONG_KEY_MS
    is_new = ApiKey.notified_expiry.is_null() | (ApiKey.notified_expiry != ApiKey.expires_at)
    rows = list(ApiKey.select().where(expires & is_long & is_new).order_by(ApiKey.expires_at).limit(_MAX_KEYS))
    for key in rows:
        with transaction():
            unchanged = (ApiKey.id == key.id) & (ApiKey.expires_at == key.expires_at) & is_new
            if ApiKey.update(notified_expiry=key.expires_at).where(unchanged).execute():
                _queue_expiring_key(key)
    return len(rows)


def _queue_expiring_key(key: ApiKey) -> None:
    account = key.__data__["account"]
    query = Member.select(Member, Person, Account).join(Person).switch(Member).join(Account)
    member = query.where((Member.id == (key.member or account)) & Member.removed_at.is_null()).first()
    if member is None or KEY_EXPIRING in (member.person.muted_mails or ()):
        return
    email = verified_address(member)
    if email:
        queue_mail(account, KEY_EXPIRING, email, subject=str(key.id), one_recipient=False)


def _account_of(person: UUID) -> UUID | None:
    """Return an account of a person: their own, or the first that they belong to."""
    found = memberships(person)
    if found:
        return found[0].account
    return person if Account.select().where((Account.id == person) & (Account.status != "closed")).exists() else None


# Composing


def compose(kind: str, mail: MailContext) -> MailText | None:
    """Return an email's text in the recipient's language, or None if it is no longer needed. `kind` is one of `KINDS`."""
    write = _COMPOSERS[kind]
    with in_language(recipient_language(mail.recipient)):
        return write(mail)


def _password_reset(mail: MailContext) -> MailText | None:
    found = find_sign_in_by_id(UUID(mail.subject))
    if found is None or found.email != mail.recipient:
        return None
    token = make_token(mail.secret_key, PASSWORD, found.person, found.password_hash, now_ms() + LASTS_MS)
    return texts.password_mail(mail.recipient, f"{mail.edge_url}/password/{token}", _LINK_HOURS)


def _new_sign_in(mail: MailContext) -> MailText | None:
    at, _, agent = mail.subject.partition(" ")
    return texts.new_sign_in_mail(
        mail.recipient, agent_name(agent) if agent else "", _format_time(int(at)), f"{mail.edge_url}/account/sessions"
    )


def _email_changed(mail: MailContext) -> MailText | None:
    return texts.email_changed_mail(mail.recipient, mail.subject, mail.edge_url)


def _confirm_new_email(mail: MailContext) -> MailText | None:
    row = _open_change(mail)
    if row is None or row.email != mail.recipient:
        return None
    token = make_token(mail.secret_key, CONFIRM_EMAIL, row.id, row.email, row.expires_at)
    with in_language(row.person.language):  # nobody has this address yet
        return texts.confirm_new_email_mail(row.person.email, row.email, f"{mail.edge_url}/confirm-email/{token}", _LINK_HOURS)


def _email_change_requested(mail: MailContext) -> MailText | None:
    row = _open_change(mail)
    if row is None or row.person.email != mail.recipient:
        return None
    token = make_token(mail.secret_key, CANCEL_EMAIL, row.id, row.email, row.expires_at)
    return texts.email_change_requested_mail(row.person.email, row.email, f"{mail.edge_url}/cancel-email/{token}")


def _open_change(mail: MailContext) -> EmailChange | None:
    pending = (EmailChange.id == mail.subject) & (EmailChange.expires_at > now_ms())
    row: EmailChange | None = EmailChange.select(EmailChange, Person).join(Person).where(pending).first()
    return row


def _access_removed(mail: MailContext) -> MailText | None:
    counts = [int(count) for count in mail.subject.split()]
    return texts.access_removed_mail(mail.recipient, counts, mail.edge_url)


def _key_expiring(mail: MailContext) -> MailText | None:
    key = ApiKey.get_or_none((ApiKey.id == mail.subject) & (ApiKey.account == mail.account))
    if key is None or key.revoked_at is not None or key.expires_at is None or key.expires_at != key.notified_expiry:
        return None
    return texts.key_expiring_mail(key.name, key.prefix, _format_time(key.expires_at), mail.edge_url)


def _receipt(mail: MailContext) -> MailText | None:
    provider, _, reference = mail.subject.partition(":")
    paid = (Payment.provider == provider) & (Payment.reference == reference) & (Payment.account == mail.account)
    row = Payment.get_or_none(paid)
    if row is None or row.state != "paid":
        return None
    amount = format_money(row.total_minor, row.currency) if row.total_minor and row.currency else ""
    time = _format_time(row.paid_at or row.created_at)
    if row.purpose == "overage":
        return texts.overage_receipt_mail(_name(mail.account), row.credits, reference, time, amount, mail.edge_url)
    return texts.receipt_mail(_name(mail.account), row.credits, reference, time, mail.edge_url, amount=amount)


def _top_up_failed(mail: MailContext) -> MailText | None:
    return texts.top_up_failed_mail(_name(mail.account), int(mail.subject), mail.edge_url)


def _payment_failed(mail: MailContext) -> MailText | None:
    row = Payment.get_or_none((Payment.reference == mail.subject) & (Payment.account == mail.account))
    if row is None or row.state not in ("failed", "pending"):  # paid meanwhile
        return None
    amount = format_money(row.amount_minor, row.currency)
    return texts.payment_failed_mail(_name(mail.account), row.purpose, amount, mail.edge_url)


def _payment_review(mail: MailContext) -> MailText | None:
    row = Payment.get_or_none((Payment.reference == mail.subject) & (Payment.account == mail.account))
    if row is None or row.state != "review":
        return None
    return texts.payment_review_mail(_name(mail.account), row.purpose, mail.edge_url)


_COMPOSERS: Mapping[str, Callable[[MailContext], MailText | None]] = {
    PASSWORD_RESET: _password_reset,
    NEW_SIGN_IN: _new_sign_in,
    EMAIL_CHANGED: _email_changed,
    KEY_EXPIRING: _key_expiring,
    CONFIRM_NEW_EMAIL: _confirm_new_email,
    EMAIL_CHANGE_REQUESTED: _email_change_requested,
    ACCESS_REMOVED: _access_removed,
    RECEIPT: _receipt,
    TOP_UP_FAILED: _top_up_failed,
    PAYMENT_FAILED: _payment_failed,
    PAYMENT_REVIEW: _payment_review,
}
KINDS = frozenset(_COMPOSERS)


def _name(account: UUID) -> str:
    row: Any = Account.get_by_id(account)
    return str(row.name or row.email)


def _format_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
