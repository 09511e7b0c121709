"""Adds the keys of the administration API, and the answers that repeated requests get.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, ForeignKeyField, JSONField, Model, TextField, UUIDField


class AdminKey(Model):
    id = UUIDField(primary_key=True)
    name = CharField(max_length=100)
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=24)
    scopes = JSONField()
    created_at = BigIntegerField()
    expires_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)
    last_used_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CHECK (length(digest) = 64)")]


class AdminAnswer(Model):
    digest = CharField(max_length=64, primary_key=True)
    admin_key = ForeignKeyField(AdminKey, on_delete="CASCADE")
    request_digest = CharField(max_length=64)
    sealed = TextField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CHECK (length(digest) = 64)")]


TABLES = (AdminKey, AdminAnswer)


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES[::-1])
