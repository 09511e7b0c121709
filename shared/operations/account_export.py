"""Account export: all stored data of one account, table by table, read in pages.

Every table that belongs to an account is listed in `TABLES` or `LEFT_OUT`; a test compares both with the schema.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from peewee import Tuple

from shared.models import (
    Account,
    AccountTotal,
    AccountUsage,
    Allowance,
    ApiKey,
    AuditEntry,
    Conversation,
    Hold,
    LedgerEntry,
    MediaJob,
    MediaOutput,
    Message,
    OutgoingMail,
    OverageEntry,
    Payment,
    PurgeJob,
    RedeemCode,
    Share,
    StoredResponse,
    Subscription,
    SubscriptionPeriod,
    UsageLedger,
    WebSession,
)
from shared.operations.web_accounts import actor_of

PAGE = 500  # rows per query
# Columns that are never exported: credentials and internal references.
SECRETS = frozenset(
    {"password_hash", "digest", "sealed_params", "storage_key", "runner", "edge_process", "channel", "claimed_by"}
)
LEFT_OUT = {
    "IdempotencyClaim": "digests of Idempotency-Keys of the last day; the usage rows have the calls",
    "WebhookSecret": "a secret that its owner already has",
    "AccountNote": "internal notes by staff",
}


class Table(NamedTuple):
    """A table to export. `belongs` is the condition that selects an account's rows; `through` is a model to join for it."""

    name: str
    model: Any
    belongs: Callable[[UUID], Any]
    through: Any = None


TABLES = (
    Table("account", Account, lambda id: Account.id == id),
    Table("subscriptions", Subscription, lambda id: Subscription.account == id),
    Table("subscription_periods", SubscriptionPeriod, lambda id: Subscription.account == id, Subscription),
    Table("api_keys", ApiKey, lambda id: ApiKey.account == id),
    Table("sessions", WebSession, lambda id: WebSession.account == id),
    Table("ledger", LedgerEntry, lambda id: LedgerEntry.account == id),
    Table("overage", OverageEntry, lambda id: OverageEntry.account == id),
    Table("holds", Hold, lambda id: Hold.account == id),
    Table("allowances", Allowance, lambda id: Allowance.account == id),
    Table("payments", Payment, lambda id: Payment.account == id),
    Table("redeemed_codes", RedeemCode, lambda id: RedeemCode.account == id),
    Table("usage", UsageLedger, lambda id: UsageLedger.account == id),
    Table("usage_sums", AccountUsage, lambda id: AccountUsage.account == id),
    Table("usage_totals", AccountTotal, lambda id: AccountTotal.account == id),
    Table("media_jobs", MediaJob, lambda id: MediaJob.account == id),
    Table("media_outputs", MediaOutput, lambda id: MediaJob.account == id, MediaJob),
    Table("conversations", Conversation, lambda id: Conversation.account == id),
    Table("messages", Message, lambda id: Conversation.account == id, Conversation),
    Table("responses", StoredResponse, lambda id: StoredResponse.account == id),
    Table("shares", Share, lambda id: Share.account == id),
    Table("mails", OutgoingMail, lambda id: OutgoingMail.account == id),
    Table("purges", PurgeJob, lambda id: PurgeJob.account == id),
    Table("actions", AuditEntry, lambda id: AuditEntry.actor == actor_of(id)),
)


def read_rows(table: Table, account: UUID, after: tuple[Any, ...] | None = None) -> tuple[list[dict[str, Any]], tuple[Any, ...]]:
    """Return a page of a table's rows in primary key order, without `SECRETS`, and the primary key of its last row.

    `after` is the key that the previous page returned.
    """
    keys = _key_fields(table.model)
    query = table.model.select()
    if table.through is not None:
        query = query.join(table.through)
    query = query.where(table.belongs(account))
    if after is not None:
        query = query.where(Tuple(*keys) > Tuple(*after))
    rows = list(query.order_by(*keys).limit(PAGE).dicts())
    last = tuple(rows[-1][field.name] for field in keys) if rows else ()
    return [{name: value for name, value in row.items() if name not in SECRETS} for row in rows], last


def _key_fields(model: Any) -> list[Any]:
    return list(model._meta.get_primary_keys())
