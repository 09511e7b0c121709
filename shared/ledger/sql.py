"""SQL for the ledger: set-based statements with the same text on SQLite and PostgreSQL, except for placeholders.

The statements are written by hand because they run for every call: building a 64-row INSERT with Peewee takes longer than
running it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import peewee

from shared.core.billing_periods import month_of
from shared.core.clock import id_time
from shared.core.database import (
    BATCH_TIMEOUT_MS,
    IDLE_TIMEOUT_MS,
    LOCK_TIMEOUT_MS,
    STATEMENT_TIMEOUT_MS,
    database,
    drop_connection,
    is_sqlite,
)
from shared.core.lazy_import import lazy_import

if TYPE_CHECKING:
    import psycopg
else:
    psycopg = lazy_import("psycopg")  # an edge on SQLite has none


class AccountState(NamedTuple):
    """A locked account's amounts in credits, as a batch reads and changes them.

    `head` is the hash of the latest witnessed ledger entry (`shared.ledger.witness`), as `lock_accounts` read it; None: no entry.
    """

    balance: int
    held: int
    ledger_seq: int
    plan_credits: int = 0
    head: bytes | None = None

    @property
    def available(self) -> int:
        return self.balance - self.held


def execute(sql: str, parameters: Sequence[Any]) -> Any:
    """Run one statement with `?` placeholders and return the cursor.

    `IN ?` takes a list. On PostgreSQL it becomes one array, so batches of all sizes share one prepared statement. A single value
    needs no array: arrays take most of the time to send a statement.
    """
    if is_sqlite():
        sizes = tuple(len(value) if isinstance(value, list) else 0 for value in parameters)
        return database.execute_sql(_sqlite_text(sql, sizes), _sqlite_parameters(_flattened(parameters)))
    if all(not isinstance(value, list) or len(value) == 1 for value in parameters):
        return database.execute_sql(_postgres_single(sql), _flattened(parameters))
    return database.execute_sql(_postgres_text(sql), parameters)


@lru_cache(maxsize=4096)
def _sqlite_text(sql: str, sizes: tuple[int, ...]) -> str:
    pieces = sql.split("?")
    placeholders = [f"({_placeholders(size)})" if size else "?" for size in sizes]
    return "".join(text for pair in zip(pieces, [*placeholders, ""], strict=True) for text in pair)


@lru_cache(maxsize=256)
def _postgres_text(sql: str) -> str:
    return sql.replace("IN ?", "= ANY(%s)").replace("?", "%s")


@lru_cache(maxsize=256)
def _postgres_single(sql: str) -> str:
    return sql.replace("IN ?", "= %s").replace("?", "%s")


def _flattened(parameters: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in parameters:
        if isinstance(value, list):
            flat += value
        else:
            flat.append(value)
    return flat


def _sqlite_parameters(values: Iterable[Any]) -> list[Any]:
    """Convert ids to text: much cheaper than the adapter that `sqlite3` calls for them."""
    return [value.int.to_bytes(16).hex() if value.__class__ is UUID else value for value in values]


def _placeholders(count: int) -> str:
    return ", ".join("?" * count)


def batch_transaction(*, durable: bool = True) -> AbstractContextManager[None]:
    """A write transaction that sends its statements without waiting for each result. Must not be nested.

    On PostgreSQL a batch takes two round trips: BEGIN is sent with the first query, COMMIT with the writes. Errors of writes
    appear at the end. The connection is then closed, because a failed pipeline cannot be rolled back. Raises Peewee's errors,
    including those found while reading rows.

    Unless it is `durable`, the commit does not wait for the disk: a crash of the database may undo it, but leaves the database
    consistent. SQLite, "PRAGMA synchronous"; PostgreSQL, "Asynchronous Commit". `settle` charges calls whose hold was lost.
    """
    return _sqlite_transaction(durable) if is_sqlite() else _pipelined_transaction(durable)


def require_durability() -> None:
    """Make the current `batch_transaction` on PostgreSQL durable. On SQLite, a crash ends the edge and its calls, too."""
    if not is_sqlite():
        database.execute_sql("SET LOCAL synchronous_commit TO DEFAULT")


@contextmanager
def _pipelined_transaction(durable: bool) -> Iterator[None]:
    try:
        with database.connection().pipeline():
            database.execute_sql("BEGIN")
            database.execute_sql(_limits(database.server_version, durable))
            yield
            database.execute_sql("COMMIT")
    except BaseException as error:
        drop_connection(error)
        if isinstance(error, psycopg.Error):
            kind = next(kind for base, kind in _error_kinds() if isinstance(error, base))
            raise kind(*error.args) from error
        raise


@contextmanager
def _sqlite_transaction(durable: bool) -> Iterator[None]:
    """Like `shared.core.database.transaction`, without Peewee's objects for nested transactions.

    An INSERT of several rows keeps the former content of each page that it changes, in case a row is rejected. By default, SQLite
    writes more than 64 KB of that to a temporary file. Only here, because long sorts of other connections could fill the memory.
    """
    execute_sql = database.execute_sql
    execute_sql("PRAGMA temp_store = MEMORY")
    if not durable:
        execute_sql("PRAGMA synchronous = NORMAL")
    try:
        execute_sql("BEGIN IMMEDIATE")
        yield
        execute_sql("COMMIT")
    except BaseException:
        if database.connection().in_transaction:  # SQLite itself rolls back after some errors, such as a full disk
            execute_sql("ROLLBACK")
        raise
    finally:
        if not durable:
            execute_sql("PRAGMA synchronous = FULL")


@lru_cache(maxsize=4)
def _limits(server_version: int, durable: bool) -> str:
    """Return SQL that sets timeouts for this transaction. Otherwise a lost client would keep its accounts locked for hours."""
    limits: dict[str, int | str] = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_TIMEOUT_MS,
    }
    if not durable:
        limits["synchronous_commit"] = "off"
    if server_version >= 170_000:
        limits["transaction_timeout"] = BATCH_TIMEOUT_MS  # also covers a client that is lost while sending
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in limits.items())


def _error_kinds() -> tuple[tuple[type[psycopg.Error], type[peewee.PeeweeException]], ...]:
    """Return Peewee's class for each of the driver's, the most general one last."""
    return (
        (psycopg.OperationalError, peewee.OperationalError),
        (psycopg.InterfaceError, peewee.InterfaceError),
        (psycopg.IntegrityError, peewee.IntegrityError),
        (psycopg.Error, peewee.DatabaseError),
    )


def insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
    """Insert `rows` in one statement, if there are any. Columns that are not in `_TYPES` must be integers.

    `conflict` is an `ON CONFLICT …` clause for rows whose key exists.
    """
    if not rows:
        return
    names = ", ".join(f'"{column}"' for column in columns)
    source, values = selected(columns, rows)
    database.execute_sql(f"INSERT INTO {table} ({names}) {source} {conflict}", values)


def update_from(update: str, where: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], accounts: str) -> None:
    """Run `update` for `rows` in one statement, if there are any: its values are `v.column1`, `v.column2`, …

    `accounts` names the updated table's account column, which one of the values must equal. On PostgreSQL the accounts are also
    listed, because a distributed database does not route by a join.
    """
    if not rows:
        return
    source, values = selected(columns, rows)
    if not is_sqlite():
        position = columns.index("account_id")
        ids = sorted({row[position] for row in rows})
        where += f" AND {accounts} = %s" if len(ids) == 1 else f" AND {accounts} = ANY(%s)"
        values += ids if len(ids) == 1 else [ids]
    database.execute_sql(f"{update} FROM ({source}) AS v WHERE {where}", values)


def selected(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
    """Return SQL that selects `rows` as `column1`, `column2`, …, and its parameters. `columns` give the types for PostgreSQL."""
    if is_sqlite():
        return _sqlite_values(len(columns), len(rows)), _sqlite_parameters(chain.from_iterable(rows))
    types = tuple(_TYPES.get(column, "bigint") for column in columns)
    if len(rows) == 1:
        return _postgres_row(types), list(rows[0])
    return _postgres_values(types), [list(column) for column in zip(*rows, strict=True)]


@lru_cache(maxsize=4096)
def _sqlite_values(columns: int, rows: int) -> str:
    return "VALUES " + ", ".join([f"({_placeholders(columns)})"] * rows)


@lru_cache(maxsize=256)
def _postgres_row(types: tuple[str, ...]) -> str:
    """Return SQL that selects one row without arrays (see `execute`)."""
    return "SELECT " + ", ".join(f"%s::{type} AS column{number + 1}" for number, type in enumerate(types))


@lru_cache(maxsize=256)
def _postgres_values(types: tuple[str, ...]) -> str:
    names = ", ".join(f"column{number + 1}" for number in range(len(types)))
    return f"SELECT {names} FROM unnest({', '.join(f'%s::{type}[]' for type in types)}) AS u ({names})"


def placeholders(columns: Sequence[str]) -> str:
    """Return placeholders of `execute` for values of these columns, with PostgreSQL's types."""
    return ", ".join(f"?::{_TYPES.get(column, 'bigint')}" for column in columns)


