"""Adds second factors of people.

The model is a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, ForeignKeyField, Model, UUIDField


class Person(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class PersonRecoveryCode(Model):
    digest = CharField(max_length=64, primary_key=True)
    person = ForeignKeyField(Person, on_delete="CASCADE")
    used_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CHECK (length(digest) = 64)")]


def _add_columns(db):
    if "totp_step" not in {column.name for column in db.get_columns("person")}:
        db.execute_sql("ALTER TABLE person ADD COLUMN sealed_totp TEXT NOT NULL DEFAULT ''")
        db.execute_sql("ALTER TABLE person ADD COLUMN totp_step BIGINT NOT NULL DEFAULT 0")


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = (_add_columns,)


def up(migrator, db):
    _add_columns(db)
    with db.bind_ctx((Person, PersonRecoveryCode)):
        db.create_tables([PersonRecoveryCode])


def down(migrator, db):
    with db.bind_ctx((Person, PersonRecoveryCode)):
        db.drop_tables([PersonRecoveryCode])
    db.execute_sql("ALTER TABLE person DROP COLUMN totp_step")
    db.execute_sql("ALTER TABLE person DROP COLUMN sealed_totp")
