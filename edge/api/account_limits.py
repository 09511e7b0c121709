"""`GET /api/chat/limit/`: the caller's remaining credits and rate limits."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from quart import Blueprint, Response

from edge.http.api_spec import (
    ID,
    INTEGER,
    OPEN_OBJECT,
    TIMESTAMP,
    WEB,
    ResponseSpec,
    describe_route,
    enum,
    nullable,
    response_schema,
)
from edge.request_context import AccountCaller, caller, read, services, uncached_json
from shared.core.clock import now_ms
from shared.core.timestamps import format_timestamp
from shared.core.token_bucket import RateLimits
from shared.identity.payer import VisitorPayer
from shared.ledger.visitor_pool import visitor_allowance_state
from shared.models import Account, Plan, Subscription

limit = Blueprint("limit", __name__)


_ACCOUNT = response_schema(
    {
        "kind": enum("account"),
        "account": ID,
        "balance": INTEGER,
        "held": INTEGER,
        "plan": nullable(OPEN_OBJECT),
        "rate_limits": OPEN_OBJECT,
    }
)
_VISITOR = response_schema(
    {"kind": enum("anonymous"), "daily_allowance": INTEGER, "used": INTEGER, "remaining": INTEGER, "resets_at": TIMESTAMP}
)


@limit.get("/api/chat/limit/")
@describe_route(
    "Retrieve remaining credits and rate limits",
    callers=WEB,
    responses={200: ResponseSpec({"anyOf": [_ACCOUNT, _VISITOR]}, "Amounts are in credits.")},
)
async def show_limit() -> Response:
    """Return the account's balance, plan and the caller's rate limits; for a visitor, today's allowance."""
    found = await caller()
    return uncached_json(await _visitor(found) if isinstance(found, VisitorPayer) else await _account(found))


async def _account(found: AccountCaller) -> dict[str, Any]:
    balance, held, plan = await read(partial(_read, found.account))
    rates = rate_limits_document(found.limits.key_limits)
    account = str(found.account)
    return {"kind": "account", "account": account, "balance": balance, "held": held, "plan": plan, "rate_limits": rates}


def rate_limits_document(limits: RateLimits) -> dict[str, int]:
    """Return rate limits in the format of the API."""
    return {"requests_per_minute": limits.rpm, "tokens_per_minute": limits.tpm, "concurrency": limits.concurrency}


async def _visitor(visitor: VisitorPayer) -> dict[str, Any]:
    today = await read(partial(visitor_allowance_state, visitor.digest, services().visitors, now_ms()))
    return {
        "kind": "anonymous",
        "daily_allowance": today.daily_allowance,
        "used": today.used,
        "remaining": today.remaining,
        "resets_at": format_timestamp(today.resets_at),
    }


def _read(id: UUID) -> tuple[int, int, dict[str, Any] | None]:
    """Return the account's balance, held credits, and plan (None if it has none)."""
    account = Account.get_by_id(id)
    subscription = (
        Subscription.select(Subscription, Plan)
        .join(Plan)
        .where((Subscription.account == id) & (Subscription.status == "active"))
        .first()
    )
    return account.balance, account.held, _plan(subscription) if subscription is not None else None


def _plan(subscription: Subscription) -> dict[str, Any]:
    return {
        "name": subscription.plan.name,
        "plan_active": subscription.suspended_at is None,
        "renews_at": format_timestamp(subscription.renews_at),
        "monthly_credits": subscription.plan.monthly_credits,
        "overage_cap": subscription.overage_cap,
        "overage_used": subscription.overage_used,
        "stores_content": subscription.plan.stores_content,
    }
