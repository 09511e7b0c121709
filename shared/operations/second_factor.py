"""Second factor: time-based codes (RFC 6238, 30 seconds, 6 digits) and recovery codes, for staff and customers.

Each code is valid once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from typing import Any, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.core.secrets import SECOND_FACTOR, seal, unseal
from shared.models import Person, PersonRecoveryCode, StaffRecoveryCode, StaffUser
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

STEP_SECONDS = 30
CODE_DIGITS = 6
DRIFT_STEPS = 1  # accepts clocks that are half a minute off (RFC 6238, section 5.2)
RECOVERY_CODES = 10
SECRET_BYTES = 20
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without characters that look alike


def new_secret() -> str:
    """Return a new base32 secret (160 bits) for an authenticator app."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


class SecondFactor(NamedTuple):
    """The second factors of staff or of customers: their tables, the service's name in the app, and the noun of audit actions."""

    people: Any  # a model with `sealed_totp` and `totp_step`
    codes: Any
    owner: Any  # the column of `codes` that refers to `people`
    issuer: str
    noun: str

    def enrollment_url(self, email: str, secret: str) -> str:
        """Return the `otpauth://` URL for a QR code."""
        url = _generator(secret).get_provisioning_uri(email, self.issuer)
        return url.replace("+", "%20")  # some apps show the plus sign

    def enroll(self, person: UUID, secret: str, code: str, *, secret_key: str, origin: Origin) -> list[str]:
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
                self.people.update(sealed_totp=seal(secret, secret_key, SECOND_FACTOR), totp_step=step)
                .where((self.people.id == person) & (self.people.sealed_totp == ""))
                .execute()
            )
            if not changed:
                raise InvalidInput(
                    lazy_gettext("A second factor is already set up. Turn it off before you set up another device.")
                )
            codes = self._replace_recovery_codes(person)
            record_audit_entry(
                origin, f"{self.noun}.second_factor", person, before={"second_factor": False}, after={"second_factor": True}
            )
        return codes

    def disable(self, person: UUID, *, origin: Origin) -> None:
        """Remove the second factor and its recovery codes. Raises `NotFound` for an unknown person."""
        with transaction():
            row = self.people.get_or_none(self.people.id == person)
            if row is None:
                raise NotFound(lazy_gettext("There is no such person."))
            self.codes.delete().where(self.owner == person).execute()
            self.people.update(sealed_totp="", totp_step=0).where(self.people.id == person).execute()
            if row.sealed_totp:
                change = {"before": {"second_factor": True}, "after": {"second_factor": False}}
                record_audit_entry(origin, f"{self.noun}.second_factor", person, **change)

    def renew_recovery_codes(self, person: UUID, *, origin: Origin) -> list[str]:
        """Replace all recovery codes and return the new ones. Raises `InvalidInput` without a second factor."""
        with transaction():
            if not self.people.select().where((self.people.id == person) & (self.people.sealed_totp != "")).exists():
                raise InvalidInput(lazy_gettext("Set up a second factor before you create recovery codes."))
            codes = self._replace_recovery_codes(person)
            record_audit_entry(origin, f"{self.noun}.recovery_codes", person, after={"codes": len(codes)})
        return codes

    def verify_code(self, person: StaffUser | Person, code: str, *, secret_key: str) -> bool:
        """Return whether `code` is a correct, unused code of the app or a recovery code. The code is then used up."""
        typed = code.strip().replace(" ", "").replace("-", "").lower()
        if len(typed) == CODE_DIGITS:
            step = _matching_step(unseal(person.sealed_totp, secret_key, SECOND_FACTOR), typed)
            return step is not None and self._use_step(person.id, step)
        return self._use_recovery_code(person.id, typed)

    def recovery_codes_left(self, person: UUID) -> int:
        """Return the number of unused recovery codes."""
        mine = (self.owner == person) & self.codes.used_at.is_null()
        left: int = self.codes.select().where(mine).count()
        return left

    def _use_step(self, person: UUID, step: int) -> bool:
        """Claim a time step by compare-and-set, so that a code works for one sign-in only (RFC 6238, section 5.2)."""
        with transaction():
            claimed: int = (
                self.people.update(totp_step=step).where((self.people.id == person) & (self.people.totp_step < step)).execute()
            )
        return claimed == 1

    def _use_recovery_code(self, person: UUID, typed: str) -> bool:
        mine = (self.codes.digest == _digest(person, typed)) & (self.owner == person)
        with transaction():
            used: int = self.codes.update(used_at=now_ms()).where(mine & self.codes.used_at.is_null()).execute()
        return used == 1

    def _replace_recovery_codes(self, person: UUID) -> list[str]:
        self.codes.delete().where(self.owner == person).execute()
        codes = ["".join(secrets.choice(_ALPHABET) for _ in range(10)) for _ in range(RECOVERY_CODES)]
        self.codes.insert_many([{"digest": _digest(person, code), self.owner.name: person} for code in codes]).execute()
        return [f"{code[:5]}-{code[5:]}" for code in codes]


STAFF = SecondFactor(StaffUser, StaffRecoveryCode, StaffRecoveryCode.staff, "yout console", "staff")
PEOPLE = SecondFactor(Person, PersonRecoveryCode, PersonRecoveryCode.person, "yout", "person")


def _generator(secret: str) -> TOTP:
    return TOTP(base64.b32decode(secret), CODE_DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303  (of the standard, and what apps support)


def _matching_step(secret: str, code: str) -> int | None:
    """Return the time step of this code, among the current one and its neighbors, or None."""
    typed = code.strip().replace(" ", "")
    if len(typed) != CODE_DIGITS or not typed.isascii() or not typed.isdecimal():
        return None
    now = int(time.time()) // STEP_SECONDS
    generator = _generator(secret)
    found = None
    for step in range(now - DRIFT_STEPS, now + DRIFT_STEPS + 1):
        if hmac.compare_digest(generator.generate(step * STEP_SECONDS), typed.encode()):
            found = step
    return found


def _digest(person: UUID, code: str) -> str:
    """Hash a recovery code together with the person's id. Codes have 49 random bits, and attempts are limited."""
    return hashlib.sha256(person.bytes + code.encode()).hexdigest()
