"""Filters of the usage page: URL parameters as query conditions, and as a scope of the usage rollups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from peewee import Case, fn

from console.time_ranges import RANGES
from console.views.filters import apply_conditions, parse_uuid
from console.views.time_filters import parse_timestamp
from shared.core.errors import InvalidInput
from shared.models import USAGE_STATUSES, UsageLedger
from shared.operations.accounts import find_account
from shared.rollup import Scope, Tally, TimeSpan, read_figures
from shared.text.translation import gettext

FILTERS = (
    "range",
    "since",
    "until",
    "account",
    "key",
    "model",
    "channel",
    "status",
    "error",
    "estimated",
    "streamed",
    "tag",
    "request",
)
# these filters are collapsed until one of them is set
SECONDARY_FILTERS = frozenset({"since", "until", "error", "estimated", "streamed", "tag", "request"})
ROLLUP_FILTERS = frozenset({"range", "since", "until", "account", "model", "channel", "status"})
MAX_ROWS_SUMMED = 10_000  # maximum number of calls to add up one by one, for filters that the rollups lack
FOREVER = 2**53


@dataclass(frozen=True, slots=True)
class UsageFilters:
    """Parsed filters: `conditions` for a query of calls; `scope` and `span` for the rollups, valid if `summed`."""

    conditions: list[Any]
    scope: Scope
    span: TimeSpan
    covered_by_rollups: bool


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """The totals above the table. `newest` is how many calls they cover if not all could be added up."""

    tally: Tally
    newest: int | None = None


def read_filters(filters: dict[str, str], now: int) -> UsageFilters:
    """Parse the filters. Raises `InvalidInput` for an invalid value, `NotFound` for an unknown account."""
    since, until = _span(filters, now)
    scope = Scope(
        find_account(filters["account"]).id if "account" in filters else None,
        filters.get("model"),
        parse_uuid("channel", filters["channel"]) if "channel" in filters else None,
        _status(filters.get("status")),
    )
    conditions: list[Any] = []
    if since is not None:
        conditions.append(UsageLedger.created_at >= since)
    if until is not None:
        conditions.append(UsageLedger.created_at < until)
    columns = (UsageLedger.account, UsageLedger.model, UsageLedger.channel, UsageLedger.status)
    conditions += [column == value for column, value in zip(columns, scope, strict=True) if value is not None]
    conditions += _call_conditions(filters)
    return UsageFilters(conditions, scope, TimeSpan(since or 0, min(until or FOREVER, now + 1)), filters.keys() <= ROLLUP_FILTERS)


def _call_conditions(filters: dict[str, str]) -> list[Any]:
    """Return the conditions that the rollups cannot apply."""
    conditions: list[Any] = []
    if "key" in filters:
        conditions.append(UsageLedger.api_key == parse_uuid("key", filters["key"]))
    if "error" in filters:
        conditions.append(UsageLedger.error_code == filters["error"])
    if "tag" in filters:
        conditions.append(UsageLedger.tag == filters["tag"])
    if "request" in filters:
        conditions.append(UsageLedger.id == request_id(filters["request"]))
    for name in ("estimated", "streamed"):
        column = getattr(UsageLedger, name)
        if name in filters:  # the bare column, which the partial index on estimated calls needs
            conditions.append(column if _is_yes(name, filters[name]) else ~column)
    return conditions


def request_id(text: str) -> UUID:
    """Parse a request id as customers see it, with or without a prefix such as `chatcmpl-`."""
    return parse_uuid("request", text.rsplit("_", 1)[-1].removeprefix("chatcmpl-"))


def _span(filters: dict[str, str], now: int) -> tuple[int | None, int | None]:
    since = parse_timestamp(filters["since"]) if "since" in filters else None
    until = parse_timestamp(filters["until"]) if "until" in filters else None
    if "range" in filters:
        known = next((known for known in RANGES if known.name == filters["range"]), None)
        if known is None:
            raise InvalidInput(
                gettext(
                    "Unknown range {value!r}. Use one of {ranges}.",
                    value=filters["range"],
                    ranges=", ".join(known.name for known in RANGES),
                )
            )
        since = max(since or 0, known.span(now).since)
    return since, until


def _status(text: str | None) -> str | None:
    if text is not None and text not in USAGE_STATUSES:
        raise InvalidInput(
            gettext("Unknown status {text!r}. Use one of {statuses}.", text=text, statuses=", ".join(USAGE_STATUSES))
        )
    return text


def _is_yes(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise InvalidInput(gettext("'{name}' must be yes or no, not {text!r}.", name=name, text=text))
    return text == "yes"


def usage_totals(chosen: UsageFilters, now: int) -> UsageTotals:
    """Return the totals of the filtered calls: from the rollups if they cover every filter, else of the newest `MAX_ROWS_SUMMED`
    calls."""
    if chosen.covered_by_rollups:
        found = read_figures(chosen.scope, chosen.span, "all", now)
        return UsageTotals(found.total, found.total.calls if found.missing_span else None)
    newest = (
        apply_conditions(UsageLedger.select(), chosen.conditions).order_by(UsageLedger.created_at.desc()).limit(MAX_ROWS_SUMMED)
    )
    failed = newest.c.status.in_(("failed", "expired")).cast("integer")
    added = [fn.COALESCE(fn.SUM(value), 0) for value in (failed, newest.c.estimated.cast("integer"))]
    columns = (
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "reasoning_tokens",
        "credits",
        "overrun_credits",
        "overage_credits",
        "provider_cost",
    )
    added += [fn.COALESCE(fn.SUM(getattr(newest.c, column)), 0) for column in columns]
    added.append(fn.COALESCE(fn.SUM(Case(None, ((newest.c.provider_cost.is_null(False), newest.c.credits),))), 0))
    row: Any = newest.select_from(fn.COUNT(newest.c.id), *added).tuples().get()
    counts: list[Any] = [int(value) for value in row]
    tally = Tally(*counts)
    return UsageTotals(tally, tally.calls if tally.calls == MAX_ROWS_SUMMED else None)
