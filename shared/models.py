"""Every database table, in this order:

    Accounts         pools of credits, the people in them, keys and sessions
    Plans            limits, monthly credits and overage
    Catalog          channels, models, their aliases, routes and prices
    Calls            holds of running calls, and the processes that serve them
    Idempotency      calls and forms that take effect only once
    Ledger           every movement of credits
    Visitors         the daily credits of callers without an account
    Usage            one row per call, and its hourly and daily sums
    Media            jobs, their outputs, and the secrets that sign webhooks
    Payments         purchases and redeem codes
    Stored content   conversations, responses, shares, and purges of them
    Mail             messages waiting to be sent
    Budgets          amounts of spending at which an account's members are notified
    Alerts           conditions that staff must act on, and the messages about them
    Staff            people in the console, keys of the administration API, and the log of what they did

Amounts are whole credits in BIGINT columns with CHECK constraints. Times are whole milliseconds UTC (`*_at`), durations end in
`_ms`. Ids are version 7 UUIDs created by the inserting process (`shared.core.clock.new_id`), so no sequence ties the tables to
one server. The busiest tables (`hold`, `ledger_entry`, `usage_ledger`, `idempotency_claim`) have `account_id` in their primary
key, so they can be distributed by account; see `docs/scaling.md`.

Only `shared/ledger/` writes balances, holds and ledger entries; only `shared/operations/` writes the catalog.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from peewee import (
    SQL,
    BigIntegerField,
    BlobField,
    BooleanField,
    CharField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    JSONField,
    Model,
    Node,
    SmallIntegerField,
    TextField,
    UUIDField,
    fn,
)
from playhouse.hybrid import hybrid_property

from shared.core import latency_histogram
from shared.core.clock import new_id, now_ms
from shared.core.database import database
from shared.core.settings import STAFF_ROLES as STAFF_ROLES

ACCOUNT_STATUSES = ("active", "suspended", "closed")
MEMBER_ROLES = ("owner", "admin", "billing", "developer", "viewer")  # `shared/identity/roles.py` says what each may do
HOLD_STATES = ("held", "settled", "released", "expired")
PERIOD_STATES = ("granted", "skipped")
OVERAGE_KINDS = ("charge", "bill")
LEDGER_KINDS = ("grant", "purchase", "charge", "refund", "adjustment", "expiry")
ALLOWANCE_KINDS = ("key", "visitor", "keyday", "member", "memberday")
USAGE_STATUSES = ("completed", "cancelled", "failed", "expired")
MESSAGE_STATUSES = ("complete", "partial")  # partial: the answer was cut off
PURGE_STATUSES = ("queued", "running", "done")
MAIL_STATUSES = ("queued", "sent", "failed", "cancelled")
MODEL_KINDS = ("chat", "embedding", "image", "video", "speech", "moderation", "transcription", "rerank")
MEDIA_KINDS = ("image", "video", "speech")
MEDIA_STATES = ("queued", "running", "succeeded", "failed", "cancelled")
DIALECTS = ("openai", "anthropic", "gemini", "responses")
PAYMENT_STATES = ("pending", "paid", "failed", "expired", "review")  # review: paid, but not what was ordered
PAYMENT_PURPOSES = ("credits", "top_up", "plan", "overage")
# ending: it was ended here, and must still be cancelled at Stripe. expired: it was never paid.
STRIPE_SUBSCRIPTION_STATES = ("pending", "active", "ending", "ended", "expired")
ALERT_EVENTS = ("opened", "closed")
ALERT_TARGETS = ("email", "webhook")
NOTICE_STATUSES = ("queued", "sent", "failed")
BUDGET_SCOPES = ("account", "member", "key", "tag", "balance")
BUDGET_PERIODS = ("month", "day", "none")  # none: for the balance
WEBHOOK_FORMATS = ("event", "slack")
CUT_HANDLINGS = ("cancelled_upstream", "drained", "broken_upstream")  # how an answer that was cut off ended upstream
ENABLED_STATUSES = ("active", "disabled")
COMPARISON_VERDICTS = ("same", "different")
CHANNEL_PROBLEMS = ("margin", "counts")  # why a channel is flagged
FORM_SECRET_MS = 10 * 60 * 1000  # how long a form's secret is stored if it is not shown


def check_one_of(column: str, values: tuple[str, ...]) -> Node:
    """Return a CHECK constraint that limits `column` to `values`."""
    return Check(f"{column} IN ({', '.join(repr(value) for value in values)})")


def check_not_negative(*columns: str) -> list[Node]:
    """Return CHECK constraints that keep each of `columns` at zero or above (NULL is allowed)."""
    return [Check(f"{column} >= 0") for column in columns]


def check_price_range(column: str) -> Node:
    """Return a CHECK constraint that limits a price so that sums cannot overflow (NULL is allowed)."""
    return Check(f"{column} >= 0 AND {column} <= 1000000000000")


def named_check(name: str, condition: str) -> Node:
    """Return a named CHECK constraint, for columns added by later migrations: numbers of unnamed ones depend on their order."""
    return SQL(f"CONSTRAINT {name} CHECK ({condition})")


class BaseModel(Model):
    class Meta:
        database = database
        legacy_table_names = False


# Accounts


class Account(BaseModel):
    """One pool of credits, shared by its members. New calls can reserve `balance - held`.

    `email`, `password_hash`, `email_verified_at` and `language` are copies of its owner's sign-in, which the previous release
    reads and writes (`shared/operations/people.py`).
    """

    id = UUIDField(primary_key=True, default=new_id)
    email = CharField(max_length=254, unique=True)  # stored in lower case
    name = CharField(max_length=200, default="")
    status = CharField(max_length=16, default="active")
    balance = BigIntegerField(default=0)
    held = BigIntegerField(default=0)
    ledger_seq = BigIntegerField(default=0)  # number of the latest ledger entry; numbers have no gaps
    created_at = BigIntegerField(default=now_ms)
    # Part of `balance` that a plan granted. It is used first and may expire; purchased and granted credits never do.
    plan_credits = BigIntegerField(
        default=0,
        constraints=[SQL("DEFAULT 0"), named_check("account_plan_part", "plan_credits >= 0 AND plan_credits <= balance")],
    )
    password_hash = CharField(max_length=255, null=True)  # NULL: no password set, for accounts created by staff
    email_verified_at = BigIntegerField(null=True)  # NULL: not verified, or the email address was changed since
    # Credits that are granted when the email address is verified; then 0.
    pending_credits = BigIntegerField(
        default=0, constraints=[SQL("DEFAULT 0"), named_check("account_pending_credits", "pending_credits >= 0")]
    )
    language = CharField(max_length=8, default="en", constraints=[SQL("DEFAULT 'en'")])  # of emails: last used on a page
    # Hashes of 32 bytes: of the latest witnessed ledger entry, and of the latest one that a purge removed, which the oldest
    # remaining entry follows. NULL: none.
    ledger_head = BlobField(null=True)
    ledger_origin = BlobField(null=True)
    ledger_origin_signature = TextField(
        null=True
    )  # JSON (`shared/ledger/purge_signature.py`). NULL: no purge, or an older release's

    class Meta:
        constraints = [
            check_one_of("status", ACCOUNT_STATUSES),
            *check_not_negative("balance", "held", "ledger_seq"),
            Check("held <= balance"),
            Check("email = lower(email)"),
        ]


class Person(BaseModel):
    """Someone who signs in with an email address and a password, and belongs to any number of accounts."""

    id = UUIDField(primary_key=True, default=new_id)
    email = CharField(max_length=254, unique=True)  # stored in lower case
    password_hash = CharField(max_length=255, null=True)  # NULL: no password set
    email_verified_at = BigIntegerField(null=True)
    language = CharField(max_length=8, default="en")  # of emails
    last_account = UUIDField(null=True)  # the account that was last chosen, for the next sign-in
    created_at = BigIntegerField(default=now_ms)
    sealed_totp = TextField(default="", constraints=[SQL("DEFAULT ''")])  # secret of the second factor; empty if there is none
    totp_step = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])  # of the last code: each is valid once
    muted_mails = JSONField(null=True)  # list of the kinds of email that they turned off (`shared/mail/preferences.py`)

    class Meta:
        constraints = [named_check("person_email", "email = lower(email)")]


class EmailChange(BaseModel):
    """A person's new email address that waits for confirmation, until it expires (`shared/operations/email_changes.py`)."""

    id = UUIDField(primary_key=True, default=new_id)
    person = ForeignKeyField(Person, unique=True, on_delete="CASCADE")
    email = CharField(max_length=254)  # the new one
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField()


class PersonIdentity(BaseModel):
    """A person's identity at an OpenID provider, with which they can sign in. `subject` is their id there."""

    id = UUIDField(primary_key=True, default=new_id)
    person = ForeignKeyField(Person, backref="identities", on_delete="CASCADE")
    issuer = CharField(max_length=255)
    subject = CharField(max_length=255)
    email = CharField(max_length=254)  # at the provider, when it was linked; shown to the person
    created_at = BigIntegerField(default=now_ms)


PersonIdentity.add_index(
    PersonIdentity.index(PersonIdentity.issuer, PersonIdentity.subject, unique=True, name="person_identity_once")
)


class PersonPasskey(BaseModel):
    """A person's passkey (WebAuthn), with which they can sign in without a password."""

    id = UUIDField(primary_key=True, default=new_id)
    person = ForeignKeyField(Person, backref="passkeys", on_delete="CASCADE")
    credential = TextField(unique=True)  # its id at the authenticator, in base64url
    public_key = BlobField()
    sign_count = BigIntegerField()
    name = CharField(max_length=64)  # of the browser that added it
    created_at = BigIntegerField(default=now_ms)
    last_used_at = BigIntegerField(null=True)


class PersonRecoveryCode(BaseModel):
    """A code that replaces a person's second factor once. Only its SHA-256 is stored."""

    digest = CharField(max_length=64, primary_key=True)
    person = ForeignKeyField(Person, backref="recovery_codes", on_delete="CASCADE")
    used_at = BigIntegerField(null=True)

    class Meta:
        constraints = [Check("length(digest) = 64")]


