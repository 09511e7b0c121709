"""Adds the identities of people and staff at OpenID providers.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import BigIntegerField, CharField, ForeignKeyField, Model, UUIDField


class Person(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class StaffUser(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class PersonIdentity(Model):
    id = UUIDField(primary_key=True)
    person = ForeignKeyField(Person, on_delete="CASCADE")
    issuer = CharField(max_length=255)
    subject = CharField(max_length=255)
    email = CharField(max_length=254)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


class StaffIdentity(Model):
    id = UUIDField(primary_key=True)
    staff = ForeignKeyField(StaffUser, on_delete="CASCADE")
    issuer = CharField(max_length=255)
    subject = CharField(max_length=255)
    email = CharField(max_length=254)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


PersonIdentity.add_index(
    PersonIdentity.index(PersonIdentity.issuer, PersonIdentity.subject, unique=True, name="person_identity_once")
)
StaffIdentity.add_index(StaffIdentity.index(StaffIdentity.issuer, StaffIdentity.subject, unique=True, name="staff_identity_once"))
TABLES = (PersonIdentity, StaffIdentity)


def up(migrator, db):
    with db.bind_ctx((Person, StaffUser, *TABLES)):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx((Person, StaffUser, *TABLES)):
        db.drop_tables(TABLES)
