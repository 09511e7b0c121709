"""Staff actions on staff members and the signed-in person, one function each.

Each function calls `shared.operations` as the signed-in person and returns the message to flash. The operations write the rows
and the audit entry.
"""

from __future__ import annotations

from uuid import UUID

from flask import current_app, request
from flask_login import current_user

from console.actions.origin import origin
from console.security.client_ip import client_address
from console.security.password_auth import require_person
from shared.core.errors import InvalidInput
from shared.identity.web_sessions import agent_label
from shared.models import StaffUser
from shared.operations import admin_keys, staff, staff_identities, staff_sessions
from shared.operations.passkeys import STAFF as PASSKEYS
from shared.operations.passkeys import Site
from shared.operations.second_factor import STAFF
from shared.text.translation import gettext, ngettext


def create_staff(email: str, role: str) -> tuple[str, str]:
    """Add a staff member. Returns their id and first password, which is shown once."""
    person, password = staff.create_staff(email, role, must_change_password=_first_password_change(), origin=origin())
    return str(person.id), password


def reset_staff_password(email: str) -> tuple[str, str]:
    """Reset a staff member's password. Returns their id and new password, which is shown once."""
    person, password = staff.set_staff_password(email, must_change_password=_first_password_change(), origin=origin())
    return str(person.id), password


def create_admin_key(name: str, scopes: list[str], expires_at: int | None) -> tuple[str, str]:
    """Create a key of the administration API. Returns its id and its secret, which is shown once."""
    created = admin_keys.create_admin_key(name, scopes, expires_at, origin=origin())
    return str(created.row.id), created.secret


def revoke_admin_key(key: UUID) -> None:
    """Revoke a key of the administration API."""
    admin_keys.revoke_admin_key(key, origin=origin())


def set_staff_role(person: UUID, role: str) -> str:
    row = staff.set_staff_role(person, role, origin=origin())
    return gettext("{email} now has the role {role}.", email=row.email, role=row.role)


def set_staff_status(person: UUID, status: str) -> str:
    row = staff.set_staff_status(person, status, origin=origin())
    return (
        gettext("{email} can sign in again.", email=row.email)
        if status == "active"
        else gettext("{email} is disabled and signed out everywhere.", email=row.email)
    )


def disable_second_factor(person: StaffUser) -> str:
    STAFF.disable(person.id, origin=origin())
    return gettext("{email} now signs in with only a password and can set up a new second factor.", email=person.email)


def disconnect_identities(person: StaffUser) -> str:
    staff_identities.unlink(person.id, session=current_user.session.digest, origin=origin())
    return gettext("{email} can no longer sign in with an identity that was connected until now.", email=person.email)


def sign_out_staff(person: StaffUser) -> str:
    ended = staff_sessions.end_sessions(person.id, origin=origin())
    return ngettext(
        "{email} was signed out of {count} session.", "{email} was signed out of {count} sessions.", ended, email=person.email
    )


def change_own_password(current: str, new: str, code: str) -> str:
    require_person(current, code)
    session = current_user.session.digest
    staff.change_own_password(current_user.person, current, new, session=session, address=client_address())
    return gettext("Password changed. You were signed out of all other sessions.")


def disable_own_second_factor(password: str, code: str) -> str:
    require_person(password, code)
    STAFF.disable(current_user.person.id, origin=origin())
    return gettext("Second factor turned off. You now sign in with only your password.")


def enroll_own_second_factor(secret: str, password: str, code: str) -> tuple[str, str]:
    """Turn on the signed-in person's second factor. Returns "" and the recovery codes, which are shown once."""
    require_person(password, code)
    codes = STAFF.enroll(current_user.person.id, secret, code, secret_key=_secret_key(), origin=origin())
    return "", " ".join(codes)


def replace_own_recovery_codes(password: str, code: str) -> tuple[str, str]:
    require_person(password, code)
    return "", " ".join(STAFF.renew_recovery_codes(current_user.person.id, origin=origin()))


def add_own_passkey(password: str, code: str, credential: str, site: Site | None) -> str:
    """Add a passkey of the signed-in person. `site` is None if the page's challenge was used or has expired."""
    if site is None:
        raise InvalidInput(gettext("The page has expired. Try again."))
    require_person(password, code)
    PASSKEYS.add(current_user.person.id, credential, site, agent_label(request.user_agent.string), origin=origin())
    return gettext("Passkey added. You can now sign in with it.")


def remove_own_passkey(password: str, code: str, passkey: UUID) -> str:
    require_person(password, code)
    PASSKEYS.remove(current_user.person.id, passkey, origin=origin())
    return gettext("Passkey removed. Delete it on your device, too.")


def end_own_session(began_at: int) -> str:
    """End the signed-in person's session that began at `began_at` (ms UTC), if it is still active."""
    staff_sessions.end_session_of(current_user.person.id, began_at)
    return gettext("Session ended.")


def end_other_own_sessions() -> str:
    ended = staff_sessions.end_sessions(current_user.person.id, except_digest=current_user.session.digest, origin=origin())
    if not ended:
        return gettext("You have no other sessions.")
    return ngettext("{count} other session ended.", "{count} other sessions ended.", ended)


def _secret_key() -> str:
    return str(current_app.extensions["yout_settings"].secret_key)


def _first_password_change() -> bool:
    return bool(current_app.extensions["yout_settings"].staff_password_change)