class Member(BaseModel):
    """A person in an account, with a role and limits on what their keys and sessions may spend.

    The first owner has the id of the account; columns that refer to members are NULL for them. Rows stay after a person left
    (`removed_at`), because keys and usage refer to them.
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="members", on_delete="CASCADE", index=False)
    person = ForeignKeyField(Person, backref="memberships", on_delete="RESTRICT")
    role = CharField(max_length=16)
    # Maximum cost in credits of the member's calls per calendar month and per day (UTC). NULL: no limit. The owner has none.
    monthly_credit_limit = BigIntegerField(null=True)
    daily_credit_limit = BigIntegerField(null=True)
    created_at = BigIntegerField(default=now_ms)
    suspended_at = BigIntegerField(null=True)
    removed_at = BigIntegerField(null=True)

    class Meta:
        constraints = [
            named_check("member_role", f"role IN ({', '.join(repr(role) for role in MEMBER_ROLES)})"),
            named_check("member_limits", "monthly_credit_limit > 0 AND daily_credit_limit > 0"),
            named_check(
                "member_owner",
                "role <> 'owner' OR monthly_credit_limit IS NULL AND daily_credit_limit IS NULL"
                " AND suspended_at IS NULL AND removed_at IS NULL",
            ),
        ]


Member.add_index(Member.index(Member.account, Member.person, unique=True, name="member_once"))
Member.add_index(Member.index(Member.account, unique=True, where=SQL("role = 'owner'"), name="member_one_owner"))


class Invitation(BaseModel):
    """An invitation to join an account. Its link is signed and not stored (`shared/operations/invitations.py`)."""

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="invitations", on_delete="CASCADE", index=False)
    email = CharField(max_length=254)
    role = CharField(max_length=16)
    monthly_credit_limit = BigIntegerField(null=True)
    daily_credit_limit = BigIntegerField(null=True)
    language = CharField(max_length=8, default="en")  # of the email
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField()  # also changes with each email, so that only the latest link works
    accepted_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)
    invited_by = UUIDField(null=True)  # the member. NULL: staff, or an invitation from before this column

    class Meta:
        constraints = [
            named_check("invitation_role", f"role IN ({', '.join(repr(role) for role in MEMBER_ROLES[1:])})"),
            named_check("invitation_limits", "monthly_credit_limit > 0 AND daily_credit_limit > 0"),
            named_check("invitation_email", "email = lower(email)"),
        ]


Invitation.add_index(
    Invitation.index(
        Invitation.account,
        Invitation.email,
        unique=True,
        where=SQL("accepted_at IS NULL AND revoked_at IS NULL"),
        name="invitation_open_once",
    )
)


class AccountNote(BaseModel):
    """A note by staff about an account. Customers never see it."""

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="notes", on_delete="CASCADE")
    author = CharField(max_length=254)
    text = TextField()
    created_at = BigIntegerField(default=now_ms)


class ApiKey(BaseModel):
    """An account's API key. Only its SHA-256 is stored; `prefix` is displayed. NULL limits mean the plan's."""

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="keys", on_delete="CASCADE")
    name = CharField(max_length=100)
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=16)
    rpm = BigIntegerField(null=True)
    tpm = BigIntegerField(null=True)
    concurrency = BigIntegerField(null=True)
    allowed_models = JSONField(null=True)
    allowed_ips = JSONField(null=True)  # list of addresses or networks; NULL means all
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)
    # Maximum cost in credits of its calls per calendar month (UTC). NULL: no limit of its own.
    monthly_credit_limit = BigIntegerField(
        null=True, constraints=[named_check("api_key_monthly_limit", "monthly_credit_limit > 0")]
    )
    # Whether the key may create, change and revoke keys and purge the account, through the API.
    can_manage = BooleanField(default=False, constraints=[SQL("DEFAULT false")])
    # The key that created this one through the API; its limits apply as well. NULL: created by a person.
    parent = UUIDField(null=True)
    # The first key of a chain of rotations, which share one monthly count and rate limits. NULL: the key itself.
    meter = UUIDField(null=True)
    # Maximum cost in credits of its calls per day (UTC). NULL: no limit of its own.
    daily_credit_limit = BigIntegerField(null=True, constraints=[named_check("api_key_daily_limit", "daily_credit_limit > 0")])
    member = UUIDField(null=True)  # the member whose key it is. NULL: the first owner (`Member`)
    notified_expiry = BigIntegerField(null=True)  # the `expires_at` that an email warned of

    class Meta:
        constraints = [Check("rpm > 0"), Check("tpm > 0"), Check("concurrency > 0"), Check("length(digest) = 64")]


ApiKey.add_index(ApiKey.index(ApiKey.prefix, name="api_key_prefix"))
ApiKey.add_index(ApiKey.index(ApiKey.parent, where=SQL("parent IS NOT NULL"), name="api_key_by_parent"))
ApiKey.add_index(ApiKey.index(ApiKey.meter, where=SQL("meter IS NOT NULL"), name="api_key_by_meter"))
ApiKey.add_index(
    ApiKey.index(ApiKey.expires_at, where=SQL("expires_at IS NOT NULL AND revoked_at IS NULL"), name="api_key_by_expiry")
)
ApiKey.add_index(ApiKey.index(ApiKey.member, where=SQL("member IS NOT NULL"), name="api_key_by_member"))


class WebSession(BaseModel):
    """A browser signed in to an account. Only the SHA-256 of its cookie is stored, and no IP address.

    Use extends `expires_at`, up to the maximum lifetime of a session, so this column alone decides whether it is valid.
    """

    digest = CharField(max_length=64, primary_key=True)
    account = ForeignKeyField(Account, backref="web_sessions", on_delete="CASCADE")
    agent = CharField(max_length=64, default="")  # "Firefox on Linux", shown to the owner
    created_at = BigIntegerField(default=now_ms)
    seen_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(index=True)
    revoked_at = BigIntegerField(null=True)
    member = UUIDField(null=True)  # the member who is signed in. NULL: the first owner (`Member`)

    class Meta:
        constraints = [Check("length(digest) = 64")]


WebSession.add_index(WebSession.index(WebSession.member, where=SQL("member IS NOT NULL"), name="web_session_by_member"))


# Plans


class Plan(BaseModel):
    """Limits and monthly credits that an account subscribes to. NULL limits mean the platform's defaults."""

    id = UUIDField(primary_key=True, default=new_id)
    name = CharField(max_length=100, unique=True)
    monthly_credits = BigIntegerField(default=0)
    rollover_cap = BigIntegerField(null=True)  # NULL: twice the monthly grant
    price_cents = IntegerField(default=0)
    rpm = BigIntegerField(null=True)
    tpm = BigIntegerField(null=True)
    concurrency = BigIntegerField(null=True)
    allowed_models = JSONField(null=True)  # list of model ids; NULL means all
    overage_allowed = BooleanField(default=False)
    stores_content = BooleanField(default=False)
    status = CharField(max_length=16, default="active")
    created_at = BigIntegerField(default=now_ms)
    media_days = IntegerField(null=True, constraints=[Check("media_days > 0")])  # media retention; NULL: as in the settings
    # How many days calls are kept; NULL: as in the settings.
    usage_days = IntegerField(null=True, constraints=[named_check("plan_usage_days", "usage_days >= 30")])
    self_service = BooleanField(default=False, constraints=[SQL("DEFAULT false")])  # whether customers can buy it themselves
    # The highest overage cap that customers may set themselves; NULL: only staff set it.
    owner_overage_cap = BigIntegerField(null=True, constraints=[named_check("plan_owner_overage_cap", "owner_overage_cap >= 0")])

    class Meta:
        constraints = [
            check_one_of("status", ENABLED_STATUSES),
            *check_not_negative("monthly_credits", "rollover_cap", "price_cents"),
            Check("rpm > 0"),
            Check("tpm > 0"),
            Check("concurrency > 0"),
        ]


class Subscription(BaseModel):
    """An account's plan. At most one subscription per account is active."""

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="subscriptions", on_delete="CASCADE", index=False)
    plan = ForeignKeyField(Plan, backref="subscriptions", on_delete="RESTRICT")
    status = CharField(max_length=16, default="active")
    overage_cap = BigIntegerField(default=0)  # credits; 0 disables overage
    overage_used = BigIntegerField(default=0)
    started_at = BigIntegerField(default=now_ms)
    renews_at = BigIntegerField(null=True)
    ended_at = BigIntegerField(null=True)
    overage_held = BigIntegerField(
        default=0, constraints=[SQL("DEFAULT 0"), named_check("subscription_overage_held", "overage_held >= 0")]
    )
    # The day of the month on which it renews; in shorter months, the last day.
    anchor_day = SmallIntegerField(
        default=1, constraints=[SQL("DEFAULT 1"), named_check("subscription_anchor_day", "anchor_day >= 1 AND anchor_day <= 31")]
    )
    next_plan = UUIDField(null=True)  # takes effect with the next period
    cancelled_at = BigIntegerField(null=True)  # it ends with its current period
    suspended_at = BigIntegerField(null=True)  # no grants and no overage until it is resumed
    # `StripeSubscription.reference`: each period starts when its invoice is paid. NULL: free, or assigned by staff.
    stripe_subscription = CharField(max_length=32, null=True)
    past_due_at = BigIntegerField(null=True)  # a payment failed: no overage until it is paid

    class Meta:
        constraints = [check_one_of("status", ("active", "ended")), *check_not_negative("overage_cap", "overage_used")]


Subscription.add_index(
    Subscription.index(Subscription.account, unique=True, where=SQL("status = 'active'"), name="subscription_one_active")
)
Subscription.add_index(Subscription.index(Subscription.renews_at, where=SQL("status = 'active'"), name="subscription_renewals"))
Subscription.add_index(Subscription.index(Subscription.ended_at, where=SQL("ended_at IS NOT NULL"), name="subscription_by_end"))


class SubscriptionPeriod(BaseModel):
    """One period of a subscription and what it granted. The primary key ensures that each renewal happens once."""

    subscription = ForeignKeyField(Subscription, backref="periods", on_delete="CASCADE", index=False)
    starts_at = BigIntegerField()
    ends_at = BigIntegerField()
    plan = UUIDField()
    state = CharField(max_length=16, default="granted")
    granted = BigIntegerField(default=0)
    expired = BigIntegerField(default=0)  # plan credits above the rollover cap, expired at its start
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        primary_key = CompositeKey("subscription", "starts_at")
        constraints = [
            check_one_of("state", PERIOD_STATES),
            *check_not_negative("granted", "expired"),
            Check("ends_at > starts_at"),
        ]


class OverageEntry(BaseModel):
    """An immutable entry of a subscription's overage: the `charge` of a call, or a `bill`, which resets the counter.

    `Subscription.overage_used` is the sum of the amounts. A bill's amount is negative: the overage to be paid.
    """

    id = UUIDField(default=new_id)
    account = ForeignKeyField(Account, backref="overage_entries", on_delete="CASCADE", index=False)
    subscription = UUIDField()
    kind = CharField(max_length=16)
    amount = BigIntegerField()
    call = UUIDField(null=True)
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        primary_key = CompositeKey("id", "account")
        constraints = [check_one_of("kind", OVERAGE_KINDS), Check("amount > 0 OR kind = 'bill' AND amount < 0")]


OverageEntry.add_index(
    OverageEntry.index(
        OverageEntry.account, OverageEntry.call, unique=True, where=SQL("call IS NOT NULL"), name="overage_entry_once_a_call"
    )
)
OverageEntry.add_index(
    OverageEntry.index(OverageEntry.subscription, OverageEntry.created_at, name="overage_entry_by_subscription")
)


# Catalog


