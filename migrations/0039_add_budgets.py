"""Adds budgets, their alerts, the kinds of email that people turned off, and what an email is about.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from functools import partial

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CharField,
    ForeignKeyField,
    IntegerField,
    JSONField,
    Model,
    SqliteDatabase,
    TextField,
    UUIDField,
)


class Account(Model):
    id = UUIDField(primary_key=True)

    class Meta:
        legacy_table_names = False


class Budget(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    scope = CharField(max_length=16)
    target = CharField(max_length=96)
    period = CharField(max_length=8)
    credits = BigIntegerField()
    percents = JSONField()
    sends_mail = BooleanField()
    webhook_url = TextField(null=True)
    webhook_format = CharField(max_length=16)
    created_at = BigIntegerField()
    spent = BigIntegerField()
    spent_at = BigIntegerField(null=True)
    due_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT budget_scope CHECK (scope IN ('account', 'member', 'key', 'tag', 'balance'))"),
            SQL(
                "CONSTRAINT budget_period CHECK (period IN ('month', 'day', 'none') AND (period = 'none') = (scope = 'balance'))"
            ),
            SQL("CONSTRAINT budget_webhook_format CHECK (webhook_format IN ('event', 'slack'))"),
            SQL("CONSTRAINT budget_amounts CHECK (credits > 0 AND spent >= 0)"),
        ]


class BudgetAlert(Model):
    id = UUIDField(primary_key=True)
    budget = ForeignKeyField(Budget, on_delete="CASCADE", index=False)
    starts_at = BigIntegerField()
    percent = IntegerField()
    credits = BigIntegerField()
    spent = BigIntegerField()
    created_at = BigIntegerField()
    rearmed_at = BigIntegerField(null=True)
    webhook_status = CharField(max_length=16, null=True)
    webhook_attempts = IntegerField()
    webhook_due_at = BigIntegerField(null=True)
    webhook_error = CharField(max_length=200)

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT budget_alert_amounts CHECK (percent > 0 AND credits > 0 AND spent >= 0 AND webhook_attempts >= 0)"),
            SQL("CONSTRAINT budget_alert_webhook CHECK (webhook_status IN ('queued', 'sent', 'failed'))"),
            SQL("CONSTRAINT budget_alert_due CHECK (webhook_due_at IS NULL OR webhook_status = 'queued')"),
        ]


Budget.add_index(Budget.index(Budget.account, Budget.id, name="budget_by_account"))
Budget.add_index(Budget.index(Budget.due_at, name="budget_due"))
BudgetAlert.add_index(
    BudgetAlert.index(
        *(BudgetAlert.budget, BudgetAlert.starts_at, BudgetAlert.percent),
        unique=True,
        where=SQL("rearmed_at IS NULL"),
        name="budget_alert_once",
    )
)
BudgetAlert.add_index(
    BudgetAlert.index(BudgetAlert.webhook_due_at, where=SQL("webhook_due_at IS NOT NULL"), name="budget_alert_due_webhook")
)
TABLES = (Budget, BudgetAlert)
CHANGED = ("person", "outgoing_mail")


def _add_column(table, db):
    column = {"person": "muted_mails", "outgoing_mail": "subject"}[table]
    if column in {found.name for found in db.get_columns(table)}:
        return
    json = "TEXT" if isinstance(db, SqliteDatabase) else "JSONB"
    kind = {"person": json, "outgoing_mail": "VARCHAR(254) NOT NULL DEFAULT ''"}[table]
    db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = tuple(partial(_add_column, table) for table in CHANGED)


def up(migrator, db):
    with db.bind_ctx((Account, *TABLES)):
        db.create_tables(TABLES)
    for table in CHANGED:
        _add_column(table, db)


def down(migrator, db):
    db.execute_sql("ALTER TABLE outgoing_mail DROP COLUMN subject")
    db.execute_sql("ALTER TABLE person DROP COLUMN muted_mails")
    with db.bind_ctx((Account, *TABLES)):
        db.drop_tables(TABLES[::-1])
