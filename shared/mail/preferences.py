"""The kinds of email that people can turn off, and the recipients of each.

Emails that protect the sign-in, such as about a new sign-in or a changed address, cannot be turned off.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from shared.core.errors import InvalidInput
from shared.identity.roles import OWNER, ROLES, may
from shared.models import Account, Member, Person
from shared.text.translation import SOURCE_LANGUAGE, LazyText, lazy_gettext

BUDGET = "budget"
LOW_BALANCE = "low_balance"
KEY_EXPIRING = "key_expiring"
RECEIPT = "receipt"
OPTIONAL_KINDS: Mapping[str, LazyText] = {
    BUDGET: lazy_gettext("A budget is reached"),
    LOW_BALANCE: lazy_gettext("The balance is low"),
    KEY_EXPIRING: lazy_gettext("An API key of mine is about to expire"),
    RECEIPT: lazy_gettext("Receipts for payments"),
}
PAYING_ROLES = tuple(role for role in ROLES if may(role, "pay"))


def billing_recipients(account: UUID, kind: str, *, verified: bool = True) -> list[str]:
    """Return the addresses of the members who manage payments, without suspended ones and those who turned `kind` off.

    Unless `verified` is false, only verified addresses are returned: an unverified one may belong to someone else.
    """
    current = (Member.account == account) & Member.removed_at.is_null() & Member.suspended_at.is_null()
    query = Member.select(Member, Person, Account).join(Person).switch(Member).join(Account)
    rows = query.where(current & Member.role.in_(PAYING_ROLES)).order_by(Member.created_at, Member.id)
    wanted = [row for row in rows if kind not in (row.person.muted_mails or ())]
    addresses = [verified_address(row) or ("" if verified else str(row.person.email)) for row in wanted]
    return [address for address in addresses if address]


def verified_address(member: Member) -> str:
    """Return a member's verified address, or "". `member.person` and `member.account` must be loaded.

    An owner's is that of the account, which the previous release writes (`shared/operations/people.py`).
    """
    row = member.account if member.role == OWNER else member.person
    return str(row.email) if row.email_verified_at is not None else ""


def recipient_language(email: str) -> str:
    """Return the language of emails to an address: that of its person, or English."""
    return str(Person.select(Person.language).where(Person.email == email).scalar() or SOURCE_LANGUAGE)


def muted_kinds(person: UUID) -> set[str]:
    """Return the kinds of email that a person turned off."""
    row = Person.get_or_none(Person.id == person)
    return set(row.muted_mails or ()) if row is not None else set()


def set_muted_kinds(person: UUID, kinds: Collection[str]) -> None:
    """Turn off these kinds of email for a person, and turn on all others. Raises `InvalidInput` for an unknown kind."""
    unknown = set(kinds) - set(OPTIONAL_KINDS)
    if unknown:
        raise InvalidInput(lazy_gettext("There is no optional email {kind!r}.", kind=sorted(unknown)[0]))
    Person.update(muted_mails=sorted(set(kinds))).where(Person.id == person).execute()
