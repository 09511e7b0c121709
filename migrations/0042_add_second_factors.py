"""Adds second factors of people, and passkeys of people and staff.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, BlobField, CharField, ForeignKeyField, Model, SqliteDatabase, TextField, UUIDField


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


class StaffUser(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class PersonPasskey(Model):
    id = UUIDField(primary_key=True)
    person = ForeignKeyField(Person, on_delete="CASCADE")
    credential = TextField(unique=True)
    public_key = BlobField()
    sign_count = BigIntegerField()
    name = CharField(max_length=64)
    created_at = BigIntegerField()
    last_used_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False


class StaffPasskey(Model):
    id = UUIDField(primary_key=True)
    staff = ForeignKeyField(StaffUser, on_delete="CASCADE")
    credential = TextField(unique=True)
    public_key = BlobField()
    sign_count = BigIntegerField()
    name = CharField(max_length=64)
    created_at = BigIntegerField()
    last_used_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False


TABLES = (PersonRecoveryCode, PersonPasskey, StaffPasskey)


def _add_columns(db):
    if "totp_step" not in {column.name for column in db.get_columns("person")}:
        db.execute_sql("ALTER TABLE person ADD COLUMN sealed_totp TEXT NOT NULL DEFAULT ''")
        integer = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
        db.execute_sql(f"ALTER TABLE person ADD COLUMN totp_step {integer} NOT NULL DEFAULT 0")


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = (_add_columns,)


def up(migrator, db):
    _add_columns(db)
    with db.bind_ctx((Person, StaffUser, *TABLES)):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx((Person, StaffUser, *TABLES)):
        db.drop_tables(TABLES)
    db.execute_sql("ALTER TABLE person DROP COLUMN totp_step")
    db.execute_sql("ALTER TABLE person DROP COLUMN sealed_totp")
