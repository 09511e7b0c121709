"""An account's calls: every one is on one page, and each filter selects its own."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from shared.billing.calls import CallFilters, list_calls, position_of
from shared.core.clock import new_id
from shared.models import Account, UsageLedger
from tests import factories

DAY = 1_728_000_000_000


def call(account: Account, at: int, **columns: Any) -> UsageLedger:
    values = {"model": "m-1", "price": new_id(), "status": "completed", "streamed": False, "created_at": at}
    made: UsageLedger = UsageLedger.create(account=account, **{**values, **columns})
    return made


def test_every_call_is_on_one_page_newest_first(bound_database: peewee.Database) -> None:
    account, other = factories.account(), factories.account()
    made = [call(account, DAY + number // 3) for number in range(10)]  # several in the same millisecond
    foreign = call(other, DAY + 1)
    expected = sorted(made, key=lambda row: (row.created_at, row.id), reverse=True)
    found = []
    after = None
    while page := list_calls(account.id, CallFilters(), after, limit=4):
        found += page
        after = position_of(account.id, page[-1].id)
    assert [row.id for row in found] == [row.id for row in expected]
    assert position_of(account.id, foreign.id) is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"since": DAY + 1}, {"keyed", "web"}),
        ({"until": DAY + 2}, {"keyed", "first"}),
        ({"model": "m-2"}, {"web"}),
        ({"key": True}, {"keyed"}),
        ({"by_session": True}, {"first", "web"}),
        ({"tag": "team:search"}, {"first"}),
        ({"status": "failed"}, {"web"}),
        ({"status": "failed", "tag": "team:search"}, set()),
    ],
)
def test_filters(bound_database: peewee.Database, filters: dict[str, Any], expected: set[str]) -> None:
    account = factories.account()
    key, _ = factories.api_key(account)
    names = {
        call(account, DAY, tag="team:search").id: "first",
        call(account, DAY + 1, api_key=key.id).id: "keyed",
        call(account, DAY + 2, model="m-2", status="failed").id: "web",
    }
    if "key" in filters:
        filters = {**filters, "key": key.id}
    assert {names[row.id] for row in list_calls(account.id, CallFilters(**filters))} == expected
