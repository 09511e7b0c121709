"""Adds the deprecation of a model: its successor, and the dates from which it is deprecated and no longer served."""

from peewee import SqliteDatabase

COLUMNS = ("successor", "deprecated_at", "shutdown_at")


def up(migrator, db):
    integer = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
    db.execute_sql("ALTER TABLE model ADD COLUMN successor VARCHAR(200)")
    db.execute_sql(f"ALTER TABLE model ADD COLUMN deprecated_at {integer}")
    db.execute_sql(
        f"ALTER TABLE model ADD COLUMN shutdown_at {integer} CHECK (shutdown_at IS NULL OR deprecated_at <= shutdown_at)"
    )


def down(migrator, db):
    for column in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE model DROP COLUMN {column}")
