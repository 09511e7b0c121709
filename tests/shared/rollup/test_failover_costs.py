"""Costs of failed attempts are merged by hour, and figures by channel stay the same."""

from __future__ import annotations

from uuid import UUID

import peewee
import pytest

from shared.models import FailoverCost
from shared.rollup import Scope, TimeSpan, failover_costs, merge_failover_costs, read_figures
from tests import factories
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call

FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))
NOW = NOON + 4 * DAY


def cost(at: int, credits: int, channel: UUID = FIRST, model: str = "m") -> None:
    FailoverCost.create(created_at=at, model=model, channel=channel, last_channel=THIRD, provider_cost=credits)


def costs_by_channel() -> dict[UUID, int]:
    groups = read_figures(Scope(), TimeSpan(NOON, NOON + DAY), "channel", NOW).groups
    return {channel: tally.provider_cost for channel, tally in groups.items()}


@pytest.mark.parametrize("batch", [2, 2_000])
def test_old_costs_are_merged_by_hour(bound_database: peewee.Database, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(failover_costs, "BATCH", batch)
    account = factories.account().id
    for minutes in (1, 30, 59, 61):
        call(account, NOON + minutes * 60_000, channel=THIRD, provider_cost=100)
        cost(NOON + minutes * 60_000, minutes)
    cost(NOON + 1, 7, SECOND)
    cost(NOON + 1, 7, SECOND, "other")
    recent = NOW - DAY
    for _ in range(2):
        cost(recent + 1, 5)
    before = costs_by_channel()
    assert before == {FIRST: 151, SECOND: 14, THIRD: 400 - 165}
    removed = merge_failover_costs(NOW, 60)
    assert costs_by_channel() == before
    rows = FailoverCost.select().where(FailoverCost.created_at < recent)
    assert removed == 6 - rows.count()
    assert {row.created_at for row in rows} == {NOON, NOON + HOUR}
    assert FailoverCost.select().where(FailoverCost.created_at == recent + 1).count() == 2
    if batch > 6:
        merged = {(row.created_at, row.channel, row.model): row.provider_cost for row in rows}
        assert merged == {
            (NOON, FIRST, "m"): 90,
            (NOON, SECOND, "m"): 7,
            (NOON, SECOND, "other"): 7,
            (NOON + HOUR, FIRST, "m"): 61,
        }
    assert merge_failover_costs(NOW, 60) == 0