class Channel(BaseModel):
    """One credential at one base URL. `sealed_secret` is encrypted with a key derived from SECRET_KEY."""

    id = UUIDField(primary_key=True, default=new_id)
    name = CharField(max_length=100, unique=True)
    dialect = CharField(max_length=32)
    base_url = CharField(max_length=500)
    sealed_secret = TextField(default="")
    settings = JSONField(default=dict)  # provider settings, see `docs/dialects.md`
    status = CharField(max_length=16, default="active")
    created_at = BigIntegerField(default=now_ms)
    updated_at = BigIntegerField(default=now_ms)
    out_until = BigIntegerField(null=True)  # paused until then: no new calls
    out_reason = CharField(max_length=200, null=True)
    # The channel is flagged if its margin falls below `margin_floor`, or if its providers' token counts differ from ours by more
    # than `count_tolerance`, both in percent over a day (`shared/operations/channel_checks.py`).
    margin_floor = SmallIntegerField(
        default=0,
        constraints=[SQL("DEFAULT 0"), named_check("channel_margin_floor", "margin_floor >= -1000 AND margin_floor <= 100")],
    )
    count_tolerance = SmallIntegerField(
        default=2,
        constraints=[SQL("DEFAULT 2"), named_check("channel_count_tolerance", "count_tolerance >= 1 AND count_tolerance <= 100")],
    )
    pauses_when_flagged = BooleanField(default=False, constraints=[SQL("DEFAULT false")])
    # Probes (`shared/operations/model_probes.py`). A reference serves the true models; other channels are compared with it.
    is_reference = BooleanField(default=False, constraints=[SQL("DEFAULT false")])
    daily_probes = SmallIntegerField(
        default=0,
        constraints=[SQL("DEFAULT 0"), named_check("channel_daily_probes", "daily_probes >= 0 AND daily_probes <= 10000")],
    )  # 0: none
    daily_probe_credits = BigIntegerField(
        default=0, constraints=[SQL("DEFAULT 0"), named_check("channel_daily_probe_credits", "daily_probe_credits >= 0")]
    )  # maximum cost of a day's probes at the providers, as far as it is known
    lowers_weight_when_different = BooleanField(default=False, constraints=[SQL("DEFAULT false")])

    class Meta:
        constraints = [check_one_of("dialect", DIALECTS), check_one_of("status", ENABLED_STATUSES)]


class ChannelCheck(BaseModel):
    """The latest check of a channel: its calls of the last day, but not before `since`, with known cost, and sampled tokens."""

    channel = ForeignKeyField(Channel, on_delete="CASCADE", primary_key=True)
    since = BigIntegerField(default=0)  # when staff resumed the channel
    checked_at = BigIntegerField(null=True)
    calls = BigIntegerField(default=0)
    costed_credits = BigIntegerField(default=0)  # as in `UsageSum`
    provider_cost = BigIntegerField(default=0)
    sampled_calls = BigIntegerField(default=0)
    counted_input = BigIntegerField(default=0)
    reported_input = BigIntegerField(default=0)
    counted_output = BigIntegerField(default=0)
    reported_output = BigIntegerField(default=0)
    problems = JSONField(default=list)  # of `CHANNEL_PROBLEMS`
    flagged_at = BigIntegerField(null=True)

    class Meta:
        constraints = [
            named_check(
                "channel_check_counts",
                "calls >= 0 AND costed_credits >= 0 AND provider_cost >= 0"
                " AND sampled_calls >= 0 AND counted_input >= 0 AND reported_input >= 0"
                " AND counted_output >= 0 AND reported_output >= 0",
            )
        ]


class ChannelComparison(BaseModel):
    """A model on a channel, as compared with a reference channel by probes.

    `evidence` is that of the current run, `verdict_evidence` that of the last complete one (`shared.probes.evidence`). `channel`
    and `reference` are ids of channels without foreign keys.
    """

    channel = UUIDField()
    model = CharField(max_length=200)
    reference = UUIDField()
    due_at = BigIntegerField(default=0)  # of the next probe; a process moves it ahead before it sends one
    started_at = BigIntegerField(default=now_ms)  # of the run
    evidence = JSONField(default=dict)
    verdict = CharField(max_length=16, null=True)  # NULL: not compared yet
    compared_at = BigIntegerField(null=True)  # end of the last complete run
    verdict_evidence = JSONField(default=dict)

    class Meta:
        primary_key = CompositeKey("channel", "model")
        constraints = [named_check("channel_comparison_verdict", f"verdict IN {COMPARISON_VERDICTS}")]


class ProbeSum(BaseModel):
    """A day's probes of a model on a channel, by kind of evidence. The kind `probes` has the totals, failures and costs.

    Kept for 400 days.
    """

    day = BigIntegerField()  # its start, ms UTC
    channel = UUIDField()
    model = CharField(max_length=200)
    kind = CharField(max_length=16)
    probes = BigIntegerField(default=0)
    failed = BigIntegerField(default=0)  # a provider did not answer, so nothing was compared
    differing = BigIntegerField(default=0)  # only the channel's reply differed
    reference_differing = BigIntegerField(default=0)  # only one of the reference's two replies differed
    passed = BigIntegerField(default=0)  # correct answers, or valid tool calls, of the channel
    reference_passed = BigIntegerField(default=0)  # of the reference, out of two per probe
    provider_cost = BigIntegerField(default=0)  # credits

    class Meta:
        primary_key = CompositeKey("day", "channel", "model", "kind")
        constraints = [
            named_check(
                "probe_sum_counts",
                "probes >= 0 AND failed >= 0 AND differing >= 0 AND reference_differing >= 0"
                " AND passed >= 0 AND reference_passed >= 0 AND provider_cost >= 0",
            )
        ]


class AIModel(BaseModel):
    """A public catalog entry. Its id is the `model` of requests.

    From `shutdown_at` on, calls go to `successor`, a model's id or an alias without a foreign key, or are refused without one.
    """

    id = CharField(max_length=200, primary_key=True)
    kind = CharField(max_length=16, default="chat")
    owned_by = CharField(max_length=100, default="yout")
    description = TextField(default="")
    context_window = IntegerField(null=True)  # tokens; NULL means unknown
    max_output_tokens = IntegerField(null=True)
    modality = CharField(max_length=64, default="text->text")
    capabilities = JSONField(default=list)
    is_free = BooleanField(default=False)  # usable by visitors, within their daily allowance
    full_hold = BooleanField(
        default=False, constraints=[SQL("DEFAULT false")]
    )  # calls hold their maximum cost in tight pools, too
    status = CharField(max_length=16, default="active")
    successor = CharField(max_length=200, null=True)
    deprecated_at = BigIntegerField(null=True)
    shutdown_at = BigIntegerField(null=True, constraints=[Check("shutdown_at IS NULL OR deprecated_at <= shutdown_at")])
    created_at = BigIntegerField(default=now_ms)
    updated_at = BigIntegerField(default=now_ms)

    class Meta:
        table_name = "model"
        constraints = [
            check_one_of("kind", MODEL_KINDS),
            check_one_of("status", ENABLED_STATUSES),
            Check("context_window > 0"),
            Check("max_output_tokens > 0"),
        ]


class ModelAlias(BaseModel):
    """Another name for a model. `model` is a model's id or another alias, without a foreign key.

    `deprecated_at` and `shutdown_at` are about the name, not about the model. From `shutdown_at` on, calls of it are refused.
    """

    name = CharField(max_length=200, primary_key=True)
    model = CharField(max_length=200)
    successor = CharField(max_length=200, null=True)  # the name to use instead; NULL: the model itself
    deprecated_at = BigIntegerField(null=True)
    shutdown_at = BigIntegerField(null=True)
    created_at = BigIntegerField(default=now_ms)
    updated_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [Check("name <> model"), Check("shutdown_at IS NULL OR deprecated_at <= shutdown_at")]


class ChannelModel(BaseModel):
    """A route: a channel that serves a model. Routes with lower `priority` are tried first; `weight` splits equals."""

    id = UUIDField(primary_key=True, default=new_id)
    channel = ForeignKeyField(Channel, backref="models", on_delete="CASCADE", index=False)
    model = ForeignKeyField(AIModel, backref="channels", on_delete="CASCADE")
    upstream_model = CharField(max_length=200)
    priority = SmallIntegerField(default=0)
    weight = IntegerField(default=1)
    status = CharField(max_length=16, default="active")
    # The provider's prices in credits; NULL: unknown. Only for the costs and margins that staff see, never for charges.
    cost_per_1k_input = BigIntegerField(null=True, constraints=[Check("cost_per_1k_input >= 0")])
    cost_per_1k_output = BigIntegerField(null=True, constraints=[Check("cost_per_1k_output >= 0")])
    # Further cost prices as lists: kind, above_tokens, credits (`shared.billing.provider_cost`).
    further_costs = JSONField(default=list, constraints=[SQL("DEFAULT '[]'")])
    costs_listed = BooleanField(default=False, constraints=[SQL("DEFAULT false")])  # the costs follow the list price

    class Meta:
        constraints = [check_one_of("status", ENABLED_STATUSES), Check("weight > 0")]
        indexes = ((("channel", "model"), True),)


# Kinds of `PriceRate`, besides service tiers.
RATE_KINDS = (
    *("input", "cached_input", "cache_write", "cache_write_1h", "audio_input", "cached_audio_input", "image_input"),
    *("output", "reasoning", "audio_output", "image_output", "web_search", "second"),
)
PRICE_RATES = (
    *("credits_per_1k_input", "credits_per_1k_output", "credits_per_1k_cached_input", "credits_per_1k_cache_write"),
    *("credits_per_call", "minimum_credits", "credits_per_5_seconds", "credits_per_1k_characters"),
)


class Price(BaseModel):
    """Prices of a model from `effective_at` on, in credits. Rows are never changed; a newer row replaces an older one."""

    id = UUIDField(primary_key=True, default=new_id)
    model = ForeignKeyField(AIModel, backref="prices", on_delete="CASCADE", index=False)
    effective_at = BigIntegerField(default=now_ms)
    credits_per_1k_input = BigIntegerField(default=0)
    credits_per_1k_output = BigIntegerField(default=0)
    credits_per_1k_cached_input = BigIntegerField(null=True)  # NULL: same as input
    credits_per_call = BigIntegerField(default=0)
    minimum_credits = BigIntegerField(default=10)
    created_at = BigIntegerField(default=now_ms)
    credits_per_5_seconds = BigIntegerField(null=True, constraints=[check_price_range("credits_per_5_seconds")])  # video
    credits_per_1k_characters = BigIntegerField(null=True, constraints=[check_price_range("credits_per_1k_characters")])  # speech
    credits_per_1k_cache_write = BigIntegerField(null=True)  # NULL: same as input

    class Meta:
        indexes = ((("model", "effective_at"), True),)
        constraints = [
            check_price_range(column)
            for column in (
                "credits_per_1k_input",
                "credits_per_1k_output",
                "credits_per_1k_cached_input",
                "credits_per_1k_cache_write",
                "credits_per_call",
                "minimum_credits",
            )
        ]


class PriceRate(BaseModel):
    """A rate of a price beyond its columns: of a kind, for calls with more than `above_tokens` input tokens.

    Kinds and units as in `shared.billing.rates.Rate`. Rows are written with their price and never changed.
    """

    price = ForeignKeyField(Price, backref="rates", on_delete="CASCADE", index=False)
    kind = CharField(max_length=40)
    above_tokens = BigIntegerField(default=0)
    credits = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("price", "kind", "above_tokens")
        constraints = [
            named_check(
                "price_rate_kind",
                f"kind IN ({', '.join(map(repr, RATE_KINDS))}) OR (substr(kind, 1, 5) = 'tier:' AND length(kind) > 5)",
            ),
            named_check("price_rate_above", "above_tokens >= 0 AND above_tokens <= 1000000000"),
            named_check("price_rate_credits", "credits >= 0 AND credits <= 1000000000000"),
        ]


