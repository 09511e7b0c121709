"""Adds the dialect of OpenAI's Responses API to the values that a channel may have.

SQLite cannot alter a CHECK. It is replaced in the text of the table's definition, as in `0007_add_dialects_and_routing`.
"""

from peewee import SqliteDatabase

OLD = "CHECK (dialect IN ('openai', 'anthropic', 'gemini'))"
NEW = "CHECK (dialect IN ('openai', 'anthropic', 'gemini', 'responses'))"


def up(migrator, db):
    _replace(db, OLD, NEW)


def down(migrator, db):
    """Fail without changes while a channel uses the dialect."""
    _replace(db, NEW, OLD)


def _replace(db, old, new):
    if isinstance(db, SqliteDatabase):
        _rewrite(db, old, new)
        return
    db.execute_sql("ALTER TABLE channel DROP CONSTRAINT channel_dialect_check")
    db.execute_sql(f"ALTER TABLE channel ADD CONSTRAINT channel_dialect_check {new}")


def _rewrite(db, old, new):
    ((sql,),) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'channel'").fetchall()
    if sql.count(old) != 1:
        raise RuntimeError(f"the table channel differs from the one that this migration changes: it has no {old}")
    ((version,),) = db.execute_sql("PRAGMA schema_version").fetchall()
    db.execute_sql("PRAGMA writable_schema = ON")
    db.execute_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'channel'", (sql.replace(old, new),))
    db.execute_sql(f"PRAGMA schema_version = {version + 1}")  # makes every connection reload the definition
    db.execute_sql("PRAGMA writable_schema = OFF")
    problems = [row[0] for row in db.execute_sql("PRAGMA integrity_check(channel)").fetchall()]
    if problems != ["ok"]:
        raise RuntimeError(f"rows of channel do not fit the changed definition: {problems[0]}")
