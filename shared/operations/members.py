"""Members of an account: add, change, suspend and remove them, and transfer ownership.

An account has exactly one owner, who has no limits and can be neither suspended nor removed. Changes take effect with the next
call, because the statement that locks an account reads the member.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.emails import normalize_email, normalize_for_lookup
from shared.identity.roles import OWNER, check_assignable_role
from shared.ledger.allowances import init_member_counter
from shared.ledger.sql import lock_accounts
from shared.models import Account, ApiKey, Invitation, Member, Person
from shared.operations.accounts import find_account, require_customer_account
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.keys import of_member, revoke_with_children
from shared.operations.people import current_sign_in, find_sign_in, owned_account, sync_owner
from shared.operations.validation import MAX_AMOUNT, check_integer
from shared.operations.web_accounts import end_member_sessions
from shared.rollup import member_spending
from shared.text.translation import SOURCE_LANGUAGE, lazy_gettext

_NO_MEMBER = lazy_gettext("There is no such member.")


@dataclass(frozen=True, slots=True)
class MemberTerms:
    """A member's role, and the maximum cost of their calls in credits per calendar month and per day (UTC). None: no limit."""

    role: str
    monthly_credit_limit: int | None = None
    daily_credit_limit: int | None = None

    def check(self) -> MemberTerms:
        """Return the terms. Raises `InvalidInput` for the owner's role, unknown ones, and limits below 1."""
        check_assignable_role(self.role)
        for name, limit in (("monthly", self.monthly_credit_limit), ("daily", self.daily_credit_limit)):
            if limit is not None:
                check_integer(f"{name} credit limit", limit, 1, MAX_AMOUNT)
        return self


class MemberRow(NamedTuple):
    """A member for a list, with the credits charged for their calls in this month and on this day (UTC)."""

    member: Member
    spent_month: int
    spent_day: int


class AddedMember(NamedTuple):
    """A member who was added, and whether their person is new and has no password yet."""

    member: Member
    is_new: bool


def list_members(account: UUID) -> list[MemberRow]:
    """Return the members of an account: the owner, then by when they joined. `member.person` is loaded."""
    current = (Member.account == account) & Member.removed_at.is_null()
    rows = Member.select(Member, Person).join(Person).where(current).order_by(Member.created_at, Member.id)
    now = now_ms()
    month, day = member_spending(account, now), member_spending(account, now, daily=True)
    found = [MemberRow(row, month.get(row.id, 0), day.get(row.id, 0)) for row in rows]
    return sorted(found, key=lambda one: one.member.role != OWNER)


def find_member(account: UUID, member: UUID | str) -> Member:
    """Return a current member by id or email address, with the person. Raises `NotFound`, also for members of other accounts."""
    query = Member.select(Member, Person).join(Person).where((Member.account == account) & Member.removed_at.is_null())
    if isinstance(member, str) and "@" in member:
        query = query.where(Person.email == normalize_for_lookup(member))
    else:
        try:
            query = query.where(Member.id == (member if isinstance(member, UUID) else UUID(member)))
        except ValueError:
            raise NotFound(_NO_MEMBER) from None
    found: Member | None = query.first()
    if found is None:
        raise NotFound(_NO_MEMBER)
    return found


def add_member(email_or_id: str | UUID, email: str, terms: MemberTerms, *, origin: Origin) -> AddedMember:
    """Add a person to an account without an invitation, for staff and operators. Creates the person if necessary.

    Raises `NotFound`, and `InvalidInput` for a closed account, invalid values and current members.
    """
    email, terms = normalize_email(email), terms.check()
    with transaction():
        account = find_account(email_or_id)
        require_customer_account(account)
        sync_owner(account.id)
        found = find_sign_in(email)
        person = found.person if found is not None else Person.create(email=email, language=SOURCE_LANGUAGE).id
        member = join(account.id, person, terms, origin=origin)
        return AddedMember(member, current_sign_in(person).password_hash is None)


def join(account: UUID, person: UUID, terms: MemberTerms, *, origin: Origin) -> Member:
    """Make a person a member. Run inside a transaction. Raises `InvalidInput` for a closed account and for current members."""
    lock_accounts([account])()
    if Account.get_by_id(account).status == "closed":
        raise InvalidInput(lazy_gettext("This account is closed."))
    current_sign_in(person)
    values = asdict(terms)
    earlier = Member.get_or_none((Member.account == account) & (Member.person == person))
    if earlier is not None and earlier.removed_at is None:
        raise InvalidInput(lazy_gettext("This person is already a member."))
    if earlier is None:
        member = Member.create(account=account, person=person, **values)
    else:
        member = earlier
        fresh = values | {"removed_at": None, "suspended_at": None, "created_at": now_ms()}
        Member.update(**fresh).where(Member.id == member.id).execute()
    _init_counters(account, member.id, terms)
    record_audit_entry(origin, "member.add", account, after={"member": str(member.id), **values})
    return find_member(account, member.id)


