"""Reads the whole ledger as documents that can be checked without the database (`shared.ledger.dump_check`).

    {"account": {…}}    its balance, held credits and hashes; followed by
    {"entry": {…}}      its entries, by number
    {"hold": {…}}       its open holds

Accounts are in the order of their ids, hashes in hexadecimal. Queries read pages, so memory does not grow with the ledger. Run
all of it in one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson

from shared.ledger.sql import as_uuid, execute

PAGE = 2_000  # rows per query
_START = UUID(int=0)
Document = dict[str, Any]


def read_ledger() -> Iterator[Document]:
    """Yield each account with its entries and open holds. Run inside a snapshot."""
    entries, holds = _Section(read_entries(), "entry"), _Section(_read_holds(), "hold")
    for account in _read_accounts():
        yield {"account": account}
        yield from entries.of(account["id"])
        yield from holds.of(account["id"])


class _Section:
    """Rows in the order of their accounts, taken account by account."""

    def __init__(self, rows: Iterator[Document], name: str) -> None:
        self._rows = rows
        self._name = name
        self._next = next(rows, None)

    def of(self, account: str) -> Iterator[Document]:
        while self._next is not None and self._next["account"] == account:
            yield {self._name: self._next}
            self._next = next(self._rows, None)


def _read_accounts() -> Iterator[Document]:
    after = _START
    while True:
        rows = execute(
            "SELECT id, balance, held, plan_credits, ledger_seq, ledger_head, ledger_origin FROM account WHERE id > ?"
            " ORDER BY id LIMIT ?",
            [after, PAGE],
        ).fetchall()
        for id, balance, held, plan, seq, head, origin in rows:
            yield {
                **{"id": str(as_uuid(id)), "balance": balance, "held": held, "plan_credits": plan, "entries": seq},
                **{"head": _hex(head), "origin": _hex(origin)},
            }
        if len(rows) < PAGE:
            return
        after = as_uuid(rows[-1][0])


def read_entries() -> Iterator[Document]:
    """Yield all entries by account and number, each charge with what its entry commits to of the call's usage."""
    after = (_START, 0)
    while True:
        rows = execute(f"{_ENTRIES} WHERE (e.account_id, e.seq) > (?, ?) ORDER BY e.account_id, e.seq LIMIT ?", [*after, PAGE])
        page = rows.fetchall()
        yield from map(_entry, page)
        if len(page) < PAGE:
            return
        after = as_uuid(page[-1][0]), page[-1][1]


def read_entry(account: UUID, call: UUID) -> Document | None:
    """Return the charge of a call like `read_entries`, or None if the ledger has none."""
    row = execute(f"{_ENTRIES} WHERE e.account_id = ? AND e.call = ? AND e.kind = 'charge'", [account, call]).fetchone()
    return None if row is None else _entry(row)


_USAGE = (
    *("model", "price", "status", "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
    *("estimated", "extra_usage", "credits", "overage_credits", "overrun_credits", "created_at", "request_sha256"),
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
    model, price, status, *counts, estimated, extra, credits, overage, overrun, created, request = row
    if isinstance(extra, str):  # SQLite
        extra = orjson.loads(extra)
    return [
        *(model, str(as_uuid(price)), status, *counts, bool(estimated), extra, credits, overage, overrun, created, _hex(request))
    ]


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


def _hex(value: bytes | memoryview | None) -> str | None:
    return None if value is None else bytes(value).hex()
