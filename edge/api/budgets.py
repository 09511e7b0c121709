"""`/api/budgets/`: list, create, update and delete budgets, with an API key that can manage or a web session."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response

from edge.http.api_spec import (
    BOOLEAN,
    ID,
    INTEGER,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    array,
    describe_route,
    enum,
    nullable,
    response_schema,
)
from edge.http.body_types import ClosedBody, check_body
from edge.http.json_body import parse_json_object
from edge.request_context import count_request, manager_caller, read, read_body, services, uncached_json, write
from shared.core.errors import InvalidRequest, NotFound, OutboundRefused, RateLimited, RequestTooLarge
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp
from shared.models import BUDGET_PERIODS, BUDGET_SCOPES, WEBHOOK_FORMATS, Budget
from shared.operations.budgets import (
    DEFAULT_PERCENTS,
    MAX_PERCENT,
    MAX_PERCENTS,
    MAX_TAG,
    MAX_URL,
    BudgetTerms,
    change_budget,
    create_budget,
    delete_budget,
    find_budget,
    list_budgets,
)
from shared.operations.validation import MAX_AMOUNT
from shared.safe_http import check_url, policy_from_settings
from shared.text.translation import lazy_gettext

budget_routes = Blueprint("budgets_api", __name__)

Scope = Literal["account", "member", "key", "tag", "balance"]
Period = Literal["month", "day"]
Format = Literal["event", "slack"]
Credits = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
Percents = Annotated[list[Annotated[int, Meta(ge=1, le=MAX_PERCENT)]], Meta(min_length=1, max_length=MAX_PERCENTS)]
Url = Annotated[str, Meta(min_length=1, max_length=MAX_URL)]


class NewBudget(ClosedBody, kw_only=True):
    """A budget to create."""

    EXAMPLE = {"scope": "account", "period": "month", "credits": 1_000_000}

    scope: Annotated[Scope, Meta(description="What is counted. `balance` alerts when the balance is low.")]
    target: Annotated[
        Annotated[str, Meta(min_length=1, max_length=MAX_TAG)] | None,
        Meta(description="Id of the member or key, or the tag. Null for `account` and `balance`."),
    ] = None
    period: Annotated[Period, Meta(description="Calendar month or day, in UTC. Ignored for the balance.")] = "month"
    credits: Annotated[
        Credits, Meta(description="Amount in credits. With the scope `balance`, the alert means that the balance is below it.")
    ]
    percents: Annotated[
        Percents | UnsetType,
        Meta(description="Percentages of the amount at which to alert, once per period. Default: 50, 80 and 100."),
    ] = UNSET
    email: Annotated[bool, Meta(description="Whether the owner, admins and billing members get an email.")] = True
    webhook_url: Annotated[Url | None, Meta(description="Receives a signed webhook. Null: none.")] = None
    webhook_format: Annotated[Format, Meta(description="`event` sends an event, `slack` only its text, as Slack expects it.")] = (
        "event"
    )


class BudgetChanges(ClosedBody, kw_only=True):
    """The fields of a budget to change, at least one."""

    EXAMPLE = {"credits": 2_000_000}

    credits: Annotated[
        Credits | UnsetType,
        Meta(description="Amount in credits. With the scope `balance`, the alert means that the balance is below it."),
    ] = UNSET
    percents: Annotated[
        Percents | UnsetType, Meta(description="Percentages of the amount at which to alert, once per period.")
    ] = UNSET
    email: Annotated[bool | UnsetType, Meta(description="Whether the owner, admins and billing members get an email.")] = UNSET
    webhook_url: Annotated[Url | UnsetType | None, Meta(description="Receives a signed webhook. Null: none.")] = UNSET
    webhook_format: Annotated[
        Format | UnsetType, Meta(description="`event` sends an event, `slack` only its text, as Slack expects it.")
    ] = UNSET


_BUDGET = response_schema(
    {
        "id": ID,
        "scope": enum(*BUDGET_SCOPES),
        "target": nullable(STRING),
        "period": nullable(enum(*BUDGET_PERIODS[:2])),
        "credits": {**INTEGER, "description": lazy_gettext("Amount of the budget in credits.")},
        "percents": array(INTEGER),
        "email": BOOLEAN,
        "webhook_url": nullable(STRING),
        "webhook_format": enum(*WEBHOOK_FORMATS),
        "spent": nullable(INTEGER),
        "spent_at": nullable(TIMESTAMP),
        "created": TIMESTAMP,
    }
)
_MANAGER = lazy_gettext("The member's role must allow payments (owner, admin, billing), and an API key needs `can_manage`.")


@budget_routes.get("/api/budgets/")
@describe_route(
    "List budgets",
    responses={200: ResponseSpec(response_schema({"budgets": array(_BUDGET)}), "The budgets, oldest first.")},
    notes=_MANAGER,
)
async def list_all() -> Response:
    """List the account's budgets."""
    caller = await manager_caller()
    return uncached_json({"budgets": [_document(row) for row in await read(partial(list_budgets, caller.account))]})


