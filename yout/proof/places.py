"""Searches for canaries: the database by SQL and by the bytes of its files, Redis, files, and the provider's record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import peewee
import redis

from shared.core.database import database, is_sqlite
from shared.core.database_url import sqlite_path
from shared.core.redis_client import open_client
from shared.core.settings import Settings
from shared.files.storage import Storage
from yout.proof.canary import Finder, Found
from yout.proof.scripted_upstream import Received

CHUNK_BYTES = 16 * 2**20
OVERLAP_BYTES = 4096  # longer than any form of a canary
MAX_ROWS = 200  # with a canary, of one table
MAX_VALUES = 100_000  # of one Redis key
CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 30.0


class Hit(NamedTuple):
    """A canary in a place. `expected`: its user asked to keep it there."""

    canary: str
    form: str
    place: str
    expected: bool = False


class Place(NamedTuple):
    """A place that was searched: its size in `unit`, and the hits. `note` says what could not be searched."""

    name: str
    size: int
    unit: str
    hits: Sequence[Hit] = ()
    note: str = ""


class Expected(NamedTuple):
    """Names of the canaries that users asked to keep, by the column (`table.column`) that may contain them."""

    columns: Mapping[str, frozenset[str]]

    def allows(self, column: str, canary: str) -> bool:
        return canary in self.columns.get(column, ())


def search_tables(finder: Finder, account: UUID, expected: Expected) -> Place:
    """Search every column of every table by SQL. The account's own rows are also searched for compressed values."""
    hits: set[Hit] = set()
    tables = _tables()
    for table in tables:
        columns = [column.name for column in database.get_columns(table)]
        for row in _suspicious_rows(table, columns, finder, account):
            for column, value in zip(columns, row, strict=True):
                for found in finder.find(_bytes_of(value)):
                    place = f"{table}.{column}"
                    hits.add(Hit(*found, f"database: {place}", expected.allows(place, found.canary)))
    return Place("database: every column of every table", len(tables), "tables", sorted(hits))


def _tables() -> list[str]:
    """Return all tables. On PostgreSQL, a partitioned one includes its partitions."""
    if is_sqlite():
        return list(database.get_tables())
    rows = database.execute_sql(
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition ORDER BY relname"
    )
    return [name for (name,) in rows]


def _suspicious_rows(table: str, columns: Sequence[str], finder: Finder, account: UUID) -> Iterator[Sequence[Any]]:
    """Yield rows in which SQL finds a canary, and all rows of the account."""
    if is_sqlite():
        row = " || char(10) || ".join(f"""coalesce(CAST("{column}" AS TEXT), '')""" for column in columns)
        test = f"instr({row}, ?) OR instr(lower({row}), ?)"
    else:
        test = "strpos(t::text, %s) > 0 OR strpos(lower(t::text), lower(%s)) > 0"
    needles = finder.sql_needles()
    condition, parameters = " OR ".join([test] * len(needles)), [needle for needle in needles for _ in range(2)]
    owner = next((column for column in ("account_id", "account", "owner") if column in columns), None)
    quoted = ", ".join(f'"{column}"' for column in columns)
    yield from database.execute_sql(f'SELECT {quoted} FROM "{table}" t WHERE {condition} LIMIT {MAX_ROWS}', parameters)  # noqa: S608  # names of the schema
    if owner:
        own, mark = (account.hex, "?") if is_sqlite() else (account, "%s")
        yield from database.execute_sql(f'SELECT {quoted} FROM "{table}" t WHERE "{owner}" = {mark}', [own])  # noqa: S608  # the same


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, (bytes, memoryview)):
        return bytes(value)
    return str(value).encode(errors="replace")


def search_database_files(finder: Finder, settings: Settings, since: float, expected: frozenset[str]) -> Place:
    """Search the bytes of the database's files that changed since `since` (seconds UTC), with the write-ahead log."""
    name = "database: bytes of its files"
    if is_sqlite():
        path = Path(sqlite_path(settings.database_url))
        return search_files(name, [path, *path.parent.glob(f"{path.name}-*")], finder, 0.0, expected)
    with suppress(peewee.PeeweeException):
        with suppress(peewee.PeeweeException):
            database.execute_sql("CHECKPOINT")
        folder = Path(database.execute_sql("SHOW data_directory").fetchone()[0])
        with suppress(OSError):
            if (folder / "PG_VERSION").is_file():
                return search_files(name, _files_below(folder), finder, since, expected)
    return Place(name, 0, "files", note="not on this machine, or not readable by this user")


