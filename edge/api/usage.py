"""`GET /api/usage/`: usage by day, model, key, member or tag, as JSON or CSV, with an API key or a web session."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, get_args
from uuid import UUID

from quart import Blueprint, Response, request

from edge.api.keys import visible_keys
from edge.http.api_spec import (
    CSV,
    DATE,
    ID,
    INTEGER,
    JSON,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    enum,
    nullable,
    response_schema,
)
from edge.request_context import AccountCaller, account_caller, count_request, services, uncached_json
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, RateLimited
from shared.models import ApiKey, Member, Person
from shared.rollup import OTHER_TAGS, Breakdown, UsageSums, read_breakdown
from shared.text.csv_rows import csv_header, csv_rows
from shared.text.translation import lazy_gettext

BREAKDOWNS: tuple[Breakdown, ...] = get_args(Breakdown)
FORMATS = ("json", "csv")
DEFAULT_DAYS = 30
MAX_DAYS = 366
MAX_TAGS = 1_000  # rows in a report by tag; calls with other tags are summed as `OTHER_TAGS`
DAY_MS = 24 * 3_600_000
_EPOCH = date(1970, 1, 1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

usage_routes = Blueprint("usage_report", __name__)


class UsageRequest(NamedTuple):
    """A report on the days from `first` to `last`, both included, in UTC."""

    first: date
    last: date
    by: Breakdown
    format: str

    @property
    def since(self) -> int:
        """The start of the first day, in ms UTC."""
        return start_of_day(self.first)

    @property
    def until(self) -> int:
        """The end of the last day, in ms UTC."""
        return end_of_day(self.last)


def start_of_day(day: date) -> int:
    """Return when a UTC day begins, in ms."""
    return (day - _EPOCH).days * DAY_MS


def end_of_day(day: date) -> int:
    """Return when a UTC day ends, in ms."""
    return start_of_day(day) + DAY_MS


_SUMS = dict.fromkeys(UsageSums._fields, INTEGER)
_ROW = response_schema(
    {
        **{"day": DATE, "model": STRING, "key": nullable(ID), "key_name": nullable(STRING), "tag": nullable(STRING)},
        **{"member": ID, "member_email": nullable(STRING)},
        **_SUMS,
    },
    optional=("day", "model", "key", "key_name", "member", "member_email", "tag"),
)
_REPORT = response_schema(
    {"from": DATE, "to": DATE, "by": enum(*BREAKDOWNS), "rows": array(_ROW), "total": response_schema(_SUMS)}
)


@usage_routes.get("/api/usage/")
@describe_route(
    "Retrieve usage",
    query={"from": DATE, "to": DATE, "by": enum(*BREAKDOWNS), "format": enum(*FORMATS)},
    responses={200: ResponseSpec(_REPORT, "The usage. `format=csv` returns the rows as CSV.", (JSON, CSV))},
    errors=(InvalidRequest, RateLimited),
    notes=lazy_gettext(
        "`from` and `to` are UTC days, both included, at most {maximum} days. The default is the last {default} days by day. A"
        " key that has limits or lacks `can_manage` sees its own usage and that of the keys that it created.",
        maximum=MAX_DAYS,
        default=DEFAULT_DAYS,
    ),
)
async def show_usage() -> Response:
    """Return the usage of the account, or of the keys that the caller may see."""
    caller = await account_caller()
    requested = read_usage_request(request.args, now_ms())
    await count_request(caller.limits)
    rows, total = await services().slow_reader.read(partial(_read, caller, requested))
    days = {"from": requested.first.isoformat(), "to": requested.last.isoformat()}
    if requested.format == "csv":
        return _csv(requested, rows)
    return uncached_json({**days, "by": requested.by, "rows": rows, "total": total._asdict()})


def read_usage_request(args: Mapping[str, str], now: int) -> UsageRequest:
    """Parse the query. `now` is in ms UTC. Raises `InvalidRequest`."""
    first, last = read_days(args, now)
    by, format = args.get("by", BREAKDOWNS[0]), args.get("format", FORMATS[0])
    found = next((known for known in BREAKDOWNS if known == by), None)
    if found is None:
        raise InvalidRequest(f"'by' must be one of {', '.join(BREAKDOWNS)}.", "by")
    if format not in FORMATS:
        raise InvalidRequest(f"'format' must be one of {', '.join(FORMATS)}.", "format")
    return UsageRequest(first, last, found, format)


def read_days(args: Mapping[str, str], now: int) -> tuple[date, date]:
    """Return the first and the last UTC day of a report, `from` and `to` in the query. Raises `InvalidRequest`."""
    last = parse_date("to", args.get("to")) or datetime.fromtimestamp(now / 1000, UTC).date()
    first = parse_date("from", args.get("from")) or date.fromordinal(max(1, last.toordinal() - DEFAULT_DAYS + 1))
    days = (last - first) // timedelta(days=1) + 1
    if days < 1:
        raise InvalidRequest("'from' must not be after 'to'.", "from")
    if days > MAX_DAYS:
        raise InvalidRequest(f"'from' to 'to' must be at most {MAX_DAYS} days; it is {days} days.", "from")
    return first, last


def parse_date(name: str, text: str | None) -> date | None:
    """Parse a query parameter such as `2027-01-31`; None stays None. Raises `InvalidRequest`."""
    if text is None:
        return None
    try:
        if not _DATE.fullmatch(text):
            raise ValueError("not YYYY-MM-DD")
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(f"'{name}' must be a date such as 2027-01-31.", name) from None


def _read(caller: AccountCaller, requested: UsageRequest) -> tuple[list[dict[str, Any]], UsageSums]:
    return usage_rows(caller.account, requested, visible_keys(caller))


def usage_rows(account: UUID, requested: UsageRequest, keys: list[UUID] | None = None) -> tuple[list[dict[str, Any]], UsageSums]:
    """Return the rows of an account, or of some of its keys, and their total. Days are sorted by date, others by credits."""
    groups = read_breakdown(account, requested.since, requested.until, requested.by, keys)
    total = UsageSums()
    for sums in groups.values():
        total = total.plus(sums)
    if requested.by == "day":
        return [{"day": date_of(day).isoformat(), **sums._asdict()} for day, sums in sorted(groups.items())], total
    if requested.by == "tag":
        groups = _limited(groups)
    ranked = sorted(groups.items(), key=lambda group: (-group[1].credits, -group[1].calls, str(group[0] or "")))
    if requested.by == "member":
        emails = member_emails(account)
        return [{"member": str(id), "member_email": emails.get(id), **sums._asdict()} for id, sums in ranked], total
    if requested.by != "key":
        return [{requested.by: name, **sums._asdict()} for name, sums in ranked], total
    rows: Any = ApiKey.select(ApiKey.id, ApiKey.name).where(ApiKey.id.in_([key for key in groups if key is not None])).tuples()
    names = dict(rows)
    return [{"key": key and str(key), "key_name": names.get(key), **sums._asdict()} for key, sums in ranked], total


def member_emails(account: UUID) -> dict[UUID, str]:
    """Return the email address of each member of an account, former ones included."""
    found: Any = Member.select(Member.id, Person.email).join(Person).where(Member.account == account).tuples()
    return dict(found)


def _limited(groups: dict[Any, UsageSums]) -> dict[Any, UsageSums]:
    """Return the sums of the tags with the highest charges, and the rest as `OTHER_TAGS`."""
    if len(groups) <= MAX_TAGS:
        return groups
    own = (None, OTHER_TAGS)
    ranked = sorted((tag for tag in groups if tag not in own), key=lambda tag: (-groups[tag].credits, -groups[tag].calls, tag))
    kept = {tag: groups[tag] for tag in (*ranked[:MAX_TAGS], *own) if tag in groups}
    for tag in ranked[MAX_TAGS:]:
        kept[OTHER_TAGS] = kept.get(OTHER_TAGS, UsageSums()).plus(groups[tag])
    return kept


def _csv(requested: UsageRequest, rows: list[dict[str, Any]]) -> Response:
    names = {"key": ("key_name",), "member": ("member_email",)}.get(requested.by, ())
    columns = (requested.by, *names, *UsageSums._fields)
    body = csv_header(columns) + csv_rows(tuple(row[column] for column in columns) for row in rows)
    response = Response(body, content_type="text/csv; charset=utf-8")
    name = f"yout-usage-by-{requested.by}-{requested.first}-to-{requested.last}.csv"
    response.headers["content-disposition"] = f'attachment; filename="{name}"'
    response.headers["cache-control"] = "no-store"
    return response


def date_of(ms: int) -> date:
    """Return the UTC day of a time (ms)."""
    return _EPOCH + timedelta(milliseconds=ms)