class PriceDraft(BaseModel):
    """A price in preparation. It is not charged; publishing it creates a `Price` and deletes the draft."""

    model = ForeignKeyField(AIModel, backref="draft", on_delete="CASCADE", primary_key=True)
    credits_per_1k_input = BigIntegerField(default=0)
    credits_per_1k_output = BigIntegerField(default=0)
    credits_per_1k_cached_input = BigIntegerField(null=True)
    credits_per_1k_cache_write = BigIntegerField(null=True)
    credits_per_call = BigIntegerField(default=0)
    minimum_credits = BigIntegerField(default=10)
    credits_per_5_seconds = BigIntegerField(null=True)
    credits_per_1k_characters = BigIntegerField(null=True)
    rates = JSONField(default=list, constraints=[SQL("DEFAULT '[]'")])  # `PriceRate`s as lists: kind, above_tokens, credits
    author = CharField(max_length=254)
    updated_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [Check(f"{column} >= 0 AND {column} <= 1000000000000") for column in PRICE_RATES]


class PriceCheck(BaseModel):
    """One row: the latest daily comparison of prices with the providers' list prices (`shared/operations/price_check.py`)."""

    id = SmallIntegerField(primary_key=True, default=1)
    due_at = BigIntegerField(default=0)  # of the next check; a process moves it ahead before it starts one
    checked_at = BigIntegerField(null=True)
    below = JSONField(default=list)  # models whose price is below the list price
    unknown = JSONField(default=list)  # ids of models without a list price

    class Meta:
        constraints = [named_check("price_check_one", "id = 1")]


class CatalogVersion(BaseModel):
    """One row, incremented by every change of models, channels and prices. Processes poll it to reload their snapshot."""

    id = SmallIntegerField(primary_key=True, default=1)
    version = BigIntegerField(default=1)

    class Meta:
        constraints = [Check("id = 1")]


# Calls


class EdgeProcess(BaseModel):
    """A running edge process. If `seen_at` is too old, the sweeper expires its holds before their deadline."""

    id = UUIDField(primary_key=True, default=new_id)
    host = CharField(max_length=255)
    pid = IntegerField()
    started_at = BigIntegerField(default=now_ms)
    seen_at = BigIntegerField(default=now_ms, index=True)


class Hold(BaseModel):
    """Credits reserved for one running call, with the call's id. Leaves the state `held` exactly once, by compare-and-set."""

    id = UUIDField(default=new_id)
    account = ForeignKeyField(Account, backref="holds", on_delete="CASCADE", index=False)
    api_key = ForeignKeyField(ApiKey, null=True, on_delete="SET NULL", index=False)
    edge_process = UUIDField(null=True)  # no foreign key: a process row may be deleted before its holds
    model = CharField(max_length=200)
    price = UUIDField()
    amount = BigIntegerField()
    state = CharField(max_length=16, default="held")
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField()
    closed_at = BigIntegerField(null=True)
    # In addition to `amount` from the pool: credits of the subscription's overage, and the allowance that counts both, by name.
    overage = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0"), named_check("hold_overage", "overage >= 0")])
    subscription = UUIDField(null=True)
    allowance = CharField(max_length=96, null=True)
    parent_allowance = CharField(max_length=96, null=True)  # allowance of the key that created this one, if limited
    more_allowances = TextField(null=True)  # names of further ones that count it, separated by spaces
    member = UUIDField(null=True)  # the member who calls. NULL: the first owner (`Member`), or a visitor

    class Meta:
        primary_key = CompositeKey("id", "account")
        constraints = [check_one_of("state", HOLD_STATES), *check_not_negative("amount")]


# One index for all searches of open holds, which are as few as the running calls: each call adds a hold and deletes it.
Hold.add_index(Hold.index(Hold.account, where=SQL("state = 'held'"), name="hold_open"))
Hold.add_index(Hold.index(Hold.closed_at, where=SQL("state <> 'held'"), name="hold_closed"))


# Idempotency


class IdempotencyClaim(BaseModel):
    """A used `Idempotency-Key`: digests, call id and charge, never content. Kept for 24 hours."""

    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)
    key_digest = CharField(max_length=64)
    body_digest = CharField(max_length=64)
    call = UUIDField()
    state = CharField(max_length=16, default="running")
    credits = BigIntegerField(default=0)
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(index=True)

    class Meta:
        primary_key = CompositeKey("account", "key_digest")
        constraints = [check_one_of("state", ("running", "done")), *check_not_negative("credits")]


class FormSubmission(BaseModel):
    """A submitted form: digests of its token and content, so that it takes effect only once. Kept for 24 hours.

    `sealed` is the secret that the form created, until it is shown or ten minutes have passed; it is encrypted with a key from
    the browser's cookie (`shared.operations.form_idempotency`). `owner` is an account or a staff member; `result` names the
    created object.
    """

    digest = CharField(max_length=64, primary_key=True)
    owner = UUIDField()
    body_digest = CharField(max_length=64)
    result = CharField(max_length=200, default="")
    sealed = TextField(null=True)
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(index=True)

    class Meta:
        constraints = [Check("length(digest) = 64")]


# Ledger


class LedgerEntry(BaseModel):
    """A movement of credits. `seq` counts from 1 without gaps in each account.

    The database refuses to change or delete an entry, except that a purge deletes an account's entries, and that `call` and
    `salt` can become NULL.
    """

    account = ForeignKeyField(Account, backref="entries", on_delete="CASCADE", index=False)
    seq = BigIntegerField()
    kind = CharField(max_length=16)
    amount = BigIntegerField()  # signed
    balance_after = BigIntegerField()
    call = UUIDField(null=True)  # the call (and hold) that was charged
    actor = CharField(max_length=254, default="system")
    reason = CharField(max_length=500, default="")
    created_at = BigIntegerField(default=now_ms)
    # Plan credits in `amount`: `Account.plan_credits` is their sum.
    plan_amount = BigIntegerField(
        default=0,
        constraints=[
            SQL("DEFAULT 0"),
            named_check(
                "ledger_entry_plan_part",
                "amount < 0 AND plan_amount >= amount AND plan_amount <= 0"
                " OR amount > 0 AND plan_amount <= amount AND plan_amount >= 0",
            ),
        ],
    )
    # See `shared.ledger.witness`. NULL in entries that were written by release 0.5 or older.
    entry_hash = BlobField(null=True)
    commitment = BlobField(null=True)
    salt = BlobField(null=True)

    # The month of the call, or of the entry if it has none: 202612. 0: written by release 0.5. PostgreSQL partitions by it.
    month = IntegerField(default=0, constraints=[SQL("DEFAULT 0")])

    class Meta:
        primary_key = CompositeKey("account", "seq")
        constraints = [
            check_one_of("kind", LEDGER_KINDS),
            *check_not_negative("balance_after"),
            Check("amount <> 0"),
            Check("seq > 0"),
        ]


# At most one charge and one refund per call, even if a message is delivered twice. SQLite has `call` first: see migration 0051.
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
LedgerEntry.add_index(
    LedgerEntry.index(LedgerEntry.kind, LedgerEntry.created_at, where=SQL("kind <> 'charge'"), name="ledger_entry_by_kind")
)
LedgerEntry.add_index(
    LedgerEntry.index(LedgerEntry.actor, LedgerEntry.created_at, where=SQL("actor <> 'edge'"), name="ledger_entry_by_actor")
)


class LedgerSeal(BaseModel):
    """One signed hash of all ledger entries that are new since the seal before it (`shared/ledger/seal.py`)."""

    number = BigIntegerField(primary_key=True)
    started_at = BigIntegerField(default=now_ms)
    sealed_at = BigIntegerField(null=True)  # NULL: its leaves are still being written
    document = TextField(null=True)  # JSON: the signed statement
    public_key = TextField(null=True)  # PEM, of the signature
    chunks = BlobField(null=True)  # the roots of each 1,024 leaves, so that a proof reads only one chunk


class LedgerLeaf(BaseModel):
    """A leaf of a seal's tree: entries `first_seq` to `seq` of an account. The account is no foreign key: the row outlives it."""

    seal = BigIntegerField()
    position = BigIntegerField()
    account_id = UUIDField()
    first_seq = BigIntegerField()
    seq = BigIntegerField()
    head = BlobField()  # the hash of entry `seq`
    root = BlobField()  # of the tree of these entries

    class Meta:
        primary_key = CompositeKey("seal", "position")


LedgerLeaf.add_index(LedgerLeaf.index(LedgerLeaf.account_id, LedgerLeaf.seal, LedgerLeaf.position, name="ledger_leaf_by_account"))


# Visitors


class Allowance(BaseModel):
    """Credits that a key, member or visitor may use in a period, besides what the pool has (`shared/ledger/allowances.py`).

    A row is inserted by the first call of a period. `used + held` never exceeds `allowed`.
    """

    account = ForeignKeyField(Account, on_delete="CASCADE", index=False)  # the pool that pays
    name = CharField(max_length=96)
    kind = CharField(max_length=16)
    period = IntegerField()  # the month (202612) for `key` and `member`, otherwise the day since 1970-01-01
    allowed = BigIntegerField()
    used = BigIntegerField(default=0)
    held = BigIntegerField(default=0)

    class Meta:
        primary_key = CompositeKey("account", "name")
        constraints = [
            check_one_of("kind", ALLOWANCE_KINDS),
            *check_not_negative("allowed", "used", "held"),
            Check("used + held <= allowed"),
        ]


Allowance.add_index(Allowance.index(Allowance.kind, Allowance.period, name="allowance_by_period"))


class VisitorPoolDay(BaseModel):
    """The one renewal of the visitors' pool for a day: the rest expired, and the pool was filled up to `credits`."""

    day = IntegerField(primary_key=True)
    credits = BigIntegerField()
    expired = BigIntegerField()
    granted = BigIntegerField()
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [*check_not_negative("day", "credits", "expired", "granted")]


# Usage


class RequestShape(BaseModel):
    """The names of the fields and headers of requests to providers (`shared/ledger/request_shapes.py`). Rows never change."""

    id = BlobField(primary_key=True)  # 16 bytes of the SHA-256 of the rest
    fields = TextField()  # JSON, sorted, like `headers`
    headers = TextField()
    other_fields = IntegerField()  # number of fields whose names no API documents
    created_at = BigIntegerField(default=now_ms)