def search_files(
    name: str, paths: Iterable[Path], finder: Finder, since: float = 0.0, expected: frozenset[str] = frozenset()
) -> Place:
    """Search files that changed since `since`. `expected` are canaries that may be in them."""
    count, hits, unreadable = 0, set(), 0
    for path in paths:
        try:
            if not path.is_file() or path.stat().st_mtime < since:
                continue
            for found in _search_file(path, finder):
                hits.add(Hit(*found, f"{name}: {path.name}", found.canary in expected))
            count += 1
        except FileNotFoundError:
            continue
        except OSError:
            unreadable += 1
    return Place(name, count, "files", sorted(hits), f"{unreadable} files cannot be read by this user" if unreadable else "")


def _search_file(path: Path, finder: Finder) -> set[Found]:
    found: set[Found] = set()
    with path.open("rb") as file:
        rest = b""
        while data := file.read(CHUNK_BYTES):
            found |= finder.find(rest + data)
            rest = data[-OVERLAP_BYTES:]
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and not path.is_symlink():
                yield path


def search_folder(name: str, folder: Path, finder: Finder, since: float, expected: frozenset[str] = frozenset()) -> Place:
    """Search all files below a folder that changed since `since`."""
    return search_files(name, _files_below(folder), finder, since, expected)


def search_media(finder: Finder, storage: Storage, since: float, expected: frozenset[str]) -> Place:
    """Search the objects of the media store that were written since `since`."""
    count, hits = 0, set()
    for stored in storage.list():
        if stored.modified_at >= since * 1000 - 1000:
            for found in finder.find(b"".join(storage.get(stored.key))):
                hits.add(Hit(*found, "media store", found.canary in expected))
            count += 1
    return Place("media store", count, "objects", sorted(hits))


_READERS: dict[str, tuple[str, tuple[int, ...]]] = {
    **{"string": ("get", ()), "hash": ("hgetall", ()), "set": ("smembers", ())},
    **{"list": ("lrange", (0, MAX_VALUES)), "zset": ("zrange", (0, MAX_VALUES)), "stream": ("xrange", ())},
}


def search_redis(finder: Finder, url: str) -> Place:
    """Search all keys and values. Jobs that are waiting in RabbitMQ cannot be read without removing them."""
    count, hits = 0, set()
    with open_client(url, CONNECT_SECONDS, ANSWER_SECONDS) as client:
        for key in client.scan_iter(count=1000):
            count += 1
            try:
                reader, arguments = _READERS[client.type(key).decode()]
                value = getattr(client, reader)(key, *arguments)
            except (KeyError, redis.ResponseError):  # it has expired, or was replaced meanwhile
                continue
            for found in finder.find(_bytes_of(key) + b" " + _flat(value)):
                hits.add(Hit(*found, "Redis"))
    return Place("Redis: all keys and values", count, "keys", sorted(hits))


def _flat(value: Any) -> bytes:
    if isinstance(value, dict):
        return b" ".join(_flat(part) for pair in value.items() for part in pair)
    if isinstance(value, (list, set, tuple)):
        return b" ".join(map(_flat, value))
    return _bytes_of(value)


def search_record(requests: Sequence[Received], finder: Finder, allowed: frozenset[str]) -> Place:
    """Search what the provider received. `allowed` are canaries that it must get, because they are the content of the call."""
    hits = set()
    for request in requests:
        parts = {"path": request.path.encode(), "body": request.body}
        parts |= {f"header {name.lower()}": f"{name}: {value}".encode() for name, value in request.headers}
        for where, data in parts.items():
            for found in finder.find(data):
                if where != "body" or found.canary not in allowed:
                    hits.add(Hit(*found, f"provider: {where}"))
    return Place("provider: its record of every request", len(requests), "requests", sorted(hits))
