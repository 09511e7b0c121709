"""Creates accounts, staff, keys, the catalog, prices, plans, holds and ledgers.

The models are a frozen copy of `shared/models.py`, so that this migration never changes.
"""

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CharField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    JSONField,
    Model,
    SmallIntegerField,
    TextField,
    UUIDField,
)


def one_of(column, values):
    return Check(f"{column} IN ({', '.join(repr(value) for value in values)})")


def not_negative(*columns):
    return [Check(f"{column} >= 0") for column in columns]


class Account(Model):
    id = UUIDField(primary_key=True)
    email = CharField(max_length=254, unique=True)
    name = CharField(max_length=200)
    status = CharField(max_length=16)
    balance = BigIntegerField()
    held = BigIntegerField()
    ledger_seq = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            one_of("status", ("active", "suspended", "closed")),
            *not_negative("balance", "held", "ledger_seq"),
            Check("held <= balance"),
            Check("email = lower(email)"),
        ]


class StaffUser(Model):
    id = UUIDField(primary_key=True)
    email = CharField(max_length=254, unique=True)
    password_hash = CharField(max_length=255)
    role = CharField(max_length=16)
    status = CharField(max_length=16)
    session_epoch = IntegerField()
    created_at = BigIntegerField()
    last_sign_in_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [
            one_of("role", ("owner", "billing", "support", "readonly")),
            one_of("status", ("active", "disabled")),
            Check("email = lower(email)"),
        ]


class Plan(Model):
    id = UUIDField(primary_key=True)
    name = CharField(max_length=100, unique=True)
    monthly_credits = BigIntegerField()
    rollover_cap = BigIntegerField(null=True)
    price_cents = IntegerField()
    rpm = BigIntegerField(null=True)
    tpm = BigIntegerField(null=True)
    concurrency = BigIntegerField(null=True)
    allowed_models = JSONField(null=True)
    overage_allowed = BooleanField()
    stores_content = BooleanField()
    status = CharField(max_length=16)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [
            one_of("status", ("active", "disabled")),
            *not_negative("monthly_credits", "rollover_cap", "price_cents"),
            Check("rpm > 0"),
            Check("tpm > 0"),
            Check("concurrency > 0"),
        ]


class Subscription(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, backref="subscriptions", on_delete="CASCADE", index=False)
    plan = ForeignKeyField(Plan, backref="subscriptions", on_delete="RESTRICT")
    status = CharField(max_length=16)
    overage_cap = BigIntegerField()
    overage_used = BigIntegerField()
    started_at = BigIntegerField()
    renews_at = BigIntegerField(null=True)
    ended_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [one_of("status", ("active", "ended")), *not_negative("overage_cap", "overage_used")]


Subscription.add_index(
    Subscription.index(Subscription.account, unique=True, where=SQL("status = 'active'"), name="subscription_one_active")
)
Subscription.add_index(Subscription.index(Subscription.renews_at, where=SQL("status = 'active'"), name="subscription_renewals"))


class ApiKey(Model):
    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, backref="keys", on_delete="CASCADE")
    name = CharField(max_length=100)
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=16)
    rpm = BigIntegerField(null=True)
    tpm = BigIntegerField(null=True)
    concurrency = BigIntegerField(null=True)
    allowed_models = JSONField(null=True)
    allowed_ips = JSONField(null=True)
    created_at = BigIntegerField()
    expires_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        constraints = [Check("rpm > 0"), Check("tpm > 0"), Check("concurrency > 0"), Check("length(digest) = 64")]


ApiKey.add_index(ApiKey.index(ApiKey.prefix, name="api_key_prefix"))


class Channel(Model):
    id = UUIDField(primary_key=True)
    name = CharField(max_length=100, unique=True)
    dialect = CharField(max_length=32)
    base_url = CharField(max_length=500)
    sealed_secret = TextField()
    settings = JSONField()
    status = CharField(max_length=16)
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [one_of("dialect", ("openai",)), one_of("status", ("active", "disabled"))]


class AIModel(Model):
    id = CharField(max_length=200, primary_key=True)
    kind = CharField(max_length=16)
    owned_by = CharField(max_length=100)
    description = TextField()
    context_window = IntegerField(null=True)
    max_output_tokens = IntegerField(null=True)
    modality = CharField(max_length=64)
    capabilities = JSONField()
    is_free = BooleanField()
    status = CharField(max_length=16)
    created_at = BigIntegerField()
    updated_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        table_name = "model"
        constraints = [
            one_of("kind", ("chat", "embedding", "image", "video", "speech")),
            one_of("status", ("active", "disabled")),
            Check("context_window > 0"),
            Check("max_output_tokens > 0"),
        ]


class ChannelModel(Model):
    id = UUIDField(primary_key=True)
    channel = ForeignKeyField(Channel, backref="models", on_delete="CASCADE", index=False)
    model = ForeignKeyField(AIModel, backref="channels", on_delete="CASCADE")
    upstream_model = CharField(max_length=200)
    priority = SmallIntegerField()
    weight = IntegerField()
    status = CharField(max_length=16)

    class Meta:
        legacy_table_names = False
        constraints = [one_of("status", ("active", "disabled")), Check("weight > 0")]
        indexes = ((("channel", "model"), True),)


