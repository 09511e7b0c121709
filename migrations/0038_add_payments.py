"""Adds what payments for money need: columns of `payment`, what staff set, and each account's saved card and automatic top-up.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CharField,
    ForeignKeyField,
    JSONField,
    Model,
    SmallIntegerField,
    SqliteDatabase,
    TextField,
    UUIDField,
)


class Account(Model):
    id = UUIDField(primary_key=True)


class PaymentSettings(Model):
    id = SmallIntegerField(primary_key=True)
    currency = CharField(max_length=3)
    credits_per_minor_unit = BigIntegerField()
    amounts = JSONField()
    minimum_minor = BigIntegerField()
    maximum_minor = BigIntegerField()
    automatic_tax = BooleanField()
    invoices = BooleanField()
    bank_details = TextField()
    events_read_until = BigIntegerField()
    last_webhook_at = BigIntegerField(null=True)
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT payment_settings_one CHECK (id = 1)"),
            SQL(
                "CONSTRAINT payment_settings_price CHECK (credits_per_minor_unit > 0 AND credits_per_minor_unit <= 1000000000000)"
            ),
            SQL("CONSTRAINT payment_settings_range CHECK (minimum_minor > 0 AND minimum_minor <= maximum_minor)"),
            SQL("CONSTRAINT payment_settings_currency CHECK (length(currency) = 3 AND currency = lower(currency))"),
        ]


class PaymentProfile(Model):
    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    customer_id = CharField(max_length=200, null=True)
    payment_method = CharField(max_length=200, null=True)
    card = CharField(max_length=64)
    top_up_threshold = BigIntegerField(null=True)
    top_up_minor = BigIntegerField(null=True)
    top_up_month_minor = BigIntegerField(null=True)
    top_up_failures = SmallIntegerField()
    top_up_not_before = BigIntegerField()
    top_up_stopped_at = BigIntegerField(null=True)
    top_up_problem = CharField(max_length=64)
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            SQL("CONSTRAINT payment_profile_top_up CHECK (top_up_threshold > 0 AND top_up_minor > 0 AND top_up_month_minor > 0)"),
            SQL(
                "CONSTRAINT payment_profile_top_up_whole CHECK ((top_up_threshold IS NULL) = (top_up_minor IS NULL)"
                " AND (top_up_minor IS NULL) = (top_up_month_minor IS NULL))"
            ),
        ]


PaymentProfile.add_index(
    PaymentProfile.index(
        PaymentProfile.customer_id, unique=True, where=SQL("customer_id IS NOT NULL"), name="payment_profile_customer"
    )
)
PaymentProfile.add_index(
    PaymentProfile.index(
        PaymentProfile.top_up_threshold,
        where=SQL("top_up_threshold IS NOT NULL AND top_up_stopped_at IS NULL"),
        name="payment_profile_top_ups",
    )
)
TABLES = (PaymentSettings, PaymentProfile)
# Columns of `payment`: name, type, and rules. {integer} is the type of 64-bit numbers.
COLUMNS = (
    (
        "purpose",
        "VARCHAR(16) NOT NULL DEFAULT 'credits'"
        " CONSTRAINT payment_purpose CHECK (purpose IN ('credits', 'top_up', 'plan', 'overage'))",
    ),
    (
        "state",
        "VARCHAR(16) NOT NULL DEFAULT 'paid'"
        " CONSTRAINT payment_state CHECK (state IN ('pending', 'paid', 'failed', 'expired', 'review'))",
    ),
    ("amount_minor", "{integer} CONSTRAINT payment_amount CHECK (amount_minor > 0 AND amount_minor <= 1000000000000)"),
    ("total_minor", "{integer} CONSTRAINT payment_total CHECK (total_minor > 0 AND total_minor <= 1000000000000)"),
    ("currency", "VARCHAR(3)"),
    ("paid_at", "{integer}"),
    ("entry_seq", "{integer}"),
    ("checkout_id", "VARCHAR(200)"),
    ("intent_id", "VARCHAR(200)"),
    ("refunded_minor", "{integer} NOT NULL DEFAULT 0"),
    (
        "disputed_minor",
        "{integer} NOT NULL DEFAULT 0 CONSTRAINT payment_refunded CHECK (refunded_minor >= 0 AND disputed_minor >= 0)",
    ),
    ("dispute_status", "VARCHAR(32) NOT NULL DEFAULT ''"),
    ("returned_credits", "{integer} NOT NULL DEFAULT 0 CONSTRAINT payment_returned CHECK (returned_credits >= 0)"),
    (
        "unrecovered_credits",
        "{integer} NOT NULL DEFAULT 0 CONSTRAINT payment_unrecovered"
        " CHECK (unrecovered_credits >= 0 AND returned_credits + unrecovered_credits <= credits)",
    ),
    ("refunded_at", "{integer}"),
    ("invoice_url", "TEXT"),
    ("problem", "VARCHAR(64) NOT NULL DEFAULT ''"),
)
INDEXES = {
    "payment_by_time": 'CREATE INDEX "payment_by_time" ON "payment" ("created_at")',
    "payment_checkout_once": (
        'CREATE UNIQUE INDEX "payment_checkout_once" ON "payment" ("checkout_id") WHERE checkout_id IS NOT NULL'
    ),
    "payment_intent_once": 'CREATE UNIQUE INDEX "payment_intent_once" ON "payment" ("intent_id") WHERE intent_id IS NOT NULL',
    "payment_one_top_up": (
        'CREATE UNIQUE INDEX "payment_one_top_up" ON "payment" ("account_id") WHERE purpose = \'top_up\' AND state = \'pending\''
    ),
}


def _extend_payment(db):
    present = {column.name for column in db.get_columns("payment")}
    integer = "INTEGER" if isinstance(db, SqliteDatabase) else "BIGINT"
    for name, definition in COLUMNS:
        if name not in present:
            db.execute_sql(f"ALTER TABLE payment ADD COLUMN {name} {definition.format(integer=integer)}")
    indexes = {index.name for index in db.get_indexes("payment")}
    for name, statement in INDEXES.items():
        if name not in indexes:
            db.execute_sql(statement)


# Each step locks one table. PostgreSQL only.
PREPARE = (_extend_payment,)


def up(migrator, db):
    _extend_payment(db)
    with db.bind_ctx((Account, *TABLES)):
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx((Account, *TABLES)):
        db.drop_tables(TABLES[::-1])
    db.execute_sql("DELETE FROM payment WHERE state <> 'paid'")
    for name in INDEXES:
        db.execute_sql(f"DROP INDEX {name}")
    # Columns that a check of another one names last: SQLite does not drop a column that a rule names.
    for name in ("unrecovered_credits", *(name for name, _ in COLUMNS if name not in ("unrecovered_credits", "disputed_minor"))):
        if name != "refunded_minor":
            db.execute_sql(f"ALTER TABLE payment DROP COLUMN {name}")
    for name in ("disputed_minor", "refunded_minor"):
        db.execute_sql(f"ALTER TABLE payment DROP COLUMN {name}")
