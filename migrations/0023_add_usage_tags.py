"""Adds the caller's tag to calls and media jobs, and usage sums by key and by tag.

The worker adds the sums of earlier days (`rollup_state.keys_from`), so that this migration is short. The models are a frozen copy
of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, Check, CompositeKey, Model, SmallIntegerField, SqliteDatabase, UUIDField

CONSTRAINTS = [
    Check("grain_hours IN (1, 24)"),
    *(Check(f"{name} >= 0") for name in ("calls", "failed", "input_tokens", "cached_tokens", "output_tokens", "credits")),
]


class KeySum(Model):
    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    account = UUIDField()
    api_key = UUIDField()
    calls = BigIntegerField()
    failed = BigIntegerField()
    input_tokens = BigIntegerField()
    cached_tokens = BigIntegerField()
    output_tokens = BigIntegerField()
    credits = BigIntegerField()

    class Meta:
        legacy_table_names = False


class KeyUsage(KeySum):
    model = CharField(max_length=200)

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("grain_hours", "at", "account", "api_key", "model")
        constraints = CONSTRAINTS


class TagUsage(KeySum):
    tag = CharField(max_length=64)

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("grain_hours", "at", "account", "api_key", "tag")
        constraints = CONSTRAINTS


KeyUsage.add_index(KeyUsage.index(KeyUsage.account, KeyUsage.grain_hours, KeyUsage.at, name="key_usage_by_account"))
TagUsage.add_index(TagUsage.index(TagUsage.account, TagUsage.grain_hours, TagUsage.at, name="tag_usage_by_account"))

TABLES = (KeyUsage, TagUsage)


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
    integer = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
    for table in ("usage_ledger", "media_job"):
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN tag VARCHAR(64)")
    db.execute_sql('CREATE INDEX "usage_ledger_by_tag" ON "usage_ledger" ("tag", "created_at") WHERE tag IS NOT NULL')
    db.execute_sql(f"ALTER TABLE rollup_state ADD COLUMN keys_from {integer} NOT NULL DEFAULT 0")
    db.execute_sql(  # the start of the next day
        "UPDATE rollup_state SET keys_from = (rolled_until + 86399999) / 86400000 * 86400000 WHERE rolled_until IS NOT NULL"
    )


def down(migrator, db):
    db.execute_sql("ALTER TABLE rollup_state DROP COLUMN keys_from")
    db.execute_sql("DROP INDEX usage_ledger_by_tag")
    for table in ("media_job", "usage_ledger"):
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN tag")
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
