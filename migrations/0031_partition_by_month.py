"""Partitions `usage_ledger` by the time in its ids, and `ledger_entry` by its new column `month`. SQLite only gets the column.

The existing tables become the first partitions, without a copy. `PREPARE` proves beforehand that their rows belong there, so that
attaching them needs no scan under a lock. The first partitions last for at least two more months. Release 0.5 does not write
`month`, so its entries go to the first partition: it and newer releases check a call's charge against the same unique index.

A unique index of the whole `ledger_entry` would have to contain `month`. Instead, each partition has its own without it, and only
accepts calls of its own months: all charges of a call are in one partition, whose index allows one.
"""

from datetime import UTC, datetime

from peewee import SqliteDatabase

FIRST_LASTS_MONTHS = 3  # from the start of the current month
# The month in a call's id. `uuid_extract_timestamp` needs PostgreSQL 17.
CALL_MS = "('x' || left(translate(call::text, '-', ''), 12))::bit(48)::bigint"
CALL_TIME = f"to_timestamp({CALL_MS} / 1000) AT TIME ZONE 'UTC'"
CALL_MONTH = f"extract(year FROM {CALL_TIME}) * 100 + extract(month FROM {CALL_TIME})"
LOCKED = "account IN SHARE ROW EXCLUSIVE MODE", "ledger_entry, usage_ledger IN ACCESS EXCLUSIVE MODE"

# name, columns, condition
INDEXES = {
    "usage_ledger": (
        ("usage_ledger_by_account", "account_id, created_at", None),
        ("usage_ledger_by_key", "api_key, created_at", None),
        ("usage_ledger_by_time", "created_at", None),
        ("usage_ledger_by_model", "model, created_at", None),
        ("usage_ledger_by_channel", "channel, created_at", "channel IS NOT NULL"),
        ("usage_ledger_by_status", "status, created_at", "status <> 'completed'"),
        ("usage_ledger_by_error", "error_code, created_at", "error_code IS NOT NULL"),
        ("usage_ledger_estimated", "created_at", "estimated"),
        ("usage_ledger_by_tag", "tag, created_at", "tag IS NOT NULL"),
    ),
    "ledger_entry": (
        ("ledger_entry_created_at", "created_at", None),
        ("ledger_entry_by_kind", "kind, created_at", "kind <> 'charge'"),
        ("ledger_entry_by_actor", "actor, created_at", "actor <> 'edge'"),
    ),
}
UNIQUE_INDEX = "(account_id, call, kind) WHERE call IS NOT NULL"
FOREIGN_KEY = "FOREIGN KEY (account_id) REFERENCES account (id) ON DELETE CASCADE"


def first_month():
    """The year and month at which the first partition ends."""
    today = datetime.now(UTC)
    years, month = divmod(today.month - 1 + FIRST_LASTS_MONTHS, 12)
    return today.year + years, month + 1


def id_bound(year, month):
    """The lowest version 7 UUID of a month, as SQL."""
    ms = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
    return f"'{ms >> 16:08x}-{ms & 0xFFFF:04x}-0000-0000-000000000000'"


def checks(year, month):
    """By table: the condition that rows of the first partition meet."""
    calls = f"month = 0 OR call IS NULL OR call < {id_bound(year, month)}"
    return {"usage_ledger": f"id < {id_bound(year, month)}", "ledger_entry": f"month < {year * 100 + month} AND ({calls})"}


def is_partitioned(db):
    return db.execute_sql("SELECT relkind = 'p' FROM pg_class WHERE oid = 'usage_ledger'::regclass").fetchone()[0]


def add_month(db):
    exists = "" if isinstance(db, SqliteDatabase) else " IF NOT EXISTS"
    db.execute_sql(f"ALTER TABLE ledger_entry ADD COLUMN{exists} month INTEGER NOT NULL DEFAULT 0")


def add_checks(db):
    add_month(db)
    for table, condition in checks(*first_month()).items():
        db.execute_sql(
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_first,"
            f" ADD CONSTRAINT {table}_first CHECK ({condition}) NOT VALID"
        )


def validate_usage(db):
    db.execute_sql("ALTER TABLE usage_ledger VALIDATE CONSTRAINT usage_ledger_first")


