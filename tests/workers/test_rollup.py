"""The worker rolls up usage by itself, and continues where a killed one stopped."""

from __future__ import annotations

from shared.core.clock import now_ms
from shared.models import PlatformUsage, RollupState
from tests import factories
from tests.servers.process import eventually
from tests.shared.rollup.conftest import DAY, HOUR, call, expected_totals, stored_totals


def test_a_worker_continues_the_rollup_of_a_killed_one(bound_database, any_database_url, redis_url, start_worker):
    owner, now = factories.account().id, now_ms()
    for number in range(60):
        call(owner, now - 2 * DAY + number * HOUR // 2, credits=number)
    for _ in range(2):
        worker = start_worker(database_url=any_database_url, redis_url=redis_url)
        eventually(lambda: PlatformUsage.select().exists(), "the first totals")
        worker.kill()
    start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: (RollupState.get().rolled_until or 0) > now - 2 * HOUR, "all totals")
    until = RollupState.get().rolled_until
    for by_account in (False, True):
        assert stored_totals(1, by_account=by_account) == expected_totals(1, by_account=by_account, before=until)
