"""Staff: the people in the console, and how they prove who they are."""

from __future__ import annotations

import peewee

from shared import passwords
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.models import STAFF_ROLES, StaffUser
from shared.operations.audit import Origin, record
from shared.operations.validation import check_choice, check_email


def find_staff(email: str) -> StaffUser:
    """The staff member with this e-mail (any case). Raises `NotFound`."""
    person = StaffUser.get_or_none(StaffUser.email == email.strip().lower())
    if person is None:
        raise NotFound(f"No staff member {email!r}; `yout staff create EMAIL` makes one.")
    return person


def create_staff(
    email: str, role: str = "owner", password: str | None = None, *, actor: str, address: str = ""
) -> tuple[StaffUser, str]:
    """Let a person into the console. Gives the row and the password, generated unless one is given; only its hash is kept."""
    email = check_email(email)
    check_choice("role", role, STAFF_ROLES)
    password = _check_password(password)
    password_hash = passwords.hash_password(password)  # slow by design, so before the transaction
    with transaction():
        try:
            person = StaffUser.create(email=email, password_hash=password_hash, role=role)
        except peewee.IntegrityError:
            raise InvalidInput(
                f"A staff member {email} exists already; `yout staff password {email}` gives them a new password."
            ) from None
        record(Origin(actor, address), "staff.create", person.id, after={"email": email, "role": role})
        return person, password


def set_staff_password(email: str, password: str | None = None, *, actor: str, address: str = "") -> tuple[StaffUser, str]:
    """Replace a password (generated unless given) and end every session of that person."""
    password = _check_password(password)
    password_hash = passwords.hash_password(password)
    with transaction():
        person = find_staff(email)
        StaffUser.update(password_hash=password_hash, session_epoch=StaffUser.session_epoch + 1).where(
            StaffUser.id == person.id
        ).execute()
        record(Origin(actor, address), "staff.password", person.id)
        return StaffUser.get_by_id(person.id), password


def verify_password(email: str, password: str) -> StaffUser | None:
    """The active staff member with this e-mail and password, or None, in the same time whatever was wrong.

    A hash made with parameters of former days is replaced on the way. A sign-in is for the caller to record.
    """
    person = StaffUser.get_or_none(StaffUser.email == email.strip().lower())
    proven = passwords.matches(person.password_hash if person else None, password)
    if person is None or not proven or person.status != "active":
        return None
    if passwords.outdated(person.password_hash):
        former, person.password_hash = person.password_hash, passwords.hash_password(password)
        with transaction():
            # Only if nobody changed the password meanwhile.
            StaffUser.update(password_hash=person.password_hash).where(
                (StaffUser.id == person.id) & (StaffUser.password_hash == former)
            ).execute()
    return person


def _check_password(password: str | None) -> str:
    if password is None:
        return passwords.generate()
    if not passwords.SHORTEST <= len(password) <= passwords.LONGEST:
        raise InvalidInput(
            f"The password must have {passwords.SHORTEST} to {passwords.LONGEST} characters; leave it out to get a generated one."
        )
    return password
