"""Adds plan credits, overage, subscription periods, spending of keys and visitors, payments and redeem codes.

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
    Model,
    SmallIntegerField,
    UUIDField,
)


def one_of(column, values):
    return Check(f"{column} IN ({', '.join(repr(value) for value in values)})")


def not_negative(*columns):
    return [Check(f"{column} >= 0") for column in columns]


def named(name, condition):
    return SQL(f"CONSTRAINT {name} CHECK ({condition})")


def number(default, check):
    return BigIntegerField(constraints=[SQL(f"DEFAULT {default}"), check])


class Account(Model):
    id = UUIDField(primary_key=True)
    plan_credits = number(0, named("account_plan_part", "plan_credits >= 0 AND plan_credits <= balance"))

    class Meta:
        legacy_table_names = False


class Subscription(Model):
    id = UUIDField(primary_key=True)
    overage_held = number(0, named("subscription_overage_held", "overage_held >= 0"))
    anchor_day = SmallIntegerField(
        constraints=[SQL("DEFAULT 1"), named("subscription_anchor_day", "anchor_day >= 1 AND anchor_day <= 31")]
    )
    next_plan = UUIDField(null=True)
    cancelled_at = BigIntegerField(null=True)
    suspended_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False


class ApiKey(Model):
    id = UUIDField(primary_key=True)
    monthly_credit_limit = BigIntegerField(null=True, constraints=[named("api_key_monthly_limit", "monthly_credit_limit > 0")])

    class Meta:
        legacy_table_names = False


class Hold(Model):
    overage = number(0, named("hold_overage", "overage >= 0"))
    subscription = UUIDField(null=True)
    allowance = CharField(max_length=96, null=True)

    class Meta:
        legacy_table_names = False
        primary_key = False


class LedgerEntry(Model):
    plan_amount = number(
        0,
        named(
            "ledger_entry_plan_part",
            "amount < 0 AND plan_amount >= amount AND plan_amount <= 0"
            " OR amount > 0 AND plan_amount <= amount AND plan_amount >= 0",
        ),
    )

    class Meta:
        legacy_table_names = False
        primary_key = False


class UsageLedger(Model):
    overage_credits = number(0, named("usage_ledger_overage_part", "overage_credits >= 0 AND overage_credits <= credits"))

    class Meta:
        legacy_table_names = False
        primary_key = False


class SubscriptionPeriod(Model):
    subscription = ForeignKeyField(Subscription, on_delete="CASCADE", index=False)
    starts_at = BigIntegerField()
    ends_at = BigIntegerField()
    plan = UUIDField()
    state = CharField(max_length=16)
    granted = BigIntegerField()
    expired = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("subscription", "starts_at")
        constraints = [
            one_of("state", ("granted", "skipped")),
            *not_negative("granted", "expired"),
            Check("ends_at > starts_at"),
        ]


class OverageEntry(Model):
    id = UUIDField()
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    subscription = UUIDField()
    kind = CharField(max_length=16)
    amount = BigIntegerField()
    call = UUIDField(null=True)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("id", "account")
        constraints = [one_of("kind", ("charge", "bill")), Check("amount > 0 OR kind = 'bill' AND amount < 0")]


OverageEntry.add_index(
    OverageEntry.index(
        OverageEntry.account, OverageEntry.call, unique=True, where=SQL("call IS NOT NULL"), name="overage_entry_once_a_call"
    )
)
OverageEntry.add_index(
    OverageEntry.index(OverageEntry.subscription, OverageEntry.created_at, name="overage_entry_by_subscription")
)


class Allowance(Model):
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    name = CharField(max_length=96)
    kind = CharField(max_length=16)
    period = IntegerField()
    allowed = BigIntegerField()
    used = BigIntegerField()
    held = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("account", "name")
        constraints = [
            one_of("kind", ("key", "visitor")),
            *not_negative("allowed", "used", "held"),
            Check("used + held <= allowed"),
        ]


Allowance.add_index(Allowance.index(Allowance.kind, Allowance.period, name="allowance_by_period"))


class VisitorPoolDay(Model):
    day = IntegerField(primary_key=True)
    credits = BigIntegerField()
    expired = BigIntegerField()
    granted = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [*not_negative("day", "credits", "expired", "granted")]


class Payment(Model):
    provider = CharField(max_length=32)
    reference = CharField(max_length=200)
    account = ForeignKeyField(Account, on_delete="CASCADE")
    credits = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("provider", "reference")
        constraints = [Check("credits > 0")]


class CodeBatch(Model):
    id = UUIDField(primary_key=True)
    note = CharField(max_length=200)
    credits = BigIntegerField()
    count = IntegerField()
    expires_at = BigIntegerField(null=True)
    created_by = CharField(max_length=254)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [Check("credits > 0"), Check("count > 0")]


class RedeemCode(Model):
    id = UUIDField(primary_key=True)
    batch = ForeignKeyField(CodeBatch, on_delete="CASCADE")
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=16)
    account = ForeignKeyField(Account, null=True, on_delete="SET NULL")
    redeemed_at = BigIntegerField(null=True)
    voided_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("length(digest) = 64"), Check("redeemed_at IS NULL OR voided_at IS NULL")]


COLUMNS = (
    Account.plan_credits,
    Subscription.overage_held,
    Subscription.anchor_day,
    Subscription.next_plan,
    Subscription.cancelled_at,
    Subscription.suspended_at,
    ApiKey.monthly_credit_limit,
    Hold.overage,
    Hold.subscription,
    Hold.allowance,
    LedgerEntry.plan_amount,
    UsageLedger.overage_credits,
)
TABLES = (SubscriptionPeriod, OverageEntry, Allowance, VisitorPoolDay, Payment, CodeBatch, RedeemCode)


def up(migrator, db):
    with db.bind_ctx([field.model for field in COLUMNS] + list(TABLES)):
        for field in COLUMNS:
            column, _ = db.get_sql_context().sql(field.ddl(db.get_sql_context())).query()
            db.execute_sql(f'ALTER TABLE "{field.model._meta.table_name}" ADD COLUMN {column}')
        db.create_tables(TABLES)


def down(migrator, db):
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
    for field in reversed(COLUMNS):
        db.execute_sql(f'ALTER TABLE "{field.model._meta.table_name}" DROP COLUMN "{field.column_name}"')
