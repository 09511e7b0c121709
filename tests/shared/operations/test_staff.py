"""Staff sign-in: passwords are hashed, checked without revealing who exists, and rehashed when parameters are outdated."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from shared.core.errors import InvalidInput, NotFound
from shared.models import AuditEntry, StaffUser
from shared.operations.audit import Origin
from shared.operations.staff import (
    change_own_password,
    create_staff,
    set_staff_password,
    set_staff_role,
    set_staff_status,
    verify_password,
)
from shared.operations.staff_sessions import active_sessions, create_session, end_sessions, find_session

pytestmark = pytest.mark.usefixtures("bound_database")
ORIGIN = Origin("operator:test")
EMAIL = "grace@example.com"


def test_a_generated_password_works_and_is_not_stored() -> None:
    person, password = create_staff("Grace@Example.com", origin=ORIGIN)
    assert (person.email, person.role) == (EMAIL, "owner")
    assert len(password) >= 16
    assert verify_password("GRACE@example.com", password) == person
    assert password not in repr([*StaffUser.select().dicts(), *AuditEntry.select().dicts()])


def test_a_wrong_password_and_an_unknown_email_are_indistinguishable() -> None:
    _, password = create_staff(EMAIL, origin=ORIGIN)
    assert verify_password(EMAIL, password + "x") is None
    assert verify_password("nobody@example.com", password) is None
    assert verify_password(EMAIL, "x" * 5_000) is None


def test_a_disabled_staff_member_cannot_sign_in() -> None:
    person, password = create_staff(EMAIL, origin=ORIGIN)
    StaffUser.update(status="disabled").where(StaffUser.id == person.id).execute()
    assert verify_password(EMAIL, password) is None


def test_an_outdated_hash_is_replaced() -> None:
    person, password = create_staff(EMAIL, origin=ORIGIN)
    weak = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(password)
    StaffUser.update(password_hash=weak).where(StaffUser.id == person.id).execute()
    assert verify_password(EMAIL, password) is not None
    renewed = StaffUser.get_by_id(person.id).password_hash
    assert renewed != weak
    assert verify_password(EMAIL, password) is not None
    assert StaffUser.get_by_id(person.id).password_hash == renewed


def test_a_new_password_ends_sessions() -> None:
    person, former = create_staff(EMAIL, origin=ORIGIN)
    session = create_session(person)
    assert find_session(session) is not None
    _, password = set_staff_password(EMAIL, origin=ORIGIN)
    assert find_session(session) is None
    assert verify_password(EMAIL, former) is None
    assert verify_password(EMAIL, password) is not None


def test_invalid_values_are_rejected() -> None:
    create_staff(EMAIL, password="long enough to be one", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="already exists"):
        create_staff(EMAIL, origin=ORIGIN)
    with pytest.raises(InvalidInput, match="characters"):
        create_staff("b@example.com", password="short", origin=ORIGIN)
    with pytest.raises(InvalidInput, match="role"):
        create_staff("b@example.com", "king", origin=ORIGIN)
    with pytest.raises(NotFound):
        set_staff_password("b@example.com", origin=ORIGIN)


def test_changing_ones_password_keeps_the_current_session_and_ends_others() -> None:
    person, password = create_staff(EMAIL, must_change_password=True, origin=ORIGIN)
    here, elsewhere = create_session(person), create_session(person)
    this = find_session(here)
    assert this is not None
    change_own_password(this.staff, password, "a password of my own", session=this.digest)
    assert find_session(here) is not None
    assert find_session(elsewhere) is None
    assert not StaffUser.get_by_id(person.id).must_change_password
    with pytest.raises(InvalidInput, match="differs from"):
        change_own_password(StaffUser.get_by_id(person.id), "a password of my own", "a password of my own", session=this.digest)


def test_the_only_active_owner_cannot_be_demoted_or_disabled() -> None:
    ana, _ = create_staff("ana@example.com", origin=ORIGIN)
    ben, _ = create_staff("ben@example.com", "support", origin=ORIGIN)
    for change in (
        lambda: set_staff_role(ana.id, "billing", origin=ORIGIN),
        lambda: set_staff_status(ana.id, "disabled", origin=ORIGIN),
    ):
        with pytest.raises(InvalidInput, match="only active owner"):
            change()
    set_staff_role(ben.id, "owner", origin=ORIGIN)
    assert set_staff_role(ana.id, "billing", origin=ORIGIN).role == "billing"
    entry = AuditEntry.get((AuditEntry.action == "staff.role") & (AuditEntry.target == str(ana.id)))
    assert (entry.before, entry.after) == ({"role": "owner"}, {"role": "billing"})
    with pytest.raises(InvalidInput, match="role"):
        set_staff_role(ana.id, "king", origin=ORIGIN)


def test_disabling_and_signing_out_everywhere_end_sessions() -> None:
    create_staff(EMAIL, origin=ORIGIN)
    ben, password = create_staff("ben@example.com", "support", origin=ORIGIN)
    first, second = create_session(ben), create_session(ben)
    assert active_sessions(ben.id).count() == 2
    assert end_sessions(ben.id, origin=ORIGIN) == 2
    assert (find_session(first), find_session(second), active_sessions(ben.id).count()) == (None, None, 0)
    third = create_session(ben)
    set_staff_status(ben.id, "disabled", origin=ORIGIN)
    set_staff_status(ben.id, "active", origin=ORIGIN)
    assert find_session(third) is None
    assert verify_password("ben@example.com", password) is not None
