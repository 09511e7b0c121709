"""Adds verified email addresses, credits granted on verification, and the outbox.

Existing accounts have no waiting credits: theirs were granted at sign-up. The model is a frozen copy of `shared/models.py`, so
that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, Check, ForeignKeyField, IntegerField, Model, SqliteDatabase, UUIDField


class Account(Model):
    """The columns that the table below refers to."""

    id = UUIDField(primary_key=True)


class OutgoingMail(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    kind = CharField(max_length=32)
    recipient = CharField(max_length=254)
    status = CharField(max_length=16)
    attempts = IntegerField()
    due_at = BigIntegerField()
    last_error = CharField(max_length=200)
    created_at = BigIntegerField()
    finished_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            Check("status IN ('queued', 'sent', 'failed', 'cancelled')"),
            Check("(status = 'queued') = (finished_at IS NULL)"),
            Check("attempts >= 0"),
        ]


OutgoingMail.add_index(OutgoingMail.index(OutgoingMail.account, OutgoingMail.id, name="outgoing_mail_by_account"))
OutgoingMail.add_index(OutgoingMail.index(OutgoingMail.due_at, where=SQL("status = 'queued'"), name="outgoing_mail_due"))
OutgoingMail.add_index(
    OutgoingMail.index(OutgoingMail.finished_at, where=SQL("finished_at IS NOT NULL"), name="outgoing_mail_finished")
)


def up(migrator, db):
    integer = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
    db.execute_sql(f"ALTER TABLE account ADD COLUMN email_verified_at {integer}")
    db.execute_sql(
        f"ALTER TABLE account ADD COLUMN pending_credits {integer} NOT NULL DEFAULT 0"
        " CONSTRAINT account_pending_credits CHECK (pending_credits >= 0)"
    )
    with db.bind_ctx((Account, OutgoingMail)):
        db.create_tables((OutgoingMail,))


def down(migrator, db):
    with db.bind_ctx((Account, OutgoingMail)):
        db.drop_tables((OutgoingMail,))
    for column in ("pending_credits", "email_verified_at"):
        db.execute_sql(f"ALTER TABLE account DROP COLUMN {column}")
