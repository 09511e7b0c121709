"""A new SECRET_KEY and the second factors of customers and staff: their devices and recovery codes keep working."""

from __future__ import annotations

import time

import pyotp
import pytest

from shared.models import StaffUser
from shared.operations.second_factor import PEOPLE, STAFF, SecondFactor, new_secret
from shared.operations.secret_rotation import KeyChange, rotate_secret_key
from shared.operations.staff import create_staff
from shared.operations.web_accounts import sign_up
from tests.factories import ORIGIN

FORMER, CURRENT, OTHER = "f" * 32, "c" * 32, "o" * 32
pytestmark = pytest.mark.usefixtures("bound_database")


@pytest.mark.parametrize("kind", [PEOPLE, STAFF], ids=["customer", "staff"])
def test_a_second_factor_works_with_the_new_key_only(kind: SecondFactor) -> None:
    if kind is PEOPLE:
        person = sign_up("ada@example.com", "hash", 0).id
    else:
        create_staff("ada@yout.example", "owner", "correct horse battery", origin=ORIGIN)
        person = StaffUser.get().id
    device = pyotp.TOTP(new_secret())
    codes = kind.enroll(person, device.secret, device.at(time.time() - 30), secret_key=FORMER, origin=ORIGIN)
    sealed = kind.people.get_by_id(person).sealed_totp

    assert rotate_secret_key([OTHER, FORMER], CURRENT, origin=ORIGIN) == KeyChange(sealed=1, erased=0)

    row = kind.people.get_by_id(person)
    assert row.sealed_totp != sealed
    assert kind.verify_code(row, device.now(), secret_key=CURRENT)
    assert kind.verify_code(row, codes[0], secret_key=CURRENT)
    assert rotate_secret_key([FORMER], CURRENT, origin=ORIGIN) == KeyChange(sealed=0, erased=0)  # nothing is left to do
