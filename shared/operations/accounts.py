"""Accounts: create, change the email address, adjust credits, suspend and reinstate."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import peewee

from shared import ledger
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.emails import normalize_email, normalize_for_lookup
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.mail.outbox import cancel_mails
from shared.models import Account, EmailChange, LedgerEntry, Person
from shared.operations.account_mails import queue_email_changed
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.people import change_sign_in, current_sign_in, find_sign_in, memberships, owned_account, sync_owner
from shared.operations.validation import MAX_AMOUNT, check_choice, check_integer, check_text
from shared.text.translation import lazy_gettext


@dataclass(frozen=True, slots=True)
class CreditAdjustment:
    """A manual ledger entry, and the account afterwards (with its new `balance`)."""

    account: Account
    entry: LedgerEntry


def find_account(email_or_id: str | UUID) -> Account:
    """Return the account with this email address (in any spelling) or id. Raises `NotFound`."""
    if isinstance(email_or_id, str) and "@" in email_or_id:
        account = Account.get_or_none(Account.email == normalize_for_lookup(email_or_id))
    else:
        account = Account.get_or_none(Account.id == _as_uuid(email_or_id))
    if account is None:
        raise NotFound(
            lazy_gettext("No account {email_or_id!r}. Create it with `yout account create EMAIL`.", email_or_id=str(email_or_id))
        )
    return account


def require_customer_account(account: Account) -> None:
    """Raise `InvalidInput` for the visitors' pool. Its credits may change only through renewals and calls."""
    if account.id == POOL_ACCOUNT_ID:
        raise InvalidInput(
            lazy_gettext("This is the visitors' pool, not a customer account. Change its size with YOUT_VISITOR_POOL_CREDITS.")
        )


def remember_language(account: UUID, language: str) -> None:
    """Set the language of an account's emails, a key of `LANGUAGES`. Does nothing if the account has it already."""
    Account.update(language=language).where((Account.id == account) & (Account.language != language)).execute()


def create_account(email: str, credits: int = 0, *, name: str = "", origin: Origin) -> Account:
    """Create an account, with `credits` as its first grant. Raises `InvalidInput` if the email address is invalid or taken."""
    email, name = normalize_email(email), check_text("name", name, 200, empty=True)
    check_integer("number of credits", credits, 0, MAX_AMOUNT)
    with transaction():
        try:
            account = Account.create(email=email, name=name)
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext(
                    "An account {email} already exists. Add credits with `yout credits grant {email} N --reason R`.", email=email
                )
            ) from None
        if credits:
            ledger.post_entry(account.id, "grant", credits, actor=origin.actor, reason="opening credits")
        sync_owner(account.id)
        record_audit_entry(origin, "account.create", account.id, after={"email": email, "credits": credits})
        return Account.get_by_id(account.id)


def change_name(email_or_id: str | UUID, name: str, *, origin: Origin) -> Account:
    """Change an account's name, which may be empty. Raises `NotFound` and `InvalidInput`."""
    name = check_text("name", name, 200, empty=True)
    with transaction():
        account = find_account(email_or_id)
        require_customer_account(account)
        if account.name != name:
            record_audit_entry(origin, "account.name", account.id, before={"name": account.name}, after={"name": name})
            account.name = name
            account.save(only=[Account.name])
        return account


def change_email(email_or_id: str | UUID, new_email: str, *, notifies: bool = False, origin: Origin) -> Account:
    """Change an account's email address, which its owner signs in with. Sessions and keys stay valid.

    The new address is unverified, and emails queued for the former one are cancelled. If it `notifies`, an email tells the
    former address, if that was verified. Raises `NotFound`, and `InvalidInput` if
    the address is invalid or taken.
    """
    new_email = normalize_email(new_email)
    with transaction():
        account = find_account(email_or_id)
        require_customer_account(account)
        former = account.email
        if new_email == former:
            return account
        require_free_address(new_email)
        was_verified = account.email_verified_at is not None
        account.email, account.email_verified_at = new_email, None
        try:
            account.save(only=[Account.email, Account.email_verified_at])
        except peewee.IntegrityError:  # taken concurrently
            raise _taken(new_email) from None
        owner = sync_owner(account.id).person.id
        EmailChange.delete().where(EmailChange.person == owner).execute()
        cancel_mails(account.id, recipient=former)
        if notifies and was_verified:
            queue_email_changed(account.id, former, new_email)
        record_audit_entry(origin, "account.email", account.id, before={"email": former}, after={"email": new_email})
        return account


