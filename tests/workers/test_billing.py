"""Renewals by real workers: each period is granted once, even with crashes and concurrent workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.core.clock import now_ms
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import Account, LedgerEntry, Subscription, SubscriptionPeriod
from shared.operations.plans import create_plan
from shared.operations.subscriptions import subscribe
from tests.factories import ORIGIN
from tests.servers.process import Process, eventually
from tests.workers.holds import Customer, assert_ledger_verifies, locked
from tests.workers.queue_messages import Queue

StartWorker = Callable[..., Process]


def subscriber() -> Customer:
    """A customer whose second period is due."""
    customer = Customer(credits=5)
    subscribe(customer.account, "basic", origin=ORIGIN)
    Subscription.update(renews_at=now_ms() - 1_000).where(Subscription.account == customer.account).execute()
    return customer


def granted(customer: Customer) -> int:
    """The number of times that the plan granted its credits."""
    plan_grants = (LedgerEntry.account == customer.account) & (LedgerEntry.plan_amount > 0)
    return int(LedgerEntry.select().where(plan_grants).count())


@pytest.fixture
def basic(bound_database: object) -> None:
    create_plan("basic", {"monthly_credits": 100}, origin=ORIGIN)


@pytest.mark.usefixtures("basic")
def test_a_worker_killed_during_a_renewal_grants_once(
    any_database_url: str, redis_url: str, queue: Queue, start_worker: StartWorker
) -> None:
    customers = [subscriber() for _ in range(3)]
    with locked(any_database_url, customers[1]):
        worker = start_worker(database_url=any_database_url, redis_url=redis_url)
        queue.send("renew_subscriptions")
        eventually(lambda: not queue.waiting(), "the worker has the message and waits for the account")
        worker.kill()
    assert granted(customers[1]) == 1
    start_worker(database_url=any_database_url, redis_url=redis_url)
    eventually(lambda: all(granted(customer) == 2 for customer in customers), "the next worker renews")
    queue.expire_heartbeats()
    eventually(lambda: not queue.unfinished(), "the next worker takes over the message")
    assert [customer.account_row().balance for customer in customers] == [205] * 3
    assert (SubscriptionPeriod.select().count(), queue.dead_letters()) == (6, 0)
    assert_ledger_verifies()


@pytest.mark.usefixtures("basic")
def test_two_workers_and_many_messages_grant_once(
    any_database_url: str, redis_url: str, queue: Queue, start_worker: StartWorker
) -> None:
    customers = [subscriber() for _ in range(10)]
    for _ in range(6):
        queue.send("renew_subscriptions")
    workers = [start_worker(database_url=any_database_url, redis_url=redis_url) for _ in range(2)]
    eventually(lambda: not queue.unfinished(), "every renewal is done")
    assert [granted(customer) for customer in customers] == [2] * 10
    assert (SubscriptionPeriod.select().count(), queue.dead_letters()) == (20, 0)
    assert_ledger_verifies()
    assert not any("Traceback" in worker.output() for worker in workers)


@pytest.mark.usefixtures("bound_database")
def test_a_worker_creates_the_visitor_pool(any_database_url: str, redis_url: str, start_worker: StartWorker) -> None:
    for _ in range(2):
        start_worker(database_url=any_database_url, redis_url=redis_url, visitor_pool_credits=700)
    eventually(lambda: Account.get_or_none(Account.id == POOL_ACCOUNT_ID) is not None, "the pool exists")
    eventually(lambda: Account.get_by_id(POOL_ACCOUNT_ID).balance == 700, "the day's credits are granted")
    assert LedgerEntry.select().count() == 1
    assert_ledger_verifies()
