"""Account → Usage: by day, model and tag, as a chart and tables, and all calls as CSV."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import request_id
from edge.request_context import services
from edge.services import Services
from edge.web.pages import page, read_slow
from edge.web.web_session import require_session
from shared.billing.usage_report import DAY_MS, PAGE_SIZE, CallUsage, DailyUsage, iter_days, usage_by_call, usage_by_day
from shared.core.clock import now_ms
from shared.core.formats import NARROW_SPACE
from shared.core.timestamps import format_timestamp
from shared.rollup import read_breakdown
from shared.text.csv_rows import csv_header, csv_rows

usage = Blueprint("usage", __name__)
SPANS = (7, 30, 90)
DEFAULT_SPAN = 30
MAX_TAGS_SHOWN = 100  # the tags with the highest charges
CSV_HEAD = (
    *("time", "request_id", "key", "model", "status", "input_tokens", "cached_tokens", "output_tokens", "credits", "estimated"),
    *("duration_ms", "tag"),
)


class UsageTotals(NamedTuple):
    """Totals of calls, tokens and credits."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    credits: int = 0

    @property
    def cached_percent(self) -> str:
        """Share of input tokens that were read from providers' caches, such as `42 %`."""
        return f"{100 * self.cached_tokens / self.input_tokens:.0f}{NARROW_SPACE}%" if self.input_tokens else "–"

    def plus(self, row: DailyUsage) -> UsageTotals:
        return UsageTotals(
            self.calls + row.calls,
            self.input_tokens + row.input_tokens,
            self.cached_tokens + row.cached_tokens,
            self.output_tokens + row.output_tokens,
            self.credits + row.credits,
        )


@usage.get("/account/usage")
async def show_usage() -> Response:
    session, days = require_session(), _span()
    since, until = _range(days)
    rows = await read_slow(partial(usage_by_day, session.account, since, until))
    tags = await read_slow(partial(read_breakdown, session.account, since, until, "tag"))
    by_day = dict.fromkeys(iter_days(since, until), UsageTotals())
    by_model: dict[str, UsageTotals] = {}
    total = UsageTotals()
    for row in rows:
        by_day[row.day] = by_day[row.day].plus(row)
        by_model[row.model] = by_model.get(row.model, UsageTotals()).plus(row)
        total = total.plus(row)
    models = sorted(by_model.items(), key=lambda item: (-item[1].credits, -item[1].calls, item[0]))
    by_tag = sorted(tags.items(), key=lambda item: (-item[1].credits, -item[1].calls, item[0] or ""))[:MAX_TAGS_SHOWN]
    written = [(day, _date(day), sums) for day, sums in by_day.items()]
    context: dict[str, Any] = {
        "by_day": written,
        "by_model": models,
        "by_tag": by_tag if tags.keys() - {None} else [],
        "total": total,
    }
    return await page("account/usage.html", days=days, spans=SPANS, **context)


@usage.get("/account/usage.csv")
async def download() -> Response:
    session, days = require_session(), _span()
    since, until = _range(days)
    # Calls `services()` here, because the request context ends before the file is sent.
    body = _csv(services(), session.account, since, until)
    response = Response(body, content_type="text/csv; charset=utf-8")
    response.headers["content-disposition"] = f'attachment; filename="yout-usage-{_date(since)}-{days}-days.csv"'
    response.timeout = None
    return response


async def _csv(services: Services, account: UUID, since: int, until: int) -> AsyncIterator[bytes]:
    yield csv_header(CSV_HEAD)
    after: tuple[int, UUID] | None = None
    while True:
        calls = await services.slow_reader.read(partial(usage_by_call, account, since, until, after))
        yield csv_rows(_cells(call) for call in calls)
        if len(calls) < PAGE_SIZE:
            return
        after = (calls[-1].at, calls[-1].id)


def _cells(call: CallUsage) -> tuple[object, ...]:
    """Return the cells for the columns of `CSV_HEAD`."""
    call_columns = (format_timestamp(call.at), request_id(call.id), call.key_name, call.model, call.status)
    usage_columns = (call.input_tokens, call.cached_tokens, call.output_tokens, call.credits)
    return (*call_columns, *usage_columns, "yes" if call.estimated else "", call.duration_ms, call.tag)


def _span() -> int:
    days = request.args.get("days", "")
    return int(days) if days in {str(span) for span in SPANS} else DEFAULT_SPAN


def _range(days: int) -> tuple[int, int]:
    """Return the start and end of the last `days` UTC days, including today, in milliseconds."""
    now = now_ms()
    until = now - now % DAY_MS + DAY_MS
    return until - days * DAY_MS, until


def _date(day: int) -> str:
    return f"{datetime.fromtimestamp(day / 1000, UTC):%Y-%m-%d}"