def change_person_email(person: UUID, new_email: str, *, notifies: bool = False, origin: Origin) -> UUID | None:
    """Change the email address that a person signs in with, and that of the account that they own, if any. Returns its id.

    Raises `InvalidInput` if the address is invalid or taken.
    """
    with transaction():
        current_sign_in(person)
        owned = owned_account(person)
        if owned is not None:
            return change_email(owned.id, new_email, notifies=notifies, origin=origin).id
        new_email = normalize_email(new_email)
        row = Person.get_by_id(person)
        former = row.email
        if new_email == former:
            return None
        require_free_address(new_email)
        try:
            change_sign_in(person, email=new_email, email_verified_at=None)
        except peewee.IntegrityError:  # taken concurrently
            raise _taken(new_email) from None
        belongs = memberships(person)
        if notifies and row.email_verified_at is not None and belongs:
            queue_email_changed(belongs[0].account, former, new_email)
        record_audit_entry(origin, "person.email", person, before={"email": former}, after={"email": new_email})
        return None


def require_free_address(email: str) -> None:
    """Raise `InvalidInput` if a person or an account has this address, which must be normalized."""
    if find_sign_in(email) is not None or Account.select().where(Account.email == email).exists():
        raise _taken(email)


def _taken(email: str) -> InvalidInput:
    return InvalidInput(lazy_gettext("An account {new_email} already exists. Choose another address.", new_email=email))


def adjust_credits(email_or_id: str | UUID, credits: int, reason: str, *, origin: Origin) -> CreditAdjustment:
    """Add credits (`grant`), or remove them if negative (`adjustment`).

    Raises `InvalidInput` for 0, or if fewer credits are available; credits held by running calls cannot be removed.
    """
    check_integer("number of credits", credits, -MAX_AMOUNT, MAX_AMOUNT)
    if credits == 0:
        raise InvalidInput(lazy_gettext("The number of credits must not be 0; use a negative number to remove credits."))
    reason = check_text("reason", reason, 500)
    with transaction():
        found = find_account(email_or_id)
        require_customer_account(found)
        kind = "grant" if credits > 0 else "adjustment"
        entry = ledger.post_entry(found.id, kind, credits, actor=origin.actor, reason=reason)
        account = Account.get_by_id(found.id)
        record_audit_entry(
            origin,
            f"credits.{kind}",
            account.id,
            before={"balance": account.balance - credits},
            after={"balance": account.balance, "amount": credits, "reason": reason, "seq": entry.seq},
        )
        return CreditAdjustment(account, entry)


def set_account_status(email_or_id: str | UUID, status: str, *, origin: Origin) -> Account:
    """Suspend an account, so that its keys are refused from the next request on, or make it active again."""
    check_choice("status", status, ("active", "suspended"))
    with transaction():
        account = find_account(email_or_id)
        if account.status == "closed":
            raise InvalidInput(lazy_gettext("The account {email} is closed permanently. Create a new one.", email=account.email))
        if account.status != status:
            record_audit_entry(origin, "account.status", account.id, before={"status": account.status}, after={"status": status})
            account.status = status
            account.save(only=[Account.status])
        return account


def _as_uuid(text: str | UUID) -> UUID:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        raise NotFound(lazy_gettext("{text!r} is not an email address or an account id.", text=text)) from None
