"""Adds the Anthropic and Gemini dialects, more model kinds, cache write prices, and details of each call.

The details are the failed attempts, the requested model, and how a truncated response ended.

SQLite cannot alter a CHECK. It is replaced in the text of the table's definition, as "Making Other Kinds Of Table Schema Changes"
in SQLite's documentation of ALTER TABLE describes for changes that affect no stored row: rows, indexes and foreign keys stay,
and no DROP TABLE cascades to referencing rows. The check that follows reads every row.
"""

from peewee import SqliteDatabase

OLD_DIALECTS = ("openai",)
NEW_DIALECTS = ("openai", "anthropic", "gemini")
OLD_KINDS = ("chat", "embedding", "image", "video", "speech")
NEW_KINDS = ("chat", "embedding", "image", "video", "speech", "moderation", "transcription")
CUTS = ("cancelled_upstream", "drained", "broken_upstream")

# table, column, type, CHECK
COLUMNS = (
    (
        "price",
        "credits_per_1k_cache_write",
        "BIGINT",
        "credits_per_1k_cache_write >= 0 AND credits_per_1k_cache_write <= 1000000000000",
    ),
    ("usage_ledger", "cache_write_tokens", "BIGINT NOT NULL DEFAULT 0", "cache_write_tokens >= 0"),
    ("usage_ledger", "asked_model", "VARCHAR(200)", None),
    ("usage_ledger", "failed_attempts", "VARCHAR(200)", None),
    ("usage_ledger", "cut", "VARCHAR(32)", f"cut IN ({', '.join(map(repr, CUTS))})"),
)


def up(migrator, db):
    _allow(db, "channel", "dialect", OLD_DIALECTS, NEW_DIALECTS)
    _allow(db, "model", "kind", OLD_KINDS, NEW_KINDS)
    for table, column, kind, check in COLUMNS:
        if isinstance(db, SqliteDatabase):
            kind = kind.replace("BIGINT", "INTEGER")
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}" + (f" CHECK ({check})" if check else ""))


def down(migrator, db):
    """Fail without changes if a channel or a model uses a value that is removed."""
    for table, column, _, _ in reversed(COLUMNS):
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    _allow(db, "model", "kind", NEW_KINDS, OLD_KINDS)
    _allow(db, "channel", "dialect", NEW_DIALECTS, OLD_DIALECTS)


def _allow(db, table, column, old, new):
    """Replace the CHECK that limits `column` to `old` with one that limits it to `new`."""
    if isinstance(db, SqliteDatabase):
        _rewrite(db, table, _check(column, old), _check(column, new))
        return
    name = f"{table}_{column}_check"
    db.execute_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    db.execute_sql(f"ALTER TABLE {table} ADD CONSTRAINT {name} {_check(column, new)}")


def _check(column, values):
    return f"CHECK ({column} IN ({', '.join(map(repr, values))}))"


def _rewrite(db, table, old, new):
    ((sql,),) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchall()
    if sql.count(old) != 1:
        raise RuntimeError(f"the table {table} is not the one that this migration changes: it has no {old}")
    ((version,),) = db.execute_sql("PRAGMA schema_version").fetchall()
    db.execute_sql("PRAGMA writable_schema = ON")
    db.execute_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql.replace(old, new), table))
    db.execute_sql(f"PRAGMA schema_version = {version + 1}")  # makes every connection reload the definition
    db.execute_sql("PRAGMA writable_schema = OFF")
    problems = [row[0] for row in db.execute_sql(f"PRAGMA integrity_check({table})").fetchall()]
    if problems != ["ok"]:
        raise RuntimeError(f"rows of {table} do not fit the changed definition: {problems[0]}")
