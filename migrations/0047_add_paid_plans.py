"""Adds plans that owners buy through Stripe, the collection of overage bills, and overage caps that owners set.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from functools import partial

from peewee import SQL, BigIntegerField, BooleanField, CharField, ForeignKeyField, Model, SqliteDatabase, UUIDField


class Account(Model):
    id = UUIDField(primary_key=True)


class Plan(Model):
    id = UUIDField(primary_key=True)


class PlanPrice(Model):
    id = CharField(max_length=200, primary_key=True)
    plan = ForeignKeyField(Plan, on_delete="RESTRICT", index=False)
    amount_minor = BigIntegerField()
    currency = CharField(max_length=3)
    credits = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [SQL("CONSTRAINT plan_price_positive CHECK (amount_minor > 0 AND credits > 0)")]


PlanPrice.add_index(
    PlanPrice.index(
        PlanPrice.plan, PlanPrice.amount_minor, PlanPrice.currency, PlanPrice.credits, unique=True, name="plan_price_terms"
    )
)


class StripeSubscription(Model):
    reference = CharField(max_length=32, primary_key=True)
    account = ForeignKeyField(Account, on_delete="CASCADE")
    price = ForeignKeyField(PlanPrice, on_delete="RESTRICT", index=False)
    stripe_id = CharField(max_length=200, null=True)
    state = CharField(max_length=16)
    replaced_plan = UUIDField(null=True)
    cancels = BooleanField()
    changed_at = BigIntegerField()
    created_at = BigIntegerField()
    ended_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT stripe_subscription_state CHECK (state IN ('pending', 'active', 'ending', 'ended', 'expired'))")
        ]


StripeSubscription.add_index(
    StripeSubscription.index(
        StripeSubscription.stripe_id, unique=True, where=SQL("stripe_id IS NOT NULL"), name="stripe_subscription_once"
    )
)
StripeSubscription.add_index(
    StripeSubscription.index(
        StripeSubscription.account,
        unique=True,
        where=SQL("state IN ('pending', 'active')"),
        name="stripe_subscription_one_open",
    )
)
TABLES = (PlanPrice, StripeSubscription)
# In braces: types that the databases name differently; {integer} has 64 bits.
COLUMNS = {
    "plan": {
        "self_service": "{boolean} NOT NULL DEFAULT false",
        "owner_overage_cap": "{integer} CONSTRAINT plan_owner_overage_cap CHECK (owner_overage_cap >= 0)",
    },
    "subscription": {"stripe_subscription": "VARCHAR(32)", "past_due_at": "{integer}"},
    "payment": {
        "stripe_subscription": "VARCHAR(32)",
        "invoice_id": "VARCHAR(200)",
        "price_id": "VARCHAR(200)",
        "period_start": "{integer}",
        "period_end": "{integer} CONSTRAINT payment_period CHECK (period_end > period_start)",
        "attempts": "{small} NOT NULL DEFAULT 0",
        "next_attempt_at": "{integer}",
    },
    "payment_settings": {"overage_since": "{integer}"},
}
INDEXES = {
    "payment_invoice_once": 'CREATE UNIQUE INDEX "payment_invoice_once" ON "payment" ("invoice_id") WHERE invoice_id IS NOT NULL',
    "payment_by_subscription": (
        'CREATE INDEX "payment_by_subscription" ON "payment" ("stripe_subscription") WHERE stripe_subscription IS NOT NULL'
    ),
    "payment_due": 'CREATE INDEX "payment_due" ON "payment" ("next_attempt_at") WHERE next_attempt_at IS NOT NULL',
}


def _extend(table, db):
    types = {"integer": "BIGINT", "small": "SMALLINT", "boolean": "BOOLEAN"}
    if isinstance(db, SqliteDatabase):
        types = dict.fromkeys(types, "INTEGER")
    present = {column.name for column in db.get_columns(table)}
    for name, definition in COLUMNS[table].items():
        if name not in present:
            db.execute_sql(f"ALTER TABLE {table} ADD COLUMN {name} {definition.format(**types)}")
    if table == "payment":
        indexes = {index.name for index in db.get_indexes("payment")}
        for name, statement in INDEXES.items():
            if name not in indexes:
                db.execute_sql(statement)


# Each step locks one table, so that none of them can deadlock with a call. PostgreSQL only.
PREPARE = tuple(partial(_extend, table) for table in COLUMNS)


def up(migrator, db):
    for table in COLUMNS:
        _extend(table, db)
    with db.bind_ctx((Account, Plan, *TABLES)):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx((Account, Plan, *TABLES)):
        db.drop_tables(TABLES[::-1])
    for name in INDEXES:
        db.execute_sql(f"DROP INDEX {name}")
    for table, columns in COLUMNS.items():
        # A column that a check of another one names is dropped after it.
        for name in reversed(columns):
            db.execute_sql(f"ALTER TABLE {table} DROP COLUMN {name}")
