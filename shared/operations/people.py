"""People who sign in, and the accounts that they belong to.

An account's row has a copy of its owner's sign-in (email address, password hash, verification, language), because the previous
release reads and writes only that. Everything here writes both. For an owner the account's copy is the current one, as the
previous release may have changed it; `sync_owner` copies it to the person, and adds the owner of an account that the previous
release created. A person owns at most one account, so that the copies have the person's email address.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

import peewee

from shared.core.database import transaction
from shared.core.errors import NotFound
from shared.identity.emails import normalize_for_lookup
from shared.identity.roles import OWNER
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, Member, Person
from shared.text.translation import lazy_gettext


class SignIn(NamedTuple):
    """A person who can sign in, with their current email address and password hash (None: no password)."""

    person: UUID
    email: str
    password_hash: str | None


class Membership(NamedTuple):
    """An account that a person belongs to. `account_name` is its name, or its owner's email address."""

    member: UUID
    account: UUID
    account_name: str
    role: str
    suspended: bool


def find_sign_in(email: str) -> SignIn | None:
    """Return the person with this email address, which must be normalized for lookup, or None. Read-only."""
    account = Account.get_or_none((Account.email == email) & (Account.status != "closed"))
    person = Person.get_or_none(Person.email == email)
    if account is not None and account.id != POOL_ACCOUNT_ID:
        owner = owner_of(account.id)
        if owner is not None:
            return SignIn(owner.person.id, email, account.password_hash)
        if person is None:
            return SignIn(account.id, email, account.password_hash)
    if person is None or owned_account(person.id) is not None:  # the previous release changed the owner's address
        return None
    return SignIn(person.id, email, person.password_hash)


def find_person(email: str) -> SignIn:
    """Return the person with this email address, in any spelling. Raises `NotFound`."""
    with transaction():
        found = find_sign_in(normalize_for_lookup(email))
        if found is None:
            raise NotFound(lazy_gettext("There is no such person."))
        return current_sign_in(found.person)


def find_sign_in_by_id(person: UUID) -> SignIn | None:
    """Like `find_sign_in`, by id. None for a person without an open account."""
    account = owned_account(person)
    if account is not None:
        return SignIn(person, account.email, account.password_hash)
    row = Person.get_or_none(Person.id == person)
    if row is not None:
        return SignIn(row.id, row.email, row.password_hash) if memberships(person) else None
    account = Account.get_or_none((Account.id == person) & (Account.status != "closed"))  # before `sync_owner`
    return SignIn(person, account.email, account.password_hash) if account is not None else None


def current_sign_in(person: UUID) -> SignIn:
    """Return a person's sign-in by id, with both copies made equal. Raises `NotFound`. Run inside a transaction."""
    account = owned_account(person) or Account.get_or_none((Account.id == person) & (Account.status != "closed"))
    if account is not None and account.id != POOL_ACCOUNT_ID:
        sync_owner(account.id)
    row = Person.get_or_none(Person.id == person)
    if row is None:
        raise NotFound(lazy_gettext("There is no such person."))
    return SignIn(row.id, row.email, row.password_hash)


def sync_owner(account: UUID) -> Member:
    """Return the owner of a customer's account, after copying the account's sign-in to them. Run inside a transaction."""
    row = Account.get_by_id(account)
    member = owner_of(account)
    if member is None:
        values = {"email": row.email, "password_hash": row.password_hash, "email_verified_at": row.email_verified_at}
        made = Person.insert(id=row.id, **values, language=row.language, created_at=row.created_at)
        made.on_conflict_ignore().execute()
        person = Person.get(Person.email == row.email)
        member_row = Member.insert(id=row.id, account=row.id, person=person.id, role=OWNER, created_at=row.created_at)
        member_row.on_conflict_ignore().execute()
        member = owner_of(account)
        assert member is not None  # noqa: S101  (one of two concurrent inserts has succeeded)
        if person.id != row.id:  # a person who was invited earlier keeps their password
            _copy_to_account(person, row.id)
        return member
    person = member.person
    if row.status != "closed" and _sign_in_of(person) != _sign_in_of(row):
        try:
            with transaction():  # a savepoint
                Person.update(**_sign_in_of(row)).where(Person.id == person.id).execute()
        except peewee.IntegrityError:  # another person has this address, who owns no account
            Person.update(**(_sign_in_of(row) | {"email": person.email})).where(Person.id == person.id).execute()
    return member


def change_sign_in(person: UUID, **values: Any) -> None:
    """Set columns of a person, and the copies in the account that they own.

    Raises `peewee.IntegrityError` for a taken address.
    """
    Person.update(**values).where(Person.id == person).execute()
    owned = owned_account(person)
    if owned is not None:
        Account.update(**values).where(Account.id == owned.id).execute()


def owner_of(account: UUID) -> Member | None:
    """Return the owner's membership with its person; None for the visitors' pool, and before `sync_owner`."""
    query = Member.select(Member, Person).join(Person).where((Member.account == account) & (Member.role == OWNER))
    found: Member | None = query.first()
    return found


def owned_account(person: UUID) -> Account | None:
    """Return the open account that a person owns, or None."""
    owned = (Member.person == person) & (Member.role == OWNER) & (Account.status != "closed")
    found: Account | None = Account.select().join(Member).where(owned).first()
    return found


def memberships(person: UUID) -> list[Membership]:
    """Return the open accounts that a person belongs to: their own first, then by when they joined."""
    query = Member.select(Member, Account).join(Account)
    rows = query.where((Member.person == person) & Member.removed_at.is_null() & (Account.status != "closed"))
    found = [
        Membership(row.id, row.account.id, row.account.name or row.account.email, row.role, row.suspended_at is not None)
        for row in rows.order_by(Member.created_at, Member.id)
    ]
    return sorted(found, key=lambda one: one.role != OWNER)


_COPIED = ("email", "password_hash", "email_verified_at", "language")


def _sign_in_of(row: Account | Person) -> dict[str, Any]:
    return {column: getattr(row, column) for column in _COPIED}


def _copy_to_account(person: Person, account: UUID) -> None:
    Account.update(**_sign_in_of(person)).where(Account.id == account).execute()