class UsageLedger(BaseModel):
    """One row per call: tokens, credits, model, status, latency. No column stores content; `tag` is written by the caller.

    Model, channel, key and price are plain ids without foreign keys, because the row outlives them.
    """

    id = UUIDField(default=new_id)
    account = ForeignKeyField(Account, backref="usage", on_delete="CASCADE", index=False)
    api_key = UUIDField(null=True)
    model = CharField(max_length=200)
    channel = UUIDField(null=True)
    price = UUIDField()
    status = CharField(max_length=16)
    error_code = CharField(max_length=64, null=True)
    streamed = BooleanField()
    estimated = BooleanField(default=False)
    input_tokens = BigIntegerField(default=0)  # including cached
    cached_tokens = BigIntegerField(default=0)
    output_tokens = BigIntegerField(default=0)  # including reasoning
    reasoning_tokens = BigIntegerField(default=0)
    credits = BigIntegerField(default=0)
    overrun_credits = BigIntegerField(default=0)  # cost that could not be charged
    attempts = SmallIntegerField(default=0)
    first_token_ms = IntegerField(null=True)
    duration_ms = IntegerField(default=0)
    created_at = BigIntegerField(default=now_ms)
    # Rarely set; the insert of a plain call leaves these columns out.
    cache_write_tokens = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])  # tokens written to the provider's cache
    extra_usage = JSONField(null=True)  # counts other than text, and the service tier (`shared.billing.token_usage.ExtraUsage`)
    asked_model = CharField(max_length=200, null=True)  # the requested model, if another one served
    failed_attempts = CharField(max_length=200, null=True)  # error codes of the failed attempts: `status_503,timeout`
    cut = CharField(max_length=32, null=True)
    tag = CharField(max_length=64, null=True)  # the caller's label (`edge.http.tags`)
    member = UUIDField(null=True)  # the member who called. NULL: the first owner (`Member`)
    # What the providers of all attempts charge us, in credits; NULL: unknown. Only for staff, never shown to customers.
    provider_cost = BigIntegerField(null=True, constraints=[named_check("usage_ledger_provider_cost", "provider_cost >= 0")])
    # Part of `credits` charged to overage.
    overage_credits = BigIntegerField(
        default=0,
        constraints=[
            SQL("DEFAULT 0"),
            named_check("usage_ledger_overage_part", "overage_credits >= 0 AND overage_credits <= credits"),
        ],
    )
    request_sha256 = BlobField(null=True)  # of the body that the serving provider got
    request_shape = BlobField(null=True)  # the id of a `RequestShape`; not a foreign key, because the shape is stored later

    class Meta:
        primary_key = CompositeKey("id", "account")
        constraints = [
            check_one_of("status", USAGE_STATUSES),
            check_one_of("cut", CUT_HANDLINGS),
            *check_not_negative(
                "input_tokens",
                "cached_tokens",
                "output_tokens",
                "reasoning_tokens",
                "cache_write_tokens",
                "credits",
                "overrun_credits",
                "attempts",
            ),
        ]


UsageLedger.add_index(UsageLedger.index(UsageLedger.account, UsageLedger.created_at, name="usage_ledger_by_account"))
UsageLedger.add_index(UsageLedger.index(UsageLedger.api_key, UsageLedger.created_at, name="usage_ledger_by_key"))
UsageLedger.add_index(UsageLedger.index(UsageLedger.created_at, name="usage_ledger_by_time"))
UsageLedger.add_index(UsageLedger.index(UsageLedger.model, UsageLedger.created_at, name="usage_ledger_by_model"))
UsageLedger.add_index(
    UsageLedger.index(
        UsageLedger.channel, UsageLedger.created_at, where=SQL("channel IS NOT NULL"), name="usage_ledger_by_channel"
    )
)
# Rare values have small indexes of their own, which inserts of plain calls do not touch.
UsageLedger.add_index(
    UsageLedger.index(
        UsageLedger.status, UsageLedger.created_at, where=SQL("status <> 'completed'"), name="usage_ledger_by_status"
    )
)
UsageLedger.add_index(
    UsageLedger.index(
        UsageLedger.error_code, UsageLedger.created_at, where=SQL("error_code IS NOT NULL"), name="usage_ledger_by_error"
    )
)
UsageLedger.add_index(UsageLedger.index(UsageLedger.created_at, where=SQL("estimated"), name="usage_ledger_estimated"))
UsageLedger.add_index(
    UsageLedger.index(UsageLedger.tag, UsageLedger.created_at, where=SQL("tag IS NOT NULL"), name="usage_ledger_by_tag")
)


class UsageSum(BaseModel):
    """Sums of the calls of an hour or day, by model, channel and status. `at` is when the hour or day begins.

    `first_token_…` and `duration_…` count calls by latency (`shared.core.latency_histogram`). NULL means 0, because most of them
    are empty.
    """

    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    model = CharField(max_length=200)
    channel = UUIDField()  # NO_CHANNEL for calls without a channel
    status = CharField(max_length=16)
    calls = BigIntegerField()
    estimated = BigIntegerField(null=True)
    input_tokens = BigIntegerField(null=True)
    cached_tokens = BigIntegerField(null=True)
    output_tokens = BigIntegerField(null=True)
    reasoning_tokens = BigIntegerField(null=True)
    credits = BigIntegerField(null=True)
    overrun_credits = BigIntegerField(null=True)
    duration_ms = BigIntegerField(null=True)  # sum over all calls
    overage_credits = BigIntegerField(null=True)  # part of the credits charged to overage
    provider_cost = BigIntegerField(null=True)  # of the calls whose cost is known
    costed_credits = BigIntegerField(null=True)  # the credits of these calls


NO_CHANNEL = UUID(int=0)
LATENCY_COLUMNS = (*latency_histogram.column_names("first_token"), *latency_histogram.column_names("duration"))
for _column in LATENCY_COLUMNS:
    UsageSum._meta.add_field(_column, IntegerField(null=True))
_SUM_CONSTRAINTS = [Check("grain_hours IN (1, 24)"), *check_not_negative("calls", "input_tokens", "output_tokens", "credits")]


class PlatformUsage(UsageSum):
    """Sums over all accounts, including purged ones. They contain no personal data."""

    class Meta:
        primary_key = CompositeKey("grain_hours", "at", "model", "channel", "status")
        constraints = _SUM_CONSTRAINTS


class AccountUsage(UsageSum):
    """Sums of one account. Hours are kept for `shared.rollup.KEEP_HOURS`, days until the account is purged.

    No foreign key: checking it would lock every account that had calls in the hour, and block new holds.
    """

    account = UUIDField()

    class Meta:
        primary_key = CompositeKey("grain_hours", "at", "account", "model", "channel", "status")
        constraints = _SUM_CONSTRAINTS


AccountUsage.add_index(
    AccountUsage.index(AccountUsage.account, AccountUsage.grain_hours, AccountUsage.at, name="account_usage_by_account")
)


for _name in ("model", "channel"):
    AccountUsage.add_index(
        AccountUsage.index(
            *(getattr(AccountUsage, _name), AccountUsage.grain_hours, AccountUsage.at, AccountUsage.account),
            *(AccountUsage.status, AccountUsage.calls, AccountUsage.credits),  # covers the query that ranks accounts
            name=f"account_usage_by_{_name}",
        )
    )


class AccountTotal(BaseModel):
    """Sums over all calls of an account in an hour or day, for ranking accounts. Kept as long as `AccountUsage`."""

    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    account = UUIDField()
    calls = BigIntegerField()
    failed = BigIntegerField()
    credits = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("grain_hours", "at", "account")
        constraints = [Check("grain_hours IN (1, 24)"), *check_not_negative("calls", "failed", "credits")]


AccountTotal.add_index(AccountTotal.index(AccountTotal.account, name="account_total_by_account"))


class KeySum(BaseModel):
    """Sums of the calls of an hour or day by API key, kept as long as `AccountUsage`. No foreign keys, for the same reason."""

    grain_hours = SmallIntegerField()
    at = BigIntegerField()
    account = UUIDField()
    api_key = UUIDField()  # for calls of web sessions the member, or NO_KEY for the first owner
    calls = BigIntegerField()
    failed = BigIntegerField()
    input_tokens = BigIntegerField()
    cached_tokens = BigIntegerField()
    output_tokens = BigIntegerField()
    credits = BigIntegerField()


NO_KEY = UUID(int=0)
_KEY_SUM_CONSTRAINTS = [
    Check("grain_hours IN (1, 24)"),
    *check_not_negative("calls", "failed", "input_tokens", "cached_tokens", "output_tokens", "credits"),
]


class KeyUsage(KeySum):
    """Sums by key and model."""

    model = CharField(max_length=200)

    class Meta:
        primary_key = CompositeKey("grain_hours", "at", "account", "api_key", "model")
        constraints = _KEY_SUM_CONSTRAINTS


class TagUsage(KeySum):
    """Sums of tagged calls by key and tag. Tags beyond `shared.rollup.MAX_TAGS` are summed as `shared.rollup.OTHER_TAGS`."""

    tag = CharField(max_length=64)

    class Meta:
        primary_key = CompositeKey("grain_hours", "at", "account", "api_key", "tag")
        constraints = _KEY_SUM_CONSTRAINTS


KeyUsage.add_index(KeyUsage.index(KeyUsage.account, KeyUsage.grain_hours, KeyUsage.at, name="key_usage_by_account"))
TagUsage.add_index(TagUsage.index(TagUsage.account, TagUsage.grain_hours, TagUsage.at, name="tag_usage_by_account"))


class OutputSize(BaseModel):
    """Completed calls of one hour by model and size of output (`shared.billing.output_histogram`). Kept for two days."""

    at = BigIntegerField()
    model = CharField(max_length=200)
    bucket = SmallIntegerField()
    calls = BigIntegerField()
    reasoning_calls = BigIntegerField()  # those with reasoning tokens

    class Meta:
        primary_key = CompositeKey("at", "model", "bucket")
        constraints = check_not_negative("bucket", "calls", "reasoning_calls")


class FailoverCost(BaseModel):
    """The cost of a call's failed attempts at one channel, if the call ended at another channel.

    The call's `provider_cost` includes it, and figures by channel move it from `last_channel` to `channel` (`shared.rollup`).
    The row has no account and no foreign keys, so it remains when the account or a channel is deleted. After two days, rows are
    merged by hour (`shared.rollup.merge_failover_costs`).
    """

    id = UUIDField(primary_key=True, default=new_id)
    created_at = BigIntegerField(index=True)  # of the call; of merged rows, when their hour began
    model = CharField(max_length=200)
    channel = UUIDField()  # the one that failed
    last_channel = UUIDField()  # the one of the usage row
    provider_cost = BigIntegerField()

    class Meta:
        constraints = [named_check("failover_cost_positive", "provider_cost > 0")]


class TokenSample(BaseModel):
    """Tokens of sampled calls of one hour, as we count them and as the provider reports them. Kept for some days.

    `channel` is a plain id without a foreign key, because edge processes insert rows while channels may be deleted.
    """

    at = BigIntegerField()
    channel = UUIDField()
    model = CharField(max_length=200)
    calls = BigIntegerField()
    counted_input = BigIntegerField()
    reported_input = BigIntegerField()
    counted_output = BigIntegerField()
    reported_output = BigIntegerField()

    class Meta:
        primary_key = CompositeKey("at", "channel", "model")
        constraints = [
            named_check(
                "token_sample_counts",
                "calls >= 0 AND counted_input >= 0 AND reported_input >= 0 AND counted_output >= 0 AND reported_output >= 0",
            )
        ]


class RollupState(BaseModel):
    """One row: hours before `rolled_until` are summed; `checked_at` is the older hour that was compared last.

    Calls before `keys_from`, the start of a day, are not summed by key and tag yet: they are older than these sums.

    Processes that write the sums, or remove an account from them, lock it first.
    """

    id = SmallIntegerField(primary_key=True, default=1)
    rolled_until = BigIntegerField(null=True)  # NULL: nothing yet
    checked_at = BigIntegerField(null=True)
    keys_from = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])

    class Meta:
        constraints = [Check("id = 1")]


