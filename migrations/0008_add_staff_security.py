"""Adds staff sessions, second factors, recovery codes, and first passwords that must be changed.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CharField,
    Check,
    ForeignKeyField,
    IntegerField,
    Model,
    TextField,
    UUIDField,
)


class StaffUser(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class StaffSession(Model):
    digest = CharField(max_length=64, primary_key=True)
    staff = ForeignKeyField(StaffUser, backref="sessions", on_delete="CASCADE")
    address = CharField(max_length=64)
    agent = CharField(max_length=64)
    created_at = BigIntegerField()
    seen_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("length(digest) = 64")]


class StaffRecoveryCode(Model):
    digest = CharField(max_length=64, primary_key=True)
    staff = ForeignKeyField(StaffUser, backref="recovery_codes", on_delete="CASCADE")
    used_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("length(digest) = 64")]


TABLES = (StaffSession, StaffRecoveryCode)


ADDED = {
    "sealed_totp": TextField(constraints=[SQL("DEFAULT ''")]),
    "totp_step": BigIntegerField(constraints=[SQL("DEFAULT 0")]),
    "must_change_password": BooleanField(constraints=[SQL("DEFAULT false")]),
}
REMOVED = {"session_epoch": IntegerField(constraints=[SQL("DEFAULT 0")])}


def up(migrator, db):
    _add(migrator, ADDED)
    _drop(db, REMOVED)
    with db.bind_ctx([StaffUser, *TABLES]):
        db.create_tables(TABLES)


def down(migrator, db):
    """End all staff sessions and remove all second factors."""
    with db.bind_ctx([StaffUser, *TABLES]):
        db.drop_tables(TABLES)
    _add(migrator, REMOVED)
    _drop(db, ADDED)


def _add(migrator, columns):
    for name, field in columns.items():
        migrator.migrate(migrator.add_column("staff_user", name, field, allow_not_null=True))


def _drop(db, names):
    for name in names:
        db.execute_sql(f"ALTER TABLE staff_user DROP COLUMN {name}")
