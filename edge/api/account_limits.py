"""`GET /api/chat/limit/`: the caller's remaining credits and rate limits."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from quart import Blueprint, Response

from edge.http.api_spec import INTEGER, MOMENT, OPEN, WEB, Answer, declare, one_of, or_null, record
from edge.request_context import AccountCaller, VisitorCaller, caller, private, read, services
from shared.core.clock import now_ms
from shared.core.timestamps import iso_moment
from shared.ledger.visitor_pool import standing
from shared.models import Account, Plan, Subscription

limit = Blueprint("limit", __name__)


_ACCOUNT = record({"kind": one_of("account"), "balance": INTEGER, "held": INTEGER, "plan": or_null(OPEN), "rate_limits": OPEN})
_VISITOR = record(
    {"kind": one_of("anonymous"), "daily_allowance": INTEGER, "used": INTEGER, "remaining": INTEGER, "resets_at": MOMENT}
)


@limit.get("/api/chat/limit/")
@declare(
    "Retrieve remaining credits and rate limits",
    callers=WEB,
    answers={200: Answer({"anyOf": [_ACCOUNT, _VISITOR]}, "Amounts are in credits.")},
)
async def show_limit() -> Response:
    """Return the account's balance, plan and the caller's rate limits; for a visitor, today's allowance."""
    found = await caller()
    return private(await _visitor(found) if isinstance(found, VisitorCaller) else await _account(found))


async def _account(found: AccountCaller) -> dict[str, Any]:
    balance, held, plan = await read(partial(_read, found.account))
    limits = found.limits.key_limits
    rates = {"requests_per_minute": limits.rpm, "tokens_per_minute": limits.tpm, "concurrency": limits.concurrency}
    return {"kind": "account", "balance": balance, "held": held, "plan": plan, "rate_limits": rates}


async def _visitor(found: VisitorCaller) -> dict[str, Any]:
    today = await read(partial(standing, found.visitor, services().visitors, now_ms()))
    return {
        "kind": "anonymous",
        "daily_allowance": today.daily_allowance,
        "used": today.used,
        "remaining": today.remaining,
        "resets_at": iso_moment(today.resets_at),
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
        "renews_at": iso_moment(subscription.renews_at),
        "monthly_credits": subscription.plan.monthly_credits,
        "overage_cap": subscription.overage_cap,
        "overage_used": subscription.overage_used,
    }
