"""Partitions of `usage_ledger` and `ledger_entry`: one per calendar month (UTC), on PostgreSQL.

    create_partitions(…)    create those of the coming months
    longest_period(…)       the longest retention period of any account
    can_drop(…)             whether a partition of expired calls can be dropped
    clear_next_references(…)  remove the references to its calls, a batch at a time
    drop_partition(…)       drop it
    list_partitions(…)      all partitions of a table, the oldest first
    has_default_rows(…)     whether there are rows without a partition

A row for which there is no partition goes to the default partition, so an insert never fails. Calls wait behind a statement that
waits for the lock of a table. So it waits at most `LOCK_TIMEOUT_MS`; then the change is left to the next run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import peewee

from shared.core.billing_periods import format_month, month_of, month_time, next_month_start
from shared.core.clock import id_time
from shared.core.database import database, is_sqlite, transaction
from shared.core.database_errors import ErrorKind, classify_error
from shared.ledger.retention import OPEN_JOB
from shared.ledger.sql import execute

log = logging.getLogger("yout.partitions")

TABLES = ("usage_ledger", "ledger_entry")
MONTHS_AHEAD = 2  # after the current one
LOCK_TIMEOUT_MS = 500
_ADVISORY_LOCK = 0x796F7570  # one process at a time
_BOUNDS = re.compile(r"FOR VALUES FROM \((.+)\) TO \((.+)\)")
# The month in a call's id, as in `shared.ledger.sql.entry_month`. `uuid_extract_timestamp` needs PostgreSQL 17.
_CALL_TIME = "to_timestamp(('x' || left(translate(call::text, '-', ''), 12))::bit(48)::bigint / 1000) AT TIME ZONE 'UTC'"
_CALL_MONTH = f"extract(year FROM {_CALL_TIME}) * 100 + extract(month FROM {_CALL_TIME})"


class Partition(NamedTuple):
    """Rows of the months in [since, until), both starts of months in ms UTC. `since` None means all earlier months."""

    name: str
    since: int | None
    until: int


def list_partitions(table: str) -> list[Partition]:
    """Return the partitions of a table in `TABLES`, the oldest first, without the default one."""
    rows = database.execute_sql(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = %s::regclass",
        (table,),
    ).fetchall()
    found = []
    for name, bounds in rows:
        match = _BOUNDS.fullmatch(bounds)
        if match is not None:
            since = None if match[1] == "MINVALUE" else _read_bound(match[1])
            found.append(Partition(name, since, _read_bound(match[2])))
    return sorted(found, key=lambda partition: partition.until)


def is_owner() -> bool:
    """Return whether this database user may create and drop partitions."""
    sql = "SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class WHERE oid IN (%s::regclass, %s::regclass)"
    return bool(database.execute_sql(sql, TABLES).fetchone()[0])


def has_default_rows(table: str) -> bool:
    """Return whether the default partition of a table has rows."""
    return _has_rows(f"{table}_default")


def create_partitions(now: int) -> list[str]:
    """Create the missing partitions up to `MONTHS_AHEAD` months after `now` (ms UTC). Returns their names.

    If the default partition has rows of these months, it becomes a partition itself, and a new default partition is created.
    Creates none on SQLite, nor as a user other than the tables' owner.
    """
    created: list[str] = []
    if is_sqlite() or not is_owner():
        return created
    wanted = now
    for _ in range(MONTHS_AHEAD + 1):
        wanted = next_month_start(wanted)
    with _unless_locked():
        for table in TABLES:
            with _unless_default_overlaps(table):
                while name := _create_next(table, wanted):
                    created.append(name)
    return created


def drop_partition(name: str, *, if_empty: bool = False) -> bool:
    """Drop a partition of `usage_ledger`. Returns False if it has rows despite `if_empty`, or if its table is locked.

    The caller must have removed references to its calls.
    """
    if if_empty and _has_rows(name):  # checked before the lock as well, because reading past dead rows takes time
        return False
    with _unless_locked(), _exclusive() as acquired:
        if acquired:
            database.execute_sql("LOCK TABLE usage_ledger IN ACCESS EXCLUSIVE MODE")
            if not (if_empty and _has_rows(name)):
                database.execute_sql(f"DROP TABLE {name}")
                return True
    return False


def longest_period(default: int | None) -> int | None:
    """Return the longest period in days of any account; None if the calls of some accounts are kept until a purge."""
    if default is None:
        return None
    longest = execute("SELECT MAX(usage_days) FROM plan", []).fetchone()[0]
    return max(default, int(longest or 0))


def can_drop(partition: Partition) -> bool:
    """Return whether no purge is running, and no media job of this partition is open or has files."""
    span = [id_bound(partition.since or 0), id_bound(partition.until)]
    row = execute(
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM purge_job WHERE status <> 'done') OR EXISTS (SELECT 1 FROM media_job j"
        f" WHERE j.id >= ? AND j.id < ? AND {OPEN_JOB})",
        span,
    )
    return row.fetchone() is None


def clear_next_references(partition: Partition, after: UUID, limit: int) -> UUID | None:
    """Remove the references to the next `limit` calls of a partition, in the order of ids. Run inside a transaction.

    Returns the id of the last call, to be passed as `after`; None if there are no more calls.
    """
    sql = f"SELECT max(id::text) FROM (SELECT id FROM {partition.name} WHERE id > ? ORDER BY id LIMIT ?) AS next"
    last = execute(sql, [after, limit]).fetchone()[0]
    if last is None:
        return None
    span = [after, UUID(last)]
    months = 0 if partition.since is None else month_of(partition.since), month_of(partition.until)
    for table, condition, values in (
        ("ledger_entry", " AND (e.month = 0 OR e.month >= ? AND e.month < ?)", months),  # only these partitions
        ("overage_entry", "", ()),
    ):
        execute(
            f"UPDATE {table} e SET call = NULL FROM {partition.name} u"
            f" WHERE u.id > ? AND u.id <= ? AND e.account_id = u.account_id AND e.call = u.id{condition}",
            [*span, *values],
        )
    execute("DELETE FROM media_job WHERE id > ? AND id <= ?", span)
    return UUID(last)


def id_bound(ms: int) -> UUID:
    """Return the lower bound of version 7 UUIDs that are created at `ms` or later."""
    return UUID(int=ms << 80)


@contextmanager
def _unless_locked() -> Iterator[None]:
    """Leave the block if a table is locked."""
    try:
        yield
    except peewee.PeeweeException as error:
        if classify_error(error) is not ErrorKind.CONFLICT:
            raise
        log.info("partitions are not changed in this run: another transaction has locked their table")


@contextmanager
def _unless_default_overlaps(table: str) -> Iterator[None]:
    """Leave the block if the default partition has rows of a new partition, and others, so that it cannot become one."""
    try:
        yield
    except peewee.IntegrityError:
        log.error("%s_default has rows of the next partition and of other months: new rows go there until these are moved", table)


@contextmanager
def _exclusive() -> Iterator[bool]:
    """A transaction for changes of partitions. Yields False if another process is changing them."""
    with transaction():
        database.execute_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}")
        yield bool(database.execute_sql("SELECT pg_try_advisory_xact_lock(%s)", (_ADVISORY_LOCK,)).fetchone()[0])


def _create_next(table: str, wanted: int) -> str | None:
    """Create the partition that follows the last one, if that ends before `wanted`."""
    with _exclusive() as acquired:
        partitions = list_partitions(table) if acquired else []
        end = partitions[-1].until if partitions else wanted
        if end >= wanted:
            return None
        # Attaching locks the default partition, and the account table because of the foreign key. Calls wait for the latter, so
        # it comes last.
        database.execute_sql(f"LOCK TABLE {table}_default IN ACCESS EXCLUSIVE MODE")
        oldest, newest = _default_span(table)
        if newest is not None and oldest is not None and end <= oldest and newest < wanted:
            until = next_month_start(newest)
            name = f"{table}_{format_month(end)}" + (f"_to_{format_month(newest)}" if until > next_month_start(end) else "")
            _convert_default(table, Partition(name, end, until))
        else:
            name = f"{table}_{format_month(end)}"
            _create(table, Partition(name, end, next_month_start(end)))
        return name


def _create(table: str, month: Partition) -> None:
    if table == "ledger_entry":
        low, high = id_bound(month.since or 0), id_bound(month.until)
        _create_entries(month.name, f"call IS NULL OR call >= '{low}' AND call < '{high}'")
    else:
        database.execute_sql(f"CREATE TABLE {month.name} (LIKE {table} INCLUDING ALL)")
    _attach(table, month)


def _create_entries(name: str, calls: str) -> None:
    """Create a table for entries. Its own keys are exact, because it accepts the calls of its months only."""
    database.execute_sql(
        f"CREATE TABLE {name} (LIKE ledger_entry INCLUDING ALL, PRIMARY KEY (account_id, seq),"
        f" CONSTRAINT {name}_calls CHECK ({calls}))"
    )
    database.execute_sql(f"CREATE UNIQUE INDEX {name}_once_a_call ON {name} (account_id, call, kind) WHERE call IS NOT NULL")


def _attach(table: str, month: Partition) -> None:
    database.execute_sql("LOCK TABLE account IN SHARE ROW EXCLUSIVE MODE")
    low, high = _write_bound(table, month.since or 0), _write_bound(table, month.until)
    database.execute_sql(f"ALTER TABLE {table} ATTACH PARTITION {month.name} FOR VALUES FROM ({low}) TO ({high})")


def _convert_default(table: str, months: Partition) -> None:
    """Turn the default partition into the partition of `months`, without copying its rows, and create a new default one."""
    default = f"{table}_default"
    database.execute_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    database.execute_sql(f"ALTER TABLE {table} DETACH PARTITION {default}")
    database.execute_sql(f"ALTER TABLE {default} RENAME TO {months.name}")
    rows = database.execute_sql("SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass", (months.name,))
    for (index,) in rows.fetchall():
        database.execute_sql(f"ALTER INDEX {index} RENAME TO {index.replace(default, months.name)}")
    _attach(table, months)
    if table == "ledger_entry":
        database.execute_sql(f"ALTER TABLE {months.name} RENAME CONSTRAINT {default}_calls TO {months.name}_calls")
        _create_entries(default, f"call IS NULL OR month = {_CALL_MONTH}")
        database.execute_sql(f"ALTER TABLE {table} ATTACH PARTITION {default} DEFAULT")
    else:
        database.execute_sql(f"CREATE TABLE {default} PARTITION OF {table} DEFAULT")


def _default_span(table: str) -> tuple[int | None, int | None]:
    """Return the times (ms UTC) of the oldest and newest rows in the default partition; for entries, of their months."""
    column = "id" if table == "usage_ledger" else "month"
    found = []
    for order in ("ASC", "DESC"):
        row = database.execute_sql(f"SELECT {column} FROM {table}_default ORDER BY {column} {order} LIMIT 1").fetchone()
        found.append(None if row is None else _time_of(row[0]))
    return found[0], found[1]


def _has_rows(name: str) -> bool:
    return bool(database.execute_sql(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0])


def _time_of(value: UUID | int) -> int:
    return id_time(value) if isinstance(value, UUID) else month_time(value)


def _read_bound(text: str) -> int:
    bare = text.strip("'")
    return _time_of(UUID(bare) if "-" in bare else int(bare))


def _write_bound(table: str, ms: int) -> str:
    return f"'{id_bound(ms)}'" if table == "usage_ledger" else str(month_of(ms))
