"""`/api/admin/accounts/<id>/subscription/`: the plan that an account is subscribed to."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint

from edge.admin.accounts import ACCOUNT_PATH, customer_account
from edge.admin.route import AdminCall, Document, admin_route
from edge.http.api_spec import BOOLEAN, ID, INTEGER, STRING, TIMESTAMP, described, enum, nullable, response_schema
from edge.http.body_types import ClosedBody
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import Subscription
from shared.operations.subscriptions import (
    CHANGE_TIMES,
    active_subscription,
    cancel_subscription,
    change_subscription,
    resume_subscription,
    set_overage,
    subscribe,
    suspend_subscription,
)
from shared.operations.validation import MAX_AMOUNT
from shared.text.translation import lazy_gettext

subscriptions = Blueprint("admin_subscriptions", __name__)

PATH = "/accounts/<account_id>/subscription/"
When = Literal["now", "next_period"]
_SUBSCRIPTION = response_schema(
    {
        "id": ID,
        "plan": described(response_schema({"id": ID, "name": STRING}), "The plan in force."),
        "next_plan": described(nullable(ID), "Id of the plan that follows with the next period; null if it stays."),
        "renews_at": nullable(TIMESTAMP),
        "overage_cap": described(INTEGER, "Credits that calls may cost beyond the balance in each period; 0 for none."),
        "overage_used": described(INTEGER, "Credits of this period's overage that are used."),
        "suspended": described(BOOLEAN, "Whether grants and overage are stopped."),
        "cancelled_at": described(nullable(TIMESTAMP), "When it was cancelled; it ends with its period. Null if it continues."),
        "created": TIMESTAMP,
    }
)


class SubscriptionTerms(ClosedBody, kw_only=True):
    """The plan of an account."""

    EXAMPLE = {"plan": "team", "overage_cap": 100_000}

    plan: Annotated[str, Meta(min_length=1, max_length=100, description="Name or id of the plan.")]
    when: Annotated[When, Meta(description="When another plan takes effect: `now`, or with the `next_period`.")] = "now"
    overage_cap: Annotated[
        Annotated[int, Meta(ge=0, le=MAX_AMOUNT)] | UnsetType,
        Meta(description="Credits that calls may cost beyond the balance in each period. Omitted: unchanged."),
    ] = UNSET
    suspended: Annotated[bool | UnsetType, Meta(description="Whether to stop grants and overage. Omitted: unchanged.")] = UNSET


@admin_route(
    subscriptions, "GET", PATH, "accounts:read", "Retrieve the plan of an account", path=ACCOUNT_PATH, returns=_SUBSCRIPTION
)
def show(_: AdminCall, account_id: str) -> Document:
    """Return the active subscription."""
    return _document(_active(account_id))


@admin_route(
    subscriptions,
    "PUT",
    PATH,
    "accounts:write",
    "Set the plan of an account",
    path=ACCOUNT_PATH,
    body=SubscriptionTerms,
    returns=_SUBSCRIPTION,
    notes=lazy_gettext(
        "Subscribes the account, whose first period and its grant start now, or changes its plan. A larger plan grants the"
        " difference, a smaller one takes nothing back. A cancellation is withdrawn."
    ),
)
def put(call: AdminCall, account_id: str) -> Document:
    """Subscribe or change the plan, and set overage."""
    id, terms = customer_account(account_id).id, call.body
    current = active_subscription(id)
    if current is None:
        subscribe(id, terms.plan, origin=call.origin)
    else:
        change_subscription(id, terms.plan, terms.when, origin=call.origin)
    if not isinstance(terms.overage_cap, UnsetType):
        set_overage(id, terms.overage_cap, origin=call.origin)
    if not isinstance(terms.suspended, UnsetType):
        (suspend_subscription if terms.suspended else resume_subscription)(id, origin=call.origin)
    return _document(_active(account_id))


@admin_route(
    subscriptions,
    "DELETE",
    PATH,
    "accounts:write",
    "Cancel the plan of an account",
    path=ACCOUNT_PATH,
    query={"when": described(enum(*CHANGE_TIMES), "When it ends: `now` (the default), or with the `next_period`.")},
    returns=_SUBSCRIPTION,
    notes=lazy_gettext("The plan's credits expire when it ends. Purchased and granted credits stay."),
)
def cancel(call: AdminCall, account_id: str) -> Document:
    """Cancel the subscription."""
    id = _active(account_id).account.id
    return _document(cancel_subscription(id, call.query.get("when", "now"), origin=call.origin))


def _active(account_id: str) -> Subscription:
    found = active_subscription(customer_account(account_id).id)
    if found is None:
        raise NotFound("This account has no plan. Set one with PUT.")
    return found


def _document(row: Subscription) -> Document:
    return {
        "id": str(row.id),
        "plan": {"id": str(row.plan.id), "name": row.plan.name},
        "next_plan": str(row.next_plan) if row.next_plan is not None else None,
        "renews_at": format_timestamp(row.renews_at),
        "overage_cap": row.overage_cap,
        "overage_used": row.overage_used,
        "suspended": row.suspended_at is not None,
        "cancelled_at": format_timestamp(row.cancelled_at),
        "created": format_timestamp(row.started_at),
    }