def validate_entries(db):
    db.execute_sql("ALTER TABLE ledger_entry VALIDATE CONSTRAINT ledger_entry_first")


def cancel(db):
    for table in INDEXES:
        db.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_first")


# Run one by one before `up`, each in its own transaction, and `CANCEL` if one of them or `up` fails. PostgreSQL only.
PREPARE = (add_checks, validate_usage, validate_entries)
CANCEL = cancel


def up(migrator, db):
    if isinstance(db, SqliteDatabase):
        add_month(db)
        return
    for tables in LOCKED:
        db.execute_sql(f"LOCK TABLE {tables}")
    if not db.execute_sql("SELECT 1 FROM pg_constraint WHERE conname = 'usage_ledger_first'").fetchone():
        add_checks(db)
    year, month = first_month()
    for table, bound in (("usage_ledger", id_bound(year, month)), ("ledger_entry", str(year * 100 + month))):
        partition(db, table, f"{table}_before_{year}_{month:02}", bound)


def partition(db, table, first, bound):
    """Make `table` the first partition, up to `bound`, of a new table with its name."""
    rename(db, table, first)
    column, key = ("id", "PRIMARY KEY (id, account_id), ") if table == "usage_ledger" else ("month", "")
    db.execute_sql(
        f"CREATE TABLE {table} (LIKE {first} INCLUDING DEFAULTS INCLUDING CONSTRAINTS, {key}{FOREIGN_KEY})"
        f" PARTITION BY RANGE ({column})"
    )
    db.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT {table}_first")
    for name, columns, condition in INDEXES[table]:
        db.execute_sql(f"CREATE INDEX {name} ON {table} ({columns}){f' WHERE {condition}' if condition else ''}")
    db.execute_sql(f"ALTER TABLE {table} ATTACH PARTITION {first} FOR VALUES FROM (MINVALUE) TO ({bound})")
    if table == "usage_ledger":
        db.execute_sql(f"ALTER TABLE {first} DROP CONSTRAINT {table}_first")
        db.execute_sql(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
        return
    db.execute_sql(f"ALTER TABLE {first} RENAME CONSTRAINT {table}_first TO {first}_calls")
    db.execute_sql(
        f"CREATE TABLE {table}_default (LIKE {table} INCLUDING ALL, PRIMARY KEY (account_id, seq),"
        f" CONSTRAINT {table}_default_calls CHECK (call IS NULL OR month = {CALL_MONTH}))"
    )
    db.execute_sql(f"CREATE UNIQUE INDEX {table}_default_once_a_call ON {table}_default {UNIQUE_INDEX}")
    db.execute_sql(f"ALTER TABLE {table} ATTACH PARTITION {table}_default DEFAULT")


def rename(db, table, name):
    """Rename a table and its indexes."""
    db.execute_sql(f"ALTER TABLE {table} RENAME TO {name}")
    rows = db.execute_sql("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s", (name,))
    for (index,) in rows.fetchall():
        if index.startswith(f"{table}_"):
            db.execute_sql(f'ALTER INDEX "{index}" RENAME TO "{name}{index.removeprefix(table)}"')


def down(migrator, db):
    if not isinstance(db, SqliteDatabase):
        for tables in LOCKED:
            db.execute_sql(f"LOCK TABLE {tables}")
        for table in INDEXES:
            merge(db, table)
    db.execute_sql("ALTER TABLE ledger_entry DROP COLUMN month")


def merge(db, table):
    """Copy all rows into the first partition, and make it the table again."""
    [(first,)] = db.execute_sql(
        "SELECT i.inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = %s::regclass AND pg_get_expr(c.relpartbound, c.oid) LIKE 'FOR VALUES FROM (MINVALUE)%%'",
        (table,),
    ).fetchall()
    db.execute_sql(f"ALTER TABLE {table} DETACH PARTITION {first}")
    db.execute_sql(f"ALTER TABLE {first} DROP CONSTRAINT IF EXISTS {first}_calls")
    columns = ", ".join(f'"{column.name}"' for column in db.get_columns(table))
    db.execute_sql(f"INSERT INTO {first} ({columns}) SELECT {columns} FROM {table}")  # noqa: S608  # names of the schema
    db.execute_sql(f"DROP TABLE {table}")
    rename(db, first, table)
