"""Keys of the administration API: create, list and revoke them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.identity.admin_scopes import check_scopes
from shared.identity.api_key_format import ADMIN_PREFIX, new_key
from shared.models import AdminAnswer, AdminKey
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.validation import check_text
from shared.text.translation import lazy_gettext

MAX_NAME_LENGTH = 100
YEAR_10000 = 253_402_300_800_000  # ms UTC
ACTOR = "admin-key:"  # how the names of admin keys in the audit log begin
USE_PRECISION_MS = 60_000  # a key in constant use is written once a minute


@dataclass(frozen=True, slots=True)
class CreatedAdminKey:
    """A new admin key. Only here is the `secret` available: the database stores its digest."""

    row: AdminKey
    secret: str = field(repr=False)


def create_admin_key(name: str, scopes: Collection[str], expires_at: int | None = None, *, origin: Origin) -> CreatedAdminKey:
    """Create an admin key. `expires_at` is in ms UTC; None means no expiry.

    Raises `InvalidInput` for no or unknown scopes, a time in the past, and the name of a key that is not revoked: the audit log
    shows the name.
    """
    name, scopes = check_text("name of the key", name, MAX_NAME_LENGTH), check_scopes(scopes)
    if expires_at is not None and not now_ms() < expires_at < YEAR_10000:
        raise InvalidInput(lazy_gettext("The expiry must be in the future; omit it for a key that never expires."))
    fresh = new_key(ADMIN_PREFIX)
    with transaction():
        if AdminKey.select().where((AdminKey.name == name) & AdminKey.revoked_at.is_null()).exists():
            raise InvalidInput(
                lazy_gettext("There is an admin key {name!r} already. Choose another name, or revoke that key first.", name=name)
            )
        row = AdminKey.create(name=name, digest=fresh.digest, prefix=fresh.prefix, scopes=scopes, expires_at=expires_at)
        record_audit_entry(origin, "admin_key.create", row.id, after={"name": name, "scopes": scopes, "expires_at": expires_at})
        return CreatedAdminKey(row, fresh.secret)


def list_admin_keys() -> list[AdminKey]:
    """Return all admin keys, the newest first, revoked ones included."""
    return list(AdminKey.select().order_by(AdminKey.created_at.desc(), AdminKey.id.desc()))


def find_admin_key(id_or_name: str | UUID) -> AdminKey:
    """Return the admin key with this id, or the one in force with this name. Raises `NotFound`."""
    try:
        condition = AdminKey.id == (id_or_name if isinstance(id_or_name, UUID) else UUID(id_or_name))
    except ValueError:
        condition = (AdminKey.name == id_or_name) & AdminKey.revoked_at.is_null()
    row: AdminKey | None = AdminKey.get_or_none(condition)
    if row is None:
        raise NotFound(lazy_gettext("There is no admin key {key!r}. `yout admin-key list` shows them.", key=str(id_or_name)))
    return row


def revoke_admin_key(id_or_name: str | UUID, *, origin: Origin) -> AdminKey:
    """Revoke an admin key, which is refused from the next request on, and delete its kept answers.

    Revoking it again changes nothing. Raises `NotFound`.
    """
    with transaction():
        row = find_admin_key(id_or_name)
        revoked_at = now_ms()
        if AdminKey.update(revoked_at=revoked_at).where((AdminKey.id == row.id) & AdminKey.revoked_at.is_null()).execute():
            AdminAnswer.delete().where(AdminAnswer.admin_key == row.id).execute()
            record_audit_entry(origin, "admin_key.revoke", row.id, after={"name": row.name, "revoked_at": revoked_at})
        return find_admin_key(row.id)


def actor_of(row: AdminKey) -> str:
    """Return a key's name in the audit log. Its id tells keys apart that had the same name one after the other."""
    return f"{ACTOR}{row.name} {row.id}"


def record_use(id: UUID, now: int) -> None:
    """Store when an admin key was last used, in ms UTC."""
    stale = AdminKey.last_used_at.is_null() | (AdminKey.last_used_at <= now - USE_PRECISION_MS)
    AdminKey.update(last_used_at=now).where((AdminKey.id == id) & stale).execute()
