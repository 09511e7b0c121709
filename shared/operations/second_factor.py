"""Second factor for staff: time-based codes (RFC 6238, 30 seconds, 6 digits) and recovery codes. Each code is valid once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from uuid import UUID

import pyotp

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.core.secrets import SECOND_FACTOR, seal, unseal
from shared.models import StaffRecoveryCode, StaffUser
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

ISSUER = "yout console"
STEP_SECONDS = 30
CODE_DIGITS = 6
DRIFT_STEPS = 1  # accepts clocks that are half a minute off (RFC 6238, section 5.2)
RECOVERY_CODES = 10
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without characters that look alike


def new_secret() -> str:
    """Return a new base32 secret (160 bits) for an authenticator app."""
    return pyotp.random_base32()


def enrollment_url(email: str, secret: str) -> str:
    """Return the `otpauth://` URL for a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def enroll(person: UUID, secret: str, code: str, *, secret_key: str, origin: Origin) -> list[str]:
    """Enable the second factor, if `code` proves that the app has the secret. Returns new recovery codes, to be shown once.

    Raises `InvalidInput` for a wrong code, or if a second factor is already enabled.
    """
    step = _matching_step(secret, code)
    if step is None:
        raise InvalidInput(
            lazy_gettext("The code is incorrect. Check the clock of your device and enter the code that it shows now.")
        )
    with transaction():
        changed = (
            StaffUser.update(sealed_totp=seal(secret, secret_key, SECOND_FACTOR), totp_step=step)
            .where((StaffUser.id == person) & (StaffUser.sealed_totp == ""))
            .execute()
        )
        if not changed:
            raise InvalidInput(lazy_gettext("A second factor is already set up. Turn it off before you set up another device."))
        codes = _replace_recovery_codes(person)
        record_audit_entry(origin, "staff.second_factor", person, before={"second_factor": False}, after={"second_factor": True})
    return codes


def disable(person: UUID, *, origin: Origin) -> None:
    """Remove the second factor and its recovery codes. Raises `NotFound` for an unknown person."""
    with transaction():
        row = StaffUser.get_or_none(StaffUser.id == person)
        if row is None:
            raise NotFound(lazy_gettext("No staff member {person}.", person=person))
        StaffRecoveryCode.delete().where(StaffRecoveryCode.staff == person).execute()
        StaffUser.update(sealed_totp="", totp_step=0).where(StaffUser.id == person).execute()
        if row.sealed_totp:
            change = {"before": {"second_factor": True}, "after": {"second_factor": False}}
            record_audit_entry(origin, "staff.second_factor", person, **change)


def renew_recovery_codes(person: UUID, *, origin: Origin) -> list[str]:
    """Replace all recovery codes and return the new ones. Raises `InvalidInput` without a second factor."""
    with transaction():
        if not StaffUser.select().where((StaffUser.id == person) & (StaffUser.sealed_totp != "")).exists():
            raise InvalidInput(lazy_gettext("Set up a second factor before you create recovery codes."))
        codes = _replace_recovery_codes(person)
        record_audit_entry(origin, "staff.recovery_codes", person, after={"codes": len(codes)})
    return codes


def verify_code(person: StaffUser, code: str, *, secret_key: str) -> bool:
    """Return whether `code` is a correct, unused code of the app or a recovery code. The code is then used up."""
    typed = code.strip().replace(" ", "").replace("-", "").lower()
    if len(typed) == CODE_DIGITS:
        step = _matching_step(unseal(person.sealed_totp, secret_key, SECOND_FACTOR), typed)
        return step is not None and _use_step(person.id, step)
    return _use_recovery_code(person.id, typed)


def recovery_codes_left(person: UUID) -> int:
    """Return the number of unused recovery codes."""
    mine = (StaffRecoveryCode.staff == person) & StaffRecoveryCode.used_at.is_null()
    left: int = StaffRecoveryCode.select().where(mine).count()
    return left


def _matching_step(secret: str, code: str) -> int | None:
    """Return the time step of this code, among the current one and its neighbors, or None."""
    typed = code.strip().replace(" ", "")
    if len(typed) != CODE_DIGITS or not typed.isascii() or not typed.isdecimal():
        return None
    now = int(time.time()) // STEP_SECONDS
    generator = pyotp.TOTP(secret)
    found = None
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if hmac.compare_digest(generator.at(step * STEP_SECONDS), typed):
            found = step
    return found


def _use_step(person: UUID, step: int) -> bool:
    """Claim a time step by compare-and-set, so that a code works for one sign-in only (RFC 6238, section 5.2)."""
    with transaction():
        claimed: int = StaffUser.update(totp_step=step).where((StaffUser.id == person) & (StaffUser.totp_step < step)).execute()
    return claimed == 1


def _use_recovery_code(person: UUID, typed: str) -> bool:
    mine = (StaffRecoveryCode.digest == _digest(person, typed)) & (StaffRecoveryCode.staff == person)
    with transaction():
        used: int = StaffRecoveryCode.update(used_at=now_ms()).where(mine & StaffRecoveryCode.used_at.is_null()).execute()
    return used == 1


def _replace_recovery_codes(person: UUID) -> list[str]:
    StaffRecoveryCode.delete().where(StaffRecoveryCode.staff == person).execute()
    codes = ["".join(secrets.choice(_ALPHABET) for _ in range(10)) for _ in range(RECOVERY_CODES)]
    StaffRecoveryCode.insert_many([{"digest": _digest(person, code), "staff": person} for code in codes]).execute()
    return [f"{code[:5]}-{code[5:]}" for code in codes]


def _digest(person: UUID, code: str) -> str:
    """Hash a recovery code together with the person's id. Codes have 49 random bits, and attempts are limited."""
    return hashlib.sha256(person.bytes + code.encode()).hexdigest()
