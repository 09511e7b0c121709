"""Connections: one Peewee database for SQLite (embedded default) and PostgreSQL (production)."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import peewee
from playhouse.db_url import parse as parse_url
from playhouse.pool import PooledPostgresqlDatabase

from shared.errors import SettingsError

database = peewee.DatabaseProxy()

# synchronous=FULL: what a caller was told is charged survives a power cut. Group commit makes it nearly free.
# secure_delete: what is deleted is overwritten in the file, or a purge would leave it there.
SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 10_000, "foreign_keys": 1, "secure_delete": 1}
CONNECT_SECONDS = 5
LOST_CONNECTION = (peewee.OperationalError, peewee.InterfaceError)  # the database is away, or went away

sqlite3.register_adapter(uuid.UUID, lambda value: f"{value.int:032x}")  # as Peewee stores them; runs for every id of every call


def open_database(url: str, *, max_connections: int = 8) -> peewee.Database:
    """Make a database for `url` without connecting.

    `url` is `sqlite:///absolute/path`, `postgres://…` or `postgresql://…` (with `?sslmode=…`, `?host=/socket/folder` as libpq
    takes them). Raises `SettingsError` when it names no database.
    """
    if url.startswith("sqlite"):
        return _open_sqlite(url)
    try:
        arguments = parse_url(url, unquote_password=True, unquote_user=True)
    except ValueError:  # its words could hold a part of the password
        raise SettingsError("DATABASE_URL cannot be read; write special characters of its password as %XX.") from None
    if not arguments.get("database"):
        raise SettingsError("DATABASE_URL names no database; it should end in /name.")
    arguments.setdefault("connect_timeout", CONNECT_SECONDS)
    pool: peewee.Database = PooledPostgresqlDatabase(
        arguments.pop("database"),
        max_connections=max_connections,
        stale_timeout=300,
        timeout=CONNECT_SECONDS,
        **arguments,
    )
    return pool


def _open_sqlite(url: str) -> peewee.SqliteDatabase:
    path = unquote(urlsplit(url).path)[1:] if not url.startswith("sqlite:////") else unquote(urlsplit(url).path)
    if not path:
        raise SettingsError("DATABASE_URL names no file; write sqlite:///path/to/yout.db.")
    _make_private_folder(Path(path).absolute().parent)
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
    process wrote in between ("database is locked").
    """
    with database.atomic("IMMEDIATE") if is_sqlite() else database.atomic() as atomic:
        yield atomic


def unlocked(query: Any) -> Any:
    """`query` without the rows that another transaction is changing: for sweeps, which may leave these to the next beat."""
    return query if is_sqlite() else query.for_update("FOR UPDATE SKIP LOCKED")


def drop_connection() -> None:
    """Close this thread's connection for good, so that the next statement opens a fresh one."""
    if is_sqlite():
        database.close()
    elif not database.is_closed():
        database.manual_close()
