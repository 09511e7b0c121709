"""Compares budgets with spending, and records an alert once for each percentage and period.

Spending is read from the sums of usage (`shared.rollup.read_breakdown`), never on the request path. A worker claims due budgets
by compare-and-set. It records an alert, the emails and the webhook in one transaction, under a unique key, so several workers,
or one that is killed and restarted, neither lose nor repeat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple
from uuid import UUID

from shared.core.billing_periods import DAY_MS
from shared.core.database import transaction
from shared.ledger.sql import as_uuid, execute
from shared.mail.outbox import queue_mail
from shared.mail.preferences import BUDGET, LOW_BALANCE, billing_recipients
from shared.mail.texts import MailText, budget_mail, low_balance_mail
from shared.models import Account, Budget, BudgetAlert
from shared.operations.budgets import period_start, target_names
from shared.rollup import Breakdown, read_breakdown
from shared.text.translation import in_language

INTERVAL_MS = 60_000  # between two comparisons of a budget
BATCH = 100  # budgets claimed at a time
KEPT_MS = 400 * DAY_MS  # retention of alerts
_BREAKDOWNS: dict[str, Breakdown] = {"account": "day", "member": "member", "key": "key", "tag": "tag"}


class AlertedBudget(NamedTuple):
    """An alert with its budget, and what the budget is for (`target_names`)."""

    alert: BudgetAlert
    budget: Budget
    target_name: str


def claim_budgets(now: int, limit: int = BATCH) -> list[Budget]:
    """Claim the budgets that have been due longest, sorted by account. No other process gets the same comparison."""
    due = Budget.due_at <= now
    ids = [row.id for row in Budget.select(Budget.id).where(due).order_by(Budget.due_at).limit(limit)]
    if not ids:
        return []
    with transaction():
        claimed: Any = Budget.update(due_at=now + INTERVAL_MS).where(Budget.id.in_(ids) & due).returning(Budget).execute()
        return sorted(claimed, key=lambda row: (row.__data__["account"], row.id))


def compare_budgets(budgets: Sequence[Budget], now: int, *, sends_mail: bool) -> int:
    """Compare budgets, sorted by account, with their spending. Return the number of alerts that are new."""
    alerts = 0
    for account, rows in groupby(budgets, key=lambda row: UUID(str(row.__data__["account"]))):
        for row, spent in measure_spending(account, list(rows), now):
            alerts += record_spending(row, spent, now, sends_mail=sends_mail)
    return alerts


def measure_spending(account: UUID, budgets: Sequence[Budget], now: int) -> list[tuple[Budget, int]]:
    """Return each budget with the credits charged in its current period (UTC), or with the account's balance."""
    read: dict[tuple[str, str], dict[Any, int]] = {}
    for kind in {(row.scope, row.period) for row in budgets if row.scope != "balance"}:
        scope, period = kind
        until = now - now % DAY_MS + DAY_MS
        groups = read_breakdown(account, period_start(period, now), until, _BREAKDOWNS[scope])
        read[kind] = {group: sums.credits for group, sums in groups.items()}
    families = _key_families(account) if any(row.scope == "key" for row in budgets) else {}
    found = []
    for row in budgets:
        sums = read.get((row.scope, row.period), {})
        if row.scope == "balance":
            spent = int(Account.select(Account.balance).where(Account.id == account).scalar() or 0)
        elif row.scope == "account":
            spent = sum(sums.values())
        elif row.scope == "tag":
            spent = sums.get(row.target, 0)
        elif row.scope == "member":
            spent = sums.get(UUID(row.target), 0)
        else:
            key = UUID(row.target)
            spent = sum(sums.get(one, 0) for one in families.get(key, {key}))
        found.append((row, spent))
    return found


