"""An account's usage: rolled-up days and newer calls form one report."""

from __future__ import annotations

import peewee

from shared.billing.usage_report import DAY_MS, PAGE_SIZE, DailyUsage, usage_by_call, usage_by_day
from shared.core.clock import new_id
from shared.models import Account, UsageLedger
from shared.rollup import update_sums
from tests import factories

DAY = 20_000 * DAY_MS  # a UTC day
HOUR_MS = 3_600_000


def call(account: Account, at: int, model: str = "m-1", credits: int = 5) -> None:
    UsageLedger.create(
        account=account,
        model=model,
        price=new_id(),
        status="completed",
        streamed=False,
        input_tokens=7,
        cached_tokens=4,
        output_tokens=3,
        credits=credits,
        created_at=at,
    )


def test_rolled_up_days_and_newer_calls_are_counted_once(bound_database: peewee.Database) -> None:
    account, other = factories.account(), factories.account()
    call(account, DAY + 1)
    call(account, DAY + DAY_MS - 1, credits=6)
    call(account, DAY + DAY_MS + 1, "m-2")
    call(other, DAY + 2)
    expected = [DailyUsage(DAY, "m-1", 2, 14, 8, 6, 11), DailyUsage(DAY + DAY_MS, "m-2", 1, 7, 4, 3, 5)]
    assert usage_by_day(account.id, DAY, DAY + 2 * DAY_MS) == expected
    assert update_sums(DAY + DAY_MS + 2 * HOUR_MS, 60).up_to_date
    UsageLedger.delete().where(UsageLedger.created_at < DAY + DAY_MS).execute()  # only the rollup knows the first day now
    assert usage_by_day(account.id, DAY, DAY + 2 * DAY_MS) == expected
    assert usage_by_day(account.id, DAY + DAY_MS, DAY + 2 * DAY_MS) == expected[1:]


def test_every_call_is_on_one_page(bound_database: peewee.Database) -> None:
    account = factories.account()
    for number in range(PAGE_SIZE + 3):
        call(account, DAY + number // 7)  # several in the same millisecond
    first = usage_by_call(account.id, DAY, DAY + DAY_MS)
    rest = usage_by_call(account.id, DAY, DAY + DAY_MS, (first[-1].at, first[-1].id))
    assert (len(first), len(rest)) == (PAGE_SIZE, 3)
    assert len({found.id for found in (*first, *rest)}) == PAGE_SIZE + 3
