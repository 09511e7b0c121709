"""The second factor: each code works once and only near its time, each recovery code once, and secrets are encrypted."""

from __future__ import annotations

import threading
import time

import pyotp
import pytest

from shared.core.database import database
from shared.core.errors import InvalidInput
from shared.models import AuditEntry, StaffRecoveryCode, StaffUser
from shared.operations.audit import Origin
from shared.operations.second_factor import STAFF, new_secret
from shared.operations.staff import create_staff
from tests.threads import WAIT_SECONDS, run_threads

pytestmark = pytest.mark.usefixtures("bound_database")
ORIGIN = Origin("operator:test")
KEY = "k" * 32
MOMENT = 1_800_000_000


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch):
    """`at(seconds)`: set the clock to this many seconds after a fixed time."""

    def set_clock(seconds: int) -> None:
        monkeypatch.setattr(time, "time", lambda: MOMENT + seconds)

    set_clock(0)
    return set_clock


@pytest.fixture
def ana(at) -> tuple[StaffUser, pyotp.TOTP, list[str]]:
    """A staff member with a second factor, the matching authenticator app, and the recovery codes."""
    person, _ = create_staff("ana@example.com", origin=ORIGIN)
    app = pyotp.TOTP(new_secret())
    codes = STAFF.enroll(person.id, app.secret, app.at(MOMENT), secret_key=KEY, origin=ORIGIN)
    return person, app, codes


def fresh(person: StaffUser) -> StaffUser:
    return StaffUser.get_by_id(person.id)


def test_a_wrong_code_does_not_enable_the_second_factor(at) -> None:
    person, _ = create_staff("ana@example.com", origin=ORIGIN)
    for code in ("000000", "", "12345", "abcdef", "١٢٣٤٥٦"):
        with pytest.raises(InvalidInput, match="is incorrect"):
            STAFF.enroll(person.id, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", code, secret_key=KEY, origin=ORIGIN)
    assert fresh(person).sealed_totp == ""


def test_a_code_works_once_and_only_near_its_time(ana, at) -> None:
    person, app, _ = ana
    assert not STAFF.verify_code(fresh(person), app.at(MOMENT), secret_key=KEY)  # the code used for set-up
    at(30)
    assert STAFF.verify_code(fresh(person), f" {app.at(MOMENT + 30)[:3]} {app.at(MOMENT + 30)[3:]} ", secret_key=KEY)
    assert not STAFF.verify_code(fresh(person), app.at(MOMENT + 30), secret_key=KEY)
    assert not STAFF.verify_code(fresh(person), app.at(MOMENT), secret_key=KEY)  # older than the newest used code
    assert STAFF.verify_code(fresh(person), app.at(MOMENT + 60), secret_key=KEY)  # the device's clock is slightly fast
    at(300)
    assert not STAFF.verify_code(fresh(person), app.at(MOMENT + 200), secret_key=KEY)


def test_recovery_codes_work_once_each_and_can_be_replaced(ana, at) -> None:
    person, _, codes = ana
    assert len(set(codes)) == STAFF.recovery_codes_left(person.id) == 10
    assert STAFF.verify_code(fresh(person), codes[0].upper(), secret_key=KEY)
    assert not STAFF.verify_code(fresh(person), codes[0], secret_key=KEY)
    assert STAFF.recovery_codes_left(person.id) == 9
    newer = STAFF.renew_recovery_codes(person.id, origin=ORIGIN)
    assert not STAFF.verify_code(fresh(person), codes[1], secret_key=KEY)
    assert STAFF.verify_code(fresh(person), newer[1].replace("-", ""), secret_key=KEY)


def test_a_code_works_only_for_its_owner(ana) -> None:
    _, _, codes = ana
    ben, _ = create_staff("ben@example.com", origin=ORIGIN)
    assert not STAFF.verify_code(ben, codes[0], secret_key=KEY)
    with pytest.raises(InvalidInput, match="Set up a second factor"):
        STAFF.renew_recovery_codes(ben.id, origin=ORIGIN)


def test_database_and_audit_trail_contain_neither_secret_nor_codes(ana) -> None:
    person, app, codes = ana
    rows = repr([*StaffUser.select().dicts(), *StaffRecoveryCode.select().dicts(), *AuditEntry.select().dicts()])
    assert app.secret not in rows
    assert not any(code in rows or code.replace("-", "") in rows for code in codes)
    with pytest.raises(InvalidInput, match="already"):
        STAFF.enroll(person.id, app.secret, app.at(MOMENT), secret_key=KEY, origin=ORIGIN)


def test_it_can_be_disabled_and_set_up_again(ana) -> None:
    person, app, codes = ana
    STAFF.disable(person.id, origin=ORIGIN)
    assert (fresh(person).sealed_totp, STAFF.recovery_codes_left(person.id)) == ("", 0)
    assert STAFF.enroll(person.id, app.secret, app.at(MOMENT), secret_key=KEY, origin=ORIGIN) != codes
    actions = [(entry.action, entry.after) for entry in AuditEntry.select().order_by(AuditEntry.created_at, AuditEntry.id)]
    assert [after for action, after in actions if action == "staff.second_factor"] == [
        {"second_factor": True},
        {"second_factor": False},
        {"second_factor": True},
    ]


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_concurrent_sign_ins_with_one_code_succeed_once(ana, at) -> None:
    person, app, codes = ana
    at(30)
    for code in (app.at(MOMENT + 30), codes[3]):
        read = threading.Barrier(6)

        def attempt(_: int, code: str = code, read: threading.Barrier = read) -> bool:
            row = fresh(person)
            read.wait(WAIT_SECONDS)
            proved = STAFF.verify_code(row, code, secret_key=KEY)
            database.close()
            return proved

        results = run_threads(attempt, 6)
        assert sorted(results) == [False] * 5 + [True]


def test_the_qr_code_names_the_console_and_the_staff_member() -> None:
    address = STAFF.enrollment_url("ana@example.com", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    assert address.startswith("otpauth://totp/yout%20console:ana%40example.com?")
    assert {"secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "issuer=yout%20console"} <= set(address.partition("?")[2].split("&"))
