"""Seals the ledger: once a day, one signed hash that covers every account's new entries.

A leaf covers up to 4,096 entries of an account that are newer than its last leaf: their numbers, the hash of the last one (the
account's head), and the root of a Merkle tree of all their hashes. The root of the tree of leaves is in a statement that is
signed, numbered, and names the hash of the statement before it. So the latest statement covers all older ones. Hashes of
leaves disclose nothing: each contains an entry's hash, which contains a random salt.

Accounts are read in pages, each in a short transaction that locks only the seal's row. A leaf covers the entries that
its account had when its page was read. An interrupted run is continued, and concurrent runs take turns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from struct import Struct
from typing import Any, NamedTuple
from uuid import UUID

from shared.core import signing
from shared.core.database import is_sqlite, transaction
from shared.core.secret_key import decryption_keys
from shared.core.timestamps import format_timestamp
from shared.ledger.merkle import PathStep, leaf_hash, path_of, root_of
from shared.ledger.origins import block_purges, sign_old_purges
from shared.ledger.sql import as_uuid, execute, insert

KIND = "yout-ledger-heads"
PURGES_SIGNED = "purges_signed"  # in a statement: every purge is signed, those of older releases by the first such seal
PAGE = 200  # accounts per transaction
LEAF_PAGE = 4_096  # leaves per query
MAX_ENTRIES = 4_096  # per leaf: a proof reads all of them
MAX_OLD_ENTRIES = 65_536  # per leaf of release 0.6.0
CHUNK = 1_024  # leaves; a power of two, so that each chunk is a subtree
_LEAF = Struct(">16sqq32s32s")
_START = UUID(int=0)


class Leaf(NamedTuple):
    """The fields that a leaf's hash covers. `head` and `root` have 32 bytes."""

    account: UUID
    first_seq: int
    seq: int
    head: bytes
    root: bytes

    @property
    def hash(self) -> bytes:
        return leaf_hash(_LEAF.pack(self.account.bytes, *self[1:]))


def seal_ledger(now: int, secret_key: str, issuer: str) -> dict[str, Any]:
    """Seal all new entries at `now` (ms UTC) and return the signed document. Runs its own short transactions."""
    number = _begin(now)
    if purges_signed_since() is None:
        sign_old_purges(number, secret_key)
    after = _START
    while (accounts := _read_accounts(after)) and _add_leaves(number, [row for row in accounts if row[2] != row[3]]):
        after = as_uuid(accounts[-1][0])
    return _finish(number, now, secret_key, issuer)


def last_sealed_at() -> int:
    """Return when the latest seal was finished (ms UTC), or 0."""
    return int(execute("SELECT coalesce(max(sealed_at), 0) FROM ledger_seal", []).fetchone()[0])


def read_documents(since: int = 0, limit: int = 1_000) -> list[tuple[dict[str, Any], str]]:
    """Return the signed documents from number `since`, the oldest first, each with its public key in PEM."""
    rows = execute(
        "SELECT document, public_key FROM ledger_seal WHERE number >= ? AND sealed_at IS NOT NULL ORDER BY number LIMIT ?",
        [since, limit],
    )
    return [(json.loads(document), key) for document, key in rows.fetchall()]


def read_last_document() -> tuple[dict[str, Any], str] | None:
    """Return the latest signed document with its public key in PEM, or None before the first seal."""
    row = execute(
        "SELECT document, public_key FROM ledger_seal WHERE sealed_at IS NOT NULL ORDER BY number DESC LIMIT 1", []
    ).fetchone()
    return None if row is None else (json.loads(row[0]), row[1])


def published(documents: Sequence[tuple[dict[str, Any], str]], keys: Mapping[str, str]) -> dict[str, Any]:
    """Return documents of seals with the `public_keys`, as they are published."""
    return {"heads": [document for document, _ in documents], "keys": dict(keys)}


def public_keys(secret_key: str) -> dict[str, str]:
    """Return the public keys, in PEM by id, that verify seals and purges: of all seals, and of known secret keys."""
    rows = execute("SELECT DISTINCT public_key FROM ledger_seal WHERE sealed_at IS NOT NULL", []).fetchall()
    keys = [signing.parse_public_key(row[0].encode()) for row in rows]
    keys += [signing.public_key(key, signing.LEDGER_HEADS) for key in decryption_keys(secret_key)]
    return {signing.key_id(key): signing.public_pem(key).decode() for key in keys}


