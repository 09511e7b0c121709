"""Idempotency claims: one call and one charge per account and `Idempotency-Key`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.core.errors import IdempotencyConflict
from shared.ledger.sql import as_uuid, execute, insert

CLAIM_MS = 24 * 3600 * 1000  # how long an Idempotency-Key is remembered


class Claim(NamedTuple):
    """An `Idempotency-Key` and its request body, as SHA-256 hex digests."""

    key_digest: str
    body_digest: str

    def for_visitor(self, visitor: str) -> Claim:
        """Return the claim for a visitor. Visitors share one account, so the key's digest is made specific to the visitor."""
        return self._replace(key_digest=hashlib.sha256(f"{visitor}/{self.key_digest}".encode()).hexdigest())


class StoredClaim(NamedTuple):
    """A stored claim."""

    body_digest: str
    call: UUID
    state: str
    credits: int
    expires_at: int


Claims = dict[tuple[UUID, str], StoredClaim]  # by account and key digest


def read_claims(claims: Iterable[tuple[UUID, Claim]]) -> Claims:
    """Read the rows of these claims, each with its account."""
    keys = {(account, claim.key_digest) for account, claim in claims}
    if not keys:
        return {}
    rows = execute(
        "SELECT account_id, key_digest, body_digest, call, state, credits, expires_at FROM idempotency_claim"
        " WHERE account_id IN ? AND key_digest IN ?",
        [sorted({account for account, _ in keys}), sorted({digest for _, digest in keys})],
    )
    return {(as_uuid(account), digest): StoredClaim(body, as_uuid(call), *rest) for account, digest, body, call, *rest in rows}


def check_claim(claim: Claim, claimed: StoredClaim | None, now: int) -> None:
    """Raise `IdempotencyConflict` if the key's first call is running or done, or had another body."""
    if claimed is None or claimed.expires_at <= now:
        return
    if claimed.body_digest != claim.body_digest:
        raise IdempotencyConflict("key_reused")
    if claimed.state == "running":
        raise IdempotencyConflict("in_progress", claimed.call)
    raise IdempotencyConflict("key_used", claimed.call, claimed.credits)


_COLUMNS = ("account_id", "key_digest", "body_digest", "call", "state", "credits", "created_at", "expires_at")


def write_claims(claims: Sequence[tuple[UUID, UUID, Claim]], now: int) -> None:
    """Insert claims, each given as (call, account, claim)."""
    for _, account, claim in claims:  # an expired claim may still have a row
        execute("DELETE FROM idempotency_claim WHERE account_id = ? AND key_digest = ?", [account, claim.key_digest])
    insert(
        "idempotency_claim",
        _COLUMNS,
        [(account, claim[0], claim[1], call, "running", 0, now, now + CLAIM_MS) for call, account, claim in claims],
    )
