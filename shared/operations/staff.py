"""Staff members: create, change roles and status, manage passwords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import peewee

from shared.core.database import is_sqlite, transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity import passwords
from shared.identity.emails import normalize_email, normalize_for_lookup
from shared.models import ENABLED_STATUSES, STAFF_ROLES, StaffUser
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.staff_sessions import revoke_sessions
from shared.operations.validation import check_choice
from shared.text.translation import lazy_gettext

T = TypeVar("T")


def find_staff(email: str) -> StaffUser:
    """Return the staff member with this email address (in any spelling). Raises `NotFound`."""
    person = StaffUser.get_or_none(StaffUser.email == normalize_for_lookup(email))
    if person is None:
        raise NotFound(lazy_gettext("No staff member {email!r}. Create one with `yout staff create EMAIL`.", email=email))
    return person


def create_staff(
    email: str,
    role: str = "owner",
    password: str | None = None,
    *,
    must_change_password: bool = False,
    origin: Origin,
) -> tuple[StaffUser, str]:
    """Create a staff member. Returns the row and the password, which is generated unless given; only its hash is stored.

    With `must_change_password` they must choose a new password at their first sign-in.
    """
    email = normalize_email(email)
    check_choice("role", role, STAFF_ROLES)
    password = _check_password(password)
    password_hash = passwords.hash_password(password)  # hashing is slow by design, so it is done before the transaction
    with transaction():
        try:
            person = StaffUser.create(
                email=email, password_hash=password_hash, role=role, must_change_password=must_change_password
            )
        except peewee.IntegrityError:
            raise InvalidInput(
                lazy_gettext(
                    "A staff member {email} already exists. Set a new password with `yout staff password {email}`.", email=email
                )
            ) from None
        record_audit_entry(origin, "staff.create", person.id, after={"email": email, "role": role})
        return person, password


def set_staff_password(
    email: str, password: str | None = None, *, must_change_password: bool = False, origin: Origin
) -> tuple[StaffUser, str]:
    """Replace a staff member's password (generated unless given) and end all of their sessions."""
    password = _check_password(password)
    password_hash = passwords.hash_password(password)
    with transaction():
        person = find_staff(email)
        _store_password(person.id, password_hash, must_change_password)
        revoke_sessions(person.id)
        record_audit_entry(origin, "staff.password", person.id)
        return StaffUser.get_by_id(person.id), password


def change_own_password(person: StaffUser, current: str, new: str, *, session: str, address: str = "") -> None:
    """Change a staff member's own password. The caller must check the current one first. Ends all sessions except `session`.

    `session` is a digest. Raises `InvalidInput` for an invalid or unchanged password.
    """
    if passwords.normalize(new) == passwords.normalize(current):
        raise InvalidInput(lazy_gettext("Choose a password that differs from the current one."))
    password_hash = passwords.hash_password(_check_password(new))
    with transaction():
        _store_password(person.id, password_hash, must_change=False)
        revoke_sessions(person.id, except_digest=session)
        record_audit_entry(Origin(person.email, address), "staff.password", person.id)


def set_staff_role(person: UUID, role: str, *, origin: Origin) -> StaffUser:
    """Change a staff member's role, effective with their next request. Raises `InvalidInput` for the last active owner."""
    check_choice("role", role, STAFF_ROLES)
    return _change(person, "role", role, origin)


def set_staff_status(person: UUID, status: str, *, origin: Origin) -> StaffUser:
    """Enable (`active`) or disable a staff member, effective with their next request. Raises as `set_staff_role`."""
    check_choice("status", status, ENABLED_STATUSES)
    return _change(person, "status", status, origin)


def _change(id: UUID, column: str, value: str, origin: Origin) -> StaffUser:
    with transaction():
        owners = _lock_active_owners()
        person = StaffUser.get_or_none(StaffUser.id == id)
        if person is None:
            raise NotFound(lazy_gettext("No staff member {id}.", id=id))
        before = getattr(person, column)
        if before == value:
            return person
        if owners == [person.id]:
            raise InvalidInput(
                lazy_gettext("{email} is the only active owner. Make another staff member an owner first.", email=person.email)
            )
        setattr(person, column, value)
        person.save(only=[getattr(StaffUser, column)])
        if value == "disabled":
            revoke_sessions(person.id)
        record_audit_entry(origin, f"staff.{column}", person.id, before={column: before}, after={column: value})
        return person


def _lock_active_owners() -> list[UUID]:
    """Return the active owners, locked (on PostgreSQL), so that two owners cannot demote each other at once."""
    query: Any = StaffUser.select().where((StaffUser.role == "owner") & (StaffUser.status == "active")).order_by(StaffUser.id)
    return [person.id for person in (query if is_sqlite() else query.for_update())]


def _store_password(person: UUID, password_hash: str, must_change: bool) -> None:
    StaffUser.update(password_hash=password_hash, must_change_password=must_change).where(StaffUser.id == person).execute()


def _at_once(work: Callable[[], T]) -> T:
    return work()


def verify_password(email: str, password: str, *, run: Callable[[Callable[[], Any]], Any] = _at_once) -> StaffUser | None:
    """Return the active staff member with this email and password, or None. The time taken does not reveal what is wrong.

    Replaces an outdated hash. `run` executes the slow work and may refuse it (`shared.identity.hash_queue`). The caller must
    record the
    sign-in.
    """
    person = StaffUser.get_or_none(StaffUser.email == normalize_for_lookup(email))
    verdict = run(lambda: passwords.check_hash(person.password_hash if person else None, password))
    if person is None or not verdict.matches or person.status != "active":
        return None
    if verdict.outdated:
        former, person.password_hash = person.password_hash, run(lambda: passwords.hash_password(password))
        with transaction():
            # Only if the password was not changed concurrently.
            StaffUser.update(password_hash=person.password_hash).where(
                (StaffUser.id == person.id) & (StaffUser.password_hash == former)
            ).execute()
    return person


def _check_password(password: str | None) -> str:
    if password is None:
        return passwords.generate_password()
    return passwords.check_password(password)
