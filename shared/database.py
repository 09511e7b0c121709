"""Connections: one Peewee database for SQLite (embedded default) and PostgreSQL (production)."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peewee

from shared.database_errors import sqlstate
from shared.database_url import postgres_arguments, sqlite_path
from shared.errors import SettingsError
from shared.postgres import TCP_LIMITS, Postgres

database = peewee.DatabaseProxy()

# synchronous=FULL: what a caller was told is charged survives a power cut. Group commit makes it nearly free.
# secure_delete: what is deleted is overwritten in the file, or a purge would leave it there.
SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000, "foreign_keys": 1, "secure_delete": 1}
CONNECT_SECONDS = 5
ANSWER_SECONDS = 30.0  # default limit on the wait for the answer to one statement
# Limits of a transaction on the hot path. They are shorter than any `answer_seconds`, so a healthy server reports the cause
# first.
LOCK_MS = 2_000
STATEMENT_MS = 5_000
IDLE_MS = 5_000  # of client silence, after which the server ends the transaction and releases its locks
BATCH_MS = 8_000  # of the whole transaction
TRANSACTION_IDLE_MS = 60_000  # the same for every other transaction
_READ_ONLY = "25006"  # read_only_sql_transaction
_LOST_STATEMENT = ("26000", "42P05")  # the prepared statement does not exist, or already exists

sqlite3.register_adapter(uuid.UUID, lambda value: f"{value.int:032x}")  # as Peewee stores them; runs for every id of every call


def open_database(url: str, *, max_connections: int = 8, answer_seconds: float = ANSWER_SECONDS) -> peewee.Database:
    """Make a database for `url` without connecting. `answer_seconds` bounds each wait for PostgreSQL; 0 means no limit.

    `url` is `sqlite:///path`, `postgres://…` or `postgresql://…`. Raises `SettingsError` for an invalid one.
    """
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    arguments = postgres_arguments(url)
    pool: peewee.Database = Postgres(
        arguments.pop("dbname"),
        answer_seconds=answer_seconds,
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
    return peewee.SqliteDatabase(path, pragmas=SQLITE_PRAGMAS)


def _make_private_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        os.chmod(folder, 0o700)


def bind(target: peewee.Database) -> None:
    """Make `target` the database of all models of this process."""
    database.initialize(target)


def is_sqlite(target: peewee.Database | None = None) -> bool:
    """Whether `target` (by default the bound database) is SQLite."""
    return isinstance(target if target is not None else database.obj, peewee.SqliteDatabase)


@contextmanager
def transaction() -> Iterator[Any]:
    """A write transaction on the bound database.

    SQLite begins IMMEDIATE: a transaction that starts by reading could otherwise not be upgraded to write when another
    process wrote in between ("database is locked"). PostgreSQL ends a transaction whose client is silent, because its locks
    would block others.
    """
    if is_sqlite():
        with database.atomic("IMMEDIATE") as atomic:
            yield atomic
        return
    outermost = not database.in_transaction()
    with database.atomic() as atomic:
        if outermost:
            database.execute_sql(f"SET LOCAL idle_in_transaction_session_timeout = {TRANSACTION_IDLE_MS}")
        yield atomic


@contextmanager
def snapshot(statement_seconds: float | None = None) -> Iterator[None]:
    """A read-only snapshot: all statements of the block see the same data. Nested inside another snapshot, it uses that one.

    `statement_seconds` bounds each statement on PostgreSQL. Settings are local to the transaction, because a pooler
    gives the connection to another client after it.
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


def unlocked(query: Any) -> Any:
    """`query` without the rows that another transaction is changing: for sweeps, which may leave these to the next beat."""
    return query if is_sqlite() else query.for_update("FOR UPDATE SKIP LOCKED")


def drop_connection(error: BaseException | None = None) -> None:
    """Close this thread's connection, so that the next statement opens a new one. `error` is the reason.

    A server that has become a standby still answers reads, with old rows. So after a read-only error every connection of this
    process is replaced, each by the thread that owns it (`generation`). An unknown prepared statement means that the
    connection goes through a pooler: the process then stops preparing statements.
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
        database.obj.prepares = False
    if not database.is_closed():
        database.manual_close()


def generation() -> int:
    """Changes when a connection that is older than the change should be dropped before it is used again."""
    return _generation


_generation = 0
