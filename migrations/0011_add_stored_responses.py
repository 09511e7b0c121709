"""Adds stored responses.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, ForeignKeyField, Model, TextField, UUIDField


class Account(Model):
    """The columns that the table below refers to."""

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
