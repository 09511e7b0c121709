"""Adds form submissions, so that each form takes effect once and shows its secret once.

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, Check, Model, TextField, UUIDField


class FormSubmission(Model):
    digest = CharField(max_length=64, primary_key=True)
    owner = UUIDField()
    body_digest = CharField(max_length=64)
    result = CharField(max_length=200, default="")
    sealed = TextField(null=True)
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("length(digest) = 64")]


def up(migrator, db):
    with db.bind_ctx((FormSubmission,)):
        db.create_tables((FormSubmission,))


def down(migrator, db):
    with db.bind_ctx((FormSubmission,)):
        db.drop_tables((FormSubmission,))
