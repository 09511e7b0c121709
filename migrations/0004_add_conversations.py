"""Adds stored conversations, messages, shares and purge jobs.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import (
    SQL,
    BigIntegerField,
    CharField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    JSONField,
    Model,
    TextField,
    UUIDField,
)


class Account(Model):
    """The columns that the tables below refer to."""

    id = UUIDField(primary_key=True)


class Conversation(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    title = CharField(max_length=200)
    message_count = IntegerField()
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [Check("message_count >= 0")]


Conversation.add_index(Conversation.index(Conversation.account, Conversation.id, name="conversation_by_account"))


class Message(Model):
    conversation = ForeignKeyField(Conversation, on_delete="CASCADE", index=False)
    position = IntegerField()
    role = CharField(max_length=16)
    content = TextField()
    status = CharField(max_length=16)
    model = CharField(max_length=200, null=True)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("conversation", "position")
        constraints = [Check("status IN ('complete', 'partial')"), Check("position >= 0")]


class Share(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    slug = CharField(max_length=32, unique=True)
    title = CharField(max_length=200)
    messages = TextField()
    conversation = UUIDField(null=True)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


Share.add_index(Share.index(Share.account, Share.id, name="share_by_account"))


class PurgeJob(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    status = CharField(max_length=16)
    step = CharField(max_length=32)
    removed = JSONField()
    boundary = BigIntegerField()
    runner = UUIDField(null=True)
    due_at = BigIntegerField()
    created_at = BigIntegerField()
    finished_at = BigIntegerField(null=True)
    certificate = TextField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("status IN ('queued', 'running', 'done')")]


PurgeJob.add_index(PurgeJob.index(PurgeJob.account, unique=True, where=SQL("status <> 'done'"), name="purge_job_one_at_a_time"))
PurgeJob.add_index(PurgeJob.index(PurgeJob.account, PurgeJob.id, name="purge_job_by_account"))
PurgeJob.add_index(PurgeJob.index(PurgeJob.due_at, where=SQL("status <> 'done'"), name="purge_job_due"))


TABLES = (Conversation, Message, Share, PurgeJob)


def up(migrator, db):
    with db.bind_ctx((Account, *TABLES)):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx((Account, *TABLES)):
        db.drop_tables(TABLES)
