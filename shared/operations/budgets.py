"""Budgets: create, change and delete them. A budget notifies and never refuses a call. `shared/alerts/budgets.py` compares."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from shared.core.billing_periods import DAY_MS, month_start
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.ledger.sql import as_uuid, execute
from shared.models import BUDGET_PERIODS, BUDGET_SCOPES, WEBHOOK_FORMATS, ApiKey, Budget, BudgetAlert, Member
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.purges import lock_account
from shared.operations.validation import MAX_AMOUNT, check_choice, check_integer, check_text
from shared.text.translation import lazy_gettext

DEFAULT_PERCENTS = (50, 80, 100)
MAX_BUDGETS = 50  # per account
MAX_PERCENTS = 10  # per budget
MAX_PERCENT = 1_000
MAX_URL = 2_000  # characters of a webhook URL
MAX_TAG = 64
_NOT_FOUND = lazy_gettext("There is no such budget.")


@dataclass(frozen=True, slots=True)
class BudgetTerms:
    """A budget's editable fields. `webhook_url` must have been checked by `shared.safe_http.check_url`; None: no webhook."""

    credits: int
    percents: Sequence[int] = DEFAULT_PERCENTS
    sends_mail: bool = True
    webhook_url: str | None = None
    webhook_format: str = "event"

    def check(self) -> BudgetTerms:
        """Return the terms with sorted percentages. Raises `InvalidInput`."""
        check_integer("number of credits", self.credits, 1, MAX_AMOUNT)
        for percent in self.percents:
            check_integer("percentage", percent, 1, MAX_PERCENT)
        percents = sorted(set(self.percents))
        if not 1 <= len(percents) <= MAX_PERCENTS:
            raise InvalidInput(lazy_gettext("Give 1 to {maximum} percentages.", maximum=MAX_PERCENTS))
        check_choice("format of the webhook", self.webhook_format, WEBHOOK_FORMATS)
        if self.webhook_url is not None and len(self.webhook_url) > MAX_URL:
            raise InvalidInput(lazy_gettext("The URL can have at most {maximum} characters.", maximum=MAX_URL))
        if not self.sends_mail and self.webhook_url is None:
            raise InvalidInput(lazy_gettext("Choose email, a webhook, or both."))
        return BudgetTerms(self.credits, percents, self.sends_mail, self.webhook_url, self.webhook_format)


def list_budgets(account: UUID) -> list[Budget]:
    """Return an account's budgets, oldest first."""
    return list(Budget.select().where(Budget.account == account).order_by(Budget.id))


def find_budget(account: UUID, budget: str | UUID) -> Budget:
    """Return a budget of the account. Raises `NotFound`, also for those of other accounts."""
    try:
        id = budget if isinstance(budget, UUID) else UUID(budget)
    except ValueError:
        raise NotFound(_NOT_FOUND) from None
    row: Budget | None = Budget.get_or_none((Budget.id == id) & (Budget.account == account))
    if row is None:
        raise NotFound(_NOT_FOUND)
    return row


def create_budget(account: UUID, scope: str, target: str, period: str, terms: BudgetTerms, *, origin: Origin) -> Budget:
    """Create a budget. `target` is the id of a member or key of the account, a tag, or "" for the account and its balance.

    The balance has no period and one percentage: its alert means that the balance is below `credits`. Raises `InvalidInput` for
    invalid values and too many budgets, `NotFound` for an unknown member or key.
    """
    check_choice("scope", scope, BUDGET_SCOPES)
    if scope == "balance":
        period, terms = "none", BudgetTerms(**{**asdict(terms), "percents": (100,)})
    else:
        check_choice("period", period, BUDGET_PERIODS[:2])
    terms = terms.check()
    with transaction():
        lock_account(account)
        target = _checked_target(account, scope, target)
        if Budget.select().where(Budget.account == account).count() >= MAX_BUDGETS:
            raise InvalidInput(lazy_gettext("An account can have at most {maximum} budgets.", maximum=MAX_BUDGETS))
        row = Budget.create(account=account, scope=scope, target=target, period=period, **asdict(terms))
        record_audit_entry(origin, "budget.create", account, after=_audited(row))
        return row


