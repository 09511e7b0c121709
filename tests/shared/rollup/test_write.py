"""Rollup totals equal the calls: with late calls, repeated runs, concurrent runs, and after purges."""

from __future__ import annotations

from itertools import count
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.billing.output_histogram import BOUNDS, bucket_of
from shared.catalog.reader import load_catalog
from shared.core.clock import now_ms
from shared.core.database import database, transaction
from shared.models import (
    AccountTotal,
    AccountUsage,
    KeyUsage,
    OutputSize,
    PlatformUsage,
    PurgeJob,
    RollupState,
    TagUsage,
    UsageLedger,
)
from shared.rollup import KEEP_HOURS, delete_account_sums, update_sums, write
from shared.rollup.write import GRACE_MS
from tests import factories
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call, expected_totals, stored_hourly_totals, stored_totals, totals_of
from tests.threads import run_threads

CHANNELS = (None, UUID(int=11), UUID(int=12))
calls = st.lists(
    st.fixed_dictionaries(
        {
            "owner": st.integers(0, 2),
            "ago": st.integers(0, 3 * DAY),
            "model": st.sampled_from(["m-1", "m-2"]),
            "channel": st.sampled_from(CHANNELS),
            "status": st.sampled_from(["completed", "failed", "cancelled", "expired"]),
            "estimated": st.booleans(),
            "input_tokens": st.integers(0, 9_000),
            "output_tokens": st.integers(0, 9_000),
            "credits": st.integers(0, 10**12),
            "first_token_ms": st.none() | st.integers(0, 400_000),
            "duration_ms": st.integers(0, 2**31 - 1),
            "provider_cost": st.none() | st.integers(0, 10**12),
        }
    ),
    max_size=12,
)


def assert_totals_match(now: int) -> None:
    """Hourly and daily totals in both tables match the calls."""
    until = RollupState.get().rolled_until
    assert until == (now - GRACE_MS) - (now - GRACE_MS) % HOUR
    for by_account in (False, True):
        assert stored_totals(1, by_account=by_account) == expected_totals(1, by_account=by_account, before=until)
        assert stored_totals(24, by_account=by_account) == expected_totals(24, by_account=by_account, before=until - until % DAY)
    for grain, before in ((1, until), (24, until - until % DAY)):
        assert stored_hourly_totals(grain) == totals_of(expected_totals(grain, by_account=True, before=before))


def empty() -> None:
    for table in (UsageLedger, AccountUsage, AccountTotal, PlatformUsage, PurgeJob):
        table.delete().execute()
    RollupState.update(rolled_until=None, checked_at=None).execute()


def add(owners: list[UUID], batch: list[dict[str, Any]]) -> set[int]:
    """Insert calls; returns the hours in which they started."""
    moments = []
    for values in batch:
        columns = {name: value for name, value in values.items() if name not in ("owner", "ago")}
        moments.append(NOON - values["ago"])
        call(owners[values["owner"]], moments[-1], **columns)
    return {moment - moment % HOUR for moment in moments}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls, calls)
def test_totals_match_the_calls_including_late_ones(bound_database, first, late):
    empty()
    owners = [factories.account().id for _ in range(3)]
    add(owners, first)
    for _ in range(2):
        assert update_sums(NOON, 60).up_to_date
        assert_totals_match(NOON)
    for hour in add(owners, late):
        RollupState.update(checked_at=hour - HOUR).execute()  # its turn is next
        update_sums(NOON, 60)
    assert_totals_match(NOON)


def test_older_hours_are_rechecked_in_turn(bound_database):
    owner = factories.account().id
    call(owner, NOON - 30 * HOUR)
    assert update_sums(NOON, 60).up_to_date
    call(owner, NOON - 30 * HOUR + 5, credits=7)
    changed = [update_sums(NOON, 60).changed for _ in range(KEEP_HOURS)]
    assert sum(changed) == 1
    assert_totals_match(NOON)


def test_a_late_settlement_updates_the_totals(bound_database):
    owner = factories.account().id
    lost = call(owner, NOON - 2 * HOUR, status="expired", duration_ms=60_000)
    update_sums(NOON, 60)
    UsageLedger.delete().where(UsageLedger.id == lost.id).execute()
    call(owner, NOON - 2 * HOUR, id=lost.id, status="completed", duration_ms=61_000)
    assert update_sums(NOON, 60).changed == 1
    assert_totals_match(NOON)


