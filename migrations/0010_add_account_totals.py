"""Adds hourly and daily totals per account, for rankings, and overage to the usage rollups.

The indexes by model and channel cover everything that a ranking reads. The models are a frozen copy of `shared/models.py`, so
that this migration never changes.
"""

from peewee import BigIntegerField, Check, CompositeKey, Model, SmallIntegerField, SqliteDatabase, UUIDField


class AccountTotal(Model):
    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    account = UUIDField()
    calls = BigIntegerField()
    failed = BigIntegerField()
    credits = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("grain_hours", "at", "account")
        constraints = [Check("grain_hours IN (1, 24)"), *(Check(f"{name} >= 0") for name in ("calls", "failed", "credits"))]


AccountTotal.add_index(AccountTotal.index(AccountTotal.account, name="account_total_by_account"))

SUMS = ("platform_usage", "account_usage")
INDEXED = ("model", "channel")


def up(migrator, db):
    with db.bind_ctx((AccountTotal,)):
        db.create_tables((AccountTotal,))
    db.execute_sql(
        "INSERT INTO account_total (grain_hours, at, account, calls, failed, credits)"
        " SELECT grain_hours, at, account, SUM(calls), SUM(CASE WHEN status IN ('failed', 'expired') THEN calls ELSE 0 END),"
        " COALESCE(SUM(credits), 0) FROM account_usage GROUP BY 1, 2, 3"
    )
    kind = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
    for table in SUMS:
        db.execute_sql(f"ALTER TABLE {table} ADD COLUMN overage_credits {kind}")
    for column in INDEXED:
        db.execute_sql(
            f'CREATE INDEX "account_usage_by_{column}" ON "account_usage"'
            f' ("{column}", "grain_hours", "at", "account", "status", "calls", "credits")'
        )


def down(migrator, db):
    for column in INDEXED:
        db.execute_sql(f"DROP INDEX account_usage_by_{column}")
    for table in SUMS:
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN overage_credits")
    with db.bind_ctx((AccountTotal,)):
        db.drop_tables((AccountTotal,))
