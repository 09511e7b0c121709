"""Stores what a purge left of an account's ledger, with its signature (`shared.ledger.purge_signature`)."""

from __future__ import annotations

from uuid import UUID

from shared.core.database import is_sqlite, transaction
from shared.ledger.purge_signature import OPENING_ACTOR, Opening, PurgeState, sign_purge
from shared.ledger.sql import as_uuid, execute, lock_accounts

BATCH = 1_000  # accounts per query
_LOCK = "ledger leaves"


def set_origin(state: PurgeState, leaves: int, secret_key: str, seal: int | None = None) -> None:
    """Store and sign what a purge left, with the number of `leaves` whose entries it replaced.

    Run inside a transaction, after `block_seals`.
    """
    is_purged = state.origin is not None or state.opening is not None
    signature = sign_purge(state, leaves, secret_key, seal) if is_purged else None
    execute(
        "UPDATE account SET ledger_origin = ?, ledger_origin_signature = ? WHERE id = ?",
        [state.origin, signature, state.account],
    )


def sign_old_purges(seal: int, secret_key: str) -> None:
    """Sign the purges of releases that did not sign them. `seal` is the number of the first seal after the upgrade.

    Runs its own short transactions.
    """
    after = UUID(int=0)
    while rows := execute(_PURGED, [after, OPENING_ACTOR, BATCH]).fetchall():
        for account in (as_uuid(row[0]) for row in rows):
            with transaction():
                block_seals()
                if lock_accounts([account])():
                    set_origin(_read_purge(account), count_leaves(account), secret_key, seal)
        after = as_uuid(rows[-1][0])


def block_seals() -> None:
    """Wait until no leaf is being added to a seal, and prevent it until the end of the transaction.

    Otherwise a seal could cover entries that the transaction replaces. Run it before the account is locked, so that calls do not
    wait for the seal.
    """
    _lock("pg_advisory_xact_lock_shared")


def block_purges() -> None:
    """Wait for running steps of purges, and prevent new ones until the end of the transaction."""
    _lock("pg_advisory_xact_lock")


_PURGED = (
    "SELECT a.id FROM account a WHERE a.id > ? AND (a.ledger_origin IS NOT NULL OR"
    " (SELECT e.actor FROM ledger_entry e WHERE e.account_id = a.id ORDER BY e.seq LIMIT 1) = ?) ORDER BY a.id LIMIT ?"
)


def _read_purge(account: UUID) -> PurgeState:
    origin = execute("SELECT ledger_origin FROM account WHERE id = ?", [account]).fetchone()[0]
    oldest = "SELECT actor, seq, balance_after, plan_amount FROM ledger_entry WHERE account_id = ? ORDER BY seq LIMIT 1"
    row = execute(oldest, [account]).fetchone()
    opening = Opening(*row[1:]) if row is not None and row[0] == OPENING_ACTOR else None
    return PurgeState(account, None if origin is None else bytes(origin), opening)


def count_leaves(account: UUID) -> int:
    """Return the number of the account's leaves in all seals."""
    return int(execute("SELECT count(*) FROM ledger_leaf WHERE account_id = ?", [account]).fetchone()[0])


def _lock(function: str) -> None:
    if not is_sqlite():  # there, BEGIN IMMEDIATE has locked the whole file
        execute(f"SELECT {function}(hashtextextended(?, 0))", [_LOCK])
