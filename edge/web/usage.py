"""Account → Usage: by day, key, model and tag, as a chart and tables. The figures are those of `GET /api/usage/`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from quart import Blueprint, Response, request

from edge.api.usage import BREAKDOWNS, UsageRequest, start_of_day, usage_rows
from edge.web.pages import page, read_slow
from edge.web.web_session import require_session
from shared.core.clock import now_ms
from shared.rollup import OTHER_TAGS, UsageSums

usage = Blueprint("usage", __name__)
SPANS = (7, 30, 90)
DEFAULT_SPAN = 30
MAX_ROWS = 100  # keys, models or tags shown: those with the highest charges


@usage.get("/account/usage")
async def show_usage() -> Response:
    session, days = require_session(), _span()
    last = datetime.fromtimestamp(now_ms() / 1000, UTC).date()
    first = last - timedelta(days=days - 1)
    found, total = await read_slow(partial(_read, session.account, first, last))
    context: dict[str, Any] = {
        "by_day": _every_day(found["day"], first, days),
        "groups": {by: found[by] for by in BREAKDOWNS if by != "day"},
        "most": MAX_ROWS,
        "other_tags": OTHER_TAGS,
        "total": total,
        "period": {"from": first.isoformat(), "to": last.isoformat()},
    }
    return await page("account/usage.html", days=days, spans=SPANS, **context)


def _read(account: UUID, first: date, last: date) -> tuple[dict[str, list[dict[str, Any]]], UsageSums]:
    """Return the rows by day, key, model and tag, and the total of all calls."""
    reports = {by: usage_rows(account, UsageRequest(first, last, by, "json")) for by in BREAKDOWNS}
    return {by: rows for by, (rows, _) in reports.items()}, reports["day"][1]


def _every_day(rows: list[dict[str, Any]], first: date, days: int) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the start in ms UTC, the date and the sums of each day, including days without calls."""
    known = {row["day"]: row for row in rows}
    shown = (first + timedelta(days=number) for number in range(days))
    return [(start_of_day(day), day.isoformat(), known.get(day.isoformat(), UsageSums()._asdict())) for day in shown]


def _span() -> int:
    days = request.args.get("days", "")
    return int(days) if days in {str(span) for span in SPANS} else DEFAULT_SPAN
