"""Webhooks about budgets: which are due, and their content. A worker claims one by compare-and-set (`WebhookDeliverer`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from peewee import Case

from shared.alerts.budgets import AlertedBudget
from shared.core.clock import now_ms
from shared.media.webhooks import MAX_AGE_MS, MAX_ATTEMPTS, RETRY_DELAYS_MS, DueCallback
from shared.models import Budget, BudgetAlert

_QUEUED = BudgetAlert.webhook_due_at.is_null(False)


def due_webhooks(limit: int, *, excluded_accounts: Collection[UUID] = ()) -> list[DueCallback]:
    """Return up to `limit` due webhooks, the longest overdue first. Also gives up those without attempts left or too old."""
    now = now_ms()
    spent = (BudgetAlert.webhook_attempts >= MAX_ATTEMPTS) | (BudgetAlert.created_at < now - MAX_AGE_MS)
    is_due = _QUEUED & (BudgetAlert.webhook_due_at <= now)
    BudgetAlert.update(webhook_status="failed", webhook_due_at=None).where(is_due & spent).execute()
    query: Any = BudgetAlert.select(BudgetAlert.id, Budget.account, Budget.webhook_url).join(Budget).where(is_due)
    if excluded_accounts:
        query = query.where(Budget.account.not_in(list(excluded_accounts)))
    rows = query.order_by(BudgetAlert.webhook_due_at).limit(limit).tuples()
    return [DueCallback(id, account, url or "") for id, account, url in rows]


def claim_webhooks(ids: Sequence[UUID]) -> set[UUID]:
    """Count an attempt for each of these webhooks that is still due, and return those. Only one process gets each attempt."""
    now = now_ms()
    delay = Case(BudgetAlert.webhook_attempts, tuple(enumerate(RETRY_DELAYS_MS)), RETRY_DELAYS_MS[-1])
    rows: Any = (
        BudgetAlert.update(webhook_due_at=now + delay, webhook_attempts=BudgetAlert.webhook_attempts + 1)
        .where(BudgetAlert.id.in_(list(ids)) & (BudgetAlert.webhook_due_at <= now))
        .returning(BudgetAlert.id)
        .execute()
    )
    return {row.id for row in rows}


def postpone_webhooks(ids: Sequence[UUID], milliseconds: int) -> None:
    """Postpone these webhooks without counting an attempt."""
    now = now_ms()
    still_due = BudgetAlert.id.in_(list(ids)) & (BudgetAlert.webhook_due_at <= now)
    BudgetAlert.update(webhook_due_at=now + milliseconds).where(still_due).execute()


def finish_webhook(id: UUID, status: str) -> None:
    """Record that a webhook was `sent`, or `failed` because its address is not allowed."""
    BudgetAlert.update(webhook_status=status, webhook_due_at=None).where((BudgetAlert.id == id) & _QUEUED).execute()


def webhook_document(found: AlertedBudget) -> dict[str, Any]:
    """Return the JSON to post: an event, or for Slack and compatible services only its text."""
    alert, budget = found.alert, found.budget
    text = describe(found)
    if budget.webhook_format == "slack":
        return {"text": text}
    return {
        "id": f"evt_{alert.id.hex}",
        "object": "event",
        "type": "balance.low" if budget.scope == "balance" else "budget.reached",
        "created_at": alert.created_at // 1000,
        "text": text,
        "data": {
            "budget": str(budget.id),
            "account": str(budget.__data__["account"]),
            "scope": budget.scope,
            "target": budget.target or None,
            "period": None if budget.period == "none" else budget.period,
            "period_starts_at": alert.starts_at // 1000 or None,
            "percent": alert.percent,
            "credits": alert.credits,
            "spent": alert.spent,
        },
    }


def describe(found: AlertedBudget) -> str:
    """Return the alert in one English sentence."""
    alert, budget, name = found.alert, found.budget, found.target_name
    if budget.scope == "balance":
        return f"The balance is {alert.spent} credits, below {alert.credits}."
    of = {"member": f"member {name}", "key": f"API key {name}", "tag": f"tag {name}"}.get(budget.scope, "the account")
    when = "today" if budget.period == "day" else "this month"
    return f"Spending of {of} {when} is {alert.spent} credits, {alert.percent} % or more of the budget of {alert.credits}."
