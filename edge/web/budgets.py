"""Account → Budgets: alerts at percentages of an amount, and when the balance is low."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from edge.api.budgets import checked_url
from edge.request_context import read, services, write
from edge.web.pages import page, read_slow
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest
from shared.models import ApiKey, Budget, Member, Person
from shared.operations.budgets import (
    DEFAULT_PERCENTS,
    BudgetTerms,
    change_budget,
    create_budget,
    delete_budget,
    find_budget,
    list_budgets,
    period_start,
    target_names,
)
from shared.text.translation import gettext

budgets = Blueprint("budgets", __name__)
_MAX_DIGITS = 15
_MAX_CHOICES = 500  # members or keys to choose from


class BudgetRow(NamedTuple):
    """A budget for the list: what it is for, and what is spent in the current period (None: not compared yet)."""

    budget: Budget
    target: str
    spent: int | None


class _Page(NamedTuple):
    rows: list[BudgetRow]
    members: list[tuple[UUID, str]]
    keys: list[tuple[UUID, str]]


@budgets.get("/account/budgets")
async def show_budgets() -> Response:
    return await _page()


@budgets.post("/account/budgets")
async def create() -> Response:
    session, form = require_session(), await request.form
    scope, _, target = form.get("applies_to", "").partition(":")
    try:
        terms = _terms(form)
        target = form.get("tag", "") if scope == "tag" else target
        of = (scope, target, form.get("period", "month"))
        await write(partial(create_budget, session.account, *of, terms, origin=origin_of(session.account)))
    except InvalidRequest as error:
        return await _page(422, form, str(error))
    return redirect_to("/account/budgets", "budget-created")


@budgets.get("/account/budgets/<budget_id>")
async def show_budget(budget_id: str) -> Response:
    return await _budget_page(budget_id)


@budgets.post("/account/budgets/<budget_id>")
async def change(budget_id: str) -> Response:
    session, form = require_session(), await request.form
    try:
        job = partial(change_budget, session.account, budget_id, _terms(form), origin=origin_of(session.account))
        await write(job)
    except InvalidRequest as error:
        return await _budget_page(budget_id, 422, form, str(error))
    return redirect_to("/account/budgets", "budget-changed")


@budgets.post("/account/budgets/<budget_id>/delete")
async def delete(budget_id: str) -> Response:
    session = require_session()
    await write(partial(delete_budget, session.account, budget_id, origin=origin_of(session.account)))
    return redirect_to("/account/budgets", "budget-deleted")


async def _page(status: int = 200, form: MultiDict[str, str] | None = None, wrong: str = "") -> Response:
    found = await read_slow(partial(_read, require_session().account))
    if form is None:
        form = MultiDict({"applies_to": "account", "period": "month", "percents": _shown(DEFAULT_PERCENTS), "email": "on"})
    context: dict[str, Any] = {**found._asdict(), "form": form, "wrong": wrong}
    return await page("account/budgets.html", status, **context)


async def _budget_page(id: str, status: int = 200, form: MultiDict[str, str] | None = None, wrong: str = "") -> Response:
    row, target = await read(partial(_find, require_session().account, id))
    if form is None:
        form = MultiDict({"credits": str(row.credits), "percents": _shown(row.percents), "webhook_url": row.webhook_url or ""})
        form["webhook_format"] = row.webhook_format
        if row.sends_mail:
            form["email"] = "on"
    context = {"row": row, "target": target, "form": form, "wrong": wrong}
    return await page("account/budget.html", status, **context)


def _find(account: UUID, id: str) -> tuple[Budget, str]:
    row = find_budget(account, id)
    return row, target_names(account, [row])[row.id]


def _read(account: UUID) -> _Page:
    rows, now = list_budgets(account), now_ms()
    names = target_names(account, rows)
    people: Any = Member.select(Member.id, Person.email).join(Person)
    current = (Member.account == account) & Member.removed_at.is_null()
    members = people.where(current).order_by(Person.email).limit(_MAX_CHOICES).tuples()
    active = (ApiKey.account == account) & ApiKey.revoked_at.is_null()
    keys: Any = ApiKey.select(ApiKey.id, ApiKey.name).where(active).order_by(ApiKey.name).limit(_MAX_CHOICES).tuples()
    return _Page(
        [BudgetRow(row, names[row.id], _spent(row, now)) for row in rows],
        list(members),
        list(keys),
    )


def _spent(row: Budget, now: int) -> int | None:
    """Return what a comparison in the current period found."""
    return row.spent if row.spent_at is not None and row.spent_at >= period_start(row.period, now) else None


def _terms(form: MultiDict[str, str]) -> BudgetTerms:
    """Read the terms. Raises `InvalidRequest`."""
    url = form.get("webhook_url", "").strip() or None
    percents = form.get("percents", "").replace("%", " ").replace(",", " ").split()
    return BudgetTerms(
        _number(form.get("credits", "")),
        [_number(text) for text in percents],
        bool(form.get("email")),
        checked_url(url, services().settings),
        form.get("webhook_format", "event"),
    )


def _number(text: str) -> int:
    digits = "".join(text.split())
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise InvalidRequest(gettext("Credits and percentages must be whole numbers."))
    return int(digits)


def _shown(percents: Any) -> str:
    return ", ".join(str(percent) for percent in percents)
