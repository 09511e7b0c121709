"""Partitions by month on PostgreSQL: a call is charged once, also around the end of a month, and an insert never fails."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import peewee
import psycopg
import pytest

from shared.core.billing_periods import DAY_MS, format_month, month_of, next_month_start
from shared.core.clock import new_id, now_ms
from shared.core.database import database
from shared.ledger import partitions
from shared.ledger.partitions import create_partitions, drop_partition, list_partitions
from shared.ledger.sql import entry_month
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, UsageLedger
from tests import factories
from tests.servers.postgres import Postgres
from tests.workers import holds


class Months(NamedTuple):
    """The starts (ms UTC) of the first month after the first partition, and of the next months."""

    one: int
    two: int
    three: int
    four: int


@pytest.fixture
def months(bound_postgres: peewee.Database) -> Months:
    starts = [list_partitions("usage_ledger")[0].until]
    for _ in range(3):
        starts.append(next_month_start(starts[-1]))
    return Months(*starts)


def call_at(time: int) -> UUID:
    """The id of a call that starts at `time`."""
    return UUID(int=new_id().int & (1 << 80) - 1 | time << 80)


def charge(account: UUID, seq: int, call: UUID, month: int) -> None:
    with database.atomic():
        LedgerEntry.create(account=account, seq=seq, kind="charge", amount=-1, balance_after=0, call=call, month=month)


def test_a_call_is_charged_once(months: Months) -> None:
    owner = factories.account().id
    create_partitions(months.one - 1)  # the first two months
    for number, started in enumerate((months.one - 1, months.one, months.two - 1, months.four - 1)):  # the last: by default
        call = call_at(started)
        charge(owner, 3 * number + 2, call, entry_month(call, started))
        with pytest.raises(peewee.IntegrityError, match="once_a_call"):
            charge(owner, 3 * number + 3, call, entry_month(call, started + 60_000))
        month = entry_month(call, started + 60_000)
        LedgerEntry.create(account=owner, seq=3 * number + 4, kind="refund", amount=1, balance_after=1, call=call, month=month)


def test_a_call_of_another_month_is_refused(months: Months) -> None:
    """Otherwise its second charge could be in a partition whose index does not contain the first."""
    owner = factories.account().id
    create_partitions(months.one - 1)
    for started, wrong in (
        *((months.one, months.one - 1), (months.one, months.two), (months.two - 1, months.two)),
        *((months.two, months.four), (months.four, months.three), (months.four, months.two)),
    ):
        with pytest.raises(peewee.IntegrityError, match="_calls"):
            charge(owner, 2, call_at(started), month_of(wrong))


def test_a_repeated_number_is_found(months: Months) -> None:
    """The unique index of a partition does not see the others; the account's counter, which is locked, prevents it."""
    customer = holds.Customer(10)
    LedgerEntry.create(account=customer.account, seq=1, kind="grant", amount=5, balance_after=15, month=month_of(months.four))
    Account.update(balance=15).where(Account.id == customer.account).execute()
    assert any("the chain says" in problem for problem in verify_ledger(now_ms()).problems)


def test_entries_of_the_last_release_are_charged_once_with_ours(months: Months) -> None:
    """It writes no month, so its entries are in the first partition, as are ours for at least two months."""
    owner = factories.account().id
    assert months.one > next_month_start(next_month_start(now_ms())) >= now_ms() + 28 * DAY_MS
    call = call_at(months.one - 1)
    charge(owner, 2, call, 0)
    with pytest.raises(peewee.IntegrityError, match="once_a_call"):
        charge(owner, 3, call, entry_month(call, months.one))


def test_partitions_are_created_ahead_once(months: Months) -> None:
    first = list_partitions("usage_ledger")
    assert create_partitions(now_ms()) == []  # the migration's partitions last longer
    names = [f"{table}_{format_month(start)}" for table in partitions.TABLES for start in months[:2]]
    assert create_partitions(months.one - 1) == names
    assert create_partitions(months.one - 1) == []
    assert create_partitions(months.one) == [f"{table}_{format_month(months.three)}" for table in partitions.TABLES]
    found = list_partitions("usage_ledger")
    assert found[:1] == first
    assert [one.until for one in found] == list(months)


def test_rows_without_a_partition_get_one(months: Months) -> None:
    customer = holds.Customer(1_000)
    for number, time in enumerate((months.one, months.two)):
        call = call_at(time)
        usage = {"model": "m", "price": call, "status": "completed", "streamed": False, "credits": 5}
        UsageLedger.create(id=call, account=customer.account, **usage)
        balance = 995 - 5 * number
        Account.update(ledger_seq=2 + number, balance=balance).where(Account.id == customer.account).execute()
        entry = {"kind": "charge", "amount": -5, "balance_after": balance, "call": call, "month": entry_month(call, time)}
        LedgerEntry.create(account=customer.account, seq=2 + number, **entry)
    assert all(map(partitions.has_default_rows, partitions.TABLES))
    created = create_partitions(months.one)
    span = f"{format_month(months.one)}_to_{format_month(months.two)}"
    assert created == [f"{table}_{name}" for table in partitions.TABLES for name in (span, format_month(months.three))]
    assert not any(map(partitions.has_default_rows, partitions.TABLES))
    holds.assert_ledger_verifies()
    with pytest.raises(peewee.IntegrityError, match=f"ledger_entry_{span}_once_a_call"):
        charge(customer.account, 9, call, entry_month(call, time))
    charge(customer.account, 9, call_at(months.four), month_of(months.four))  # into the new default partition


def test_rows_of_the_distant_future_do_not_stop_others(months: Months) -> None:
    """As written by a machine with a wrong clock."""
    usage = {"model": "m", "price": UUID(int=1), "status": "completed", "streamed": False}
    UsageLedger.create(id=call_at(months.four + 900 * DAY_MS), account=factories.account(), **usage)
    assert len(create_partitions(months.one)) == 6
    assert partitions.has_default_rows("usage_ledger")


def test_one_table_with_mixed_rows_does_not_stop_the_other(months: Months, caplog: pytest.LogCaptureFixture) -> None:
    """A row of a needed month, and one of the distant future, without partitions."""
    usage = {"model": "m", "price": UUID(int=1), "status": "completed", "streamed": False}
    account = factories.account()
    for time in (months.one, months.four + 900 * DAY_MS):
        UsageLedger.create(id=call_at(time), account=account, **usage)
    assert create_partitions(months.one) == [f"ledger_entry_{format_month(start)}" for start in months[:3]]
    assert "usage_ledger_default has rows of the next partition" in caplog.text
    UsageLedger.create(id=call_at(months.one), account=account, **usage)


def test_a_locked_table_is_left_alone(months: Months, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as reader:
        reader.execute("SELECT 1 FROM usage_ledger LIMIT 1")
        assert create_partitions(months.one) == []
        assert not drop_partition(list_partitions("usage_ledger")[0].name)
    assert create_partitions(months.one)


def test_only_the_owner_creates_partitions(months: Months, postgres: Postgres, postgres_url: str) -> None:
    role = postgres.application(postgres_url).split("//")[1].split("@")[0]
    with database.atomic() as attempt:
        database.execute_sql(f"SET LOCAL ROLE {role}")
        assert create_partitions(months.one) == []
        attempt.rollback()


def test_a_partition_with_rows_is_only_dropped_on_demand(months: Months) -> None:
    UsageLedger.create(account=factories.account(), model="m", price=UUID(int=1), status="completed", streamed=False)
    name = list_partitions("usage_ledger")[0].name
    assert not drop_partition(name, if_empty=True)
    assert drop_partition(name)
    assert UsageLedger.select().count() == 0
