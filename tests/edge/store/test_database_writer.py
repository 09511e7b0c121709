"""Writes besides the ledger's: they never delay it, their errors reach their callers, and shutdown waits for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import peewee
import psycopg
import pytest

from edge.services import Services
from edge.store.database_writer import DatabaseWriter, WriterThread
from edge.store.ledger_batcher import LedgerBatcher
from shared.core.database import is_sqlite
from shared.core.errors import DatabaseUnavailable, InsufficientCredits, InvalidInput
from shared.core.settings import Settings
from shared.ledger import HoldTaken
from shared.models import Account, ApiKey, EdgeProcess, UsageLedger
from shared.operations.purges import lock_content
from tests import factories
from tests.edge.store.test_database_outage import reservation_of, settlement_of

WAIT_SECONDS = 30


class Blocked:
    """A job that runs `write`, then keeps its transaction open until `open` is called."""

    def __init__(self, write: Callable[[], Any] = lambda: None) -> None:
        self._write = write
        self._reached, self._gate = threading.Event(), threading.Event()
        self.open = self._gate.set

    def __call__(self) -> bool:
        self._write()
        self._reached.set()
        return self._gate.wait(WAIT_SECONDS)

    async def wait_reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, WAIT_SECONDS)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Services]:
    services = await Services.start(settings)
    yield services
    await services.close()


@pytest.fixture
def owner(bound_database: peewee.Database) -> Account:
    return factories.account(100)


@pytest.fixture
def digest(owner: Account) -> str:
    return str(factories.api_key(owner)[0].digest)


def _store(owner: Account) -> None:
    """Lock the account's content, and insert a row that refers to the account."""
    lock_content(owner.id)
    factories.api_key(owner)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
async def test_a_slow_write_delays_no_reservation_settlement_or_heartbeat_on_postgresql(
    owner: Account, digest: str, any_database_url: str, redis_url: str, make_settings: Callable[..., Settings]
) -> None:
    async with started(make_settings(database_url=any_database_url, redis_url=redis_url)) as services:
        slow = Blocked(partial(_store, owner))
        written = services.database_writer.run(slow)
        await slow.wait_reached()
        ask = reservation_of(digest, 20)
        await services.ledger.reserve(ask)
        assert (await services.ledger.settle(settlement_of(ask, owner, 5))).credits == 5
        await services.ledger.writer.run(services._update_heartbeat)
        assert not written.done()
        slow.open()
        assert await written


async def test_a_batch_waits_for_one_job_and_reaches_its_callers_before_the_next(owner: Account, digest: str) -> None:
    ledger = LedgerBatcher()
    running, received = Blocked(), threading.Event()
    jobs = [ledger.writer.run(running), *(ledger.writer.run(partial(received.wait, WAIT_SECONDS)) for _ in range(2))]
    await running.wait_reached()
    reservation = asyncio.ensure_future(ledger.reserve(reservation_of(digest, 20)))
    reservation.add_done_callback(lambda _: received.set())
    await asyncio.sleep(0)  # the reservation is queued
    await asyncio.sleep(0)  # and its batch is the thread's next work
    running.open()
    assert await asyncio.gather(*jobs) == [True, True, True]
    assert isinstance(await reservation, HoldTaken)
    await ledger.close(5)


def fail(error: Exception, owner: Account) -> None:
    factories.api_key(owner)
    raise error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (InvalidInput("no"), InvalidInput),
        (ValueError("a bug"), ValueError),
        (peewee.IntegrityError("a bug"), peewee.IntegrityError),
        (peewee.OperationalError("the connection was lost"), DatabaseUnavailable),
        (psycopg.errors.LockNotAvailable("locked"), DatabaseUnavailable),
    ],
)
async def test_a_failed_job_is_rolled_back_and_raises(
    owner: Account, digest: str, error: Exception, raised: type[Exception]
) -> None:
    ledger = LedgerBatcher()
    with pytest.raises(raised):
        await ledger.writer.run(partial(fail, error, owner))
    assert await ledger.writer.run(ApiKey.select().count) == 1
    with pytest.raises(InsufficientCredits):
        await ledger.reserve(reservation_of(digest, 101))
    await ledger.close(5)


async def test_jobs_do_not_each_wait_for_an_unavailable_database(owner: Account) -> None:
    writer = DatabaseWriter(WriterThread("writer"))
    calls: list[int] = []
    jobs = [partial(fail, peewee.OperationalError("the connection was lost"), owner), partial(calls.append, 1)]
    results = await asyncio.gather(*map(writer.run, jobs), return_exceptions=True)
    assert [type(result) for result in results] == [DatabaseUnavailable, DatabaseUnavailable]
    await writer.run(partial(calls.append, 2))
    assert calls == [2]
    await writer.close(5)


async def test_a_job_runs_although_its_caller_was_cancelled(owner: Account) -> None:
    writer = DatabaseWriter(WriterThread("writer"))
    running = Blocked()
    writer.run(running)
    cancelled = writer.run(partial(factories.api_key, owner))
    cancelled.cancel()
    running.open()
    await writer.close(5)
    assert ApiKey.select().count() == 1


async def test_shutdown_commits_what_is_queued(
    owner: Account, digest: str, any_database_url: str, redis_url: str, make_settings: Callable[..., Settings]
) -> None:
    services = await Services.start(make_settings(database_url=any_database_url, redis_url=redis_url))
    assert (services.database_writer is services.ledger.writer) == is_sqlite()
    ask = reservation_of(digest, 20)
    await services.ledger.reserve(ask)
    running = Blocked()
    jobs: list[asyncio.Future[Any]] = [
        services.database_writer.run(running),
        services.database_writer.run(partial(factories.api_key, owner)),
    ]
    await running.wait_reached()
    settlement = services.ledger.settle(settlement_of(ask, owner, 5))
    closing = asyncio.create_task(services.close())
    if not is_sqlite():
        await settlement
    assert not closing.done()
    running.open()
    await closing
    assert all(future.done() for future in [*jobs, settlement])
    assert (ApiKey.select().count(), UsageLedger.select().count(), EdgeProcess.select().count()) == (2, 1, 0)
