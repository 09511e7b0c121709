"""Usage by day, model, key and tag equals the calls, whether or not they are summed, and before the sums by key existed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import peewee
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playhouse.migrations import Runner

from shared.core.schema_version import MIGRATIONS, migrate
from shared.models import AccountUsage, KeyUsage, PlatformUsage, RollupState, TagUsage, UsageLedger
from shared.rollup import (
    MAX_TAGS,
    OTHER_TAGS,
    UsageSums,
    member_spending,
    month_spending,
    read_breakdown,
    update_sums,
)
from tests import factories
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call

NOW = NOON + 17 * 60_000
TODAY = NOON - 12 * HOUR
KEYS = (None, UUID(int=21), UUID(int=22))
GROUPS = ("day", "model", "key", "tag")
calls = st.lists(
    st.fixed_dictionaries(
        {
            "ago": st.integers(0, 3 * HOUR) | st.integers(0, 3 * DAY),
            "model": st.sampled_from(["m-1", "m-2"]),
            "api_key": st.sampled_from(KEYS),
            "tag": st.sampled_from([None, "team:a", "team:b"]),
            "status": st.sampled_from(["completed", "failed", "cancelled", "expired"]),
            "input_tokens": st.integers(0, 9_000),
            "cached_tokens": st.integers(0, 9),
            "output_tokens": st.integers(0, 9_000),
            "credits": st.integers(0, 10**12),
        }
    ),
    max_size=20,
)


def counted(account: UUID, since: int, until: int, by: str, keys: list[UUID] | None = None) -> dict[Any, UsageSums]:
    """The same figures, computed by reading every call."""
    groups: dict[Any, UsageSums] = {}
    for row in UsageLedger.select().where(UsageLedger.created_at >= since, UsageLedger.created_at < until):
        if row.account_id != account or (keys is not None and row.api_key not in keys):
            continue
        day = row.created_at - row.created_at % DAY
        group = {"day": day, "model": row.model, "key": row.api_key, "tag": row.tag}[by]
        failed = row.status in ("failed", "expired")
        sums = UsageSums(1, failed, row.input_tokens, row.cached_tokens, row.output_tokens, row.credits)
        groups[group] = groups.get(group, UsageSums()).plus(sums)
    return groups


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls, st.integers(0, 4 * DAY), st.integers(0, 4), st.integers(0, 3), st.sampled_from([None, [KEYS[1]], list(KEYS[1:])]))
def test_a_breakdown_equals_the_calls(bound_database, made, rolled_ago, first_day, last_day, keys):
    for table in (UsageLedger, AccountUsage, PlatformUsage, KeyUsage, TagUsage):
        table.delete().execute()
    RollupState.update(rolled_until=None, checked_at=None).execute()
    owner, other = factories.account().id, factories.account().id
    for values in made:
        columns = {name: value for name, value in values.items() if name != "ago"}
        for account in (owner, other):
            call(account, NOW - values["ago"], **columns)
    update_sums(NOW - rolled_ago, 60)
    since, until = TODAY - first_day * DAY, TODAY + DAY - last_day * DAY
    for by in GROUPS:
        assert read_breakdown(owner, since, until, by, keys) == counted(owner, since, until, by, keys)


def test_tags_beyond_the_limit_are_summed_together(bound_database: peewee.Database) -> None:
    owner = factories.account().id
    for hour in (1, 2):  # of yesterday
        for number in range(MAX_TAGS + 2):
            call(owner, TODAY - hour * HOUR, tag=f"{hour}-{number}", credits=1)
        for _ in range(2):
            call(owner, TODAY - hour * HOUR, tag="often", credits=1)
        call(owner, TODAY - hour * HOUR, credits=1)
    for number in range(MAX_TAGS + 1):
        call(owner, NOW, tag=f"now-{number}")
    assert len(read_breakdown(owner, TODAY - DAY, TODAY, "tag")) == 2 * (MAX_TAGS + 2) + 2
    update_sums(NOW, 60)
    assert TagUsage.select().where(TagUsage.grain_hours == 1).count() == 2 * (MAX_TAGS + 1)
    found = read_breakdown(owner, TODAY - DAY, TODAY, "tag")
    assert len(found) == MAX_TAGS + 2  # with `OTHER_TAGS`, and the calls without a tag
    assert (found["often"].credits, found[None].credits) == (4, 2)
    assert found[OTHER_TAGS].calls == 2 * (MAX_TAGS + 2) - (MAX_TAGS - 1)
    assert len(read_breakdown(owner, TODAY, TODAY + DAY, "tag")) == MAX_TAGS + 1  # not summed yet


def test_spending_does_not_read_calls_that_are_summed(bound_database: peewee.Database) -> None:
    account = factories.account()
    owner, key = account.id, factories.api_key(account)[0].id
    for ago, credits in ((2 * DAY, 1), (3 * HOUR, 20), (0, 300)):
        call(owner, NOW - ago, api_key=key, credits=credits)
        call(owner, NOW - ago, credits=7)  # of a web session
    update_sums(NOW, 60)
    UsageLedger.delete().where(UsageLedger.created_at < NOW - HOUR).execute()
    assert month_spending(owner, NOW) == {key: 321}
    assert member_spending(owner, NOW) == {owner: 342}
    assert member_spending(owner, NOW, daily=True) == {owner: 334}


def test_days_of_before_the_migration_are_summed_later(bound_database: peewee.Database) -> None:
    owner = factories.account().id
    update_sums(NOW - 11 * DAY, 60)
    for day in (0, 1, 2, 10):
        call(owner, NOW - day * DAY - 2 * HOUR, api_key=KEYS[1], credits=day + 1)
    update_sums(NOW, 60)
    runner = Runner(bound_database, str(MIGRATIONS))
    runner.down("0023_add_usage_tags")
    assert "0023_add_usage_tags" in migrate(bound_database)
    expected = counted(owner, NOON - 20 * DAY, TODAY + DAY, "day")
    since, until = TODAY - 20 * DAY, TODAY + DAY
    assert read_breakdown(owner, since, until, "day") == expected
    update_sums(NOW + HOUR, 60)
    assert RollupState.get().keys_from == until  # the day of the migration has not ended
    assert read_breakdown(owner, since, until, "day") == expected
    update_sums(NOW + DAY, 60)
    assert RollupState.get().keys_from == 0
    UsageLedger.update(credits=0).where(UsageLedger.created_at < TODAY - 9 * DAY).execute()  # too old to be summed again
    assert read_breakdown(owner, since, until, "day") == expected
