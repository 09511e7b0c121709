"""Sign-in of staff with an identity at an OpenID provider: finds, links or creates the staff member, and applies their role.

An identity is linked to the staff member with its address if the provider has verified the address: operators assign addresses,
so no one can have taken another's. With roles from groups, the groups decide at each sign-in, and override a role that was set in
the console, and staff members are created as needed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

import peewee

from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound, SignInFailed
from shared.identity.emails import normalize_email
from shared.models import STAFF_ROLES, StaffIdentity, StaffUser
from shared.openid.identity import Identity
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.staff_sessions import revoke_sessions
from shared.text.translation import lazy_gettext

NO_PASSWORD = ""  # matches no password
ACTOR = "openid"


def role_of(groups: Collection[str], pairs: Sequence[str]) -> str | None:
    """Return the role with the most rights that `pairs` (such as `admins=owner`) give to one of the groups, or None."""
    given = {role for group, _, role in (pair.rpartition("=") for pair in pairs) if group.strip() in groups}
    return next((role for role in STAFF_ROLES if role in given), None)


def sign_in_staff(identity: Identity, pairs: Sequence[str], *, address: str = "") -> StaffUser:
    """Return the active staff member of an identity, linked or created if the rules allow it, with the role of their groups.

    `pairs` are the roles of groups; without any, roles are assigned in the console. Raises `SignInFailed`.
    """
    origin = Origin(ACTOR, address)
    role = role_of(identity.groups, pairs)
    if pairs and role is None:
        raise SignInFailed(lazy_gettext("None of your groups at the identity provider may use this console."))
    with transaction():
        known = (StaffIdentity.issuer == identity.issuer) & (StaffIdentity.subject == identity.subject)
        row = StaffIdentity.get_or_none(known)
        person = row.staff if row is not None else _link(identity, role, origin)
        if person.status != "active":
            raise SignInFailed(lazy_gettext("Your login to this console is disabled. Ask an owner."))
        if role is not None and person.role != role:
            change = {"before": {"role": person.role}, "after": {"role": role}}
            StaffUser.update(role=role).where(StaffUser.id == person.id).execute()
            record_audit_entry(origin, "staff.role", person.id, **change)
        found: StaffUser = StaffUser.get_by_id(person.id)
        return found


def identities_of(staff: UUID) -> list[StaffIdentity]:
    """Return a staff member's identities, oldest first."""
    return list(StaffIdentity.select().where(StaffIdentity.staff == staff).order_by(StaffIdentity.id))


def unlink(staff: UUID, *, session: str = "", origin: Origin) -> int:
    """Remove all identities of a staff member, and end their sessions except the one with the digest `session`.

    Returns the number of identities. Raises `NotFound` for an unknown person.
    """
    with transaction():
        if not StaffUser.select().where(StaffUser.id == staff).exists():
            raise NotFound(lazy_gettext("No staff member {person}.", person=staff))
        removed: int = StaffIdentity.delete().where(StaffIdentity.staff == staff).execute()
        revoke_sessions(staff, session)  # one may belong to someone who signed in with them
        record_audit_entry(origin, "staff.disconnect", staff, after={"identities": removed})
        return removed


def _link(identity: Identity, role: str | None, origin: Origin) -> StaffUser:
    if not (identity.email and identity.email_verified):
        raise SignInFailed(lazy_gettext("A first sign-in needs an email address that the identity provider has verified."))
    try:
        email = normalize_email(identity.email)
    except InvalidInput as error:
        raise SignInFailed(str(error)) from None
    person = StaffUser.get_or_none(StaffUser.email == email)
    if person is None:
        if role is None:
            raise SignInFailed(lazy_gettext("There is no staff member {email}. Ask an owner to add you.", email=email))
        person = StaffUser.create(email=email, password_hash=NO_PASSWORD, role=role)
        record_audit_entry(origin, "staff.create", person.id, after={"email": email, "role": role})
    try:
        StaffIdentity.create(staff=person, issuer=identity.issuer, subject=identity.subject, email=email)
    except peewee.IntegrityError:  # two sign-ins at the same time
        raise SignInFailed(lazy_gettext("The identity provider did not confirm this sign-in. Try again.")) from None
    record_audit_entry(origin, "staff.connect", person.id, after={"issuer": identity.issuer, "email": email})
    return person
