"""Adds histograms of output tokens by hour and model, and a setting for models whose calls hold their maximum cost."""

from peewee import BigIntegerField, CharField, Check, CompositeKey, Model, SmallIntegerField, SqliteDatabase


class OutputSize(Model):
    at = BigIntegerField()
    model = CharField(max_length=200)
    bucket = SmallIntegerField()
    calls = BigIntegerField()
    reasoning_calls = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("at", "model", "bucket")
        constraints = [Check("bucket >= 0"), Check("calls >= 0"), Check("reasoning_calls >= 0")]


def up(migrator, db):
    with db.bind_ctx((OutputSize,)):
        db.create_tables((OutputSize,))
    kind = "INTEGER NOT NULL DEFAULT false" if isinstance(db, SqliteDatabase) else "BOOLEAN NOT NULL DEFAULT false"
    db.execute_sql(f"ALTER TABLE model ADD COLUMN full_hold {kind}")


def down(migrator, db):
    db.execute_sql("ALTER TABLE model DROP COLUMN full_hold")
    with db.bind_ctx((OutputSize,)):
        db.drop_tables((OutputSize,))
