"""All that is stored about one account, for its owner to take along: each table's rows, read in pages.

Every table that belongs to an account is named here, in `TABLES` or in `LEFT_OUT`; a test compares that with the schema.
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

PAGE = 500  # rows that are read at once
# Never given out: they open something, or are the platform's own business.
SECRETS = frozenset(
    {"password_hash", "digest", "sealed_params", "storage_key", "runner", "edge_process", "channel", "claimed_by"}
)
LEFT_OUT = {
    "IdempotencyClaim": "digests of a day's Idempotency-Keys: they say nothing that the usage does not",
    "WebhookSecret": "a secret; its owner has it",
    "AccountNote": "what staff wrote down for each other",
}


class Table(NamedTuple):
    """Rows of `model` that belong to an account, by a condition on the model (and on `through`, joined by its foreign key)."""

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
    Table("purges", PurgeJob, lambda id: PurgeJob.account == id),
    Table("actions", AuditEntry, lambda id: AuditEntry.actor == actor_of(id)),
)


def read_rows(table: Table, account: UUID, after: tuple[Any, ...] | None = None) -> tuple[list[dict[str, Any]], tuple[Any, ...]]:
    """A page of a table's rows without what is secret, in the order of its primary key, and the key of the last one."""
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
