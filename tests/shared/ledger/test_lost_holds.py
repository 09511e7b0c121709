"""Holds that a crash of the database lost: they are committed without waiting for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest

from shared import ledger
from shared.billing.pricing import PriceList, Quote
from shared.billing.token_usage import TokenUsage
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, drop_connection, transaction
from shared.identity.payer import KeyPayer
from shared.ledger import Claim, Reservation, Settled, Settlement, batch_transaction
from shared.ledger.compaction import compact_ledger
from shared.ledger.verify import verify_ledger
from shared.models import Account, Hold, LedgerEntry, PurgeJob, UsageLedger
from shared.operations.purges import begin_purge
from tests import factories
from tests.databases import opened
from tests.servers.edge import SECRET_KEY
from tests.servers.postgres import Postgres

PRICE = PriceList(uuid4(), 0, 0, 1_000, None, 0, 0)
HELD = 200


def reservation(digest: str, claim: Claim | None = None) -> Reservation:
    return Reservation(new_id(), "m-1", Quote(PRICE, HELD, HELD, 0, HELD), now_ms() + 60_000, KeyPayer(digest), claim=claim)


def settle(taken: Reservation, account: UUID, cost: int, status: str = "completed", **columns: Any) -> Settled:
    item = Settlement(
        *(taken.call, account, cost, status),
        price=PRICE.id,
        model="m-1",
        usage=TokenUsage(1, cost),
        held=HELD,
        created_at=now_ms(),
        **columns,
    )
    with batch_transaction():
        [settled] = ledger.settle([item], now_ms())
    return settled


def lose(taken: Reservation, account: UUID) -> None:
    """Undo the commit of a hold."""
    with transaction():
        Hold.delete().where(Hold.id == taken.call).execute()
        Account.update(held=Account.held - HELD).where(Account.id == account).execute()


def reserve(taken: Reservation) -> None:
    with batch_transaction(durable=False):
        ledger.reserve([taken], now_ms())


@pytest.mark.parametrize(
    ("balance", "cost", "charged"),
    [
        pytest.param(1_000, 150, 150, id="within the hold"),
        pytest.param(1_000, 700, 300, id="at most the hold and its margin"),
        pytest.param(250, 260, 250, id="at most the available credits"),
        pytest.param(1_000, 0, 0, id="nothing for a call that failed"),
    ],
)
def test_a_lost_hold_is_charged_once(bound_database: peewee.Database, balance: int, cost: int, charged: int) -> None:
    owner = factories.account(balance)
    taken = reservation(factories.api_key(owner)[0].digest)
    reserve(taken)
    lose(taken, owner.id)
    status = "completed" if cost else "failed"
    assert settle(taken, owner.id, cost, status) == Settled(charged, balance - charged, cost - charged)
    assert settle(taken, owner.id, cost, status) == Settled(charged, balance - charged, is_first=False)
    row = Account.get_by_id(owner.id)
    assert (row.balance, row.held) == (balance - charged, 0)
    assert [usage.credits for usage in UsageLedger.select()] == [charged]
    assert verify_ledger(now_ms()).problems == ()


def test_a_lost_hold_does_not_use_credits_that_other_calls_hold(bound_database: peewee.Database) -> None:
    owner = factories.account(300)
    digest = factories.api_key(owner)[0].digest
    lost, other = reservation(digest), reservation(digest)
    reserve(lost)
    lose(lost, owner.id)
    reserve(other)
    assert settle(lost, owner.id, 150).credits == 100
    assert settle(other, owner.id, 150).credits == 150
    assert verify_ledger(now_ms()).problems == ()


def test_a_call_that_never_started_is_not_settled_without_its_hold(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    taken = reservation(factories.api_key(owner)[0].digest)
    reserve(taken)
    with batch_transaction():
        ledger.release([taken.call], now_ms(), [owner.id])
        [settled] = ledger.settle([Settlement(taken.call, owner.id, 0, held=HELD)], now_ms())
    assert not settled.is_first
    assert UsageLedger.select().count() == 0


@pytest.mark.parametrize("is_settled", [True, False], ids=["settled", "expired"])
def test_a_purged_call_is_not_charged_again(bound_database: peewee.Database, is_settled: bool) -> None:
    owner = factories.account(1_000)
    digest = factories.api_key(owner)[0].digest
    taken = reservation(digest)
    reserve(taken)
    if is_settled:
        settle(taken, owner.id, 150)
    else:
        assert ledger.sweep(taken.expires_at + 1) == 1
    begin_purge(owner.id, origin=factories.ORIGIN)
    with transaction():
        compact_ledger(owner.id, now_ms(), SECRET_KEY)
    balance = 850 if is_settled else 1_000
    assert settle(taken, owner.id, 150) == Settled(0, balance, is_first=False)
    assert UsageLedger.select().count() == 0
    assert verify_ledger(now_ms()).problems == ()


@pytest.mark.parametrize("is_done", [False, True], ids=["running purge", "finished purge"])
def test_a_call_that_a_purge_deleted_is_not_charged_again(bound_database: peewee.Database, is_done: bool) -> None:
    """It began during the purge. The commit of its charge was not confirmed, so it is settled again."""
    owner = factories.account(1_000)
    job = begin_purge(owner.id, origin=factories.ORIGIN)
    PurgeJob.update(boundary=job.boundary - 1).execute()
    taken = reservation(factories.api_key(owner)[0].digest)
    reserve(taken)
    settle(taken, owner.id, 150)
    with transaction():
        compact_ledger(owner.id, now_ms(), SECRET_KEY)
        if is_done:
            PurgeJob.update(status="done", finished_at=now_ms()).execute()
    assert settle(taken, owner.id, 150) == Settled(0, 850, is_first=False)
    assert verify_ledger(now_ms()).problems == ()


def test_a_call_of_a_deleted_account_is_not_charged(bound_database: peewee.Database) -> None:
    taken = reservation("0" * 64)
    assert settle(taken, new_id(), 150) == Settled(0, 0, is_first=False)


@pytest.fixture
def crashing_postgres() -> Iterator[Postgres]:
    """A server that writes a commit at once only if it is durable: the next write of the others is seconds away."""
    server = Postgres(synchronous_commit="on", wal_writer_delay="10s")
    yield server
    server.stop()


def test_a_crash_of_postgresql_between_reserve_and_settle(crashing_postgres: Postgres) -> None:
    with opened(crashing_postgres.create_migrated()) as database:
        bind_database(database)
        owner = factories.account(1_000)
        digest = factories.api_key(owner)[0].digest
        repeatable, plain = reservation(digest, Claim("1" * 64, "2" * 64)), reservation(digest)
        reserve(repeatable)  # durable: it also has an idempotency key
        reserve(plain)
        crashing_postgres.kill()
        drop_connection()
        database.close_all()
        crashing_postgres.restart()
        assert [hold.id for hold in Hold.select()] == [repeatable.call]
        assert Account.get_by_id(owner.id).held == HELD
        assert settle(plain, owner.id, 150) == Settled(150, 850)
        crashing_postgres.kill()
        drop_connection()
        database.close_all()
        crashing_postgres.restart()
        assert settle(plain, owner.id, 150) == Settled(150, 850, is_first=False)
        assert settle(repeatable, owner.id, 50, has_claim=True) == Settled(50, 800)
        assert LedgerEntry.select().where(LedgerEntry.kind == "charge").count() == 2
        assert verify_ledger(now_ms()).problems == ()
