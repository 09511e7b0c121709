"""Calls as rows, and reference totals computed in Python."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from shared.core.clock import new_id
from shared.models import NO_CHANNEL, AccountTotal, AccountUsage, PlatformUsage, UsageLedger

HOUR = 3_600_000
DAY = 24 * HOUR
NOON = 20_000 * DAY + 12 * HOUR  # a noon, in ms UTC
COUNTED = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits", "duration_ms")

COSTS = ("provider_cost", "costed_credits")


def call(account: UUID, created_at: int, **values: Any) -> UsageLedger:
    columns = {"id": new_id(), "model": "m", "price": UUID(int=1), "status": "completed", "streamed": True, **values}
    return UsageLedger.create(account=account, created_at=created_at, **columns)


Sums = dict[tuple[Any, ...], Counter[str]]


def expected_totals(grain: int, *, by_account: bool, before: int) -> Sums:
    """The expected totals of all calls that started before `before`."""
    expected: Sums = {}
    for row in UsageLedger.select().where(UsageLedger.created_at < before):
        at = row.created_at - row.created_at % (grain * HOUR)
        key = (at, *([row.account_id] if by_account else []), row.model, row.channel or NO_CHANNEL, row.status)
        counter = expected.setdefault(key, Counter())
        counter["calls"] += 1
        counter["estimated"] += row.estimated
        counter["first_tokens"] += row.first_token_ms is not None
        for column in COUNTED:
            counter[column] += getattr(row, column)
        counter["provider_cost"] += row.provider_cost or 0
        counter["costed_credits"] += 0 if row.provider_cost is None else row.credits
    return {key: +counter for key, counter in expected.items()}


def stored_totals(grain: int, *, by_account: bool) -> Sums:
    """The stored totals."""
    table = AccountUsage if by_account else PlatformUsage
    found: Sums = {}
    for row in table.select().where(table.grain_hours == grain):
        key = (row.at, *([row.account] if by_account else []), row.model, row.channel, row.status)
        counter = Counter({column: getattr(row, column) or 0 for column in ("calls", "estimated", *COUNTED, *COSTS)})
        by_bucket = {name: value or 0 for name, value in row.__data__.items()}
        counter["first_tokens"] = sum(value for name, value in by_bucket.items() if name.startswith("first_token_"))
        assert (
            sum(value for name, value in by_bucket.items() if name.startswith("duration_") and name != "duration_ms") == row.calls
        )
        found[key] = +counter
    return found


Totals = dict[tuple[Any, ...], tuple[int, int, int]]


def totals_of(sums: Sums) -> Totals:
    """(calls, failed, credits) by start of the hour or day and account."""
    found: Totals = {}
    for (at, account, _, _, status), counter in sums.items():
        calls, failed, credits = found.get((at, account), (0, 0, 0))
        lost = counter["calls"] if status in ("failed", "expired") else 0
        found[at, account] = (calls + counter["calls"], failed + lost, credits + counter["credits"])
    return found


def stored_hourly_totals(grain: int) -> Totals:
    rows = AccountTotal.select().where(AccountTotal.grain_hours == grain)
    return {(row.at, row.account): (row.calls, row.failed, row.credits) for row in rows}
