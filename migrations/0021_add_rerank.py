"""Adds the model kind `rerank`.

SQLite cannot alter a CHECK. It is replaced in the text of the table's definition, as "Making Other Kinds Of Table Schema Changes"
in SQLite's documentation of ALTER TABLE describes for changes that affect no stored row.
"""

from peewee import SqliteDatabase

OLD_KINDS = ("chat", "embedding", "image", "video", "speech", "moderation", "transcription")
NEW_KINDS = (*OLD_KINDS, "rerank")


def up(migrator, db):
    _allow_kinds(db, OLD_KINDS, NEW_KINDS)


def down(migrator, db):
    """Fail without changes while a model has the kind `rerank`."""
    _allow_kinds(db, NEW_KINDS, OLD_KINDS)


def _allow_kinds(db, old, new):
    if isinstance(db, SqliteDatabase):
        _rewrite(db, _check(old), _check(new))
        return
    db.execute_sql("ALTER TABLE model DROP CONSTRAINT model_kind_check")
    db.execute_sql(f"ALTER TABLE model ADD CONSTRAINT model_kind_check {_check(new)}")


def _check(kinds):
    return f"CHECK (kind IN ({', '.join(map(repr, kinds))}))"


def _rewrite(db, old, new):
    ((sql,),) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'model'").fetchall()
    if sql.count(old) != 1:
        raise RuntimeError(f"the table model differs from the one that this migration changes: it has no {old}")
    ((version,),) = db.execute_sql("PRAGMA schema_version").fetchall()
    db.execute_sql("PRAGMA writable_schema = ON")
    db.execute_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'model'", (sql.replace(old, new),))
    db.execute_sql(f"PRAGMA schema_version = {version + 1}")  # makes every connection reload the definition
    db.execute_sql("PRAGMA writable_schema = OFF")
    problems = [row[0] for row in db.execute_sql("PRAGMA integrity_check(model)").fetchall()]
    if problems != ["ok"]:
        raise RuntimeError(f"rows of model do not fit the changed definition: {problems[0]}")
