"""Checks an account's ledger entries before a purge replaces them: a purge must not hide that someone has changed them.

Whoever can write to the database can also recompute all hashes of an account. So sealed entries are compared with their leaves,
and each leaf must be in a seal that this installation has signed (`shared.ledger.seal_check`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.errors import LedgerBroken
from shared.ledger.dump import read_account, read_account_entries, read_account_leaves
from shared.ledger.dump_check import AccountCheck
from shared.ledger.purge_signature import SignedPurges
from shared.ledger.seal import Leaf, public_keys, purges_signed_since
from shared.ledger.seal_check import SealedLeaves
from shared.ledger.sql import execute

Document = dict[str, Any]


class OldEntry(NamedTuple):
    """An entry to replace. `entry_hash` is None for entries of release 0.5 and older."""

    seq: int
    balance_after: int
    plan_amount: int
    call: UUID | None
    actor: str
    entry_hash: bytes | None


def find_fold(account: UUID, limit: int) -> int:
    """Return the number of the `limit`-th oldest entry, or of the last one of the leaf that covers it; 0 without entries.

    So a leaf is replaced at once, and can be checked.
    """
    rows = execute("SELECT seq FROM ledger_entry WHERE account_id = ? ORDER BY seq LIMIT ?", [account, limit]).fetchall()
    if not rows:
        return 0
    last = int(rows[-1][0])
    return max([last, *(int(leaf["seq"]) for leaf in _leaves_until(read_account(account), last))])


def checked_entries(account: UUID, secret_key: str, until: int) -> Iterator[OldEntry]:
    """Yield an account's entries up to number `until`, after checking each. Run inside a transaction.

    Raises `LedgerBroken` at the first entry that is not as it was written. Read all of them: seals and the signature of an
    earlier purge are checked at the end.
    """
    document = read_account(account)
    check = AccountCheck(document, SignedPurges(public_keys(secret_key), purges_signed_since()))
    seals = SealedLeaves(secret_key)
    for leaf in _leaves_until(document, until):
        check.leaf(leaf)
        _require(seals.problems(_leaf(account, leaf), leaf["seal"], leaf["position"]))
    for entry in read_account_entries(account, until):
        _require(check.entry(entry))
        yield _old_entry(entry)
    _require(check.end_of_purge())
    _require(check.missing_leaves(0))
    if until >= document["entries"]:
        _require((*check.end_of_sums(), *check.end_of_chain()))


def count_replaced_leaves(account: UUID, until: int) -> int:
    """Return the number of the account's leaves that cover entries up to number `until`, or entries of earlier purges."""
    purged = _purged_leaves(read_account(account))
    rows = execute(
        "SELECT first_seq FROM ledger_leaf WHERE account_id = ? ORDER BY seal, position LIMIT ? OFFSET ?",
        [account, _ALL, purged],
    )
    return purged + sum(1 for (first,) in rows.fetchall() if first <= until)


_ALL = 2**31 - 1  # SQLite needs a limit before an offset


def _leaves_until(account: Document, until: int) -> Iterable[Document]:
    """Yield the leaves that cover entries up to number `until`."""
    leaves = read_account_leaves(UUID(account["id"]), _purged_leaves(account))
    return takewhile(lambda leaf: leaf["first_seq"] <= until, leaves)


def _purged_leaves(account: Document) -> int:
    """Return the number of leaves whose entries earlier purges replaced. The check of their signature comes later.

    Without a signature, an older release may have purged the account, after any of its leaves.
    """
    signed = account["origin_signature"]
    if isinstance(signed, dict) and isinstance(signed.get("leaves"), int):
        return int(signed["leaves"])
    return 0 if account["origin"] is None else _ALL


def _require(problems: Iterable[str]) -> None:
    for problem in problems:
        raise LedgerBroken(problem)


def _leaf(account: UUID, leaf: Document) -> Leaf:
    return Leaf(account, leaf["first_seq"], leaf["seq"], bytes.fromhex(leaf["head"]), bytes.fromhex(leaf["root"]))


def _old_entry(entry: Document) -> OldEntry:
    call = None if entry["call"] is None else UUID(entry["call"])
    hashed = None if entry["hash"] is None else bytes.fromhex(entry["hash"])
    return OldEntry(entry["seq"], entry["balance_after"], entry["plan_amount"], call, entry["actor"], hashed)
