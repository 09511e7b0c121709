"""Adds hourly and daily usage rollups, and the indexes for the console's filters.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import SQL, BigIntegerField, CharField, Check, CompositeKey, IntegerField, Model, SmallIntegerField, UUIDField

BOUNDS_MS = (
    *(0, 10, 20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800),
    *(1_200, 1_600, 2_400, 3_500, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000),
)


class UsageSum(Model):
    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    model = CharField(max_length=200)
    channel = UUIDField()
    status = CharField(max_length=16)
    calls = BigIntegerField()
    estimated = BigIntegerField(null=True)
    input_tokens = BigIntegerField(null=True)
    cached_tokens = BigIntegerField(null=True)
    output_tokens = BigIntegerField(null=True)
    reasoning_tokens = BigIntegerField(null=True)
    credits = BigIntegerField(null=True)
    overrun_credits = BigIntegerField(null=True)
    duration_ms = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False


for _measure in ("first_token", "duration"):
    for _bound in BOUNDS_MS:
        UsageSum._meta.add_field(f"{_measure}_{_bound}", IntegerField(null=True))
CONSTRAINTS = [
    Check("grain_hours IN (1, 24)"),
    *(Check(f"{column} >= 0") for column in ("calls", "input_tokens", "output_tokens", "credits")),
]


class PlatformUsage(UsageSum):
    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("grain_hours", "at", "model", "channel", "status")
        constraints = CONSTRAINTS


class AccountUsage(UsageSum):
    account = UUIDField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("grain_hours", "at", "account", "model", "channel", "status")
        constraints = CONSTRAINTS


AccountUsage.add_index(
    AccountUsage.index(AccountUsage.account, AccountUsage.grain_hours, AccountUsage.at, name="account_usage_by_account")
)


class RollupState(Model):
    id = SmallIntegerField(primary_key=True)
    rolled_until = BigIntegerField(null=True)
    checked_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("id = 1")]


class UsageLedger(Model):
    model = CharField(max_length=200)
    channel = UUIDField(null=True)
    status = CharField(max_length=16)
    error_code = CharField(max_length=64, null=True)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


class LedgerEntry(Model):
    kind = CharField(max_length=16)
    actor = CharField(max_length=254)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


class AuditEntry(Model):
    actor = CharField(max_length=254)
    action = CharField(max_length=64)
    target = CharField(max_length=254)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False


class MediaJob(Model):
    id = UUIDField(primary_key=True)
    status = CharField(max_length=16)

    class Meta:
        legacy_table_names = False


TABLES = (PlatformUsage, AccountUsage, RollupState)
INDEXED = (UsageLedger, LedgerEntry, AuditEntry, MediaJob)

# name, columns, condition
INDEXES = (
    ("usage_ledger_by_model", (UsageLedger.model, UsageLedger.created_at), None),
    ("usage_ledger_by_channel", (UsageLedger.channel, UsageLedger.created_at), "channel IS NOT NULL"),
    ("usage_ledger_by_status", (UsageLedger.status, UsageLedger.created_at), "status <> 'completed'"),
    ("usage_ledger_by_error", (UsageLedger.error_code, UsageLedger.created_at), "error_code IS NOT NULL"),
    ("usage_ledger_estimated", (UsageLedger.created_at,), "estimated"),
    ("ledger_entry_by_kind", (LedgerEntry.kind, LedgerEntry.created_at), "kind <> 'charge'"),
    ("ledger_entry_by_actor", (LedgerEntry.actor, LedgerEntry.created_at), "actor <> 'edge'"),
    ("media_job_by_status", (MediaJob.status, MediaJob.id), None),
    ("audit_entry_by_actor", (AuditEntry.actor, AuditEntry.created_at), None),
    ("audit_entry_by_action", (AuditEntry.action, AuditEntry.created_at), None),
    ("audit_entry_by_target", (AuditEntry.target, AuditEntry.created_at), None),
)


def up(migrator, db):
    with db.bind_ctx((*TABLES, *INDEXED)):
        db.create_tables(TABLES)
        RollupState.insert(id=1).execute()
        for name, columns, condition in INDEXES:
            model = columns[0].model
            where = SQL(condition) if condition else None
            db.execute(model.index(*columns, where=where, name=name, safe=False))


def down(migrator, db):
    for name, _, _ in INDEXES:
        db.execute_sql(f"DROP INDEX {name}")
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
