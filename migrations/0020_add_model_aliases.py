"""Adds aliases: other names for models, with the dates of their deprecation and shutdown.

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, Check, Model


class ModelAlias(Model):
    name = CharField(max_length=200, primary_key=True)
    model = CharField(max_length=200)
    successor = CharField(max_length=200, null=True)
    deprecated_at = BigIntegerField(null=True)
    shutdown_at = BigIntegerField(null=True)
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [Check("name <> model"), Check("shutdown_at IS NULL OR deprecated_at <= shutdown_at")]


def up(migrator, db):
    with db.bind_ctx((ModelAlias,)):
        db.create_tables((ModelAlias,))


def down(migrator, db):
    with db.bind_ctx((ModelAlias,)):
        db.drop_tables((ModelAlias,))
