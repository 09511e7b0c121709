"""Several keys at once, or one after the other: revoke many, or follow a key by a new one while the old still works a while."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.models import ApiKey
from shared.operations.audit import Origin, record
from shared.operations.keys import CreatedKey, create_key
from shared.operations.validation import check_whole

LONGEST_GRACE_MS = 30 * 24 * 3600 * 1000
MOST_AT_ONCE = 10_000


def rotate_key(key_id: UUID, grace_ms: int, *, actor: str, address: str = "") -> CreatedKey:
    """Make a key with the name, limits and rights of this one, which expires after `grace_ms` (0: at once, for good).

    Raises `NotFound`, and `InvalidInput` for a key that is no longer good or a grace of more than 30 days.
    """
    check_whole("grace (ms)", grace_ms, 0, LONGEST_GRACE_MS)
    with transaction():
        now = now_ms()
        old = ApiKey.get_or_none(ApiKey.id == key_id)
        if old is None:
            raise NotFound(f"No key {key_id}.")
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise InvalidInput("This key is revoked or has expired already: there is nothing to rotate. Make a new one.")
        created = create_key(
            old.account.id,
            old.name,
            expires_at=old.expires_at,
            rpm=old.rpm,
            tpm=old.tpm,
            concurrency=old.concurrency,
            allowed_models=old.allowed_models,
            allowed_ips=old.allowed_ips,
            monthly_credit_limit=old.monthly_credit_limit,
            actor=actor,
            address=address,
        )
        if grace_ms:
            ends = min(now + grace_ms, old.expires_at) if old.expires_at is not None else now + grace_ms
            ApiKey.update(expires_at=ends).where(ApiKey.id == key_id).execute()
            after = {"expires_at": ends, "followed_by": str(created.row.id)}
        else:
            ApiKey.update(revoked_at=now).where((ApiKey.id == key_id) & ApiKey.revoked_at.is_null()).execute()
            after = {"revoked_at": now, "followed_by": str(created.row.id)}
        record(Origin(actor, address), "key.rotate", key_id, before={"expires_at": old.expires_at}, after=after)
        return created


def revoke_keys(keys: Sequence[UUID], *, actor: str, address: str = "") -> int:
    """Revoke all of these for good, in one step, and give how many still worked. Each has its entry in the trail."""
    if len(keys) > MOST_AT_ONCE:
        raise InvalidInput(f"At most {MOST_AT_ONCE} keys at once; narrow the filter.")
    with transaction():
        now = now_ms()
        revoked = (
            ApiKey.update(revoked_at=now).where(ApiKey.id.in_(list(keys)) & ApiKey.revoked_at.is_null()).returning(ApiKey.id)
        )
        ids = [row.id for row in revoked.execute()]
        for id in ids:
            record(Origin(actor, address), "key.revoke", id, after={"revoked_at": now})
        return len(ids)
