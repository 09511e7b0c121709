"""What staff change, one function an action: one call into `shared.operations`, in the name of whoever is signed in.

Each returns the words that tell what happened. The operations write the audit entry; nothing here touches a row.
"""

from __future__ import annotations

from uuid import UUID

from flask import current_app
from flask_login import current_user

from console.actions.origin import by
from console.security.client_ip import client_address
from console.security.password_auth import confirm_code, confirm_password
from shared.models import StaffUser
from shared.operations import second_factor, staff, staff_sessions


def create_staff(email: str, role: str) -> tuple[str, str]:
    """Add a staff member; returns the id and the first password, which is shown once."""
    person, password = staff.create_staff(email, role, must_change_password=_first_password_change(), **by())
    return str(person.id), password


def reset_staff_password(email: str) -> tuple[str, str]:
    """Reset a staff member's password; returns the same."""
    person, password = staff.set_staff_password(email, must_change_password=_first_password_change(), **by())
    return str(person.id), password


def set_staff_role(person: UUID, role: str) -> str:
    row = staff.set_staff_role(person, role, **by())
    return f"{row.email} is {row.role} from their next request on."


def set_staff_status(person: UUID, status: str) -> str:
    row = staff.set_staff_status(person, status, **by())
    return (
        f"{row.email} may sign in again."
        if status == "active"
        else f"{row.email} is disabled, and every session of theirs ended."
    )


def turn_off_second_factor(person: StaffUser) -> str:
    second_factor.turn_off(person.id, **by())
    return f"{person.email} signs in with the password alone now, and can set up a new second factor."


def sign_out_staff(person: StaffUser) -> str:
    ended = staff_sessions.end_sessions(person.id, **by())
    return f"{ended} session{'' if ended == 1 else 's'} of {person.email} ended."


def change_own_password(current: str, new: str) -> str:
    confirm_password(current)
    session = current_user.session.digest
    staff.change_own_password(current_user.person, current, new, session=session, address=client_address())
    return "Your password is changed. Every other session of yours has ended."


def turn_off_own_second_factor(password: str, code: str) -> str:
    confirm_password(password)
    confirm_code(code)
    second_factor.turn_off(current_user.person.id, **by())
    return "The second factor is off. You sign in with the password alone."


def enrol_own_second_factor(secret: str, password: str, code: str) -> tuple[str, str]:
    """Turn on one's own second factor; returns the recovery codes, which are shown once."""
    confirm_password(password)
    codes = second_factor.enrol(current_user.person.id, secret, code, secret_key=_secret_key(), **by())
    return "", " ".join(codes)


def renew_own_recovery_codes(password: str, code: str) -> tuple[str, str]:
    confirm_password(password)
    confirm_code(code)
    return "", " ".join(second_factor.renew_recovery_codes(current_user.person.id, **by()))


def end_own_session(began_at: int) -> str:
    """End the session of whoever is signed in that began at this millisecond, if it still lives."""
    staff_sessions.end_session_of(current_user.person.id, began_at)
    return "That session has ended."


def end_own_other_sessions() -> str:
    ended = staff_sessions.end_sessions(current_user.person.id, but=current_user.session.digest, **by())
    return f"{ended} other session{'' if ended == 1 else 's'} ended." if ended else "There was no other session."


def _secret_key() -> str:
    return str(current_app.extensions["yout_settings"].secret_key)


def _first_password_change() -> bool:
    return bool(current_app.extensions["yout_settings"].staff_password_change)
