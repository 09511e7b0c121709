"""Passkeys of staff and customers: add, use and remove. `webauthn` verifies the browser's answers; it is imported when needed."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import peewee

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.passkeys import decode, encode
from shared.models import Person, PersonPasskey, StaffPasskey, StaffUser
from shared.operations.audit import Origin, record_audit_entry
from shared.text.translation import lazy_gettext

log = logging.getLogger("yout.passkeys")

MAX_PASSKEYS = 10  # per person
MAX_CREDENTIAL = 20_000  # characters of a browser's answer
_REFUSED = lazy_gettext("The passkey could not be verified. Try again.")


def load_library() -> None:
    """Import the library, which is slow the first time, before a thread that must not block needs it."""
    import webauthn  # noqa: F401  (only loaded, so that the first use is not slow)


class Site(NamedTuple):
    """Where a passkey is used: the relying party's id, the page's origin, and the page's challenge, with the time it was made."""

    rp_id: str
    origin: str
    challenge: str
    issued_at: int


class Passkeys(NamedTuple):
    """The passkeys of staff or of customers: their table, the column that refers to the person, and the noun of audit actions."""

    model: Any
    people: Any
    owner: Any
    noun: str

    def list_of(self, person: UUID) -> list[Any]:
        """Return a person's passkeys, oldest first."""
        return list(self.model.select().where(self.owner == person).order_by(self.model.id))

    def add(self, person: UUID, credential: str, site: Site, name: str, *, origin: Origin) -> None:
        """Store a new passkey. Raises `InvalidInput` for an answer that does not verify, and for too many passkeys."""
        from webauthn import verify_registration_response
        from webauthn.helpers.exceptions import WebAuthnException

        try:
            found = verify_registration_response(
                credential=_parsed(credential),
                expected_challenge=decode(site.challenge),
                expected_rp_id=site.rp_id,
                expected_origin=site.origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            log.warning("a new passkey was refused: %s", error)
            raise InvalidInput(_REFUSED) from None
        with transaction():
            if self.model.select().where(self.owner == person).count() >= MAX_PASSKEYS:
                raise InvalidInput(lazy_gettext("You have too many passkeys. Remove one first."))
            values = {"credential": encode(found.credential_id), "public_key": found.credential_public_key}
            try:
                with transaction():  # a savepoint
                    self.model.create(**{self.owner.name: person}, **values, sign_count=found.sign_count, name=name[:64])
            except peewee.IntegrityError:
                raise InvalidInput(_REFUSED) from None
            record_audit_entry(origin, f"{self.noun}.add_passkey", person, after={"name": name})

    def verify(self, credential: str, site: Site) -> UUID | None:
        """Return the person whose passkey signed the challenge, or None.

        A challenge from before the passkey's last use is refused, so that an answer works once, on all processes and without
        Redis. Most passkeys have no counter that would show it.
        """
        from webauthn import verify_authentication_response
        from webauthn.helpers.exceptions import WebAuthnException

        try:
            answer = _parsed(credential)
            row = self.model.get_or_none(self.model.credential == str(answer["id"])[:1400])
            if row is None:
                return None
            found = verify_authentication_response(
                credential=answer,
                expected_challenge=decode(site.challenge),
                expected_rp_id=site.rp_id,
                expected_origin=site.origin,
                credential_public_key=bytes(row.public_key),
                credential_current_sign_count=row.sign_count,
                require_user_verification=True,
            )
            owner: UUID = getattr(row, self.owner.name).id
            if decode(answer["response"]["userHandle"]) != owner.bytes:
                return None
        except (WebAuthnException, ValueError, KeyError, TypeError) as error:
            log.warning("a passkey was refused: %s", error)
            return None
        used = {"sign_count": found.new_sign_count, "last_used_at": max(now_ms(), site.issued_at)}  # clocks may differ
        unchanged = (self.model.id == row.id) & (self.model.sign_count == row.sign_count)  # a copied passkey counts, too
        unused = self.model.last_used_at.is_null() | (self.model.last_used_at < site.issued_at)
        with transaction():
            return owner if self.model.update(**used).where(unchanged & unused).execute() else None

    def remove(self, person: UUID, passkey: UUID, *, origin: Origin) -> None:
        """Remove one of a person's passkeys. Raises `NotFound`."""
        with transaction():
            row = self.model.get_or_none((self.model.id == passkey) & (self.owner == person))
            if row is None:
                raise NotFound(lazy_gettext("There is no such passkey."))
            row.delete_instance()
            record_audit_entry(origin, f"{self.noun}.remove_passkey", person, before={"name": row.name})


STAFF = Passkeys(StaffPasskey, StaffUser, StaffPasskey.staff, "staff")
PEOPLE = Passkeys(PersonPasskey, Person, PersonPasskey.person, "person")


def _parsed(credential: str) -> dict[str, Any]:
    """Return the JSON object that a browser sent. Raises `ValueError`."""
    if len(credential) > MAX_CREDENTIAL:
        raise ValueError("the answer is too long")
    found = orjson.loads(credential)
    if not isinstance(found, dict):
        raise ValueError("the answer is not an object")
    return found
