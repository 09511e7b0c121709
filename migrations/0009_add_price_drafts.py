"""Adds price drafts, provider costs, account notes, and pausing of channels.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, Check, ForeignKeyField, Model, TextField, UUIDField

RATES = (
    *("credits_per_1k_input", "credits_per_1k_output", "credits_per_1k_cached_input", "credits_per_1k_cache_write"),
    *("credits_per_call", "minimum_credits", "credits_per_5_seconds", "credits_per_1k_characters"),
)


class Account(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class AIModel(Model):
    id = CharField(max_length=200, primary_key=True)

    class Meta:
        legacy_table_names = False
        table_name = "model"


class PriceDraft(Model):
    model = ForeignKeyField(AIModel, backref="draft", on_delete="CASCADE", primary_key=True)
    credits_per_1k_input = BigIntegerField()
    credits_per_1k_output = BigIntegerField()
    credits_per_1k_cached_input = BigIntegerField(null=True)
    credits_per_1k_cache_write = BigIntegerField(null=True)
    credits_per_call = BigIntegerField()
    minimum_credits = BigIntegerField()
    credits_per_5_seconds = BigIntegerField(null=True)
    credits_per_1k_characters = BigIntegerField(null=True)
    author = CharField(max_length=254)
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [Check(f"{column} >= 0 AND {column} <= 1000000000000") for column in RATES]


class AccountNote(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, backref="notes", on_delete="CASCADE")
    author = CharField(max_length=254)
    text = TextField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


TABLES = (PriceDraft, AccountNote)
COSTS = ("cost_per_1k_input", "cost_per_1k_output")


def up(migrator, db):
    with db.bind_ctx([Account, AIModel, *TABLES]):
        db.create_tables(TABLES)
    for column in COSTS:
        migrator.migrate(
            migrator.add_column("channel_model", column, BigIntegerField(null=True, constraints=[Check(f"{column} >= 0")]))
        )
    migrator.migrate(
        migrator.add_column("channel", "out_until", BigIntegerField(null=True)),
        migrator.add_column("channel", "out_reason", CharField(max_length=200, null=True)),
    )


def down(migrator, db):
    for table, columns in (("channel", ("out_reason", "out_until")), ("channel_model", COSTS)):
        for column in columns:
            db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    with db.bind_ctx([Account, AIModel, *TABLES]):
        db.drop_tables(TABLES)