# PostgreSQL's types of the inserted columns that are not integers.
_TYPES = {
    **dict.fromkeys(("id", "account_id", "api_key_id", "api_key", "edge_process", "price", "channel", "call"), "uuid"),
    "last_channel": "uuid",
    **dict.fromkeys(("subscription", "plan", "member"), "uuid"),
    **dict.fromkeys(("model", "state", "status", "error_code", "kind", "actor", "reason", "key_digest", "body_digest"), "text"),
    **dict.fromkeys(("asked_model", "failed_attempts", "cut", "tag"), "text"),
    **dict.fromkeys(("name", "allowance", "parent_allowance", "more_allowances"), "text"),
    **dict.fromkeys(("streamed", "estimated"), "bool"),
    **dict.fromkeys(("entry_hash", "commitment", "salt", "ledger_head", "head", "root"), "bytea"),
    **dict.fromkeys(("request_sha256", "request_shape"), "bytea"),
    "extra_usage": "jsonb",
}


def as_uuid(value: Any) -> UUID:
    """Convert an id from the database: a `UUID` on PostgreSQL, 32 hex characters on SQLite."""
    return value if isinstance(value, UUID) else UUID(int=int(value, 16))


def as_number(value: Any) -> int:
    """Convert an id from the database to the number that `UUID.int` is."""
    return value.int if isinstance(value, UUID) else int(value, 16)


