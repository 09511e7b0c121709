"""Authentication by admin key. Each request reads the key from the database, so that a revocation takes effect at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import NamedTuple
from uuid import UUID

from edge.identity.invalid_key_limits import BatchedReads, RefusedKeys
from edge.identity.keys import sent_key
from edge.store.database_reader import DatabaseReader
from edge.store.database_writer import DatabaseWriter
from shared.core.clock import now_ms
from shared.core.errors import InvalidAdminKey, RequestRefused
from shared.identity import api_key_format
from shared.models import AdminKey
from shared.operations.admin_keys import USE_PRECISION_MS, actor_of, record_use


class AdminKeyRow(NamedTuple):
    """A valid admin key. `actor` is its name in the audit log; `last_used_at` is in ms UTC."""

    id: UUID
    actor: str
    scopes: list[str]
    last_used_at: int | None


class AdminKeys:
    """Look-ups of admin keys. Invalid ones count toward the same limit per network as invalid API keys."""

    def __init__(self, reader: DatabaseReader, writer: DatabaseWriter, refused: RefusedKeys) -> None:
        self._reader = reader
        self._writer = writer
        self._refused = refused
        self._gathered = BatchedReads(self._read_together)

    async def authenticate(self, authorization: bytes | None, x_api_key: bytes | None, address: str) -> tuple[AdminKeyRow, str]:
        """Return the request's admin key and its secret.

        Raises `InvalidAdminKey`, `TooManyInvalidKeys`, `DatabaseUnavailable`, and `InvalidRequest` for two keys.
        """
        secret = sent_key(authorization, x_api_key)
        try:
            row = await self._look_up(secret, address)
        except InvalidAdminKey:
            if secret:
                await self._refused.count(address)
            raise
        now = now_ms()
        if row.last_used_at is None or row.last_used_at <= now - USE_PRECISION_MS:
            self._writer.run(partial(record_use, row.id, now))  # the request does not wait for it
        return row, secret

    async def _look_up(self, secret: str, address: str) -> AdminKeyRow:
        if not api_key_format.is_well_formed(secret, api_key_format.ADMIN_PREFIX):
            raise InvalidAdminKey
        digest = api_key_format.digest(secret)
        if self._refused.is_cached(digest):
            raise InvalidAdminKey
        try:
            if self._refused.is_throttled(address):
                return await self._gathered.get(digest)
            return await self._reader.read(partial(_read_key, digest))
        except InvalidAdminKey:
            self._refused.cache(digest)
            raise

    async def _read_together(self, digests: Collection[str]) -> Mapping[str, AdminKeyRow | RequestRefused]:
        return await self._reader.read(partial(_read_keys, digests))


def _read_key(digest: str) -> AdminKeyRow:
    found = _read_keys((digest,))[digest]
    if isinstance(found, RequestRefused):
        raise found
    return found


def _read_keys(digests: Collection[str]) -> dict[str, AdminKeyRow | RequestRefused]:
    """Return the key for each digest, or the error that rejects it."""
    found: dict[str, AdminKeyRow | RequestRefused] = {digest: InvalidAdminKey() for digest in digests}
    now = now_ms()
    for row in AdminKey.select().where(AdminKey.digest.in_(list(digests)) & AdminKey.revoked_at.is_null()):
        if row.expires_at is None or row.expires_at > now:
            found[row.digest] = AdminKeyRow(row.id, actor_of(row), row.scopes, row.last_used_at)
    return found