# Media


class MediaJob(BaseModel):
    """A job that generates an image, video or speech. Its id is also the call's and the hold's.

    sealed_params     the encrypted request, including the prompt; erased by the statement that ends the job
    input_key         storage key of the encrypted input images, until they are deleted after the job's end
    options           request parameters that can be kept (`n`, `size`, `seconds`, `format`, `operation`), never a prompt
    claimed_by        the worker run that has leased the job, until `claimed_until`
    due_at            when the next message about the job is to be sent
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="media_jobs", on_delete="CASCADE", index=False)
    api_key = ForeignKeyField(ApiKey, null=True, on_delete="SET NULL", index=False)
    kind = CharField(max_length=16)
    model = CharField(max_length=200)
    price = UUIDField()
    sealed_params = TextField(null=True)
    options = JSONField(default=dict)
    tag = CharField(max_length=64, null=True)  # the caller's label, for the usage row
    status = CharField(max_length=16, default="queued")
    progress = SmallIntegerField(default=0)  # percent, as reported by the provider
    attempts = SmallIntegerField(default=0)  # number of times a worker leased the job
    claimed_by = UUIDField(null=True)
    claimed_until = BigIntegerField(null=True)
    due_at = BigIntegerField()
    deadline_at = BigIntegerField()
    channel = UUIDField(null=True)
    vendor_job = CharField(max_length=200, null=True)
    credits_held = BigIntegerField()
    credits_charged = BigIntegerField(null=True)  # NULL until the job ends
    error_code = CharField(max_length=64, null=True)
    error_class = CharField(max_length=64, null=True)  # what failed, for staff; not the provider's words
    callback_url = TextField(null=True)  # erased after delivery or after the last attempt
    callback_attempts = SmallIntegerField(default=0)
    callback_due_at = BigIntegerField(null=True)
    files_expire_at = BigIntegerField(null=True)  # when the outputs will be deleted; NULL: none, or deleted
    input_key = CharField(max_length=80, null=True)
    request_sha256 = BlobField(null=True)  # of the last request to a provider, for the usage row, like `request_shape`
    request_shape = BlobField(null=True)
    created_at = BigIntegerField(default=now_ms)
    started_at = BigIntegerField(null=True)
    finished_at = BigIntegerField(null=True)

    class Meta:
        constraints = [
            check_one_of("kind", MEDIA_KINDS),
            check_one_of("status", MEDIA_STATES),
            Check("(status IN ('queued', 'running')) = (finished_at IS NULL)"),
            Check("finished_at IS NULL OR sealed_params IS NULL"),  # prompts are erased when the job ends
            Check("progress >= 0 AND progress <= 100"),
            *check_not_negative("attempts", "credits_held", "credits_charged"),
            Check("credits_charged <= credits_held"),
        ]


MediaJob.add_index(MediaJob.index(MediaJob.account, MediaJob.id, name="media_job_by_account"))
MediaJob.add_index(MediaJob.index(MediaJob.due_at, where=SQL("finished_at IS NULL"), name="media_job_open_due"))
MediaJob.add_index(MediaJob.index(MediaJob.deadline_at, where=SQL("finished_at IS NULL"), name="media_job_open_deadline"))
MediaJob.add_index(MediaJob.index(MediaJob.callback_due_at, where=SQL("callback_due_at IS NOT NULL"), name="media_job_callbacks"))
MediaJob.add_index(MediaJob.index(MediaJob.files_expire_at, where=SQL("files_expire_at IS NOT NULL"), name="media_job_files"))
MediaJob.add_index(MediaJob.index(MediaJob.input_key, where=SQL("input_key IS NOT NULL"), name="media_job_inputs"))
MediaJob.add_index(MediaJob.index(MediaJob.status, MediaJob.id, name="media_job_by_status"))


class MediaOutput(BaseModel):
    """An output file of a job. `media_type` is detected from its bytes, not taken from the provider."""

    id = UUIDField(primary_key=True, default=new_id)
    job = ForeignKeyField(MediaJob, backref="outputs", on_delete="CASCADE", index=False)
    position = SmallIntegerField()
    storage_key = CharField(max_length=300)
    media_type = CharField(max_length=100)
    size_bytes = BigIntegerField()
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        indexes = ((("job", "position"), True),)
        constraints = [*check_not_negative("position", "size_bytes")]


class WebhookSecret(BaseModel):
    """An account's secret for signing webhooks, encrypted like a channel's secret."""

    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    sealed_secret = TextField()
    created_at = BigIntegerField(default=now_ms)


# Payments


class Payment(BaseModel):
    """A payment for credits, from the order on. The primary key ensures one payment per reference, even if it is delivered twice.

    `reference` is the id of a redeem code, or an id that we create with the order and send to the provider. Amounts of money are
    in the currency's smallest unit (`*_minor`), NULL for redeem codes. Only `shared/payments/` writes it.
    """

    provider = CharField(max_length=32)
    reference = CharField(max_length=200)
    account = ForeignKeyField(Account, backref="payments", on_delete="CASCADE")
    credits = BigIntegerField()
    created_at = BigIntegerField(default=now_ms)
    purpose = CharField(max_length=16, default="credits", constraints=[SQL("DEFAULT 'credits'")])
    state = CharField(max_length=16, default="paid", constraints=[SQL("DEFAULT 'paid'")])
    amount_minor = BigIntegerField(null=True)  # ordered, without taxes that are added to it
    total_minor = BigIntegerField(null=True)  # paid, with taxes
    currency = CharField(max_length=3, null=True)
    paid_at = BigIntegerField(null=True)
    entry_seq = BigIntegerField(null=True)  # number of the ledger entry that added the credits
    # Ids at Stripe: of the checkout session or the invoice, and of the payment intent.
    checkout_id = CharField(max_length=200, null=True)
    intent_id = CharField(max_length=200, null=True)
    # Money that was paid back or that a dispute holds, and the credits taken back for it. What could not be taken back, because
    # it was used or held, is in `unrecovered_credits`.
    refunded_minor = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    disputed_minor = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    dispute_status = CharField(max_length=32, default="", constraints=[SQL("DEFAULT ''")])  # in Stripe's words; "": none
    disputes = JSONField(null=True)  # all of them: {id: [status, money that it holds]}; NULL also for those that 0.7.0 recorded
    returned_credits = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    unrecovered_credits = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    refunded_at = BigIntegerField(null=True)
    invoice_url = TextField(null=True)  # hosted invoice or receipt
    problem = CharField(max_length=64, default="", constraints=[SQL("DEFAULT ''")])  # a code: why it failed or needs a review
    # Of a plan's payment: `StripeSubscription.reference`, Stripe's ids of invoice and price, and the period that it pays for.
    stripe_subscription = CharField(max_length=32, null=True)
    invoice_id = CharField(max_length=200, null=True)
    price_id = CharField(max_length=200, null=True)
    period_start = BigIntegerField(null=True)
    period_end = BigIntegerField(null=True, constraints=[named_check("payment_period", "period_end > period_start")])
    # Of an overage bill: charges of the card that failed, and when the next one is due.
    attempts = SmallIntegerField(default=0, constraints=[SQL("DEFAULT 0")])
    next_attempt_at = BigIntegerField(null=True)

    class Meta:
        primary_key = CompositeKey("provider", "reference")
        constraints = [
            Check("credits > 0"),
            named_check("payment_state", f"state IN ({', '.join(map(repr, PAYMENT_STATES))})"),
            named_check("payment_purpose", f"purpose IN ({', '.join(map(repr, PAYMENT_PURPOSES))})"),
            named_check("payment_amount", "amount_minor > 0 AND amount_minor <= 1000000000000"),
            named_check("payment_total", "total_minor > 0 AND total_minor <= 1000000000000"),
            named_check("payment_refunded", "refunded_minor >= 0 AND disputed_minor >= 0"),
            named_check("payment_returned", "returned_credits >= 0"),
            named_check("payment_unrecovered", "unrecovered_credits >= 0 AND returned_credits + unrecovered_credits <= credits"),
        ]


Payment.add_index(Payment.index(Payment.created_at, name="payment_by_time"))
Payment.add_index(
    Payment.index(Payment.checkout_id, unique=True, where=SQL("checkout_id IS NOT NULL"), name="payment_checkout_once")
)
Payment.add_index(Payment.index(Payment.intent_id, unique=True, where=SQL("intent_id IS NOT NULL"), name="payment_intent_once"))
Payment.add_index(
    Payment.index(Payment.account, unique=True, where=SQL("purpose = 'top_up' AND state = 'pending'"), name="payment_one_top_up")
)


Payment.add_index(
    Payment.index(Payment.invoice_id, unique=True, where=SQL("invoice_id IS NOT NULL"), name="payment_invoice_once")
)
Payment.add_index(
    Payment.index(Payment.stripe_subscription, where=SQL("stripe_subscription IS NOT NULL"), name="payment_by_subscription")
)
Payment.add_index(Payment.index(Payment.next_attempt_at, where=SQL("next_attempt_at IS NOT NULL"), name="payment_due"))


class PlanPrice(BaseModel):
    """A price at Stripe that a plan is sold at, with the credits per month. Its terms never change: others are another row."""

    id = CharField(max_length=200, primary_key=True)  # Stripe's
    plan = ForeignKeyField(Plan, backref="prices", on_delete="RESTRICT", index=False)
    amount_minor = BigIntegerField()
    currency = CharField(max_length=3)
    credits = BigIntegerField()
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [named_check("plan_price_positive", "amount_minor > 0 AND credits > 0")]


PlanPrice.add_index(
    PlanPrice.index(
        PlanPrice.plan, PlanPrice.amount_minor, PlanPrice.currency, PlanPrice.credits, unique=True, name="plan_price_terms"
    )
)


class StripeSubscription(BaseModel):
    """An account's subscription at Stripe, from the order of a plan on. Only `shared/payments/` writes it.

    `reference` is also that of the first payment, and in the metadata at Stripe.
    """

    reference = CharField(max_length=32, primary_key=True)
    account = ForeignKeyField(Account, backref="stripe_subscriptions", on_delete="CASCADE")
    price = ForeignKeyField(PlanPrice, on_delete="RESTRICT", index=False)  # of the next invoice
    stripe_id = CharField(max_length=200, null=True)
    state = CharField(max_length=16, default="pending")
    replaced_plan = UUIDField(null=True)  # the plan that the account had before, and returns to
    cancels = BooleanField(default=False)  # at the end of the period
    changed_at = BigIntegerField(default=0)  # seconds UTC: time of Stripe's latest event about it
    created_at = BigIntegerField(default=now_ms)
    ended_at = BigIntegerField(null=True)  # Stripe reported its end

    class Meta:
        constraints = [named_check("stripe_subscription_state", f"state IN ({', '.join(map(repr, STRIPE_SUBSCRIPTION_STATES))})")]


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


class PaymentSettings(BaseModel):
    """Payment settings, which staff choose: one row. Without it, credits are not sold for money."""

    id = SmallIntegerField(primary_key=True, default=1)
    currency = CharField(max_length=3)  # ISO 4217, lower case, as in Stripe's API
    credits_per_minor_unit = BigIntegerField()  # such as credits per cent
    amounts = JSONField()  # list of amounts to choose from, in minor units
    minimum_minor = BigIntegerField()
    maximum_minor = BigIntegerField()
    automatic_tax = BooleanField(default=False)  # Stripe Tax
    invoices = BooleanField(default=False)  # whether customers may order by bank transfer
    bank_details = TextField(default="")  # shown with an order by bank transfer
    events_read_until = BigIntegerField(default=0)  # seconds UTC: Stripe's events up to here were read by the worker
    last_webhook_at = BigIntegerField(null=True)
    updated_at = BigIntegerField(default=now_ms)
    overage_since = BigIntegerField(null=True)  # overage bills from then on are charged to cards; NULL: none

    class Meta:
        constraints = [
            named_check("payment_settings_one", "id = 1"),
            named_check("payment_settings_price", "credits_per_minor_unit > 0 AND credits_per_minor_unit <= 1000000000000"),
            named_check("payment_settings_range", "minimum_minor > 0 AND minimum_minor <= maximum_minor"),
            named_check("payment_settings_currency", "length(currency) = 3 AND currency = lower(currency)"),
        ]


class PaymentProfile(BaseModel):
    """An account's customer at Stripe, its saved card, and its automatic top-up."""

    account = ForeignKeyField(Account, primary_key=True, on_delete="CASCADE")
    customer_id = CharField(max_length=200, null=True)
    payment_method = CharField(max_length=200, null=True)  # id of the saved card; NULL: none
    card = CharField(max_length=64, default="")  # such as "visa 4242 12/2027", as shown
    card_payment = CharField(max_length=200, null=True)  # reference of the order that saved it, or saved the one removed since
    # Below `top_up_threshold` available credits, `top_up_minor` is charged to the card. NULL: off.
    top_up_threshold = BigIntegerField(null=True)
    top_up_minor = BigIntegerField(null=True)
    top_up_month_minor = BigIntegerField(null=True)  # maximum per calendar month (UTC)
    top_up_failures = SmallIntegerField(default=0)  # in a row
    top_up_not_before = BigIntegerField(default=0)  # pause after a failure
    top_up_stopped_at = BigIntegerField(null=True)  # too many failures; saving the form starts it again
    top_up_problem = CharField(max_length=64, default="")
    updated_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [
            named_check("payment_profile_top_up", "top_up_threshold > 0 AND top_up_minor > 0 AND top_up_month_minor > 0"),
            named_check(
                "payment_profile_top_up_whole",
                "(top_up_threshold IS NULL) = (top_up_minor IS NULL) AND (top_up_minor IS NULL) = (top_up_month_minor IS NULL)",
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


class CodeBatch(BaseModel):
    """A batch of redeem codes."""

    id = UUIDField(primary_key=True, default=new_id)
    note = CharField(max_length=200, default="")
    credits = BigIntegerField()  # per code
    count = IntegerField()
    expires_at = BigIntegerField(null=True)
    created_by = CharField(max_length=254)
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [Check("credits > 0"), Check("count > 0")]


class RedeemCode(BaseModel):
    """A code that grants credits once. Only its SHA-256 is stored; `prefix` is displayed."""

    id = UUIDField(primary_key=True, default=new_id)
    batch = ForeignKeyField(CodeBatch, backref="codes", on_delete="CASCADE")
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=16)
    account = ForeignKeyField(Account, backref="codes", null=True, on_delete="SET NULL")
    redeemed_at = BigIntegerField(null=True)
    voided_at = BigIntegerField(null=True)

    class Meta:
        constraints = [Check("length(digest) = 64"), Check("redeemed_at IS NULL OR voided_at IS NULL")]


# Stored content


class Conversation(BaseModel):
    """A stored conversation, kept only if the user asked for it.

    Only `Conversation`, `Message`, `Share` and `StoredResponse` store content of calls.

    Clients see `public_id`, which is unique per account, because they may choose it (`chosen_id`). `id` never leaves the server
    where it differs: that would tell that another account uses the chosen one.
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="conversations", on_delete="CASCADE", index=False)
    chosen_id = UUIDField(null=True)
    public_id: Any = hybrid_property(lambda row: row.chosen_id or row.id, expr=lambda row: fn.COALESCE(row.chosen_id, row.id))
    title = CharField(max_length=200, default="")
    message_count = IntegerField(default=0)  # position of the next message
    created_at = BigIntegerField(default=now_ms)
    updated_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = check_not_negative("message_count")


Conversation.add_index(
    Conversation.index(Conversation.account, Conversation.public_id, unique=True, name="conversation_by_public_id")
)


class Message(BaseModel):
    """A message of a conversation. `content` is JSON, a string or a list of parts; unlike a text column, JSON can express NUL.

    `parent` is null on the main branch, where each message follows the one before it. On another branch, such as an earlier
    version of an answer, it is the position of the message before, -1 if there is none.
    """

    conversation = ForeignKeyField(Conversation, backref="messages", on_delete="CASCADE", index=False)
    position = IntegerField()
    parent = IntegerField(null=True)
    role = CharField(max_length=16)
    content = TextField()
    status = CharField(max_length=16, default="complete")
    model = CharField(max_length=200, null=True)  # for answers
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        primary_key = CompositeKey("conversation", "position")
        constraints = [
            check_one_of("status", MESSAGE_STATUSES),
            *check_not_negative("position"),
            Check("parent >= -1 AND parent < position"),
        ]


class StoredResponse(BaseModel):
    """A response under `/v1/responses`, stored only if requested. `id` is the call's; the public id is derived from it."""

    id = UUIDField(primary_key=True)
    account = ForeignKeyField(Account, backref="stored_responses", on_delete="CASCADE", index=False)
    previous = UUIDField(null=True)  # the previous response; no foreign key, because it may be deleted
    model = CharField(max_length=200)
    input = TextField()  # JSON: only the items of this call
    response = TextField()  # JSON: as returned to the caller
    created_at = BigIntegerField(default=now_ms)


StoredResponse.add_index(
    StoredResponse.index(StoredResponse.account, StoredResponse.created_at, name="stored_response_by_account")
)


class Share(BaseModel):
    """A public read-only snapshot under an unguessable `slug`. Revoking it deletes the row."""

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="shares", on_delete="CASCADE", index=False)
    slug = CharField(max_length=32, unique=True)
    title = CharField(max_length=200, default="")
    messages = TextField()  # JSON: [{"role", "content"}], texts only
    conversation = UUIDField(null=True)  # its source; no foreign key, because the snapshot outlives it
    created_at = BigIntegerField(default=now_ms)


