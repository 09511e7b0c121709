"""Collapses a purged account's ledger into one opening entry and deletes every row about a single call.

    merge_overage(…)           merge overage charges into one entry and delete the usage rows of their calls
    delete_calls(…)            delete free calls, closed holds and used idempotency keys
    merge_oldest_entries(…)    merge the oldest entries into one and delete the usage rows of their calls
    compact_ledger(…)          under the account's lock, merge what is left into entry number 1

The first three are repeated, each in a short transaction, until they remove nothing.

The last two check what they replace (`fold_check`), so that a purge cannot hide changed entries, and sign what they leave
(`purge_signature`), so that nobody without SECRET_KEY can imitate one.

`merge_oldest_entries` does not renumber later entries: the opening entry takes the number of the last entry that it replaces, so
calls can settle meanwhile. `account.ledger_origin` keeps the hash of that entry, which the opening entry and the next one follow:
so the chain outlives what was deleted. Between any two of these transactions the ledger is consistent and passes
`verify_ledger`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.core.clock import new_id
from shared.ledger.fold_check import OldEntry, checked_entries, count_replaced_leaves, find_fold
from shared.ledger.origins import block_seals, count_leaves, set_origin
from shared.ledger.purge_signature import OPENING_ACTOR, Opening, PurgeState
from shared.ledger.sql import as_uuid, change_accounts, entry_month, execute, insert, lock_accounts
from shared.ledger.witness import NO_HEAD, Witness, entry_details, witness_entry

OPENING_REASON = "opening balance"
BATCH = 1_000
UNLIMITED = 1_000_000  # no limit: the last step has little left to do


class RemovedRows(NamedTuple):
    """Counts of removed rows: ledger entries (without opening entries of earlier steps), and rows about calls."""

    entries: int = 0
    overage: int = 0
    usage: int = 0
    holds: int = 0
    claims: int = 0

    @property
    def total(self) -> int:
        return sum(self)


class RemainingLedger(NamedTuple):
    """An account after its collapse, in credits. `entries` is 1, or 0 if the balance is 0."""

    balance: int
    plan_credits: int  # part of the balance
    held: int
    entries: int


def merge_oldest_entries(account: UUID, now: int, secret_key: str, batch: int = BATCH) -> RemovedRows:
    """Merge about `batch` of an account's oldest entries into one, which keeps their sums of plan and other credits.

    Run inside a transaction, after `merge_overage`. Raises `LedgerBroken` if an entry is not as it was written.
    """
    rows = list(checked_entries(account, secret_key, find_fold(account, batch)))
    if rows and rows[-1].balance_after == 0:  # an opening entry of 0 is not allowed: stop one entry earlier
        rows.pop()
    if len(rows) < 2:
        return RemovedRows()
    block_seals()
    seq, balance = rows[-1].seq, rows[-1].balance_after
    usage = _delete_usage(account, [row.call for row in rows if row.call is not None])
    execute("DELETE FROM ledger_entry WHERE account_id = ? AND seq <= ?", [account, seq])
    origin = _last_hash(account, rows)
    opening = Opening(seq, balance, sum(row.plan_amount for row in rows))
    _insert_opening(account, opening, now, origin)
    set_origin(PurgeState(account, origin, opening), count_replaced_leaves(account, seq), secret_key)
    return RemovedRows(entries=_count_entries(rows), usage=usage)


def merge_overage(account: UUID, now: int, batch: int = BATCH) -> RemovedRows:
    """Merge up to `batch` overage charges into one per subscription, without calls. Run inside a transaction, before
    `merge_oldest_entries`.

    Charges whose calls the usage retention has deleted are merged as well.
    """
    rows = execute(
        "SELECT id, subscription, amount, call FROM overage_entry WHERE account_id = ? AND kind = 'charge'"
        " AND (call IS NOT NULL OR subscription IN (SELECT subscription FROM overage_entry"
        " WHERE account_id = ? AND kind = 'charge' AND call IS NULL GROUP BY subscription HAVING COUNT(*) > 1)) LIMIT ?",
        [account, account, batch],
    ).fetchall()
    if not rows:
        return RemovedRows()
    calls = [call for _, _, _, call in rows if call is not None]
    execute("DELETE FROM overage_entry WHERE account_id = ? AND id IN ?", [account, [id for id, *_ in rows]])
    if calls:
        execute("UPDATE ledger_entry SET call = NULL, salt = NULL WHERE account_id = ? AND call IN ?", [account, calls])
    totals: dict[UUID, int] = {}
    for _, subscription, amount, _ in rows:
        totals[as_uuid(subscription)] = totals.get(as_uuid(subscription), 0) + amount
    for subscription, total in sorted(totals.items()):
        merged = execute(
            "DELETE FROM overage_entry WHERE account_id = ? AND subscription = ? AND kind = 'charge' AND call IS NULL"
            " RETURNING amount",
            [account, subscription],
        ).fetchall()
        amount = total + sum(row[0] for row in merged)
        insert("overage_entry", _OVERAGE_COLUMNS, [(new_id(), account, subscription, "charge", amount, now)])
    return RemovedRows(overage=len(rows), usage=_delete_usage(account, calls))


def delete_calls(account: UUID, batch: int = BATCH) -> RemovedRows:
    """Delete up to `batch` free calls, closed holds and used idempotency keys each. Run inside a transaction."""
    usage = _delete("usage_ledger", "id", account, "credits = 0", batch)
    holds = _delete("hold", "id", account, "state <> 'held'", batch)
    claims = _delete("idempotency_claim", "key_digest", account, _FINISHED, batch)
    return RemovedRows(usage=usage, holds=holds, claims=claims)


def compact_ledger(account: UUID, now: int, secret_key: str) -> tuple[RemovedRows, RemainingLedger]:
    """Replace the rest of an account's ledger with entry number 1, and delete every call that is not running.

    Run inside a transaction, after `merge_oldest_entries` and `delete_calls` have left little to do. Raises `LedgerBroken` if an
    entry is not as it was written, or if the entries do not lead to the balance.
    """
    block_seals()
    pool = lock_accounts([account])()[account]
    entries = _count_entries(checked_entries(account, secret_key, pool.ledger_seq))
    overage = merge_overage(account, now, UNLIMITED)
    execute("DELETE FROM ledger_entry WHERE account_id = ?", [account])
    removed = RemovedRows(
        entries=entries,
        overage=overage.overage,
        usage=overage.usage + execute("DELETE FROM usage_ledger WHERE account_id = ?", [account]).rowcount,
        holds=execute("DELETE FROM hold WHERE account_id = ? AND state <> 'held'", [account]).rowcount,
        claims=execute(f"DELETE FROM idempotency_claim WHERE account_id = ? AND {_FINISHED}", [account]).rowcount,
    )
    opening = Opening(1, pool.balance, pool.plan_credits) if pool.balance else None
    heads = {account: _insert_opening(account, opening, now, pool.head)} if opening else {}
    change_accounts({account: (0, 0, len(heads) - pool.ledger_seq, 0)}, heads)
    set_origin(PurgeState(account, pool.head, opening), count_leaves(account), secret_key)
    return removed, RemainingLedger(pool.balance, pool.plan_credits, pool.held, len(heads))


def delete_visitor_calls(pool: UUID, allowance: str) -> RemovedRows:
    """Delete a visitor's ended calls from the pool that paid for them. Run inside a transaction.

    The pool's charges stay, without references to calls. The allowance stays used until its day ends.
    """
    lock_accounts([pool])()
    ended = "account_id = ? AND allowance = ? AND state <> 'held'"
    calls = [row[0] for row in execute(f"SELECT id FROM hold WHERE {ended}", [pool, allowance]).fetchall()]
    if not calls:
        return RemovedRows()
    execute("UPDATE ledger_entry SET call = NULL, salt = NULL WHERE account_id = ? AND call IN ?", [pool, calls])
    return RemovedRows(
        usage=_delete_usage(pool, calls),
        holds=execute("DELETE FROM hold WHERE account_id = ? AND id IN ?", [pool, calls]).rowcount,
        claims=execute("DELETE FROM idempotency_claim WHERE account_id = ? AND call IN ?", [pool, calls]).rowcount,
    )


def running_calls(account: UUID, until: int) -> int:
    """Return the number of open holds that were created up to `until` (milliseconds UTC)."""
    row = execute("SELECT count(*) FROM hold WHERE account_id = ? AND state = 'held' AND created_at <= ?", [account, until])
    return int(row.fetchone()[0])


# Keys of running calls are kept, because they still prevent a second execution of the call.
_FINISHED = (
    "NOT EXISTS (SELECT 1 FROM hold h WHERE h.id = idempotency_claim.call AND h.account_id = idempotency_claim.account_id"
    " AND h.state = 'held')"
)
_COLUMNS = (
    *("account_id", "seq", "kind", "amount", "balance_after", "plan_amount", "actor", "reason", "created_at", "month"),
    *Witness._fields,
)
_OVERAGE_COLUMNS = ("id", "account_id", "subscription", "kind", "amount", "created_at")


def _insert_opening(account: UUID, opening: Opening, now: int, origin: bytes | None) -> bytes:
    """Insert an opening entry and return its hash. It follows `origin`, the hash of the latest entry that it replaces."""
    seq, balance, plan = opening
    details = entry_details(OPENING_ACTOR, OPENING_REASON, None, None)
    witness = witness_entry(origin or NO_HEAD, account, seq, "adjustment", (balance, balance, plan), now, details)
    entry = (
        account,
        seq,
        "adjustment",
        balance,
        balance,
        plan,
        OPENING_ACTOR,
        OPENING_REASON,
        now,
        entry_month(None, now),
        *witness,
    )
    insert("ledger_entry", _COLUMNS, [entry])
    return witness.entry_hash


def _last_hash(account: UUID, rows: Sequence[OldEntry]) -> bytes | None:
    """Return the hash in these oldest entries that the next witnessed entry follows. It may be that of an earlier purge."""
    for row in reversed(rows):
        if row.entry_hash is not None and (row.actor != OPENING_ACTOR or row.seq == 1):
            return row.entry_hash
    origin = execute("SELECT ledger_origin FROM account WHERE id = ?", [account]).fetchone()[0]
    return None if origin is None else bytes(origin)


def _count_entries(rows: Iterable[OldEntry]) -> int:
    return sum(1 for row in rows if row.actor != OPENING_ACTOR)


def _delete_usage(account: UUID, calls: Sequence[object]) -> int:
    batches = [list(calls[start : start + BATCH]) for start in range(0, len(calls), BATCH)]
    query = "DELETE FROM usage_ledger WHERE account_id = ? AND id IN ?"
    return sum(int(execute(query, [account, ids]).rowcount) for ids in batches)


def _delete(table: str, key: str, account: UUID, condition: str, batch: int) -> int:
    return int(
        execute(
            f"DELETE FROM {table} WHERE account_id = ? AND {key} IN"
            f" (SELECT {key} FROM {table} WHERE account_id = ? AND {condition} LIMIT ?)",
            [account, account, batch],
        ).rowcount
    )
