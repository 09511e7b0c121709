"""Staff: passwords are hashed, checked without telling who exists, and replaced when the parameters age."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from shared.errors import InvalidInput, NotFound
from shared.models import AuditEntry, StaffUser
from shared.operations.staff import create_staff, set_staff_password, verify_password

pytestmark = pytest.mark.usefixtures("bound_database")
ACTOR = "operator:test"
EMAIL = "grace@example.com"


def test_a_generated_password_opens_the_door_and_is_kept_nowhere() -> None:
    person, password = create_staff("Grace@Example.com", actor=ACTOR)
    assert (person.email, person.role) == (EMAIL, "owner")
    assert len(password) >= 16
    assert verify_password("GRACE@example.com", password) == person
    assert password not in repr([*StaffUser.select().dicts(), *AuditEntry.select().dicts()])


def test_a_wrong_password_and_an_unknown_person_are_alike() -> None:
    _, password = create_staff(EMAIL, actor=ACTOR)
    assert verify_password(EMAIL, password + "x") is None
    assert verify_password("nobody@example.com", password) is None
    assert verify_password(EMAIL, "x" * 5_000) is None


def test_a_disabled_person_stays_outside() -> None:
    person, password = create_staff(EMAIL, actor=ACTOR)
    StaffUser.update(status="disabled").where(StaffUser.id == person.id).execute()
    assert verify_password(EMAIL, password) is None


def test_a_hash_of_former_days_is_replaced() -> None:
    person, password = create_staff(EMAIL, actor=ACTOR)
    weak = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(password)
    StaffUser.update(password_hash=weak).where(StaffUser.id == person.id).execute()
    assert verify_password(EMAIL, password) is not None
    renewed = StaffUser.get_by_id(person.id).password_hash
    assert renewed != weak
    assert verify_password(EMAIL, password) is not None
    assert StaffUser.get_by_id(person.id).password_hash == renewed


def test_a_new_password_ends_sessions() -> None:
    person, former = create_staff(EMAIL, actor=ACTOR)
    changed, password = set_staff_password(EMAIL, actor=ACTOR)
    assert changed.session_epoch == person.session_epoch + 1
    assert verify_password(EMAIL, former) is None
    assert verify_password(EMAIL, password) is not None


def test_what_cannot_be_is_refused() -> None:
    create_staff(EMAIL, password="long enough to be one", actor=ACTOR)
    with pytest.raises(InvalidInput, match="exists already"):
        create_staff(EMAIL, actor=ACTOR)
    with pytest.raises(InvalidInput, match="characters"):
        create_staff("b@example.com", password="short", actor=ACTOR)
    with pytest.raises(InvalidInput, match="role"):
        create_staff("b@example.com", "king", actor=ACTOR)
    with pytest.raises(NotFound):
        set_staff_password("b@example.com", actor=ACTOR)