@budget_routes.post("/api/budgets/")
@describe_route(
    "Create a budget",
    body=NewBudget,
    responses={201: ResponseSpec(_BUDGET)},
    errors=(InvalidRequest, RequestTooLarge, RateLimited, NotFound),
    notes=lazy_gettext("A budget alerts and never refuses a call; limits of members and keys do. {who}", who=_MANAGER),
)
async def create() -> Response:
    """Create a budget."""
    caller = await manager_caller()
    requested = check_body(parse_json_object(await read_body()), NewBudget)
    percents = DEFAULT_PERCENTS if isinstance(requested.percents, UnsetType) else requested.percents
    url = checked_url(requested.webhook_url, services().settings)
    terms = BudgetTerms(requested.credits, percents, requested.email, url, requested.webhook_format)
    await count_request(caller.limits)
    of = (requested.scope, requested.target or "", requested.period)
    row = await write(partial(create_budget, caller.account, *of, terms, origin=caller.origin))
    return uncached_json(_document(row), 201)


@budget_routes.get("/api/budgets/<budget_id>/")
@describe_route(
    "Retrieve a budget", path={"budget_id": ID}, responses={200: ResponseSpec(_BUDGET)}, errors=(NotFound,), notes=_MANAGER
)
async def show(budget_id: str) -> Response:
    """Return a budget."""
    caller = await manager_caller()
    return uncached_json(_document(await read(partial(find_budget, caller.account, budget_id))))


@budget_routes.patch("/api/budgets/<budget_id>/")
@describe_route(
    "Update a budget",
    path={"budget_id": ID},
    body=BudgetChanges,
    responses={200: ResponseSpec(_BUDGET)},
    errors=(InvalidRequest, RequestTooLarge, RateLimited, NotFound),
    notes=lazy_gettext(
        "Only the fields in the body change. Percentages that are no longer reached can alert again. {who}", who=_MANAGER
    ),
)
async def update(budget_id: str) -> Response:
    """Update the fields in the body."""
    caller = await manager_caller()
    body = parse_json_object(await read_body())
    if not body:
        raise InvalidRequest("The body must contain at least one field to update.")
    requested = check_body(body, BudgetChanges)
    if isinstance(requested.webhook_url, str):
        checked_url(requested.webhook_url, services().settings)
    await count_request(caller.limits)
    changes = {name: getattr(requested, name) for name in body}
    row = await write(partial(_change, caller.account, budget_id, changes, caller.origin))
    return uncached_json(_document(row))


@budget_routes.delete("/api/budgets/<budget_id>/")
@describe_route(
    "Delete a budget",
    path={"budget_id": ID},
    responses={200: ResponseSpec(response_schema({"id": ID, "deleted": BOOLEAN}))},
    errors=(NotFound,),
    notes=_MANAGER,
)
async def delete(budget_id: str) -> Response:
    """Delete a budget. Its queued emails and webhooks are not sent."""
    caller = await manager_caller()
    row = await write(partial(delete_budget, caller.account, budget_id, origin=caller.origin))
    return uncached_json({"id": str(row.id), "deleted": True})


def checked_url(url: str | None, settings: Settings) -> str | None:
    """Return the URL of a webhook. Raises `InvalidRequest` for one that this installation does not post to."""
    if url is not None:
        try:
            check_url(url, policy_from_settings(settings))
        except OutboundRefused as refusal:
            raise InvalidRequest(f"'webhook_url' is not allowed. {refusal}", "webhook_url") from None
    return url


def _change(account: UUID, budget: str, changes: Mapping[str, Any], origin: Any) -> Budget:
    row = find_budget(account, budget)
    current = {"credits": row.credits, "percents": row.percents, "email": row.sends_mail, "webhook_url": row.webhook_url}
    values = {**current, "webhook_format": row.webhook_format, **changes}
    values["sends_mail"] = values.pop("email")
    return change_budget(account, row.id, BudgetTerms(**values), origin=origin)


def _document(row: Budget) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "scope": row.scope,
        "target": row.target or None,
        "period": None if row.period == "none" else row.period,
        "credits": row.credits,
        "percents": row.percents,
        "email": row.sends_mail,
        "webhook_url": row.webhook_url,
        "webhook_format": row.webhook_format,
        "spent": None if row.spent_at is None else row.spent,
        "spent_at": format_timestamp(row.spent_at),
        "created": format_timestamp(row.created_at),
    }