def purges_signed_since() -> int | None:
    """Return the number of the first seal of a release that signs purges, or None before it."""
    query = "SELECT min(number) FROM ledger_seal WHERE sealed_at IS NOT NULL AND document LIKE ?"
    row = execute(query, [f'%"{PURGES_SIGNED}": true%']).fetchone()
    return None if row[0] is None else int(row[0])


def statement_hash(statement: dict[str, Any]) -> str:
    """Return the SHA-256 in hexadecimal that the next statement has as `previous`."""
    return hashlib.sha256(signing.canonical_json(statement)).hexdigest()


def _begin(now: int) -> int:
    """Return the number of the seal that was started and not finished, or start the next one."""
    with transaction():
        row = execute("SELECT number, sealed_at FROM ledger_seal ORDER BY number DESC LIMIT 1", []).fetchone()
        if row is not None and row[1] is None:
            return int(row[0])
        number = 1 if row is None else int(row[0]) + 1
        execute("INSERT INTO ledger_seal (number, started_at) VALUES (?, ?) ON CONFLICT DO NOTHING", [number, now])
    return number


def _read_accounts(after: UUID) -> list[tuple[Any, ...]]:
    """Return the next accounts by id: id, latest number, head, and the head and number of the last leaf."""
    last = "FROM ledger_leaf l WHERE l.account_id = a.id ORDER BY l.seal DESC, l.position DESC LIMIT 1"
    return list(
        execute(
            f"SELECT a.id, a.ledger_seq, a.ledger_head, (SELECT l.head {last}), (SELECT l.seq {last}) FROM account a"
            " WHERE a.id > ? ORDER BY a.id LIMIT ?",
            [after, PAGE],
        ).fetchall()
    )


def _add_leaves(number: int, accounts: Sequence[tuple[Any, ...]]) -> bool:
    """Add leaves of changed accounts. Returns False if another process has finished this seal."""
    with transaction():
        block_purges()
        if not _lock(number):
            return False
        position = execute("SELECT coalesce(max(position), -1) FROM ledger_leaf WHERE seal = ?", [number]).fetchone()[0] + 1
        leaves = [leaf for row in accounts for leaf in _new_leaves(number, *row)]
        rows = [(number, position + offset, *leaf) for offset, leaf in enumerate(leaves)]
        insert("ledger_leaf", ("seal", "position", "account_id", "first_seq", "seq", "head", "root"), rows)
    return True


def _lock(number: int) -> bool:
    """Lock the seal's row. Returns whether it is still open."""
    lock = "" if is_sqlite() else " FOR UPDATE"
    row = execute(f"SELECT sealed_at FROM ledger_seal WHERE number = ?{lock}", [number]).fetchone()
    return row is not None and row[0] is None


def _new_leaves(
    number: int, id: Any, ledger_seq: int, _head: bytes | None, sealed: bytes | None, sealed_seq: int | None
) -> Iterator[Leaf]:
    account, start = as_uuid(id), 1
    again = execute(
        "SELECT 1 FROM ledger_leaf WHERE account_id = ? AND seal = ? AND seq > ?", [account, number, sealed_seq or 0]
    ).fetchone()
    if again:
        return  # another process was faster
    if sealed is not None and sealed_seq is not None:
        kept = execute("SELECT entry_hash FROM ledger_entry WHERE account_id = ? AND seq = ?", [account, sealed_seq]).fetchone()
        if kept is not None and kept[0] is not None and bytes(kept[0]) == bytes(sealed):
            start = sealed_seq + 1  # otherwise a purge has renumbered the entries
    while hashes := read_hashes(account, start, ledger_seq, MAX_ENTRIES):
        yield Leaf(account, start, hashes[-1][0], hashes[-1][1], root_of(leaf_hash(entry) for _, entry in hashes))
        start = hashes[-1][0] + 1


def read_hashes(account: UUID, first: int, last: int, limit: int) -> list[tuple[int, bytes]]:
    """Return the numbers and hashes of an account's witnessed entries from `first` to `last`, at most `limit`."""
    rows = execute(
        "SELECT seq, entry_hash FROM ledger_entry WHERE account_id = ? AND seq >= ? AND seq <= ? AND entry_hash IS NOT NULL"
        " ORDER BY seq LIMIT ?",
        [account, first, last, limit],
    )
    return [(seq, bytes(entry)) for seq, entry in rows.fetchall()]


