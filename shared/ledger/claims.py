"""Claims: that an account used an `Idempotency-Key`, so that one call and one charge come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.errors import IdempotencyConflict
from shared.ledger.rows import as_uuid, execute, insert

CLAIM_MS = 24 * 3600 * 1000  # how long an Idempotency-Key is remembered


class Claim(NamedTuple):
    """An `Idempotency-Key` and the body it came with, as SHA-256 hex digests."""

    key_digest: str
    body_digest: str

    def of_visitor(self, visitor: str) -> Claim:
        """The claim as visitors make it, who share one account: the same key of two visitors is two keys."""
        return self._replace(key_digest=hashlib.sha256(f"{visitor}/{self.key_digest}".encode()).hexdigest())


class Claimed(NamedTuple):
    """A claim as its row has it."""

    body_digest: str
    call: UUID
    state: str
    credits: int
    expires_at: int


Claims = dict[tuple[UUID, str], Claimed]  # by account and key digest


def read_claims(wanted: Iterable[tuple[UUID, Claim]]) -> Claims:
    """The rows of these accounts' claims."""
    keys = {(account, claim.key_digest) for account, claim in wanted}
    if not keys:
        return {}
    rows = execute(
        "SELECT account_id, key_digest, body_digest, call, state, credits, expires_at FROM idempotency_claim"
        " WHERE account_id IN ? AND key_digest IN ?",
        [sorted({account for account, _ in keys}), sorted({digest for _, digest in keys})],
    )
    return {(as_uuid(account), digest): Claimed(body, as_uuid(call), *rest) for account, digest, body, call, *rest in rows}


def check_claim(claim: Claim, claimed: Claimed | None, now: int) -> None:
    """Raise `IdempotencyConflict` when the key is running, was used, or came with another body."""
    if claimed is None or claimed.expires_at <= now:
        return
    if claimed.body_digest != claim.body_digest:
        raise IdempotencyConflict("key_reused")
    if claimed.state == "running":
        raise IdempotencyConflict("in_progress", claimed.call)
    raise IdempotencyConflict("key_used", claimed.call, claimed.credits)


_COLUMNS = ("account_id", "key_digest", "body_digest", "call", "state", "credits", "created_at", "expires_at")


def write_claims(made: Sequence[tuple[UUID, UUID, Claim]], now: int) -> None:
    """Remember claims, each of a call and an account."""
    for _, account, claim in made:  # an expired claim makes room for the new one
        execute("DELETE FROM idempotency_claim WHERE account_id = ? AND key_digest = ?", [account, claim.key_digest])
    insert(
        "idempotency_claim",
        _COLUMNS,
        [(account, claim[0], claim[1], call, "running", 0, now, now + CLAIM_MS) for call, account, claim in made],
    )
