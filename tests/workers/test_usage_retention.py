"""Usage retention: which calls are deleted, and that balances, sums and running work are unaffected."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import peewee
import pytest

from shared.core.clock import new_id
from shared.core.database import database
from shared.ledger.partitions import Partition, create_partitions, list_partitions
from shared.ledger.retention import kept_since, read_usage_days
from shared.ledger.sql import entry_month
from shared.models import (
    Account,
    LedgerEntry,
    MediaJob,
    OverageEntry,
    Plan,
    PurgeJob,
    RollupState,
    Subscription,
    UsageLedger,
)
from shared.rollup import last_days, read_breakdown, update_sums
from tests import factories
from tests.shared.rollup.conftest import DAY, HOUR, NOON, call, stored_hourly_totals, stored_totals
from tests.threads import run_threads
from tests.workers import holds
from workers import usage_retention
from workers.usage_retention import UsageRetention


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def summed(bound_database: peewee.Database) -> peewee.Database:
    """A database whose usage is summed until the hour of NOON."""
    RollupState.update(rolled_until=NOON).execute()
    return bound_database


def subscriber(days: int | None) -> UUID:
    owner = factories.account()
    plan = Plan.create(name=str(owner.id), usage_days=days)
    Subscription.create(account=owner, plan=plan)
    return owner.id


def ages(account: UUID) -> list[int]:
    """The ages of an account's calls, in days."""
    times = UsageLedger.select(UsageLedger.created_at).where(UsageLedger.account == account).tuples()
    return sorted((NOON - at) // DAY for (at,) in times)


@pytest.mark.parametrize(
    ("days", "now", "since"),
    [
        (30, "2026-11-30 12:00", "2026-10-31 12:00"),
        (30, "2026-10-31 12:00", "2026-10-01"),  # the current month stays
        (90, "2026-11-30 12:00", "2026-09-01 12:00"),
    ],
)
def test_calls_are_kept_for_days_and_for_the_current_month(days: int, now: str, since: str) -> None:
    assert kept_since(days, ms(now)) == ms(since)


def test_days_come_from_the_plan_or_the_setting(summed: peewee.Database) -> None:
    accounts = {
        "none": factories.account().id,
        "plan without days": subscriber(None),
        "short plan": subscriber(40),
        "long plan": subscriber(400),
        "ended plan": subscriber(40),
        "purge": factories.account().id,
    }
    Subscription.update(status="ended").where(Subscription.account == accounts["ended plan"]).execute()
    PurgeJob.create(account=accounts["purge"], boundary=NOON)
    for account in accounts.values():
        for age in (0, 39, 41, 89, 91, 401):
            call(account, NOON - age * DAY)
    kept = {name: [0, 39, 41, 89, 91, 401] for name in accounts}
    assert {name: read_usage_days(account, 90) for name, account in accounts.items()} == {
        **dict.fromkeys(accounts, 90),
        **{"short plan": 40, "long plan": 400},
    }
    short, long = {"short plan": [0, 39]}, {"long plan": [0, 39, 41, 89, 91]}
    for setting, expected in (
        (None, {**kept, **short, **long}),
        (90, {**{name: [0, 39, 41, 89] for name in accounts}, **short, **long, "purge": kept["purge"]}),
    ):
        UsageRetention(setting).run(NOON)
        assert {name: ages(account) for name, account in accounts.items()} == expected


def test_calls_that_are_not_summed_stay(summed: peewee.Database) -> None:
    owner = factories.account().id
    for age in (40, 50):
        call(owner, NOON - age * DAY)
    for rolled_until, keys_from, kept in (
        (None, 0, [40, 50]),
        (NOON, NOON - 12 * HOUR, [40, 50]),  # days before the sums by key are still to be summed
        (NOON - 45 * DAY, 0, [40]),
        (NOON, 0, []),
    ):
        RollupState.update(rolled_until=rolled_until, keys_from=keys_from).execute()
        UsageRetention(30).run(NOON)
        assert ages(owner) == kept


def test_balances_and_sums_stay(bound_database: peewee.Database) -> None:
    customer = holds.Customer(1_000)
    key = UUID(int=7)
    for number, cost in enumerate((0, 10, 25)):
        [id] = customer.hold(lasts_ms=HOUR)
        customer.settle(id, cost, api_key=key)
        UsageLedger.update(created_at=NOON - 40 * DAY + number * HOUR, tag="team:a").where(UsageLedger.id == id).execute()
    update_sums(NOON - 38 * DAY, 60)
    RollupState.update(rolled_until=NOON).execute()

    def figures() -> object:
        sums = [(stored_totals(grain, by_account=by), stored_hourly_totals(grain)) for grain in (1, 24) for by in (False, True)]
        used = [read_breakdown(customer.account, 0, NOON - 12 * HOUR, by) for by in ("day", "model", "key", "tag")]
        row = Account.get_by_id(customer.account)
        entries = LedgerEntry.select(LedgerEntry.seq, LedgerEntry.amount, LedgerEntry.balance_after).order_by(LedgerEntry.seq)
        return sums, used, (row.balance, row.held, row.ledger_seq), list(entries.tuples())

    before = figures()
    assert UsageRetention(30).run(NOON) == 3
    assert ages(customer.account) == []
    assert figures() == before
    assert not LedgerEntry.select().where(LedgerEntry.call.is_null(False)).exists()
    assert last_days(customer.account) == {key: NOON - 40 * DAY - 12 * HOUR}
    update_sums(NOON + 6 * 60_000, 60)  # compares recent hours with their calls
    assert figures() == before
    holds.assert_ledger_verifies()


def test_overage_keeps_its_total(summed: peewee.Database) -> None:
    account = subscriber(30)
    subscription = Subscription.get(Subscription.account == account)
    Subscription.update(overage_used=7).where(Subscription.id == subscription.id).execute()
    old = call(account, NOON - 40 * DAY, credits=7, overage_credits=7)
    OverageEntry.create(account=account, subscription=subscription.id, kind="charge", amount=7, call=old.id)
    UsageRetention(None).run(NOON)
    assert [(row.amount, row.call) for row in OverageEntry.select()] == [(7, None)]
    holds.assert_ledger_verifies()


def test_media_jobs_are_deleted_with_their_call_after_their_files(summed: peewee.Database) -> None:
    owner, at, kept = factories.account().id, NOON - 40 * DAY, set()
    job = {"kind": "image", "model": "m", "price": new_id(), "due_at": at, "deadline_at": at, "credits_held": 1}
    for is_kept, columns in (
        (False, {"status": "succeeded", "finished_at": at}),
        (True, {"status": "succeeded", "finished_at": at, "files_expire_at": NOON + DAY}),
        (True, {"status": "failed", "finished_at": at, "input_key": "00/input"}),
        (True, {"status": "running"}),
    ):
        row = MediaJob.create(account=owner, created_at=at, **job, **columns)
        call(owner, at, id=row.id)
        kept |= {row.id} if is_kept else set()
    UsageRetention(30).run(NOON)
    assert {row.id for row in MediaJob.select()} == {row.id for row in UsageLedger.select()} == kept


def test_a_pass_continues_where_it_ran_out_of_time(summed: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_retention, "BATCH", 2)
    monkeypatch.setattr(usage_retention, "PAGE", 2)
    owners = [factories.account().id for _ in range(5)]
    for owner in owners[1:]:
        for _ in range(5):
            call(owner, NOON - 40 * DAY)
    retention, deleted = UsageRetention(30), []
    while UsageLedger.select().exists():
        deleted.append(retention.run(NOON, seconds=0))
        assert len(deleted) < 50
    assert sum(deleted) == 20
    assert max(deleted) == 2
    call(owners[0], NOON - 40 * DAY)
    while retention.run(NOON, seconds=0):
        pass
    assert [retention.run(NOON + ms) for ms in (1, usage_retention.PAUSE_MS + 1)] == [0, 1]  # the next pass has to be due


def test_workers_share_the_calls_of_an_account(bound_postgres: peewee.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_retention, "BATCH", 5)
    RollupState.update(rolled_until=NOON).execute()
    owner, deleted = factories.account().id, []
    for _ in range(100):
        call(owner, NOON - 40 * DAY)

    def work(_: int) -> None:
        retention = UsageRetention(30)
        for again in range(3):  # a pass skips what another has locked
            deleted.append(retention.run(NOON + again * usage_retention.PAUSE_MS, seconds=60))
        database.close()

    run_threads(work, 3)
    assert sum(deleted) == 100
    assert ages(owner) == []


# Partitions, on PostgreSQL


@pytest.fixture
def ended(bound_postgres: peewee.Database) -> Partition:
    """A partition of one month whose calls are summed, and expired at `long_after` it, as are all of the first partition."""
    create_partitions(list_partitions("usage_ledger")[0].until)
    found = list_partitions("usage_ledger")[1]
    RollupState.update(rolled_until=long_after(found)).execute()
    return found


def long_after(partition: Partition) -> int:
    return partition.until + 60 * DAY


def charged_call(account: UUID, partition: Partition, number: int) -> UUID:
    """A call in the partition that was charged 1 credit."""
    id = UUID(int=new_id().int & (1 << 80) - 1 | (partition.until - 1) << 80)
    call(account, partition.until - 1, id=id, credits=1)
    entry = {"kind": "charge", "amount": -1, "balance_after": 100 - number, "call": id, "month": entry_month(id, 0)}
    LedgerEntry.create(account=account, seq=1 + number, **entry)
    Account.update(balance=100 - number, ledger_seq=1 + number).where(Account.id == account).execute()
    return id


def months() -> set[str]:
    return {partition.name for partition in list_partitions("usage_ledger")}


def test_a_partition_of_expired_calls_is_dropped(ended: Partition, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_retention, "CLEAR_BATCH", 2)
    owners = [factories.account(100).id for _ in range(2)]
    calls = [charged_call(owner, ended, number) for owner in owners for number in (1, 2, 3)]
    now = long_after(ended)
    times = {"created_at": ended.until - 1, "due_at": 0, "deadline_at": 0, "finished_at": now}
    MediaJob.create(
        id=calls[0], account=owners[0], kind="image", model="m", price=calls[0], credits_held=1, status="failed", **times
    )
    recent = call(owners[0], now, id=UUID(int=new_id().int & (1 << 80) - 1 | now << 80))
    retention = UsageRetention(30)
    for _ in range(4):  # an interrupted pass continues; each step leaves a ledger that verifies
        retention.run(now, seconds=0)
        holds.assert_ledger_verifies()
    assert ended.name not in months()
    assert [row.id for row in UsageLedger.select()] == [recent.id]
    assert not LedgerEntry.select().where(LedgerEntry.call.is_null(False)).exists()
    assert not MediaJob.select().exists()
    assert sorted(row.balance for row in Account.select()) == [97, 97]
    assert create_partitions(now)[0] > ended.name


@pytest.mark.parametrize("reason", ["setting", "plan", "files", "purge", "sums"])
def test_a_partition_with_calls_to_keep_stays(ended: Partition, reason: str) -> None:
    owner = subscriber(400 if reason == "plan" else None)
    id = charged_call(owner, ended, 1)
    Account.update(balance=0, ledger_seq=1).where(Account.id == owner).execute()
    if reason == "files":
        times = {"due_at": 0, "deadline_at": 0, "finished_at": 1, "files_expire_at": 1}
        MediaJob.create(id=id, account=owner, kind="image", model="m", price=id, credits_held=1, status="failed", **times)
    if reason == "purge":
        PurgeJob.create(account=owner, boundary=NOON)
    if reason == "sums":
        RollupState.update(rolled_until=ended.until - 1).execute()
    UsageRetention(None if reason == "setting" else 30).run(long_after(ended))
    assert ended.name in months()
    assert [(row.id) for row in UsageLedger.select()] == [id]
    assert LedgerEntry.select().where(LedgerEntry.call == id).exists()


def test_an_empty_partition_is_dropped_after_its_month(ended: Partition) -> None:
    account = subscriber(30)
    charged_call(account, ended, 1)
    retention = UsageRetention(None)  # other accounts keep their calls, so it deletes row by row
    assert retention.run(ended.until - DAY) == 0
    assert ended.name in months()
    assert retention.run(long_after(ended)) == 1
    retention.run(long_after(ended) + usage_retention.PAUSE_MS)
    assert ended.name not in months()
