"""Adds people, the members of accounts and invitations, and limits on what members and keys spend in a day or month.

The tables stay empty: `add_owners` fills them in a transaction of its own, because this one blocks writes to `account` until it
is committed. The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from functools import partial

from peewee import SQL, BigIntegerField, CharField, ForeignKeyField, Model, SqliteDatabase, UUIDField

OLD = "CHECK (kind IN ('key', 'visitor'))"
NEW = "CHECK (kind IN ('key', 'visitor', 'keyday', 'member', 'memberday'))"


class Account(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class Person(Model):
    id = UUIDField(primary_key=True)
    email = CharField(max_length=254, unique=True)
    password_hash = CharField(max_length=255, null=True)
    email_verified_at = BigIntegerField(null=True)
    language = CharField(max_length=8)
    last_account = UUIDField(null=True)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT person_email CHECK (email = lower(email))")]


class Member(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    person = ForeignKeyField(Person, on_delete="RESTRICT")
    role = CharField(max_length=16)
    monthly_credit_limit = BigIntegerField(null=True)
    daily_credit_limit = BigIntegerField(null=True)
    created_at = BigIntegerField()
    suspended_at = BigIntegerField(null=True)
    removed_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT member_role CHECK (role IN ('owner', 'admin', 'billing', 'developer', 'viewer'))"),
            SQL("CONSTRAINT member_limits CHECK (monthly_credit_limit > 0 AND daily_credit_limit > 0)"),
            SQL(
                "CONSTRAINT member_owner CHECK (role <> 'owner' OR monthly_credit_limit IS NULL AND daily_credit_limit IS NULL"
                " AND suspended_at IS NULL AND removed_at IS NULL)"
            ),
        ]


class Invitation(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    email = CharField(max_length=254)
    role = CharField(max_length=16)
    monthly_credit_limit = BigIntegerField(null=True)
    daily_credit_limit = BigIntegerField(null=True)
    language = CharField(max_length=8)
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    accepted_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT invitation_role CHECK (role IN ('admin', 'billing', 'developer', 'viewer'))"),
            SQL("CONSTRAINT invitation_limits CHECK (monthly_credit_limit > 0 AND daily_credit_limit > 0)"),
            SQL("CONSTRAINT invitation_email CHECK (email = lower(email))"),
        ]


Member.add_index(Member.index(Member.account, Member.person, unique=True, name="member_once"))
Member.add_index(Member.index(Member.account, unique=True, where=SQL("role = 'owner'"), name="member_one_owner"))
Invitation.add_index(
    Invitation.index(
        Invitation.account,
        Invitation.email,
        unique=True,
        where=SQL("accepted_at IS NULL AND revoked_at IS NULL"),
        name="invitation_open_once",
    )
)
TABLES = (Person, Member, Invitation)
CHANGED = ("api_key", "web_session", "hold", "usage_ledger")
INDEXED = ("api_key", "web_session")


def _add_columns(table, db):
    if "member" in {column.name for column in db.get_columns(table)}:
        return
    sqlite = isinstance(db, SqliteDatabase)
    uuid, integer = ("TEXT", "INTEGER") if sqlite else ("UUID", "BIGINT")
    db.execute_sql(f"ALTER TABLE {table} ADD COLUMN member {uuid}")
    if table == "hold":
        db.execute_sql("ALTER TABLE hold ADD COLUMN more_allowances TEXT")
    if table == "api_key":
        db.execute_sql(
            f"ALTER TABLE api_key ADD COLUMN daily_credit_limit {integer}"
            " CONSTRAINT api_key_daily_limit CHECK (daily_credit_limit > 0)"
        )
    if table in INDEXED:
        db.execute_sql(f'CREATE INDEX "{table}_by_member" ON "{table}" ("member") WHERE member IS NOT NULL')


def _widen_kinds(db):
    if not isinstance(db, SqliteDatabase):
        found = "SELECT pg_get_constraintdef(oid) LIKE %s FROM pg_constraint WHERE conname = 'allowance_kind_check'"
        if db.execute_sql(found, ("%memberday%",)).fetchone()[0]:
            return
    _replace_kinds(db, OLD, NEW)


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = (*(partial(_add_columns, table) for table in CHANGED), _widen_kinds)


def up(migrator, db):
    with db.bind_ctx((Account, *TABLES)):
        db.create_tables(TABLES)
    for table in CHANGED:
        _add_columns(table, db)
    _widen_kinds(db)


def down(migrator, db):
    db.execute_sql("DELETE FROM allowance WHERE kind NOT IN ('key', 'visitor')")
    _replace_kinds(db, NEW, OLD)
    for table in INDEXED:
        db.execute_sql(f"DROP INDEX {table}_by_member")
    db.execute_sql("ALTER TABLE api_key DROP COLUMN daily_credit_limit")
    db.execute_sql("ALTER TABLE hold DROP COLUMN more_allowances")
    for table in CHANGED:
        db.execute_sql(f"ALTER TABLE {table} DROP COLUMN member")
    with db.bind_ctx((Account, *TABLES)):
        db.drop_tables(TABLES[::-1])


def _replace_kinds(db, old, new):
    """Replace the check of `allowance.kind`. SQLite cannot alter one, so it is replaced in the text of the definition."""
    if not isinstance(db, SqliteDatabase):
        db.execute_sql("ALTER TABLE allowance DROP CONSTRAINT allowance_kind_check")
        db.execute_sql(f"ALTER TABLE allowance ADD CONSTRAINT allowance_kind_check {new}")
        return
    ((sql,),) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'allowance'").fetchall()
    if sql.count(old) != 1:
        raise RuntimeError(f"the table allowance differs from the one that this migration changes: it has no {old}")
    ((version,),) = db.execute_sql("PRAGMA schema_version").fetchall()
    db.execute_sql("PRAGMA writable_schema = ON")
    db.execute_sql("UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = 'allowance'", (sql.replace(old, new),))
    db.execute_sql(f"PRAGMA schema_version = {version + 1}")  # makes every connection reload the definition
    db.execute_sql("PRAGMA writable_schema = OFF")
