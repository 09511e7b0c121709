"""The model of many calls per second."""

from bench.capacity import Costs, Limits, Prices, parts, simulate

COSTS = Costs(edge_us=200, database_us=100, limiter_us=30, wal_bytes=2_500, row_bytes=600, hold_bytes=400)
LIMITS = Limits(database_cores=16, wal_mb=200, commit_ms=3, commit_call_us=50)


def test_parts_grow_with_the_rate_and_name_the_fullest() -> None:
    few, many = (parts(rate, COSTS, LIMITS, Prices(25, 0.1), days=90) for rate in (1_000, 100_000))
    assert (few.edges, few.databases, few.limiters) == (2, 1, 1)
    assert (many.edges, many.databases, many.limiters) == (34, 3, 5)  # at 60 %: 20 cores, 250 MB/s of WAL, 3 cores
    assert round(many.disk_gb, 3) == round(100 * few.disk_gb, 3)
    assert few.next_limit.startswith("edge CPU (10%)")


def test_an_account_on_one_edge_does_not_wait_for_its_other_batches() -> None:
    spread, routed = (simulate(10_000, 8, 1_000, LIMITS, by_account=choice, seconds=1, seed=1) for choice in (False, True))
    assert routed.p50 < 10 < spread.p50
    assert routed.finished > 0.98