Share.add_index(Share.index(Share.account, Share.id, name="share_by_account"))


class PurgeJob(BaseModel):
    """A request to purge an account, its progress, and finally the certificate. At most one per account is unfinished.

    `removed` counts rows and files by store, updated in the transaction that removes them. A worker can take the job at `due_at`;
    while one is working on it (`runner`), each step postpones `due_at`. `problem` is why the last attempt refused to go on.
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="purges", on_delete="CASCADE", index=False)
    status = CharField(max_length=16, default="queued")
    step = CharField(max_length=32, default="")
    removed = JSONField(default=dict)
    boundary = BigIntegerField()  # the purge waits for calls admitted up to this time
    runner = UUIDField(null=True)
    due_at = BigIntegerField(default=now_ms)
    created_at = BigIntegerField(default=now_ms)
    finished_at = BigIntegerField(null=True)
    certificate = TextField(null=True)  # JSON, signed
    problem = TextField(null=True)

    class Meta:
        constraints = [check_one_of("status", PURGE_STATUSES)]


PurgeJob.add_index(PurgeJob.index(PurgeJob.account, unique=True, where=SQL("status <> 'done'"), name="purge_job_one_at_a_time"))
PurgeJob.add_index(PurgeJob.index(PurgeJob.account, PurgeJob.id, name="purge_job_by_account"))
PurgeJob.add_index(PurgeJob.index(PurgeJob.due_at, where=SQL("status <> 'done'"), name="purge_job_due"))


# Mail


class OutgoingMail(BaseModel):
    """An email that is queued, or was finished within the last days. It has no text (`shared/mail/outbox.py`).

    A worker that sends it moves `due_at` ahead, and counts the attempt; whoever ends an attempt names its number.
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="mails", on_delete="CASCADE", index=False)
    kind = CharField(max_length=32)
    recipient = CharField(max_length=254)
    status = CharField(max_length=16, default="queued")
    attempts = IntegerField(default=0)
    due_at = BigIntegerField(default=now_ms)
    last_error = CharField(max_length=200, default="")  # what the server answered, or why it could not be reached
    created_at = BigIntegerField(default=now_ms)
    finished_at = BigIntegerField(null=True)
    # What the email is about: the id of a row, or a short value such as the new email address.
    subject = CharField(max_length=254, default="", constraints=[SQL("DEFAULT ''")])

    class Meta:
        constraints = [
            check_one_of("status", MAIL_STATUSES),
            Check("(status = 'queued') = (finished_at IS NULL)"),
            *check_not_negative("attempts"),
        ]


OutgoingMail.add_index(OutgoingMail.index(OutgoingMail.account, OutgoingMail.id, name="outgoing_mail_by_account"))
OutgoingMail.add_index(OutgoingMail.index(OutgoingMail.due_at, where=SQL("status = 'queued'"), name="outgoing_mail_due"))
OutgoingMail.add_index(
    OutgoingMail.index(OutgoingMail.finished_at, where=SQL("finished_at IS NOT NULL"), name="outgoing_mail_finished")
)


# Budgets


class Budget(BaseModel):
    """An amount in credits. Members are notified when spending reaches some percentages of it, or the balance falls below it.

    It never refuses a call; member and key limits do. A worker compares it with sums of usage (`shared/alerts/budgets.py`).
    """

    id = UUIDField(primary_key=True, default=new_id)
    account = ForeignKeyField(Account, backref="budgets", on_delete="CASCADE", index=False)
    scope = CharField(max_length=16)
    target = CharField(max_length=96, default="")  # the id of the member or key, or the tag; "" for the account and its balance
    period = CharField(max_length=8)  # calendar month or day, UTC
    credits = BigIntegerField()
    percents = JSONField(default=list)  # whole numbers, ascending
    sends_mail = BooleanField(default=True)
    webhook_url = TextField(null=True)
    webhook_format = CharField(max_length=16, default="event")
    created_at = BigIntegerField(default=now_ms)
    spent = BigIntegerField(default=0)  # at the last comparison; for the balance, the balance
    spent_at = BigIntegerField(null=True)  # when it was compared last
    due_at = BigIntegerField(default=now_ms)  # when it is compared next

    class Meta:
        constraints = [
            named_check("budget_scope", f"scope IN {BUDGET_SCOPES}"),
            named_check("budget_period", f"period IN {BUDGET_PERIODS} AND (period = 'none') = (scope = 'balance')"),
            named_check("budget_webhook_format", f"webhook_format IN {WEBHOOK_FORMATS}"),
            named_check("budget_amounts", "credits > 0 AND spent >= 0"),
        ]