def record_spending(budget: Budget, spent: int, now: int, *, sends_mail: bool) -> int:
    """Store a budget's measured spending (or the balance), and the alerts that follow. Return the number of new alerts.

    Does nothing if the budget's amount was changed since it was read.
    """
    starts_at = period_start(budget.period, now)
    if budget.scope == "balance":
        reached = [100] if spent < budget.credits else []
    else:
        reached = [percent for percent in budget.percents if spent * 100 >= percent * budget.credits]
    with transaction():
        unchanged = (Budget.id == budget.id) & (Budget.credits == budget.credits)
        if not Budget.update(spent=spent, spent_at=now).where(unchanged).execute():
            return 0
        if budget.scope == "balance" and not reached:
            active = (BudgetAlert.budget == budget.id) & BudgetAlert.rearmed_at.is_null()
            BudgetAlert.update(rearmed_at=now).where(active).execute()
        return sum(_alert(budget, starts_at, percent, spent, now, sends_mail) for percent in reached)


def delete_old_alerts(now: int) -> None:
    """Delete old alerts, except that of a balance that is still low."""
    is_over = (BudgetAlert.starts_at > 0) | BudgetAlert.rearmed_at.is_null(False)
    BudgetAlert.delete().where((BudgetAlert.created_at < now - KEPT_MS) & is_over).execute()


def find_alert(alert: UUID | str) -> AlertedBudget | None:
    """Return an alert, or None if it was deleted with its budget."""
    row = BudgetAlert.select(BudgetAlert, Budget).join(Budget).where(BudgetAlert.id == alert).first()
    if row is None:
        return None
    budget: Budget = row.budget
    return AlertedBudget(row, budget, target_names(budget.__data__["account"], [budget])[budget.id])


def compose(account: UUID, recipient: str, subject: str, *, language: str, edge_url: str) -> MailText | None:
    """Return the email about the alert with the id `subject`, or None if it was deleted or the recipient no longer gets it."""
    found = find_alert(UUID(subject))
    if found is None:
        return None
    kind = LOW_BALANCE if found.budget.scope == "balance" else BUDGET
    if recipient not in billing_recipients(account, kind):
        return None
    row: Account = Account.get_by_id(account)
    name, alert, budget = row.name or row.email, found.alert, found.budget
    with in_language(language):
        if kind == LOW_BALANCE:
            return low_balance_mail(name, alert.spent, alert.credits, edge_url)
        of = (budget.scope, found.target_name, budget.period)
        return budget_mail(name, of, alert.percent, alert.spent, alert.credits, edge_url)


def _alert(budget: Budget, starts_at: int, percent: int, spent: int, now: int, sends_mail: bool) -> int:
    """Record an alert with its webhook and emails, unless it was recorded before. Return 1 or 0."""
    webhook = {"webhook_status": "queued", "webhook_due_at": now} if budget.webhook_url else {}
    values = {"budget": budget.id, "starts_at": starts_at, "percent": percent, "created_at": now, **webhook}
    inserted: Any = (
        BudgetAlert.insert(credits=budget.credits, spent=spent, **values).on_conflict_ignore().returning(BudgetAlert.id).execute()
    )
    ids = [row.id for row in inserted]
    if ids and budget.sends_mail and sends_mail:
        account, kind = budget.__data__["account"], LOW_BALANCE if budget.scope == "balance" else BUDGET
        for email in billing_recipients(account, kind):
            queue_mail(account, kind, email, subject=str(ids[0]), one_recipient=False)
    return len(ids)


def _key_families(account: UUID) -> dict[UUID, set[UUID]]:
    """Return each key with the keys that count toward it: those that it created, and those that it replaced or replace it."""
    rows = execute("SELECT id, coalesce(meter, id), parent FROM api_key WHERE account_id = ?", [account]).fetchall()
    keys = [(as_uuid(id), as_uuid(meter), as_uuid(parent) if parent is not None else None) for id, meter, parent in rows]
    chains: dict[UUID, set[UUID]] = {}
    for id, meter, _ in keys:
        chains.setdefault(meter, set()).add(id)
    meters = {id: meter for id, meter, _ in keys}
    families = {meter: set(chain) for meter, chain in chains.items()}
    for id, _, parent in keys:
        if parent in meters:
            families[meters[parent]].add(id)
    return {id: families[meter] for id, meter, _ in keys}
