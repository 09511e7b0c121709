"""Confirms that a change comes from the signed-in person, because an open session alone must not be enough.

Everything that changes how a person signs in, or who owns the account, requires this: their password (without one, a fresh
sign-in), and a code if they have a second factor. Otherwise whoever knows the password could add a way around the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple
from uuid import UUID

from edge.identity.sessions import SessionRow
from edge.request_context import read, services
from edge.web.password_auth import confirm_code, confirm_password
from shared.core.clock import now_ms
from shared.models import Person, WebSession
from shared.operations.people import find_sign_in_by_id
from shared.operations.second_factor import PEOPLE
from shared.text.translation import gettext

FRESH_MS = 10 * 60 * 1000  # age of a sign-in that stands in for a password
MAX_CODE = 40


class Required(NamedTuple):
    """What a person has to enter to confirm a change. Without a password, the sign-in must be fresh instead."""

    password: bool
    code: bool


async def required_of(person: UUID) -> Required:
    """Return what this person has to enter."""
    return await read(partial(_required_of, person))


async def confirm_person(session: SessionRow, form: Mapping[str, str], *, field: str = "password") -> str:
    """Return an error message, or "" if the form has what `required_of` the person. The code is in the field `code`.

    A code is used up, so check everything else first. Raises `TooManyAttempts` and `SignInQueueFull`.
    """
    return (await confirm_with_hash(session, form, field=field))[0]


async def confirm_with_hash(session: SessionRow, form: Mapping[str, str], *, field: str = "password") -> tuple[str, str | None]:
    """Like `confirm_person`; also returns the hash of the password, None if there is none."""
    required, password_hash = await required_of(session.person), None
    if required.password:
        proven = await confirm_password(session, form.get(field, ""))
        if proven is None:
            return gettext("Incorrect password."), None
        password_hash = proven.password_hash
    elif await read(partial(_session_age_ms, session.digest)) >= FRESH_MS:
        return gettext("Sign out and in again. This change needs a sign-in that is less than 10 minutes old."), None
    if required.code:
        code, secret_key = form.get("code", "")[:MAX_CODE], services().settings.secret_key
        if not await confirm_code(session, partial(verify_code, session.person, code, secret_key)):
            return wrong_code(), None
    return "", password_hash


def verify_code(person: UUID, code: str, secret_key: str) -> bool:
    """Return whether the code of a person's second factor is correct, and use it up. False without a second factor."""
    row = Person.get_or_none(Person.id == person)
    if row is None or not row.sealed_totp:
        return False
    return PEOPLE.verify_code(row, code, secret_key=secret_key)


def wrong_code() -> str:
    """Return the error message for a code."""
    return gettext("The code is incorrect or was already used. Wait for the next one, or use a recovery code.")


def _required_of(person: UUID) -> Required:
    found, row = find_sign_in_by_id(person), Person.get_or_none(Person.id == person)
    has_password = found is None or found.password_hash is not None
    return Required(has_password, row is not None and row.sealed_totp != "")


def _session_age_ms(digest: str) -> int:
    return now_ms() - int(WebSession.get(WebSession.digest == digest).created_at)
