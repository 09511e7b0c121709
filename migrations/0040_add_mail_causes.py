"""Adds who sent an invitation, the expiry that a key's owner was notified of, and an index of ended subscriptions."""

from functools import partial

from peewee import SqliteDatabase

COLUMNS = {"invitation": "invited_by", "api_key": "notified_expiry"}
INDEX = "api_key_by_expiry"


def _add_column(table, db):
    if COLUMNS[table] in {column.name for column in db.get_columns(table)}:
        return
    sqlite = isinstance(db, SqliteDatabase)
    kind = {"invitation": "TEXT" if sqlite else "UUID", "api_key": "INTEGER" if sqlite else "BIGINT"}[table]
    db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {COLUMNS[table]} {kind}")
    if table == "api_key":
        db.execute_sql(f'CREATE INDEX "{INDEX}" ON "api_key" ("expires_at") WHERE expires_at IS NOT NULL AND revoked_at IS NULL')


def _add_index(db):
    db.execute_sql('CREATE INDEX IF NOT EXISTS "subscription_by_end" ON "subscription" ("ended_at") WHERE ended_at IS NOT NULL')


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = (*(partial(_add_column, table) for table in COLUMNS), _add_index)


def up(migrator, db):
    for table in COLUMNS:
        _add_column(table, db)
    _add_index(db)


def down(migrator, db):
    db.execute_sql("DROP INDEX subscription_by_end")
    db.execute_sql(f"DROP INDEX {INDEX}")
    for table, column in COLUMNS.items():
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
