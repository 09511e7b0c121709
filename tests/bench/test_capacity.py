"""The model of many calls per second."""

from bench.capacity import Costs, Kept, Limits, Prices, parts, simulate, unit_rates

COSTS = Costs(edge_us=200, database_us=100, limiter_us=30, wal_bytes=2_500, usage_bytes=360, entry_bytes=240)
LIMITS = Limits(database_cores=16, wal_mb=200, disk_tb=16, commit_ms=3, commit_call_us=50)
PRICES = Prices(core=25, disk_gb=0.1)
SHORT, LONG = Kept(usage_days=2, ledger_days=2), Kept(usage_days=90, ledger_days=365)


def test_one_part_is_full_when_its_resource_is() -> None:
    full = {part: round(rate) for part, rate in unit_rates(COSTS, LIMITS, LONG).items()}
    # 16 TB are 1,543 calls per second for 365 days of entries and 90 days of usage
    assert full == {
        "edge CPU": 5_000,
        "database CPU": 160_000,
        "database WAL": 80_000,
        "database disk": 1_543,
        "Redis CPU": 33_333,
    }


def test_parts_grow_with_the_rate_and_name_the_next_limit() -> None:
    few, many = (parts(rate, COSTS, LIMITS, PRICES, SHORT) for rate in (1_000, 100_000))
    assert (few.edges, few.databases, few.limiters) == (2, 1, 1)
    assert (many.edges, many.databases, many.limiters) == (34, 3, 5)  # at 60 %: 20 cores, 250 MB/s of WAL, 3 cores
    assert round(many.disk_tb, 3) == round(100 * few.disk_tb, 3) == 10.368
    assert (few.saturates["edge CPU"], min(few.saturates.values())) == (10_000, 10_000)
    assert min(many.saturates.values()) > 100_000


def test_disks_of_rows_that_are_kept_need_databases_of_their_own() -> None:
    kept = parts(10_000, COSTS, LIMITS, PRICES, LONG)
    assert kept.databases == 7
    assert min(kept.saturates, key=kept.saturates.__getitem__) == "database disk"
    assert kept.disk_usd == 2 * kept.disk_tb * 1_000 * 0.1


def test_an_account_on_one_edge_does_not_wait_for_its_other_batches() -> None:
    spread, routed = (simulate(10_000, 8, 1_000, LIMITS, by_account=choice, seconds=1, seed=1) for choice in (False, True))
    assert routed.p50 < 10 < spread.p50
    assert routed.finished > 0.98
