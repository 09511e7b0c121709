"""The statements' plumbing: set-wise SQL that is the same text on SQLite and PostgreSQL but for the placeholder.

The statements are written by hand, not with Peewee's builder, because they run for every call: building a 64-row insert costs
more than running it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from shared.database import database, is_sqlite


class AccountState(NamedTuple):
    """A locked account as a batch sees and changes it, in credits."""

    balance: int
    held: int
    ledger_seq: int

    @property
    def free(self) -> int:
        return self.balance - self.held


def execute(sql: str, parameters: Sequence[Any]) -> Any:
    """Run one statement written with `?` placeholders; give the cursor."""
    return database.execute_sql(_placeholders(sql, is_sqlite()), parameters)


@lru_cache(maxsize=4096)
def _placeholders(sql: str, sqlite: bool) -> str:
    return sql if sqlite else sql.replace("?", "%s")


@lru_cache(maxsize=1024)
def marks(count: int) -> str:
    """`?, ?, ?` for an IN list of `count` values."""
    return ", ".join("?" * count)


@lru_cache(maxsize=4096)
def row_marks(columns: int, rows: int) -> str:
    """`(?, ?), (?, ?)` for a VALUES list."""
    return ", ".join([f"({marks(columns)})"] * rows)


def insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert `rows` in one statement; nothing when there are none."""
    if rows:
        execute(_insert_sql(table, tuple(columns), len(rows)), [value for row in rows for value in row])


@lru_cache(maxsize=4096)
def _insert_sql(table: str, columns: tuple[str, ...], rows: int) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES {row_marks(len(columns), rows)}"


def as_uuid(value: Any) -> UUID:
    """An id as the database gave it: PostgreSQL a `UUID`, SQLite 32 hex characters."""
    return value if isinstance(value, UUID) else UUID(value)


def as_list(value: Any) -> list[str] | None:
    """A JSON list as the database gave it: PostgreSQL decoded, SQLite text."""
    decoded: list[str] | None = json.loads(value) if isinstance(value, str) else value
    return decoded


def lock_accounts(ids: Iterable[UUID]) -> dict[UUID, AccountState]:
    """Read and lock accounts, in order of their id. Unknown ones are left out."""
    wanted = sorted(set(ids))
    lock = "" if is_sqlite() else " FOR UPDATE"  # SQLite has locked the whole file by BEGIN IMMEDIATE
    rows = execute(
        f"SELECT id, balance, held, ledger_seq FROM account WHERE id IN ({marks(len(wanted))}) ORDER BY id{lock}",
        wanted,
    )
    return {as_uuid(id): AccountState(balance, held, seq) for id, balance, held, seq in rows}


def change_accounts(changes: dict[UUID, tuple[int, int, int]]) -> None:
    """Add `(balance, held, ledger_seq)` differences to locked accounts, all in one statement.

    The table's CHECK constraints are the last guard: a wrong difference fails the batch, it never overdraws.
    """
    if not changes:
        return
    rows = [(id, *difference) for id, difference in sorted(changes.items())]
    execute(
        "UPDATE account SET balance = balance + v.column2, held = held + v.column3, ledger_seq = ledger_seq + v.column4"
        f" FROM (VALUES {row_marks(4, len(rows))}) AS v WHERE account.id = v.column1",
        [value for row in rows for value in row],
    )
