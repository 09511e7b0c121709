"""Account export: all stored data of one account, table by table, read in pages.

Every table that belongs to an account is listed in `TABLES` or `EXCLUDED_TABLES`; a test compares both with the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from peewee import Tuple

from shared.identity.roles import OWNER
from shared.models import (
    Account,
    AccountTotal,
    AccountUsage,
    Allowance,
    ApiKey,
    AuditEntry,
    Budget,
    BudgetAlert,
    Conversation,
    EmailChange,
    Hold,
    Invitation,
    KeyUsage,
    LedgerEntry,
    MediaJob,
    MediaOutput,
    Member,
    Message,
    OutgoingMail,
    OverageEntry,
    Payment,
    PaymentProfile,
    PersonIdentity,
    PersonPasskey,
    PurgeJob,
    RedeemCode,
    Share,
    StoredResponse,
    StripeSubscription,
    Subscription,
    SubscriptionPeriod,
    TagUsage,
    UsageLedger,
    WebSession,
)
from shared.operations.web_accounts import account_actor

PAGE_SIZE = 500  # rows per query
# Columns that are never exported: credentials, internal references, and what calls cost the operator.
EXCLUDED_COLUMNS = frozenset(
    {"password_hash", "digest", "sealed_params", "storage_key", "runner", "edge_process", "channel", "claimed_by"}
    | {"provider_cost", "costed_credits", "credential", "public_key", "sign_count"}
    | {"chosen_id"}  # exported as the `id`
)
EXCLUDED_TABLES = {
    "IdempotencyClaim": "digests of Idempotency-Keys of the last day; the usage rows have the calls",
    "WebhookSecret": "a secret that its owner already has",
    "AccountNote": "internal notes by staff",
}


class ExportTable(NamedTuple):
    """A table to export. `owned_by` returns the condition that selects an account's rows; `join` is a model to join for it.

    `instead` has the expressions that are exported in place of columns, by their names.
    """

    name: str
    model: Any
    owned_by: Callable[[UUID], Any]
    join: Any = None
    instead: Mapping[str, Any] = MappingProxyType({})


def _owner(account: UUID) -> Any:
    """Return the query for the person who owns an account. Other members' ways to sign in are not the account's."""
    return Member.select(Member.person).where((Member.account == account) & (Member.role == OWNER))


TABLES = (
    ExportTable("account", Account, lambda id: Account.id == id),
    ExportTable("members", Member, lambda id: Member.account == id),
    ExportTable("identities", PersonIdentity, lambda id: PersonIdentity.person.in_(_owner(id))),
    ExportTable("passkeys", PersonPasskey, lambda id: PersonPasskey.person.in_(_owner(id))),
    ExportTable("email_changes", EmailChange, lambda id: EmailChange.person.in_(_owner(id))),
    ExportTable("invitations", Invitation, lambda id: Invitation.account == id),
    ExportTable("subscriptions", Subscription, lambda id: Subscription.account == id),
    ExportTable("subscription_periods", SubscriptionPeriod, lambda id: Subscription.account == id, Subscription),
    ExportTable("api_keys", ApiKey, lambda id: ApiKey.account == id),
    ExportTable("sessions", WebSession, lambda id: WebSession.account == id),
    ExportTable("ledger", LedgerEntry, lambda id: LedgerEntry.account == id),
    ExportTable("overage", OverageEntry, lambda id: OverageEntry.account == id),
    ExportTable("holds", Hold, lambda id: Hold.account == id),
    ExportTable("allowances", Allowance, lambda id: Allowance.account == id),
    ExportTable("payments", Payment, lambda id: Payment.account == id),
    ExportTable("stripe_subscriptions", StripeSubscription, lambda id: StripeSubscription.account == id),
    ExportTable("payment_profile", PaymentProfile, lambda id: PaymentProfile.account == id),
    ExportTable("redeemed_codes", RedeemCode, lambda id: RedeemCode.account == id),
    ExportTable("usage", UsageLedger, lambda id: UsageLedger.account == id),
    ExportTable("usage_sums", AccountUsage, lambda id: AccountUsage.account == id),
    ExportTable("usage_totals", AccountTotal, lambda id: AccountTotal.account == id),
    ExportTable("key_usage", KeyUsage, lambda id: KeyUsage.account == id),
    ExportTable("tag_usage", TagUsage, lambda id: TagUsage.account == id),
    ExportTable("media_jobs", MediaJob, lambda id: MediaJob.account == id),
    ExportTable("media_outputs", MediaOutput, lambda id: MediaJob.account == id, MediaJob),
    ExportTable("conversations", Conversation, lambda id: Conversation.account == id, None, {"id": Conversation.public_id}),
    ExportTable(
        "messages", Message, lambda id: Conversation.account == id, Conversation, {"conversation": Conversation.public_id}
    ),
    ExportTable("responses", StoredResponse, lambda id: StoredResponse.account == id),
    ExportTable("shares", Share, lambda id: Share.account == id),
    ExportTable("budgets", Budget, lambda id: Budget.account == id),
    ExportTable("budget_alerts", BudgetAlert, lambda id: Budget.account == id, Budget),
    ExportTable("mails", OutgoingMail, lambda id: OutgoingMail.account == id),
    ExportTable("purges", PurgeJob, lambda id: PurgeJob.account == id),
    ExportTable("actions", AuditEntry, lambda id: AuditEntry.actor == account_actor(id)),
)


def read_rows(
    table: ExportTable, account: UUID, after: tuple[Any, ...] | None = None
) -> tuple[list[dict[str, Any]], tuple[Any, ...]]:
    """Return a page of a table's rows in primary key order, without `EXCLUDED_COLUMNS`, and the primary key of its last row.

    `after` is the key that the previous page returned.
    """
    names = [field.name for field in table.model._meta.get_primary_keys()]
    columns = {name: table.instead.get(name, field) for name, field in table.model._meta.fields.items()}
    keys = [columns[name] for name in names]
    query = table.model.select(*(column.alias(name) for name, column in columns.items()))
    if table.join is not None:
        query = query.join(table.join)
    query = query.where(table.owned_by(account))
    if after is not None:
        query = query.where(Tuple(*keys) > Tuple(*after))
    rows = list(query.order_by(*keys).limit(PAGE_SIZE).dicts())
    last = tuple(rows[-1][name] for name in names) if rows else ()
    return [{name: value for name, value in row.items() if name not in EXCLUDED_COLUMNS} for row in rows], last