def as_list(value: Any) -> list[str] | None:
    """Convert a JSON list from the database: decoded on PostgreSQL, text on SQLite."""
    decoded: list[str] | None = json.loads(value) if isinstance(value, str) else value
    return decoded


def entry_month(call: UUID | None, at: int) -> int:
    """Return the month of a ledger entry: that of its call, otherwise of the time `at` (ms UTC).

    PostgreSQL partitions entries by it: charges of a call must be in one partition, whose unique index allows one.
    """
    return month_of(id_time(call) if call is not None else at)


def lock_accounts(ids: Iterable[UUID]) -> Callable[[], dict[UUID, AccountState]]:
    """Lock accounts in the order of their ids. The returned function reads them; unknown ids are left out.

    `NO KEY` lets other transactions insert rows that refer to the account (keys, sessions, messages) without waiting.
    """
    lock = "" if is_sqlite() else " FOR NO KEY UPDATE"  # on SQLite, BEGIN IMMEDIATE has locked the whole file
    cursor = execute(
        f"SELECT id, balance, held, ledger_seq, plan_credits, ledger_head FROM account WHERE id IN ? ORDER BY id{lock}",
        [sorted(set(ids))],
    )
    return lambda: {as_uuid(id): AccountState(*numbers) for id, *numbers in cursor}


def lock_in_order(ids: Iterable[UUID]) -> None:
    """Lock all accounts of a transaction that settles some calls and then reserves others.

    Settling and reserving each lock in order, but the second could lock a lower id than the first, and two processes could
    deadlock. A single account needs no order, and SQLite has only one lock.
    """
    accounts = set(ids)
    if len(accounts) > 1 and not is_sqlite():
        lock_accounts(accounts)


Change = tuple[int, int, int, int]  # differences of balance, held, ledger_seq and plan_credits


def change_accounts(changes: dict[UUID, Change], heads: Mapping[UUID, bytes | bytearray] = MappingProxyType({})) -> None:
    """Add `(balance, held, ledger_seq, plan_credits)` differences to locked accounts in one statement.

    `heads` are the hashes of their latest entries, for accounts with new entries. The table's CHECK constraints are the last
    safeguard: a wrong difference fails the batch and never overdraws an account.
    """
    if len(changes) == 1:
        [(account, difference)] = changes.items()
        head = ", ledger_head = ?" if account in heads else ""
        execute(
            "UPDATE account SET balance = balance + ?, held = held + ?, ledger_seq = ledger_seq + ?,"
            f" plan_credits = plan_credits + ?{head} WHERE id = ?",
            [*difference, *((heads[account],) if head else ()), account],
        )
        return
    head = ", ledger_head = coalesce(v.column6, ledger_head)" if heads else ""
    rows = sorted(changes.items())
    update_from(
        "UPDATE account SET balance = balance + v.column2, held = held + v.column3, ledger_seq = ledger_seq + v.column4,"
        f" plan_credits = plan_credits + v.column5{head}",
        "account.id = v.column1",
        ("account_id", "balance", "held", "ledger_seq", "plan_credits", *(("ledger_head",) if heads else ())),
        [(id, *change, heads.get(id)) for id, change in rows] if heads else [(id, *change) for id, change in rows],
        "account.id",
    )


def difference(before: AccountState, after: AccountState) -> Change:
    """Return the difference between two states of an account."""
    return (
        after.balance - before.balance,
        after.held - before.held,
        after.ledger_seq - before.ledger_seq,
        after.plan_credits - before.plan_credits,
    )
