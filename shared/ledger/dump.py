"""Reads the whole ledger as documents that can be checked without the database (`shared.ledger.dump_check`).

    {"ledger": {…}}     the version of the format, and what verifies signatures
    {"account": {…}}    its balance, held credits and hashes; followed by
    {"leaf": {…}}       its leaves in the trees of seals
    {"entry": {…}}      its entries, by number
    {"hold": {…}}       its open holds
    {"seal": {…}}       after the accounts: a seal's signed document, followed by
    {"leaves": […]}     the hashes of all its leaves
    {"end": {…}}        the number of lines before it, and their SHA-256

Accounts are in the order of their ids, hashes in hexadecimal. Queries read pages, so memory does not grow with the ledger. Run
all of it in one snapshot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, BinaryIO
from uuid import UUID

import orjson

from shared.core.database import snapshot
from shared.ledger.seal import public_keys, purges_signed_since, read_documents, read_leaves
from shared.ledger.sql import as_uuid, execute

VERSION = 1
PAGE = 2_000  # rows per query
LEAF_PAGE = 100  # leaves of one account per query
_START = UUID(int=0)
Document = dict[str, Any]


def write_dump(file: BinaryIO, now: int, secret_key: str) -> int:
    """Write the ledger to `file`, a document per line, from one snapshot at `now` (ms UTC). Returns the number of lines."""
    digest, lines = hashlib.sha256(), 0
    with snapshot():
        header = {"ledger": {"version": VERSION, "created_at": now, **_signers(secret_key)}}
        for document in chain([header], read_ledger(), read_seals()):
            line = orjson.dumps(document) + b"\n"
            digest.update(line)
            file.write(line)
            lines += 1
    file.write(orjson.dumps({"end": {"lines": lines, "sha256": digest.hexdigest()}}) + b"\n")
    return lines + 1


def read_ledger() -> Iterator[Document]:
    """Yield each account with its leaves, entries and open holds. Run inside a snapshot."""
    sections = _Section(_read_leaves(), "leaf"), _Section(read_entries(), "entry"), _Section(_read_holds(), "hold")
    for account in _read_accounts():
        yield {"account": account}
        for section in sections:
            yield from section.of(account["id"])


class _Section:
    """Rows in the order of their accounts, taken account by account. Those of accounts that are gone are left out."""

    def __init__(self, rows: Iterator[Document], name: str) -> None:
        self._rows = rows
        self._name = name
        self._next = next(rows, None)

    def of(self, account: str) -> Iterator[Document]:
        while self._next is not None and self._next["account"] <= account:
            if self._next["account"] == account:
                yield {self._name: self._next}
            self._next = next(self._rows, None)


def read_account(account: UUID) -> Document:
    """Return an account like `read_ledger`."""
    return _account(execute(f"{_ACCOUNTS} WHERE id = ?", [account]).fetchone())


def _read_accounts() -> Iterator[Document]:
    after = _START
    while True:
        rows = execute(f"{_ACCOUNTS} WHERE id > ? ORDER BY id LIMIT ?", [after, PAGE]).fetchall()
        yield from map(_account, rows)
        if len(rows) < PAGE:
            return
        after = as_uuid(rows[-1][0])


_ACCOUNTS = "SELECT id, balance, held, plan_credits, ledger_seq, ledger_head, ledger_origin, ledger_origin_signature FROM account"


def _account(row: tuple[Any, ...]) -> Document:
    id, balance, held, plan, seq, head, origin, signature = row
    return {
        **{"id": str(as_uuid(id)), "balance": balance, "held": held, "plan_credits": plan, "entries": seq},
        **{"head": _hex(head), "origin": _hex(origin), "origin_signature": _signature(signature)},
    }


def read_entries() -> Iterator[Document]:
    """Yield all entries by account and number, charges with the part of the call's usage that they commit to."""
    after = (_START, 0)
    while True:
        rows = execute(f"{_ENTRIES} WHERE (e.account_id, e.seq) > (?, ?) ORDER BY e.account_id, e.seq LIMIT ?", [*after, PAGE])
        page = rows.fetchall()
        yield from map(_entry, page)
        if len(page) < PAGE:
            return
        after = as_uuid(page[-1][0]), page[-1][1]


def read_account_entries(account: UUID, until: int) -> Iterator[Document]:
    """Yield an account's entries up to number `until` like `read_entries`."""
    after = 0
    while True:
        where = "WHERE e.account_id = ? AND e.seq > ? AND e.seq <= ? ORDER BY e.seq LIMIT ?"
        page = execute(f"{_ENTRIES} {where}", [account, after, until, PAGE]).fetchall()
        yield from map(_entry, page)
        if len(page) < PAGE:
            return
        after = page[-1][1]


def read_entry(account: UUID, call: UUID) -> Document | None:
    """Return the charge of a call like `read_entries`, or None if the ledger has none."""
    row = execute(f"{_ENTRIES} WHERE e.account_id = ? AND e.call = ? AND e.kind = 'charge'", [account, call]).fetchone()
    return None if row is None else _entry(row)