def test_a_run_stops_at_its_time_limit_and_the_next_continues(bound_database, monkeypatch):
    monkeypatch.setattr(write, "time", SimpleNamespace(monotonic=count().__next__))  # a second passes whenever it looks
    owner = factories.account().id
    for day in range(12):
        call(owner, NOON - day * DAY, credits=day)
    first = update_sums(NOON, 0)
    assert (first.hours, first.up_to_date) == (0, False)
    runs = 1
    while not update_sums(NOON, 3).up_to_date:
        runs += 1
        assert runs < 1_000
    assert runs > 1
    until = RollupState.get().rolled_until
    assert stored_totals(1, by_account=False) == expected_totals(1, by_account=False, before=until)
    for by_account in (False, True):
        days = expected_totals(24, by_account=by_account, before=until - until % DAY)
        assert stored_totals(24, by_account=by_account) == days
    kept = {at for at, *_ in stored_totals(1, by_account=True)}
    assert min(kept) >= NOON - NOON % DAY - KEEP_HOURS * HOUR, "old hourly totals of accounts must be deleted"
    assert len(kept) == 8


def test_an_interrupted_run_leaves_no_partial_totals(bound_database, monkeypatch):
    call(factories.account().id, NOON - 2 * HOUR)
    monkeypatch.setattr(write.sql, "DROP_EMPTY", "SELECT 1 FROM no_such_table WHERE at = ?")
    with pytest.raises(peewee.DatabaseError):
        update_sums(NOON, 60)
    assert not PlatformUsage.select().exists()
    monkeypatch.undo()
    update_sums(NOON, 60)
    assert_totals_match(NOON)


def test_concurrent_runs_count_each_call_once(bound_database, any_database_url):
    owner = factories.account().id
    for number in range(200):
        call(owner, NOON - number * HOUR // 4, credits=number)

    def work(_: int) -> None:
        for _ in range(5):
            update_sums(NOON, 60)
        database.close()

    run_threads(work, 4)
    assert_totals_match(NOON)


def test_a_purge_deletes_account_totals_and_keeps_platform_totals(bound_database):
    gone, stays = factories.account().id, factories.account().id
    for owner in (gone, stays):
        call(owner, NOON - 2 * HOUR, credits=5, tag="team:a")
        call(owner, NOON - DAY, credits=6)
    update_sums(NOON, 60)
    platform = [stored_totals(grain, by_account=False) for grain in (1, 24)]
    purge = PurgeJob.create(account=gone, boundary=now_ms())
    with transaction():
        assert delete_account_sums(gone) == 3
    UsageLedger.delete().where(UsageLedger.account == gone).execute()
    UsageLedger.update(duration_ms=UsageLedger.duration_ms + 1).execute()  # so that every hour is summed again
    RollupState.update(checked_at=NOON - DAY - HOUR).execute()
    assert update_sums(NOON, 60).changed == 2
    PurgeJob.update(status="done").where(PurgeJob.id == purge.id).execute()
    call(stays, NOON - 2 * HOUR + 1, credits=100)
    assert update_sums(NOON, 60).changed == 1
    for before, grain in zip(platform, (1, 24), strict=True):
        after = stored_totals(grain, by_account=False)
        assert sum(sums["credits"] for sums in after.values()) == sum(sums["credits"] for sums in before.values()) + (
            100 if grain == 1 else 0
        )
    assert {account for _, account, *_ in stored_totals(1, by_account=True)} == {stays}
    for table in (AccountTotal, KeyUsage, TagUsage):
        assert {row.account for row in table.select()} == {stays}


def test_calls_of_an_account_under_purge_are_excluded(bound_database):
    owner = factories.account().id
    PurgeJob.create(account=owner, boundary=now_ms())
    call(owner, NOON - 2 * HOUR)
    update_sums(NOON, 60)
    assert not AccountUsage.select().exists()
    assert not PlatformUsage.select().exists()


def test_output_sizes_are_counted_by_model_and_bucket(bound_database: peewee.Database) -> None:
    owner = factories.account().id
    for tokens, reasoning, status in ((5, 0, "completed"), (6, 2, "completed"), (16, 0, "completed"), (2**20, 0, "completed")):
        call(owner, NOON, output_tokens=tokens, reasoning_tokens=reasoning, status=status)
    call(owner, NOON, output_tokens=0)
    call(owner, NOON, output_tokens=16, status="cancelled")
    call(owner, NOON, model="m-2", output_tokens=2**10 - 1)
    for _ in range(2):
        update_sums(NOON + HOUR + GRACE_MS)
    rows = OutputSize.select().order_by(OutputSize.model, OutputSize.bucket).tuples()
    last = len(BOUNDS) - 1
    assert list(rows) == [
        (NOON, "m", 0, 2, 1),
        (NOON, "m", 1, 1, 0),
        (NOON, "m", last, 1, 0),
        (NOON, "m-2", bucket_of(1_023), 1, 0),
    ]
    factories.model("m", full_hold=True)
    model = load_catalog().models["m"]
    assert model.full_hold
    assert model.reasons
    assert (model.output_sizes[0], model.output_sizes[1], sum(model.output_sizes)) == (2, 1, 4)
    update_sums(NOON + 50 * HOUR + GRACE_MS)
    assert not OutputSize.select().exists()