def change_budget(account: UUID, budget: str | UUID, terms: BudgetTerms, *, origin: Origin) -> Budget:
    """Change a budget. Percentages that spending no longer reaches, because the budget was raised, alert again.

    Raises `NotFound`, and `InvalidInput` for invalid values.
    """
    with transaction():
        lock_account(account)
        row = find_budget(account, budget)
        if row.scope == "balance":
            terms = BudgetTerms(**{**asdict(terms), "percents": (100,)})
        terms, before, now = terms.check(), _audited(row), now_ms()
        Budget.update(**asdict(terms), due_at=now).where(Budget.id == row.id).execute()
        if row.scope != "balance":
            reached_less = BudgetAlert.percent * terms.credits > row.spent * 100
            active = (BudgetAlert.budget == row.id) & BudgetAlert.rearmed_at.is_null()
            current = BudgetAlert.starts_at == period_start(row.period, now)
            BudgetAlert.update(rearmed_at=now).where(active & current & reached_less).execute()
        found = find_budget(account, row.id)
        record_audit_entry(origin, "budget.change", account, before=before, after=_audited(found))
        return found


def delete_budget(account: UUID, budget: str | UUID, *, origin: Origin) -> Budget:
    """Delete a budget; its queued webhooks and emails are not sent. Raises `NotFound`."""
    with transaction():
        lock_account(account)
        row = find_budget(account, budget)
        Budget.delete().where(Budget.id == row.id).execute()
        record_audit_entry(origin, "budget.delete", account, before=_audited(row))
        return row


def delete_budgets(account: UUID) -> None:
    """Delete all budgets of an account that is being closed. Run inside a transaction."""
    Budget.delete().where(Budget.account == account).execute()


def period_start(period: str, now: int) -> int:
    """Return the start in ms UTC of the calendar month or day of `now`, or 0 for the balance, which has no period."""
    return {"month": month_start(now), "day": now - now % DAY_MS}.get(period, 0)


def target_names(account: UUID, budgets: Iterable[Budget]) -> dict[UUID, str]:
    """Return what each budget is for: the member's address, the key's name, the tag, or "" for the account and its balance.

    A member or key that is gone is shown by its id.
    """
    rows = list(budgets)
    keys = [UUID(row.target) for row in rows if row.scope == "key"]
    members = [UUID(row.target) for row in rows if row.scope == "member"]
    names: dict[str, str] = {}
    if keys:
        found: Any = ApiKey.select(ApiKey.id, ApiKey.name).where((ApiKey.account == account) & ApiKey.id.in_(keys)).tuples()
        names |= {str(id): name for id, name in found}
    if members:
        query = "SELECT m.id, p.email FROM member m JOIN person p ON p.id = m.person_id WHERE m.account_id = ? AND m.id IN ?"
        names |= {str(as_uuid(id)): email for id, email in execute(query, [account, members]).fetchall()}
    return {row.id: names.get(row.target, row.target) for row in rows}


def _checked_target(account: UUID, scope: str, target: str) -> str:
    if scope in ("account", "balance"):
        return ""
    if scope == "tag":
        return check_text("tag", target, MAX_TAG)
    table, current = (Member, Member.removed_at.is_null()) if scope == "member" else (ApiKey, ApiKey.revoked_at.is_null())
    try:
        id = UUID(target)
    except ValueError:
        id = None
    if id is None or not table.select().where((table.id == id) & (table.account == account) & current).exists():
        raise NotFound(
            lazy_gettext("There is no such member.") if scope == "member" else lazy_gettext("There is no such API key.")
        )
    return str(id)


def _audited(row: Budget) -> dict[str, Any]:
    """Return the values for the audit log: without the webhook's URL, which may contain a secret."""
    shown = ("scope", "target", "period", "credits", "percents", "sends_mail", "webhook_format")
    return {"budget": str(row.id), **{name: getattr(row, name) for name in shown}, "webhook": row.webhook_url is not None}
