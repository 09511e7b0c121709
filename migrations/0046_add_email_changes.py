"""Adds changes of email addresses that wait for confirmation.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, ForeignKeyField, Model, UUIDField


class Person(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class EmailChange(Model):
    id = UUIDField(primary_key=True)
    person = ForeignKeyField(Person, unique=True, on_delete="CASCADE")
    email = CharField(max_length=254)
    created_at = BigIntegerField()
    expires_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


def up(migrator, db):
    with db.bind_ctx((Person, EmailChange)):
        db.create_tables([EmailChange])


def down(migrator, db):
    with db.bind_ctx((Person, EmailChange)):
        db.drop_tables([EmailChange])