def read_leaves(number: int, first: int = 0, count: int | None = None) -> Iterator[Leaf]:
    """Yield the leaves of a seal by position, from `first`."""
    end = None if count is None else first + count
    while end is None or first < end:
        size = LEAF_PAGE if end is None else min(LEAF_PAGE, end - first)
        rows = execute(
            "SELECT account_id, first_seq, seq, head, root FROM ledger_leaf WHERE seal = ? AND position >= ?"
            " ORDER BY position LIMIT ?",
            [number, first, size],
        ).fetchall()
        for account, first_seq, seq, head, root in rows:
            yield Leaf(as_uuid(account), first_seq, seq, bytes(head), bytes(root))
        if len(rows) < size:
            return
        first += size


def read_chunk_roots(number: int) -> list[bytes]:
    """Return the roots of each `CHUNK` leaves of a finished seal."""
    [chunks] = execute("SELECT chunks FROM ledger_seal WHERE number = ?", [number]).fetchone()
    return _split_roots(chunks)


def _split_roots(chunks: bytes) -> list[bytes]:
    return [bytes(chunks[offset : offset + 32]) for offset in range(0, len(chunks), 32)]


def _finish(number: int, now: int, secret_key: str, issuer: str) -> dict[str, Any]:
    with transaction():
        if not _lock(number):
            [(document, _), *_] = read_documents(number, 1)
            return document
        count, chunks = 0, []
        while leaves := [leaf.hash for leaf in read_leaves(number, count, CHUNK)]:
            count += len(leaves)
            chunks.append(root_of(leaves))
        before = read_documents(number - 1, 1) if number > 1 else []
        statement = {
            "kind": KIND,
            "issuer": issuer,
            "number": number,
            "sealed_at": format_timestamp(now),
            "leaves": count,
            PURGES_SIGNED: True,
            "root": root_of(chunks).hex(),
            "previous": statement_hash(before[0][0]["head"]) if before else None,
        }
        key = signing.public_key(secret_key, signing.LEDGER_HEADS)
        document = {
            "head": statement,
            "signature": signing.sign(statement, secret_key, signing.LEDGER_HEADS),
            "key_id": signing.key_id(key),
        }
        execute(
            "UPDATE ledger_seal SET sealed_at = ?, document = ?, public_key = ?, chunks = ? WHERE number = ?",
            [now, json.dumps(document), signing.public_pem(key).decode(), b"".join(chunks), number],
        )
    return document


def is_sealed(account: UUID) -> bool:
    """Return whether any leaf is of this account. Waits for a running page of a seal. Run inside a transaction."""
    lock = "" if is_sqlite() else " FOR UPDATE"
    execute(f"SELECT number FROM ledger_seal WHERE sealed_at IS NULL{lock}", []).fetchall()
    return execute("SELECT 1 FROM ledger_leaf WHERE account_id = ? LIMIT 1", [account]).fetchone() is not None


class Inclusion(NamedTuple):
    """The proof that a seal covers an entry: from the entry's hash to the leaf's `root`, and from the leaf to the seal's root."""

    leaf: Leaf
    entries_path: list[PathStep]
    leaves_path: list[PathStep]
    document: dict[str, Any]
    public_key: str


def find_inclusion(account: UUID, seq: int, entry_hash: bytes) -> Inclusion | None:
    """Return the proof for an entry, or None if no seal covers it yet."""
    rows = execute(
        "SELECT l.seal, l.position, l.first_seq, l.seq, l.head, l.root, s.document, s.public_key, s.chunks FROM ledger_leaf l"
        " JOIN ledger_seal s ON s.number = l.seal WHERE l.account_id = ? AND l.first_seq <= ? AND l.seq >= ?"
        " AND s.sealed_at IS NOT NULL ORDER BY l.seal DESC, l.position DESC",
        [account, seq, seq],
    ).fetchall()
    for number, position, first_seq, last_seq, head, root, document, public_key, chunks in rows:
        hashes = read_hashes(account, first_seq, last_seq, MAX_OLD_ENTRIES)
        leaves = [leaf_hash(entry) for _, entry in hashes]
        index = next((index for index, found in enumerate(hashes) if found == (seq, entry_hash)), None)
        if index is None or root_of(leaves) != bytes(root):
            continue  # the leaf covers entries that a purge has replaced
        start = position // CHUNK * CHUNK
        chunk = [leaf.hash for leaf in read_leaves(number, start, CHUNK)]
        path = path_of(chunk, position - start) + path_of(_split_roots(chunks), position // CHUNK)
        leaf = Leaf(account, first_seq, last_seq, bytes(head), bytes(root))
        return Inclusion(leaf, path_of(leaves, index), path, json.loads(document), public_key)
    return None
