"""Database connections through Peewee: SQLite (embedded default) and PostgreSQL (production)."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee

from shared.core.database_errors import sqlstate
from shared.core.database_url import postgres_arguments, sqlite_path
from shared.core.direct_statements import DirectStatements
from shared.core.errors import SettingsError

database = peewee.DatabaseProxy()

# synchronous=FULL: a charge that was reported to a caller survives a power cut. Group commit makes that nearly free.
# secure_delete: deleted data is overwritten in the file; otherwise a purge would leave it there.
SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000, "foreign_keys": 1, "secure_delete": 1}
CONNECT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 30.0  # default timeout of a statement, on the client's side
# Limits of a transaction on the request path. They are shorter than any `answer_seconds`, so a healthy server reports the cause
# before the client gives up.
LOCK_TIMEOUT_MS = 2_000
STATEMENT_TIMEOUT_MS = 5_000
IDLE_TIMEOUT_MS = 5_000  # without a statement; then the server aborts the transaction and releases its locks
BATCH_TIMEOUT_MS = 8_000  # for the whole transaction
TRANSACTION_IDLE_TIMEOUT_MS = 60_000  # as IDLE_MS, for all other transactions
_READ_ONLY = "25006"  # read_only_sql_transaction
_LOST_STATEMENT = ("26000", "42P05")  # the prepared statement does not exist, or already exists

# Prepared statements per connection. The ledger's have a text per batch size, more than Python's default of 128.
SQLITE_STATEMENTS = 512
sqlite3.register_adapter(uuid.UUID, lambda value: f"{value.int:032x}")  # the format in which Peewee stores ids


def open_database(
    url: str, *, max_connections: int = 8, statement_timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS
) -> peewee.Database:
    """Return a database for `url` without connecting. `statement_timeout_seconds` limits each wait for PostgreSQL; 0 means no
    limit.

    `url` is `sqlite:///path`, `postgres://…` or `postgresql://…`. Raises `SettingsError` for an invalid one.
    """
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    from shared.core.postgres import TCP_LIMITS, Postgres  # here, because an edge on SQLite has no psycopg

    arguments = postgres_arguments(url)
    pool: peewee.Database = Postgres(
        arguments.pop("dbname"),
        statement_timeout_seconds=statement_timeout_seconds,
        max_connections=max_connections,
        stale_timeout=300,
        timeout=CONNECT_SECONDS,
        **{"connect_timeout": CONNECT_SECONDS, **TCP_LIMITS, **arguments},
    )
    return pool


def _open_sqlite(url: str) -> peewee.SqliteDatabase:
    path = sqlite_path(url)
    folder = Path(path).absolute().parent
    try:
        _make_private_folder(folder)
    except OSError as error:
        reason = f"The folder {folder} of the SQLite database cannot be created: {error.strerror}."
        raise SettingsError(f"{reason} Set DATABASE_URL or YOUT_DATA_DIR to another place.") from None
    return _Sqlite(path, pragmas=SQLITE_PRAGMAS, cached_statements=SQLITE_STATEMENTS)


class _Sqlite(DirectStatements, peewee.SqliteDatabase):
    """SQLite with cheaper statements."""

    def rollback(self) -> None:
        """Roll back, unless SQLite has done so, as on a full disk: a second rollback would hide the first error."""
        if self.connection().in_transaction:
            super().rollback()


def _make_private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)


def bind_database(target: peewee.Database) -> None:
    """Make `target` the database of all models in this process."""
    database.initialize(target)


def is_sqlite(target: peewee.Database | None = None) -> bool:
    """Whether `target` (by default the bound database) is SQLite."""
    return isinstance(target if target is not None else database.obj, peewee.SqliteDatabase)


@contextmanager
def transaction() -> Iterator[Any]:
    """A write transaction on the bound database.

    SQLite begins IMMEDIATE. Otherwise a transaction that starts with a read fails at its first write ("database is locked") if
    another process wrote in between. PostgreSQL aborts the transaction after `TRANSACTION_IDLE_TIMEOUT_MS` without a statement,
    because
    its locks block others.
    """
    if is_sqlite():
        with database.atomic("IMMEDIATE") as atomic:
            yield atomic
        return
    outermost = not database.in_transaction()
    with database.atomic() as atomic:
        if outermost:
            database.execute_sql(f"SET LOCAL idle_in_transaction_session_timeout = {TRANSACTION_IDLE_TIMEOUT_MS}")
        yield atomic


@contextmanager
def snapshot(statement_seconds: float | None = None) -> Iterator[None]:
    """A read-only snapshot: all statements in the block see the same data. Inside another transaction, it uses that one.

    `statement_seconds` limits each statement on PostgreSQL. The settings are local to the transaction, because a pooler may
    give the connection to another client afterwards.
    """
    if is_sqlite() or database.in_transaction():
        with database.atomic():
            yield
        return
    with database.atomic():
        database.execute_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if statement_seconds is not None:
            database.execute_sql(f"SET LOCAL statement_timeout = {round(statement_seconds * 1000)}")
        yield


def skip_locked(query: Any) -> Any:
    """Make `query` lock its rows and skip those that another transaction has locked. Used by sweeps, which run again soon."""
    return query if is_sqlite() else query.for_update("FOR UPDATE SKIP LOCKED")


def drop_connection(error: BaseException | None = None) -> None:
    """Close this thread's connection; the next statement opens a new one. `error` is the reason.

    A server that became a standby still answers reads, but with outdated rows. So after a read-only error every connection of
    this process is replaced; each thread closes its own (see `generation`). An unknown prepared statement means that there is a
    pooler in between, so the process stops preparing statements.
    """
    global _generation
    if is_sqlite():
        database.close()
        return
    code = sqlstate(error) if error is not None else None
    if code == _READ_ONLY:
        _generation += 1
        database.close_idle()
    elif code in _LOST_STATEMENT:
        database.obj.prepares_statements = False
    if not database.is_closed():
        database.manual_close()


def connection_generation() -> int:
    """Return a number that changes when all older connections must be dropped before their next use."""
    return _generation


_generation = 0