class Price(Model):
    id = UUIDField(primary_key=True)
    model = ForeignKeyField(AIModel, backref="prices", on_delete="CASCADE", index=False)
    effective_at = BigIntegerField()
    credits_per_1k_input = BigIntegerField()
    credits_per_1k_output = BigIntegerField()
    credits_per_1k_cached_input = BigIntegerField(null=True)
    credits_per_call = BigIntegerField()
    minimum_credits = BigIntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        indexes = ((("model", "effective_at"), True),)
        constraints = [
            Check(f"{column} >= 0 AND {column} <= 1000000000000")
            for column in (
                "credits_per_1k_input",
                "credits_per_1k_output",
                "credits_per_1k_cached_input",
                "credits_per_call",
                "minimum_credits",
            )
        ]


class CatalogVersion(Model):
    id = SmallIntegerField(primary_key=True)
    version = BigIntegerField()

    class Meta:
        legacy_table_names = False
        constraints = [Check("id = 1")]


class EdgeProcess(Model):
    id = UUIDField(primary_key=True)
    host = CharField(max_length=255)
    pid = IntegerField()
    started_at = BigIntegerField()
    seen_at = BigIntegerField(index=True)

    class Meta:
        legacy_table_names = False


class Hold(Model):
    id = UUIDField()
    account = ForeignKeyField(Account, backref="holds", on_delete="CASCADE")
    api_key = ForeignKeyField(ApiKey, null=True, on_delete="SET NULL", index=False)
    edge_process = UUIDField(null=True)
    model = CharField(max_length=200)
    price = UUIDField()
    amount = BigIntegerField()
    state = CharField(max_length=16)
    created_at = BigIntegerField()
    expires_at = BigIntegerField()
    closed_at = BigIntegerField(null=True)

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("id", "account")
        constraints = [one_of("state", ("held", "settled", "released", "expired")), *not_negative("amount")]


Hold.add_index(Hold.index(Hold.expires_at, where=SQL("state = 'held'"), name="hold_open_by_deadline"))
Hold.add_index(Hold.index(Hold.edge_process, where=SQL("state = 'held'"), name="hold_open_by_process"))
Hold.add_index(Hold.index(Hold.closed_at, where=SQL("state <> 'held'"), name="hold_closed"))


class LedgerEntry(Model):
    account = ForeignKeyField(Account, backref="entries", on_delete="CASCADE", index=False)
    seq = BigIntegerField()
    kind = CharField(max_length=16)
    amount = BigIntegerField()
    balance_after = BigIntegerField()
    call = UUIDField(null=True)
    actor = CharField(max_length=254)
    reason = CharField(max_length=500)
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("account", "seq")
        constraints = [
            one_of("kind", ("grant", "purchase", "charge", "refund", "adjustment", "expiry")),
            *not_negative("balance_after"),
            Check("amount <> 0"),
            Check("seq > 0"),
        ]


LedgerEntry.add_index(
    LedgerEntry.index(
        LedgerEntry.account,
        LedgerEntry.call,
        LedgerEntry.kind,
        unique=True,
        where=SQL("call IS NOT NULL"),
        name="ledger_entry_once_a_call",
    )
)
LedgerEntry.add_index(LedgerEntry.index(LedgerEntry.created_at, name="ledger_entry_created_at"))


class UsageLedger(Model):
    id = UUIDField()
    account = ForeignKeyField(Account, backref="usage", on_delete="CASCADE", index=False)
    api_key = UUIDField(null=True)
    model = CharField(max_length=200)
    channel = UUIDField(null=True)
    price = UUIDField()
    status = CharField(max_length=16)
    error_code = CharField(max_length=64, null=True)
    streamed = BooleanField()
    estimated = BooleanField()
    input_tokens = BigIntegerField()
    cached_tokens = BigIntegerField()
    output_tokens = BigIntegerField()
    reasoning_tokens = BigIntegerField()
    credits = BigIntegerField()
    overrun_credits = BigIntegerField()
    attempts = SmallIntegerField()
    first_token_ms = IntegerField(null=True)
    duration_ms = IntegerField()
    created_at = BigIntegerField()

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("id", "account")
        constraints = [
            one_of("status", ("completed", "cancelled", "failed", "expired")),
            *not_negative(
                "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits", "attempts"
            ),
        ]


UsageLedger.add_index(UsageLedger.index(UsageLedger.account, UsageLedger.created_at, name="usage_ledger_by_account"))
UsageLedger.add_index(UsageLedger.index(UsageLedger.api_key, UsageLedger.created_at, name="usage_ledger_by_key"))
UsageLedger.add_index(UsageLedger.index(UsageLedger.created_at, name="usage_ledger_by_time"))


class IdempotencyClaim(Model):
    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    key_digest = CharField(max_length=64)
    body_digest = CharField(max_length=64)
    call = UUIDField()
    state = CharField(max_length=16)
    credits = BigIntegerField()
    created_at = BigIntegerField()
    expires_at = BigIntegerField(index=True)

    class Meta:
        legacy_table_names = False
        primary_key = CompositeKey("account", "key_digest")
        constraints = [one_of("state", ("running", "done")), *not_negative("credits")]


class AuditEntry(Model):
    id = UUIDField(primary_key=True)
    actor = CharField(max_length=254)
    action = CharField(max_length=64)
    target = CharField(max_length=254)
    before = JSONField(null=True)
    after = JSONField(null=True)
    address = CharField(max_length=64)
    created_at = BigIntegerField(index=True)

    class Meta:
        legacy_table_names = False


TABLES = (
    Account,
    StaffUser,
    Plan,
    Subscription,
    ApiKey,
    Channel,
    AIModel,
    ChannelModel,
    Price,
    CatalogVersion,
    EdgeProcess,
    Hold,
    LedgerEntry,
    UsageLedger,
    IdempotencyClaim,
    AuditEntry,
)


def up(migrator, db):
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES)
        CatalogVersion.insert(id=1, version=1).execute()


def down(migrator, db):
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
