"""Responses that a call stored, to be read, deleted and continued.

The models here are a frozen copy of `shared/models.py` as it was, so that this file means the same for ever.
"""

from peewee import BigIntegerField, CharField, ForeignKeyField, Model, TextField, UUIDField


class Account(Model):
    """As far as the table below refers to it."""

    id = UUIDField(primary_key=True)


class StoredResponse(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    previous = UUIDField(null=True)
    model = CharField(max_length=200)
    input = TextField()
    response = TextField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


StoredResponse.add_index(
    StoredResponse.index(StoredResponse.account, StoredResponse.created_at, name="stored_response_by_account")
)


def up(migrator, db):
    with db.bind_ctx((Account, StoredResponse)):
        db.create_tables((StoredResponse,))


def down(migrator, db):
    with db.bind_ctx((Account, StoredResponse)):
        db.drop_tables((StoredResponse,))
