"""Figures for any span, scope and grouping match the calls, whether or not they are rolled up."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.core.database import database
from shared.models import AccountTotal, AccountUsage, PlatformUsage, RollupState, UsageLedger
from shared.rollup import Scope, TimeSpan, read, read_figures, top_accounts, update_sums
from tests import factories
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call

NOW = NOON + 17 * 60_000
CHANNELS = (None, UUID(int=11), UUID(int=12))
MODELS = ("m-1", "m-2")
STATUSES = ("completed", "failed", "cancelled", "expired")
COUNTED = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "credits", "overrun_credits", "overage_credits")
COSTS = ("provider_cost", "costed_credits")

calls = st.lists(
    st.fixed_dictionaries(
        {
            "owner": st.integers(0, 2),
            "ago": st.integers(0, 3 * HOUR) | st.integers(0, 20 * DAY),
            "model": st.sampled_from(MODELS),
            "channel": st.sampled_from(CHANNELS),
            "status": st.sampled_from(STATUSES),
            "estimated": st.booleans(),
            "input_tokens": st.integers(0, 9_000),
            "output_tokens": st.integers(0, 9_000),
            "credits": st.integers(0, 10**12),
            "overage_credits": st.just(0),
            "first_token_ms": st.none() | st.integers(0, 400_000),
            "provider_cost": st.none() | st.integers(0, 10**12),
        }
    ),
    min_size=1,
    max_size=20,
)
spans = st.tuples(st.integers(0, 20 * DAY), st.integers(0, 5 * DAY), st.sampled_from([300_000, HOUR, 6 * HOUR, DAY]))


def key_of(row: UsageLedger, by: str, step: int) -> Any:
    return {
        "all": "", "at": row.created_at - row.created_at % step, "model": row.model, "channel": row.channel,
        "account": row.account_id,
    }[by]  # fmt: skip


def counted(scope: Scope, span: TimeSpan, by: str) -> dict[Any, dict[str, int]]:
    """The same figures, computed by reading every call."""
    groups: dict[Any, dict[str, int]] = {}
    for row in UsageLedger.select().where(UsageLedger.created_at >= span.since, UsageLedger.created_at < span.until):
        values = (row.account_id, row.model, row.channel, row.status)
        if any(wanted is not None and wanted != value for wanted, value in zip(scope, values, strict=True)):
            continue
        group = groups.setdefault(key_of(row, by, span.step), defaultdict(int))
        group["calls"] += 1
        group["failed"] += row.status in ("failed", "expired")
        group["estimated"] += row.estimated
        group["first_tokens"] += row.first_token_ms is not None
        for column in COUNTED:
            group[column] += getattr(row, column)
        group["provider_cost"] += row.provider_cost or 0
        group["costed_credits"] += 0 if row.provider_cost is None else row.credits
    return groups


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls,
    st.integers(0, 21 * DAY),
    st.tuples(
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, *MODELS]),
        st.sampled_from(CHANNELS),
        st.sampled_from([None, *STATUSES]),
    ),
    spans,
    st.sampled_from(["all", "at", "model", "channel", "account"]),
)
def test_figures_match_the_calls(bound_database, made, rolled_ago, wanted, chosen, by):
    owners = fresh_accounts()
    for values in made:
        columns = {name: value for name, value in values.items() if name not in ("owner", "ago")}
        call(owners[values["owner"]], NOW - values["ago"], **columns)
    update_sums(NOW - rolled_ago, 60)
    owner, *rest = wanted
    scope = Scope(None if owner is None else owners[owner], *rest)
    since, until_ago, step = chosen
    by_hours_of_accounts = by == "at" and step < DAY and scope.account is not None
    since = min(since, 7 * DAY) if by_hours_of_accounts else since
    span = TimeSpan(NOW - since, NOW - until_ago + 1, step)
    found = read_figures(scope, span, by, NOW - rolled_ago, ("first_token",))
    assert found.missing_span is None
    shown = {
        key: {
            "calls": tally.calls, "failed": tally.failed, "estimated": tally.estimated, "first_tokens": sum(tally.first_token),
            **{column: getattr(tally, column) for column in (*COUNTED, *COSTS)},
        }
        for key, tally in found.groups.items()
    }  # fmt: skip
    expected = counted(scope, span, by)
    assert shown == expected
    if by == "account":
        ranked = top_accounts(scope, span, NOW - rolled_ago, 2)
        credits = sorted((group["credits"] for group in expected.values()), reverse=True)
        assert [row.tally.credits for row in ranked] == credits[:2]
        for row in ranked:
            wanted_sums = expected[row.account]
            assert all(getattr(row.tally, name) == wanted_sums[name] for name in ("calls", "failed", "credits", *COSTS))


def fresh_accounts() -> list[UUID]:
    for table in (UsageLedger, AccountUsage, AccountTotal, PlatformUsage):
        table.delete().execute()
    RollupState.update(rolled_until=None, checked_at=None).execute()
    return [factories.account().id for _ in range(3)]


def test_counting_too_many_calls_is_limited_and_reported(bound_database, monkeypatch):
    monkeypatch.setattr(read, "MAX_CALLS", 3)
    owner = factories.account().id
    for number in range(5):
        call(owner, NOW - number * 60_000, credits=1)
    found = read_figures(Scope(), TimeSpan(NOW - HOUR, NOW + 1), "all", NOW)
    assert (found.total.calls, found.missing_span) == (3, (NOW - HOUR, NOW - 2 * 60_000))
    update_sums(NOW + 3 * HOUR, 60)
    found = read_figures(Scope(), TimeSpan(NOON - HOUR, NOON + HOUR), "all", NOW)
    assert (found.total.calls, found.missing_span) == (5, None)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
def test_a_month_is_read_from_daily_totals(bound_database):
    call(factories.account().id, NOW - 25 * DAY)
    update_sums(NOW, 60)
    seen: list[str] = []
    original = database.obj.execute_sql

    def watch(sql: str, *arguments: Any, **options: Any) -> Any:
        seen.append(sql)
        return original(sql, *arguments, **options)

    database.obj.execute_sql = watch
    assert read_figures(Scope(), TimeSpan(NOON - NOON % DAY - 29 * DAY, NOW, DAY), "at", NOW).total.calls == 1
    database.obj.execute_sql = original
    assert sum("platform_usage" in sql for sql in seen) == 2
    assert sum("usage_ledger" in sql for sql in seen) == 1
