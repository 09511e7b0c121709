"""Rotates a key, with a grace period for the old one, and revokes many keys at once."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput
from shared.ledger.sql import lock_accounts
from shared.models import ApiKey
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.keys import LIMIT_FIELDS, CreatedKey, KeyOptions, create_key, find_key, revoke_with_children
from shared.operations.validation import check_integer
from shared.text.translation import lazy_gettext

MAX_GRACE_MS = 30 * 24 * 3600 * 1000
MAX_KEYS = 10_000


def rotate_key(key_id: UUID, grace_ms: int, *, origin: Origin) -> CreatedKey:
    """Create a key with the name, limits and rights of this one, which expires after `grace_ms` (0 revokes it at once).

    Both keys are counted together: the new one continues the monthly count and rate limits, and becomes the parent of the keys
    that the old one created. Raises `NotFound`, and `InvalidInput` for a revoked or expired key or a grace period over 30 days.
    """
    check_integer("grace (ms)", grace_ms, 0, MAX_GRACE_MS)
    with transaction():
        now = now_ms()
        found = find_key(key_id)
        lock_accounts([found.account.id])()  # no reservation or new key can run concurrently
        old = find_key(key_id)
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise InvalidInput(lazy_gettext("This key is revoked or expired and cannot be rotated. Create a new one."))
        created = create_key(
            old.account.id,
            old.name,
            KeyOptions(**{field: getattr(old, field) for field in (*LIMIT_FIELDS, "expires_at", "can_manage")}),
            parent=old.parent,
            member=old.member or old.account.id,
            origin=origin,
        )
        created.row.meter = old.meter or old.id
        created.row.save(only=[ApiKey.meter])
        ApiKey.update(parent=created.row.id).where(ApiKey.parent == old.id).execute()
        if grace_ms:
            ends = min(now + grace_ms, old.expires_at) if old.expires_at is not None else now + grace_ms
            ApiKey.update(expires_at=ends).where(ApiKey.id == key_id).execute()
            after = {"expires_at": ends, "followed_by": str(created.row.id)}
        else:
            ApiKey.update(revoked_at=now).where((ApiKey.id == key_id) & ApiKey.revoked_at.is_null()).execute()
            after = {"revoked_at": now, "followed_by": str(created.row.id)}
        record_audit_entry(origin, "key.rotate", key_id, before={"expires_at": old.expires_at}, after=after)
        return created


def revoke_keys(keys: Sequence[UUID], *, origin: Origin) -> int:
    """Revoke these keys and the keys that they created in one transaction, each with an audit entry.

    Returns how many were active.
    """
    if len(keys) > MAX_KEYS:
        raise InvalidInput(lazy_gettext("At most {maximum} keys can be revoked at once. Narrow the filter.", maximum=MAX_KEYS))
    with transaction():
        return revoke_with_children(keys, now_ms(), origin)
