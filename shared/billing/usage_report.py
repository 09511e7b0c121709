"""An account's usage by day and model, and call by call. Reads only.

Whole days come from the sums (`shared.rollup`), newer usage from the calls. So a busy account needs a few rows per day, and the
latest call is still included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple
from uuid import UUID

from peewee import SQL, fn

from shared.models import AccountUsage, ApiKey, RollupState, UsageLedger

DAY_MS = 24 * 3600 * 1000
PAGE_SIZE = 1_000  # calls per query


class DailyUsage(NamedTuple):
    """Calls, tokens and credits of one day and model. `day` is its first millisecond UTC."""

    day: int
    model: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    credits: int


class CallUsage(NamedTuple):
    """One call, with the name of its key."""

    id: UUID
    at: int
    key_name: str | None
    model: str
    status: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    credits: int
    estimated: bool
    duration_ms: int
    tag: str | None


def usage_by_day(account: UUID, since: int, until: int) -> list[DailyUsage]:
    """Return the usage in [since, until) by day and model. Both are the start of a day in milliseconds UTC."""
    rolled = RollupState.select(RollupState.rolled_until).scalar() or 0
    summed = min(max(rolled - rolled % DAY_MS, since), until)
    sums = AccountUsage
    measures = [fn.SUM(column) for column in (sums.calls, *_amounts(sums))]
    days: Any = (
        sums.select(sums.at, sums.model, *measures)
        .where((sums.account == account) & (sums.grain_hours == 24) & (sums.at >= since) & (sums.at < summed))
        .group_by(sums.at, sums.model)
        .tuples()
    )
    calls = UsageLedger
    measures = [fn.SUM(column) for column in _amounts(calls)]
    rest: Any = (
        calls.select(calls.created_at / DAY_MS, calls.model, fn.COUNT(calls.id), *measures)
        .where((calls.account == account) & (calls.created_at >= summed) & (calls.created_at < until))
        .group_by(SQL("1"), SQL("2"))
        .tuples()
    )
    rows = [*days, *((number * DAY_MS, *columns) for number, *columns in rest)]
    return sorted(DailyUsage(day, model, *(int(amount or 0) for amount in amounts)) for day, model, *amounts in rows)


def _amounts(table: Any) -> tuple[Any, ...]:
    """Return the columns of the fields of `DailyUsage` from `input_tokens` on."""
    return table.input_tokens, table.cached_tokens, table.output_tokens, table.credits


def usage_by_call(account: UUID, since: int, until: int, after: tuple[int, UUID] | None = None) -> list[CallUsage]:
    """Return a page of the calls in [since, until), oldest first, after the call with this time and id."""
    calls = UsageLedger
    query = calls.select(
        *(calls.id, calls.created_at, ApiKey.name, calls.model, calls.status, calls.input_tokens, calls.cached_tokens),
        *(calls.output_tokens, calls.credits, calls.estimated, calls.duration_ms, calls.tag),
    ).left_outer_join(ApiKey, on=(ApiKey.id == calls.api_key))
    query = query.where((calls.account == account) & (calls.created_at >= since) & (calls.created_at < until))
    if after is not None:
        at, id = after
        query = query.where((calls.created_at > at) | ((calls.created_at == at) & (calls.id > id)))
    rows: Any = query.order_by(calls.created_at, calls.id).limit(PAGE_SIZE).tuples()
    return [CallUsage(*row) for row in rows]


def iter_days(since: int, until: int) -> Iterator[int]:
    """Return the days in [since, until)."""
    return iter(range(since, until, DAY_MS))
