"""Adds media jobs, outputs, webhook secrets, prices per second and per character, and media retention of plans."""

import re

from peewee import (
    SQL,
    BigIntegerField,
    CharField,
    Check,
    ForeignKeyField,
    JSONField,
    Model,
    SmallIntegerField,
    SqliteDatabase,
    TextField,
    UUIDField,
)


class Account(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class ApiKey(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class MediaJob(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    api_key = ForeignKeyField(ApiKey, null=True, on_delete="SET NULL", index=False)
    kind = CharField(max_length=16)
    model = CharField(max_length=200)
    price = UUIDField()
    sealed_params = TextField(null=True)
    options = JSONField()
    status = CharField(max_length=16)
    progress = SmallIntegerField()
    attempts = SmallIntegerField()
    claimed_by = UUIDField(null=True)
    claimed_until = BigIntegerField(null=True)
    due_at = BigIntegerField()
    deadline_at = BigIntegerField()
    channel = UUIDField(null=True)
    vendor_job = CharField(max_length=200, null=True)
    credits_held = BigIntegerField()
    credits_charged = BigIntegerField(null=True)
    error_code = CharField(max_length=64, null=True)
    error_class = CharField(max_length=64, null=True)
    callback_url = TextField(null=True)
    callback_attempts = SmallIntegerField()
    callback_due_at = BigIntegerField(null=True)
    files_expire_at = BigIntegerField(null=True)
    created_at = BigIntegerField()
    started_at = BigIntegerField(null=True)
    finished_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            Check("kind IN ('image', 'video', 'speech')"),
            Check("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')"),
            Check("(status IN ('queued', 'running')) = (finished_at IS NULL)"),
            Check("finished_at IS NULL OR sealed_params IS NULL"),
            Check("progress >= 0 AND progress <= 100"),
            Check("attempts >= 0"),
            Check("credits_held >= 0"),
            Check("credits_charged >= 0"),
            Check("credits_charged <= credits_held"),
        ]


MediaJob.add_index(MediaJob.index(MediaJob.account, MediaJob.id, name="media_job_by_account"))
MediaJob.add_index(MediaJob.index(MediaJob.due_at, where=SQL("finished_at IS NULL"), name="media_job_open_due"))
MediaJob.add_index(MediaJob.index(MediaJob.deadline_at, where=SQL("finished_at IS NULL"), name="media_job_open_deadline"))
MediaJob.add_index(MediaJob.index(MediaJob.callback_due_at, where=SQL("callback_due_at IS NOT NULL"), name="media_job_callbacks"))
MediaJob.add_index(MediaJob.index(MediaJob.files_expire_at, where=SQL("files_expire_at IS NOT NULL"), name="media_job_files"))


class MediaOutput(Model):
    id = UUIDField(primary_key=True)
    job = ForeignKeyField(MediaJob, on_delete="CASCADE", index=False)
    position = SmallIntegerField()
    storage_key = CharField(max_length=300)
    media_type = CharField(max_length=100)
    size_bytes = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        indexes = ((("job", "position"), True),)
        constraints = [Check("position >= 0"), Check("size_bytes >= 0")]


class WebhookSecret(Model):
    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    sealed_secret = TextField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


TABLES = (MediaJob, MediaOutput, WebhookSecret)

# Table, column, type on SQLite and on PostgreSQL, CHECK.
COLUMNS = (
    ("plan", "media_days", "INTEGER", "INTEGER", "media_days > 0"),
    *(
        ("price", column, "INTEGER", "BIGINT", f"{column} >= 0 AND {column} <= 1000000000000")
        for column in ("credits_per_5_seconds", "credits_per_1k_characters")
    ),
)
FIRST_CONSTRAINT = re.compile(r", (?=FOREIGN KEY|CHECK|PRIMARY KEY|CONSTRAINT)")


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
    for table, column, on_sqlite, on_postgres, check in COLUMNS:
        if isinstance(db, SqliteDatabase):
            rewrite(db, table, lambda sql, new=f'"{column}" {on_sqlite} CHECK ({check})': with_column(sql, new))
        else:
            db.execute_sql(f'ALTER TABLE "{table}" ADD COLUMN "{column}" {on_postgres} CHECK ({check})')


def down(migrator, db):
    for table, column, on_sqlite, _, check in reversed(COLUMNS):
        if isinstance(db, SqliteDatabase):
            rewrite(db, table, lambda sql, old=f', "{column}" {on_sqlite} CHECK ({check})': sql.replace(old, ""))
        else:
            db.execute_sql(f'ALTER TABLE "{table}" DROP COLUMN "{column}"')
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)


def with_column(sql, column):
    """Add a column to a CREATE TABLE statement, before the table constraints, where a new table would have it."""
    return FIRST_CONSTRAINT.sub(f", {column}, ", sql, count=1)


def rewrite(db, table, change):
    """Rebuild a SQLite table from its changed statement. Foreign keys are off while a migration runs."""
    statement = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    indexes = "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
    old = db.execute_sql(statement, (table,)).fetchone()[0]
    kept = [sql for (sql,) in db.execute_sql(indexes, (table,)).fetchall()]
    new = change(old).replace(f'"{table}"', f'"{table}_new"', 1)
    before = [row[1] for row in db.execute_sql(f'PRAGMA table_info("{table}")').fetchall()]
    db.execute_sql(new)
    after = {row[1] for row in db.execute_sql(f'PRAGMA table_info("{table}_new")').fetchall()}
    names = ", ".join(f'"{name}"' for name in before if name in after)
    db.execute_sql(f'INSERT INTO "{table}_new" ({names}) SELECT {names} FROM "{table}"')  # noqa: S608  (names of our own)
    db.execute_sql(f'DROP TABLE "{table}"')
    db.execute_sql(f'ALTER TABLE "{table}_new" RENAME TO "{table}"')
    for sql in kept:
        db.execute_sql(sql)
