"""`GET /api/admin/usage/`: calls, tokens, charges and costs of the installation or of one account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quart import Blueprint

from edge.admin.accounts import customer_account
from edge.admin.channels import find_by_id_or_name
from edge.admin.route import AdminCall, Document, admin_route
from edge.api.usage import DAY_MS, date_of, read_days, start_of_day
from edge.http.api_spec import DATE, INTEGER, STRING, array, described, enum, nullable, response_schema
from shared.core.clock import now_ms
from shared.core.errors import NotFound
from shared.core.timestamps import format_timestamp
from shared.models import Channel
from shared.rollup import GroupBy, Scope, Tally, TimeSpan, read_figures, top_accounts
from shared.text.translation import lazy_gettext

usage = Blueprint("admin_usage", __name__)

_GROUP_BY: dict[str, GroupBy] = {"day": "at", "model": "model", "channel": "channel", "account": "all"}
GROUPS = tuple(_GROUP_BY)
MAX_ACCOUNTS = 1_000
COUNTS = (
    *("calls", "failed", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
    *("credits", "overage_credits", "overrun_credits", "provider_cost"),
)
_SUMS = {
    **dict.fromkeys(COUNTS, INTEGER),
    "reasoning_tokens": described(INTEGER, "Output tokens that the model spent on reasoning."),
    "overage_credits": described(INTEGER, "Part of the credits that was charged to overage."),
    "overrun_credits": described(INTEGER, "Cost of calls beyond their hold, which no one was charged for."),
    "provider_cost": described(INTEGER, "What the providers charge, in credits, for calls whose cost is known."),
    "margin": described(nullable(INTEGER), "Credits minus costs of calls whose cost is known; null if there are none."),
}
_GROUP = described(nullable(STRING), "The UTC day, model id, channel name, or account id; null for calls without a channel.")
_REPORT = response_schema(
    {
        "from": DATE,
        "to": DATE,
        "by": enum(*GROUPS),
        "rows": array(response_schema({"group": _GROUP, **_SUMS})),
        "total": response_schema(_SUMS),
        "missing_until": described(
            nullable(STRING), "Calls before this time are missing, because they are not summed up yet; null if none are."
        ),
    }
)


@admin_route(
    usage,
    "GET",
    "/usage/",
    "usage:read",
    "Retrieve the installation's usage",
    query={
        "from": described(DATE, "First UTC day."),
        "to": described(DATE, "Last UTC day; by default today."),
        "by": described(enum(*GROUPS), "What the rows are grouped by; by default `day`."),
        "account": described(STRING, "Only calls of the account with this id or email address."),
        "model": described(STRING, "Only calls of this model."),
        "channel": described(STRING, "Only calls of the channel with this id or name."),
    },
    returns=_REPORT,
    errors=(NotFound,),
    notes=lazy_gettext(
        "At most 366 days, by default the last 30. By `account`, the rows are the {maximum} accounts with the highest charges.",
        maximum=MAX_ACCOUNTS,
    ),
)
def show(call: AdminCall) -> Document:
    """Return usage, grouped."""
    now = now_ms()
    first, last = read_days(call.query, now)
    span = TimeSpan(start_of_day(first), start_of_day(last) + DAY_MS, DAY_MS)
    by = call.query.get("by", GROUPS[0])
    return {"from": first.isoformat(), "to": last.isoformat(), "by": by, **_figures(_scope(call), span, by, now)}


def _scope(call: AdminCall) -> Scope:
    account, channel = call.query.get("account"), call.query.get("channel")
    return Scope(
        customer_account(account).id if account is not None else None,
        call.query.get("model"),
        find_by_id_or_name(channel).id if channel is not None else None,
    )


def _figures(scope: Scope, span: TimeSpan, by: str, now: int) -> Document:
    """Return the rows and their total, which includes accounts beyond the ranking."""
    figures = read_figures(scope, span, _GROUP_BY[by], now)
    groups = figures.groups
    if by == "account":
        groups = {rank.account: rank.tally for rank in top_accounts(scope, span, now, MAX_ACCOUNTS)}
    missing = figures.missing_span
    return {
        "rows": [{"group": name, **_sums(tally)} for name, tally in _named(groups, by)],
        "total": _sums(figures.total),
        "missing_until": format_timestamp(missing[1]) if missing is not None else None,
    }


def _named(groups: Mapping[Any, Tally], by: str) -> list[tuple[str | None, Tally]]:
    """Return the groups by the names that the API uses: days in order, others by charges."""
    if by == "day":
        return [(date_of(start).isoformat(), groups[start]) for start in sorted(groups)]
    ranked = sorted(groups.items(), key=lambda group: (-group[1].credits, -group[1].calls, str(group[0])))
    if by == "channel":
        names = {row.id: row.name for row in Channel.select(Channel.id, Channel.name)}
        return [(names.get(id), tally) for id, tally in ranked]
    return [(str(name), tally) for name, tally in ranked]


def _sums(tally: Tally) -> dict[str, Any]:
    return {**{name: getattr(tally, name) for name in COUNTS}, "margin": tally.margin}
