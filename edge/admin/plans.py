"""`/api/admin/plans/`: create and change plans, and close them to new subscribers."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import (
    BOOLEAN,
    ID,
    INTEGER,
    PAGE,
    STRING,
    TIMESTAMP,
    array,
    described,
    enum,
    nullable,
    page_of,
    response_schema,
)
from edge.http.body_types import ClosedBody
from edge.http.paging import split_page
from shared.core.timestamps import format_timestamp
from shared.models import ENABLED_STATUSES, Plan
from shared.operations.keys import MAX_LIMIT
from shared.operations.plans import (
    DEFAULT_TERMS,
    MAX_MEDIA_DAYS,
    MAX_PRICE_CENTS,
    MAX_USAGE_DAYS,
    MIN_USAGE_DAYS,
    create_plan,
    find_plan,
    set_plan_status,
    update_plan,
)
from shared.operations.validation import MAX_AMOUNT
from shared.text.translation import lazy_gettext

plans = Blueprint("admin_plans", __name__)

PLAN_PATH = {"plan_id": described(STRING, "Id of the plan, or its name.")}
PLAN = response_schema(
    {
        "id": ID,
        "name": described(STRING, "Name of the plan.", "Team"),
        "status": described(enum(*ENABLED_STATUSES), "`disabled`: closed to new subscribers.", "active"),
        "monthly_credits": described(INTEGER, "Credits that each period grants.", 5_000_000),
        "rollover_cap": described(nullable(INTEGER), "Maximum plan credits at the start of a period; null: twice the grant."),
        "price_cents": described(INTEGER, "Price per month in the currency's smallest unit, such as cents.", 2000),
        "rpm": described(nullable(INTEGER), "Requests per minute; null: the platform's default."),
        "tpm": described(nullable(INTEGER), "Tokens per minute; null: the platform's default."),
        "concurrency": described(nullable(INTEGER), "Concurrent requests; null: the platform's default."),
        "allowed_models": described(nullable(array(STRING)), "Ids of the included models; null: all."),
        "overage_allowed": described(BOOLEAN, "Whether subscribers can enable overage."),
        "stores_content": described(BOOLEAN, "Whether subscribers can store conversations."),
        "media_days": described(nullable(INTEGER), "Retention of media in days; null: the platform's."),
        "usage_days": described(nullable(INTEGER), "Retention of calls in days; null: the platform's."),
        "self_service": described(BOOLEAN, "Whether customers can buy the plan through Stripe."),
        "owner_overage_cap": described(nullable(INTEGER), "Highest overage cap that customers can set; null: only staff set it."),
        "created": TIMESTAMP,
    }
)

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Credits = Annotated[int, Meta(ge=0, le=MAX_AMOUNT)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Models = list[Annotated[str, Meta(min_length=1, max_length=200)]]


class _Terms(ClosedBody, kw_only=True):
    """Terms of a plan. Omitted ones keep their value, or the default."""

    monthly_credits: Annotated[Credits | UnsetType, Meta(description="Credits that each period grants.")] = UNSET
    rollover_cap: Annotated[
        Credits | UnsetType | None, Meta(description="Maximum plan credits at the start of a period. Null: twice the grant.")
    ] = UNSET
    price_cents: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_PRICE_CENTS)] | UnsetType,
        Meta(description="Price per month in the currency's smallest unit, such as cents."),
    ] = UNSET
    rpm: Annotated[Limit | UnsetType | None, Meta(description="Requests per minute. Null: the platform's default.")] = UNSET
    tpm: Annotated[Limit | UnsetType | None, Meta(description="Tokens per minute. Null: the platform's default.")] = UNSET
    concurrency: Annotated[Limit | UnsetType | None, Meta(description="Concurrent requests. Null: the platform's default.")] = (
        UNSET
    )
    allowed_models: Annotated[Models | UnsetType | None, Meta(description="Ids of the included models. Null: all.")] = UNSET
    overage_allowed: Annotated[bool | UnsetType, Meta(description="Whether subscribers can enable overage.")] = UNSET
    stores_content: Annotated[bool | UnsetType, Meta(description="Whether subscribers can store conversations.")] = UNSET
    media_days: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_MEDIA_DAYS)] | UnsetType | None,
        Meta(description="Retention of media in days. Null: the platform's."),
    ] = UNSET
    usage_days: Annotated[
        Annotated[int, Meta(ge=MIN_USAGE_DAYS, le=MAX_USAGE_DAYS)] | UnsetType | None,
        Meta(description="Retention of calls in days. Null: the platform's."),
    ] = UNSET
    self_service: Annotated[
        bool | UnsetType,
        Meta(description="Whether customers can buy the plan through Stripe. It needs a price and monthly credits."),
    ] = UNSET
    owner_overage_cap: Annotated[
        Credits | UnsetType | None,
        Meta(description="Highest overage cap that customers can set. Null: only staff set it."),
    ] = UNSET


class NewPlan(_Terms, kw_only=True):
    """A plan to create."""

    EXAMPLE = {"name": "Team", "monthly_credits": 5_000_000, "price_cents": 2000, "rpm": 600}

    name: Annotated[Name, Meta(description="Name of the plan, which cannot be changed.")]


class PlanChanges(_Terms, kw_only=True):
    """The terms of a plan to change, at least one, or its status."""

    EXAMPLE = {"monthly_credits": 6_000_000}

    status: Annotated[
        Literal["active", "disabled"] | UnsetType, Meta(description="`disabled` closes the plan to new subscribers.")
    ] = UNSET


@admin_route(
    plans,
    "GET",
    "/plans/",
    "plans:read",
    "List plans",
    returns=page_of("plans", PLAN),
    description="The plans, oldest first.",
    query=PAGE,
)
def list_all(call: AdminCall) -> Document:
    """List the plans."""
    limit, after = call.page
    query = Plan.select().order_by(Plan.id).limit(limit + 1)
    if after is not None:
        query = query.where(Plan.id > after)
    rows, last = split_page(list(query), limit)
    return {"plans": [plan_document(row) for row in rows], "next": str(last.id) if last is not None else None}


@admin_route(plans, "POST", "/plans/", "plans:write", "Create a plan", status=201, body=NewPlan, returns=PLAN)
def create(call: AdminCall) -> Document:
    """Create a plan."""
    terms = {name: value for name, value in call.changes.items() if name != "name"}
    return plan_document(create_plan(call.body.name, terms, origin=call.origin))


@admin_route(plans, "GET", "/plans/<plan_id>/", "plans:read", "Retrieve a plan", path=PLAN_PATH, returns=PLAN)
def show(_: AdminCall, plan_id: str) -> Document:
    """Return a plan."""
    return plan_document(find_plan(plan_id))


@admin_route(
    plans,
    "PATCH",
    "/plans/<plan_id>/",
    "plans:write",
    "Update a plan",
    path=PLAN_PATH,
    body=PlanChanges,
    returns=PLAN,
    notes=lazy_gettext(
        "Only the fields in the body change. Limits apply from the next call on, credits from each subscriber's next period on."
        " Plans are not deleted, because subscriptions refer to them."
    ),
)
def update(call: AdminCall, plan_id: str) -> Document:
    """Update the fields in the body."""
    id: UUID = find_plan(plan_id).id
    update_plan(id, {name: value for name, value in call.changes.items() if name != "status"}, origin=call.origin)
    if "status" in call.changes:
        set_plan_status(id, call.changes["status"], origin=call.origin)
    return plan_document(Plan.get_by_id(id))


def plan_document(row: Plan) -> Document:
    """Return a plan in the format of the API."""
    terms = {name: getattr(row, name) for name in DEFAULT_TERMS}
    return {"id": str(row.id), "name": row.name, "status": row.status, **terms, "created": format_timestamp(row.created_at)}
