"""Forms that were sent, so that each takes effect once and its secret is shown once.

The model here is a frozen copy of `shared/models.py` as it was, so that this file means the same for ever.
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
