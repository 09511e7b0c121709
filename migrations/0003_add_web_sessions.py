"""Adds account passwords and web sessions.

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, Check, ForeignKeyField, Model, UUIDField


class Account(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class WebSession(Model):
    digest = CharField(max_length=64, primary_key=True)
    account = ForeignKeyField(Account, backref="web_sessions", on_delete="CASCADE")
    agent = CharField(max_length=64)
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("length(digest) = 64")]


def up(migrator, db):
    db.execute_sql('ALTER TABLE account ADD COLUMN "password_hash" VARCHAR(255)')
    with db.bind_ctx([Account, WebSession]):
        db.create_tables([WebSession])


def down(migrator, db):
    with db.bind_ctx([Account, WebSession]):
        db.drop_tables([WebSession])
    db.execute_sql("ALTER TABLE account DROP COLUMN password_hash")