Budget.add_index(Budget.index(Budget.account, Budget.id, name="budget_by_account"))
Budget.add_index(Budget.index(Budget.due_at, name="budget_due"))


class BudgetAlert(BaseModel):
    """A percentage of a budget that was reached in a period: the unique key makes it alert once, until it is armed again.

    The row is also the outbox of its webhook: a worker that sends it moves `webhook_due_at` ahead and counts the attempt.
    """

    id = UUIDField(primary_key=True, default=new_id)
    budget = ForeignKeyField(Budget, backref="alerts", on_delete="CASCADE", index=False)
    starts_at = BigIntegerField()  # of the period; 0 for the balance
    percent = IntegerField()
    credits = BigIntegerField()  # the budget's amount, then
    spent = BigIntegerField()
    created_at = BigIntegerField(default=now_ms)
    rearmed_at = BigIntegerField(null=True)  # the budget was raised above it, or the balance recovered
    webhook_status = CharField(max_length=16, null=True)  # NULL: no webhook
    webhook_attempts = IntegerField(default=0)
    webhook_due_at = BigIntegerField(null=True)
    webhook_error = CharField(max_length=200, default="")

    class Meta:
        constraints = [
            named_check("budget_alert_amounts", "percent > 0 AND credits > 0 AND spent >= 0 AND webhook_attempts >= 0"),
            named_check("budget_alert_webhook", f"webhook_status IN {NOTICE_STATUSES}"),
            named_check("budget_alert_due", "webhook_due_at IS NULL OR webhook_status = 'queued'"),
        ]


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


# Alerts


class AlertCheck(BaseModel):
    """One row: when a worker last evaluated the alerts. It also shows that a worker is running."""

    id = SmallIntegerField(primary_key=True, default=1)
    checked_at = BigIntegerField(default=0)

    class Meta:
        constraints = [named_check("alert_check_one", "id = 1")]


class Alert(BaseModel):
    """A condition that staff must act on, such as a failing channel. It opens, and later closes, once (`shared/alerts/`).

    `subject` is the id of the channel, the name of the machine, …; "" if there is only one. `details` are the values of its text.
    """

    id = UUIDField(primary_key=True, default=new_id)
    kind = CharField(max_length=32)
    subject = CharField(max_length=200, default="")
    details = JSONField(default=dict)
    first_seen_at = BigIntegerField(default=now_ms)
    last_seen_at = BigIntegerField(default=now_ms)
    opened_at = BigIntegerField(null=True)  # NULL: the condition has not lasted long enough
    clear_since = BigIntegerField(null=True)  # when the condition was first found to be gone; NULL while it is met
    closed_at = BigIntegerField(null=True)

    class Meta:
        constraints = [named_check("alert_closed_after_opened", "closed_at IS NULL OR opened_at IS NOT NULL")]


Alert.add_index(Alert.index(Alert.kind, Alert.subject, unique=True, where=SQL("closed_at IS NULL"), name="alert_one_at_a_time"))
Alert.add_index(Alert.index(Alert.closed_at, where=SQL("closed_at IS NOT NULL"), name="alert_closed"))


class AlertNotice(BaseModel):
    """A message about an alert, written in the transaction that opens or closes it, and sent by a worker.

    As in `OutgoingMail`, a worker that sends it moves `due_at` ahead and counts the attempt.
    """

    id = UUIDField(primary_key=True, default=new_id)
    alert = ForeignKeyField(Alert, backref="notices", on_delete="CASCADE", index=False)
    event = CharField(max_length=16)
    target = CharField(max_length=16)
    status = CharField(max_length=16, default="queued")
    attempts = IntegerField(default=0)
    due_at = BigIntegerField(default=now_ms)
    last_error = CharField(max_length=200, default="")
    created_at = BigIntegerField(default=now_ms)

    class Meta:
        constraints = [
            named_check("alert_notice_event", f"event IN {ALERT_EVENTS}"),
            named_check("alert_notice_target", f"target IN {ALERT_TARGETS}"),
            named_check("alert_notice_status", f"status IN {NOTICE_STATUSES}"),
            named_check("alert_notice_attempts", "attempts >= 0"),
        ]


AlertNotice.add_index(
    AlertNotice.index(AlertNotice.alert, AlertNotice.event, AlertNotice.target, unique=True, name="alert_notice_once")
)
AlertNotice.add_index(AlertNotice.index(AlertNotice.due_at, where=SQL("status = 'queued'"), name="alert_notice_due"))


# Staff


class StaffUser(BaseModel):
    """A person who can sign in to the console. Staff are not customers and have no credits."""

    id = UUIDField(primary_key=True, default=new_id)
    email = CharField(max_length=254, unique=True)
    password_hash = CharField(max_length=255)
    role = CharField(max_length=16)
    status = CharField(max_length=16, default="active")
    created_at = BigIntegerField(default=now_ms)
    last_sign_in_at = BigIntegerField(null=True)
    sealed_totp = TextField(default="", constraints=[SQL("DEFAULT ''")])  # secret of the second factor; empty if there is none
    totp_step = BigIntegerField(default=0, constraints=[SQL("DEFAULT 0")])  # of the last code: each is valid once
    must_change_password = BooleanField(default=False, constraints=[SQL("DEFAULT false")])

    class Meta:
        constraints = [check_one_of("role", STAFF_ROLES), check_one_of("status", ENABLED_STATUSES), Check("email = lower(email)")]


class StaffIdentity(BaseModel):
    """A staff member's identity at an OpenID provider (`PersonIdentity`)."""

    id = UUIDField(primary_key=True, default=new_id)
    staff = ForeignKeyField(StaffUser, backref="identities", on_delete="CASCADE")
    issuer = CharField(max_length=255)
    subject = CharField(max_length=255)
    email = CharField(max_length=254)
    created_at = BigIntegerField(default=now_ms)


StaffIdentity.add_index(StaffIdentity.index(StaffIdentity.issuer, StaffIdentity.subject, unique=True, name="staff_identity_once"))


class StaffSession(BaseModel):
    """A console session. The browser has the secret; only its SHA-256 is stored. It can be revoked at any time."""

    digest = CharField(max_length=64, primary_key=True)
    staff = ForeignKeyField(StaffUser, backref="sessions", on_delete="CASCADE")
    address = CharField(max_length=64, default="")
    agent = CharField(max_length=64, default="")  # the browser's and system's name, for the person's own list
    created_at = BigIntegerField(default=now_ms)
    seen_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(index=True)
    revoked_at = BigIntegerField(null=True)

    class Meta:
        constraints = [Check("length(digest) = 64")]


class StaffPasskey(BaseModel):
    """A staff member's passkey (`PersonPasskey`)."""

    id = UUIDField(primary_key=True, default=new_id)
    staff = ForeignKeyField(StaffUser, backref="passkeys", on_delete="CASCADE")
    credential = TextField(unique=True)  # its id at the authenticator, in base64url
    public_key = BlobField()
    sign_count = BigIntegerField()
    name = CharField(max_length=64)  # of the browser that added it
    created_at = BigIntegerField(default=now_ms)
    last_used_at = BigIntegerField(null=True)


class StaffRecoveryCode(BaseModel):
    """A code that replaces the second factor once. Only its SHA-256 is stored."""

    digest = CharField(max_length=64, primary_key=True)
    staff = ForeignKeyField(StaffUser, backref="recovery_codes", on_delete="CASCADE")
    used_at = BigIntegerField(null=True)

    class Meta:
        constraints = [Check("length(digest) = 64")]


class AdminKey(BaseModel):
    """A key of the administration API. Only its SHA-256 is stored. `scopes` are of `shared.identity.admin_scopes`."""

    id = UUIDField(primary_key=True, default=new_id)
    name = CharField(max_length=100)
    digest = CharField(max_length=64, unique=True)
    prefix = CharField(max_length=24)
    scopes = JSONField()
    created_at = BigIntegerField(default=now_ms)
    expires_at = BigIntegerField(null=True)
    revoked_at = BigIntegerField(null=True)
    last_used_at = BigIntegerField(null=True)  # to the minute

    class Meta:
        constraints = [Check("length(digest) = 64")]


class AdminAnswer(BaseModel):
    """The answer to a request with an `Idempotency-Key`, so that a repeated one gets the same. Kept for 24 hours.

    `sealed` is encrypted with a key from the admin key's secret, which is not in the database.
    """

    digest = CharField(max_length=64, primary_key=True)  # of the admin key's id and the Idempotency-Key
    admin_key = ForeignKeyField(AdminKey, backref="answers", on_delete="CASCADE")
    request_digest = CharField(max_length=64)  # of method, path and body
    sealed = TextField(default="")
    expires_at = BigIntegerField(index=True)

    class Meta:
        constraints = [Check("length(digest) = 64")]


class AuditEntry(BaseModel):
    """A change by staff or an operator: who, when, from where, before and after. The database only allows inserts."""

    id = UUIDField(primary_key=True, default=new_id)
    actor = CharField(max_length=254)
    action = CharField(max_length=64)
    target = CharField(max_length=254)
    before = JSONField(null=True)
    after = JSONField(null=True)
    address = CharField(max_length=64, default="")
    created_at = BigIntegerField(default=now_ms, index=True)


AuditEntry.add_index(AuditEntry.index(AuditEntry.actor, AuditEntry.created_at, name="audit_entry_by_actor"))
AuditEntry.add_index(AuditEntry.index(AuditEntry.action, AuditEntry.created_at, name="audit_entry_by_action"))
AuditEntry.add_index(AuditEntry.index(AuditEntry.target, AuditEntry.created_at, name="audit_entry_by_target"))


MODELS: tuple[type[Any], ...] = (
    Account,
    Person,
    EmailChange,
    PersonIdentity,
    PersonPasskey,
    PersonRecoveryCode,
    Member,
    Invitation,
    AccountNote,
    ApiKey,
    WebSession,
    Plan,
    Subscription,
    SubscriptionPeriod,
    OverageEntry,
    Channel,
    ChannelCheck,
    ChannelComparison,
    ProbeSum,
    AIModel,
    ModelAlias,
    ChannelModel,
    Price,
    PriceRate,
    PriceDraft,
    PriceCheck,
    CatalogVersion,
    EdgeProcess,
    Hold,
    IdempotencyClaim,
    FormSubmission,
    LedgerEntry,
    LedgerSeal,
    RequestShape,
    LedgerLeaf,
    Allowance,
    VisitorPoolDay,
    UsageLedger,
    PlatformUsage,
    AccountUsage,
    AccountTotal,
    KeyUsage,
    TagUsage,
    OutputSize,
    FailoverCost,
    TokenSample,
    RollupState,
    MediaJob,
    MediaOutput,
    WebhookSecret,
    Payment,
    PlanPrice,
    StripeSubscription,
    PaymentSettings,
    PaymentProfile,
    CodeBatch,
    RedeemCode,
    Conversation,
    Message,
    StoredResponse,
    Share,
    PurgeJob,
    OutgoingMail,
    Budget,
    BudgetAlert,
    AlertCheck,
    Alert,
    AlertNotice,
    StaffUser,
    StaffIdentity,
    StaffSession,
    StaffPasskey,
    StaffRecoveryCode,
    AdminKey,
    AdminAnswer,
    AuditEntry,
)
