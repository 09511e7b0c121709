"""Access to a login whose email address was never verified: what a password link lists, and removes unless the reader keeps it.

Someone may have signed up with another's address. When the owner of the address, or an operator for them, sets a password by a
link, whatever was set up before could still sign in or spend credits.
"""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.identity.roles import OWNER
from shared.identity.web_sessions import NewSession
from shared.mail.outbox import queue_mail
from shared.models import ApiKey, Invitation, Member, Person, PersonIdentity, PersonPasskey
from shared.operations.account_mails import ACCESS_REMOVED
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.identities import never_used
from shared.operations.invitations import open_invitations, revoke_invitation
from shared.operations.keys import of_member, revoke_with_children
from shared.operations.members import set_member_suspended
from shared.operations.people import current_sign_in, memberships, owned_account
from shared.operations.verification import confirm_email
from shared.operations.web_accounts import change_password


class Access(NamedTuple):
    """What was set up on an unverified login: ways to sign in, the person's keys, and members of the account that they own."""

    keys: list[ApiKey]
    passkeys: list[PersonPasskey]
    identities: list[PersonIdentity]
    members: list[Member]
    invitations: list[Invitation]


def find_access(person: UUID) -> Access | None:
    """Return what a password link would remove, or None if there is nothing. Read-only.

    That is so if the address is verified, and if nobody could sign in so far: then staff or an operator set everything up.
    """
    row, owned = Person.get_or_none(Person.id == person), owned_account(person)
    verified_at = owned.email_verified_at if owned is not None else row.email_verified_at if row is not None else None
    if verified_at is not None or never_used(person):
        return None
    keys = [key for one in memberships(person) for key in _active_keys(one.account, one.member)]
    others = Member.select(Member, Person).join(Person).where((Member.account == owned) & (Member.role != OWNER))
    found = Access(
        keys,
        list(PersonPasskey.select().where(PersonPasskey.person == person).order_by(PersonPasskey.id)),
        list(PersonIdentity.select().where(PersonIdentity.person == person).order_by(PersonIdentity.id)),
        list(others.where(Member.removed_at.is_null() & Member.suspended_at.is_null())) if owned is not None else [],
        open_invitations(owned.id) if owned is not None else [],
    )
    return found if any(found) else None


def set_password_by_link(
    person: UUID,
    former_hash: str | None,
    password_hash: str,
    agent: str,
    *,
    keeps: bool,
    notifies: bool,
    verifies: bool = False,
    origin: Origin,
) -> tuple[NewSession, bool]:
    """Set a password by a link, like `change_password`. Unless the person `keeps` it, remove the access that `find_access` finds.

    Passkeys and identities are deleted, keys and invitations revoked, and members suspended, which the owner can undo. If it
    `notifies`, an email lists how many. If the link `verifies`, the address counts as verified from now on. Returns the new
    session, and whether anything was removed.
    """
    with transaction():
        current_sign_in(person)
        access = None if keeps else find_access(person)
        session = change_password(person, former_hash, password_hash, agent, address=origin.address)
        if access is not None:
            _remove(person, access, notifies, origin)
        owned = owned_account(person)
        if verifies and owned is not None:
            confirm_email(owned.id, owned.email, origin=origin)
        return session, access is not None


def _active_keys(account: UUID, member: UUID) -> list[ApiKey]:
    return list(ApiKey.select().where(of_member(account, member) & ApiKey.revoked_at.is_null()).order_by(ApiKey.id))


def _remove(person: UUID, access: Access, notifies: bool, origin: Origin) -> None:
    if access.keys:
        revoke_with_children([key.id for key in access.keys], now_ms(), origin)
    for ways in (PersonPasskey, PersonIdentity):
        ways.delete().where(ways.person == person).execute()
    for member in access.members:
        set_member_suspended(member.__data__["account"], member.id, True, origin=origin)
    for invitation in access.invitations:
        revoke_invitation(invitation.__data__["account"], invitation.id, origin=origin)
    counts = {name: len(rows) for name, rows in access._asdict().items()}
    record_audit_entry(origin, "person.remove_access", person, after=counts)
    belongs = memberships(person)
    if notifies and belongs:
        subject = " ".join(str(count) for count in counts.values())
        queue_mail(belongs[0].account, ACCESS_REMOVED, current_sign_in(person).email, subject=subject, one_recipient=False)