def change_member(account: UUID, member: UUID | str, terms: MemberTerms, *, origin: Origin) -> Member:
    """Set the role and limits of a member. Raises `NotFound`, and `InvalidInput` for the owner and invalid values.

    A new limit counts what earlier calls of this month or day cost, and the holds of running ones.
    """
    terms.check()
    with transaction():
        row = _changeable(account, member)
        before, after = {field: getattr(row, field) for field in asdict(terms)}, asdict(terms)
        if before != after:
            Member.update(**after).where(Member.id == row.id).execute()
            _init_counters(account, row.id, terms)
            record_audit_entry(
                origin, "member.change", account, before={"member": str(row.id), **before}, after={"member": str(row.id), **after}
            )
        return find_member(account, row.id)


def set_member_suspended(account: UUID, member: UUID | str, suspended: bool, *, origin: Origin) -> Member:
    """Suspend a member, whose keys and sessions are refused from the next request on, or reinstate them.

    Raises `NotFound`, and `InvalidInput` for the owner.
    """
    with transaction():
        row = _changeable(account, member)
        if (row.suspended_at is not None) != suspended:
            Member.update(suspended_at=now_ms() if suspended else None).where(Member.id == row.id).execute()
            record_audit_entry(origin, "member.suspend" if suspended else "member.resume", account, after={"member": str(row.id)})
        return find_member(account, row.id)


def remove_member(account: UUID, member: UUID | str, *, origin: Origin) -> Member:
    """Remove a member, or let them leave: their keys, and invitations to or by them, are revoked, and their sessions here end.

    Raises `NotFound`, and `InvalidInput` for the owner.
    """
    with transaction():
        row, now = _changeable(account, member), now_ms()
        keys = [key.id for key in ApiKey.select(ApiKey.id).where(of_member(account, row.id) & ApiKey.revoked_at.is_null())]
        revoked = revoke_with_children(keys, now, origin) if keys else 0
        ended = end_member_sessions(account, row.id)
        Member.update(removed_at=now).where(Member.id == row.id).execute()
        open_ones = (Invitation.account == account) & Invitation.accepted_at.is_null() & Invitation.revoked_at.is_null()
        own = (Invitation.email == row.person.email) | (Invitation.invited_by == row.id)
        Invitation.update(revoked_at=now).where(open_ones & own).execute()
        after = {"member": str(row.id), "keys_revoked": revoked, "sessions_ended": ended}
        record_audit_entry(origin, "member.remove", account, after=after)
        return row


def transfer_ownership(account: UUID, member: UUID | str, *, origin: Origin) -> Member:
    """Make another member the owner; the former owner becomes an admin, and their sessions for the account end.

    The account gets the email address of its new owner. Raises `NotFound`, and `InvalidInput` for a suspended member, and for one
    who owns another account: a person owns at most one.
    """
    with transaction():
        row = _changeable(account, member)
        if row.suspended_at is not None:
            raise InvalidInput(lazy_gettext("A suspended member cannot become the owner."))
        sign_in = current_sign_in(row.person.id)
        taken = Account.select().where((Account.email == sign_in.email) & (Account.id != account)).exists()
        if taken or owned_account(row.person.id) is not None:
            raise InvalidInput(lazy_gettext("{email} owns another account. A person can own only one.", email=sign_in.email))
        former = sync_owner(account)
        verified = row.person.email_verified_at
        Member.update(role="admin").where(Member.id == former.id).execute()
        owner = {"role": OWNER, "monthly_credit_limit": None, "daily_credit_limit": None}
        Member.update(**owner).where(Member.id == row.id).execute()
        copied = {"email": sign_in.email, "password_hash": sign_in.password_hash, "email_verified_at": verified}
        Account.update(**copied, language=row.person.language).where(Account.id == account).execute()
        end_member_sessions(account, former.id)
        record_audit_entry(origin, "member.transfer", account, before={"owner": str(former.id)}, after={"owner": str(row.id)})
        return find_member(account, row.id)


def _changeable(account: UUID, member: UUID | str) -> Member:
    """Lock the account and return its member. Raises `NotFound`, and `InvalidInput` for the owner."""
    lock_accounts([account])()
    row = find_member(account, member)
    if row.role == OWNER:
        raise InvalidInput(lazy_gettext("This is the account's owner. Transfer ownership first."))
    return row


def _init_counters(account: UUID, member: UUID, terms: MemberTerms) -> None:
    """Set up the counters of new limits."""
    if terms.monthly_credit_limit is not None:
        init_member_counter(account, member, terms.monthly_credit_limit, now_ms())
    if terms.daily_credit_limit is not None:
        init_member_counter(account, member, terms.daily_credit_limit, now_ms(), daily=True)
