"""Adds what failed attempts cost that another channel followed, for the margins of channels.

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, Model, UUIDField


class FailoverCost(Model):
    id = UUIDField(primary_key=True)
    created_at = BigIntegerField(index=True)
    model = CharField(max_length=200)
    channel = UUIDField()
    last_channel = UUIDField()
    provider_cost = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT failover_cost_positive CHECK (provider_cost > 0)")]


def up(migrator, db):
    with db.bind_ctx((FailoverCost,)):
        db.create_tables((FailoverCost,))


def down(migrator, db):
    with db.bind_ctx((FailoverCost,)):
        db.drop_tables((FailoverCost,))