_USAGE = (
    *("model", "price", "status", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("estimated", "extra_usage", "credits", "overage_credits", "overrun_credits", "created_at", "request_sha256"),
    "request_shape",
)
_ENTRIES = (
    "SELECT e.account_id, e.seq, e.kind, e.amount, e.balance_after, e.plan_amount, e.created_at, e.actor, e.reason, e.call,"
    f" e.salt, e.commitment, e.entry_hash, u.id, {', '.join(f'u.{column}' for column in _USAGE)} FROM ledger_entry e"
    " LEFT JOIN usage_ledger u ON e.kind = 'charge' AND u.account_id = e.account_id AND u.id = e.call"
)


def _entry(row: tuple[Any, ...]) -> Document:
    account, seq, kind, amount, balance, plan, created, actor, reason, call, salt, commitment, entry_hash, used, *usage = row
    return {
        **{"account": str(as_uuid(account)), "seq": seq, "kind": kind, "amount": amount, "balance_after": balance},
        **{"plan_amount": plan, "created_at": created, "actor": actor, "reason": reason},
        **{"call": None if call is None else str(as_uuid(call)), "usage": None if used is None else _usage(usage)},
        **{"salt": _hex(salt), "commitment": _hex(commitment), "hash": _hex(entry_hash)},
    }


def _usage(row: list[Any]) -> list[Any]:
    model, price, status, *counts, estimated, extra, credits, overage, overrun, created, request, shape = row
    if isinstance(extra, str):  # SQLite
        extra = orjson.loads(extra)
    if extra is not None:
        extra = dict(sorted(extra.items()))  # as in the entry's details
    return [
        *(model, str(as_uuid(price)), status, *counts, bool(estimated), extra, credits, overage, overrun, created, _hex(request)),
        *(() if shape is None else (_hex(shape),)),
    ]


def _read_leaves() -> Iterator[Document]:
    after = (_START, 0, 0)
    while True:
        rows = execute(
            f"{_LEAVES} WHERE (l.account_id, l.seal, l.position) > (?, ?, ?) ORDER BY l.account_id, l.seal, l.position LIMIT ?",
            [*after, PAGE],
        ).fetchall()
        yield from map(_leaf, rows)
        if len(rows) < PAGE:
            return
        after = as_uuid(rows[-1][0]), rows[-1][1], rows[-1][2]


def read_account_leaves(account: UUID, first: int) -> Iterator[Document]:
    """Yield an account's leaves in the order of `read_ledger`, without the first ones up to `first`."""
    while True:
        where = "WHERE l.account_id = ? ORDER BY l.seal, l.position LIMIT ? OFFSET ?"
        rows = execute(f"{_LEAVES} {where}", [account, LEAF_PAGE, first]).fetchall()
        yield from map(_leaf, rows)
        if len(rows) < LEAF_PAGE:
            return
        first += LEAF_PAGE


_LEAVES = (
    "SELECT l.account_id, l.seal, l.position, l.first_seq, l.seq, l.head, l.root FROM ledger_leaf l"
    " JOIN ledger_seal s ON s.number = l.seal AND s.sealed_at IS NOT NULL"
)


def _leaf(row: tuple[Any, ...]) -> Document:
    account, seal, position, first, last, head, root = row
    return {
        **{"account": str(as_uuid(account)), "seal": seal, "position": position, "first_seq": first, "seq": last},
        **{"head": _hex(head), "root": _hex(root)},
    }


def read_seals() -> Iterator[Document]:
    """Yield each seal with the hashes of its leaves. Run inside a snapshot."""
    since = 1
    while documents := read_documents(since, 100):
        for document, public_key in documents:
            number = document["head"]["number"]
            yield {"seal": {**document, "public_key": public_key}}
            hashes = (leaf.hash.hex() for leaf in read_leaves(number))
            while page := list(islice(hashes, PAGE)):
                yield {"leaves": page}
            since = number + 1


def _read_holds() -> Iterator[Document]:
    after = (_START, _START)
    while True:
        rows = execute(
            "SELECT account_id, id, amount FROM hold WHERE state = 'held' AND (account_id, id) > (?, ?) ORDER BY account_id, id"
            " LIMIT ?",
            [*after, PAGE],
        ).fetchall()
        for account, call, amount in rows:
            yield {"account": str(as_uuid(account)), "call": str(as_uuid(call)), "amount": amount}
        if len(rows) < PAGE:
            return
        after = as_uuid(rows[-1][0]), as_uuid(rows[-1][1])


def _signers(secret_key: str) -> Document:
    return {"keys": public_keys(secret_key), "purges_signed_since": purges_signed_since()}


def _signature(text: str | None) -> Any:
    try:
        return None if text is None else orjson.loads(text)
    except orjson.JSONDecodeError:
        return text  # damaged, as the check of the dump will say


def _hex(value: bytes | memoryview | None) -> str | None:
    return None if value is None else bytes(value).hex()
