"""Ledger compaction: all entries become one, plan credits and overage are kept, and the ledger verifies after every step."""

from __future__ import annotations

from uuid import UUID

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import ledger
from shared.billing.pricing import Quote
from shared.core.clock import new_id, now_ms
from shared.core.database import transaction
from shared.identity.api_key_format import digest
from shared.identity.payer import KeyPayer
from shared.ledger import Reservation, Settlement, retention
from shared.ledger.compaction import RemovedRows, compact_ledger, delete_calls, merge_oldest_entries, merge_overage
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, OverageEntry, Plan, PurgeJob, Subscription, UsageLedger
from tests import factories
from tests.databases import allow_tampering
from tests.servers.edge import SECRET_KEY
from tests.workers.holds import HOUR_MS, PRICE, Customer

pytestmark = pytest.mark.usefixtures("bound_database")


def pool(account: UUID) -> tuple[int, int, int]:
    row = Account.get_by_id(account)
    return row.balance, row.held, row.plan_credits


def run_all(account: UUID, batch: int) -> list[RemovedRows]:
    """Run every step of compaction as a purge does, verifying the ledger after each."""
    before, done = pool(account), []
    job = PurgeJob.create(account=account, boundary=0)
    for step in (
        lambda: delete_calls(account, batch),
        lambda: merge_overage(account, now_ms(), batch),
        lambda: merge_oldest_entries(account, now_ms(), SECRET_KEY, batch),
    ):
        while True:
            with transaction():
                removed = step()
            assert verify_ledger(now_ms()).problems == ()
            assert pool(account) == before
            if not removed.total:
                break
            done.append(removed)
    with transaction():
        removed, remains = compact_ledger(account, now_ms(), SECRET_KEY)
    assert verify_ledger(now_ms()).problems == ()
    assert (remains.balance, remains.held, remains.plan_credits) == before == pool(account)
    PurgeJob.update(status="done").where(PurgeJob.id == job.id).execute()
    return [*done, removed]


def total(steps: list[RemovedRows], name: str) -> int:
    return sum(getattr(step, name) for step in steps)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.one_of(st.integers(-60, -1), st.integers(1, 200)), max_size=12),
    plan=st.integers(0, 100),
    batch=st.integers(2, 5),
)
def test_any_history_becomes_one_entry(moves: list[int], plan: int, batch: int) -> None:
    customer = Customer(50)
    account = customer.account
    if plan:
        with transaction():
            ledger.post_entry(account, "grant", plan, actor="test", reason="plan", plan=True)
    for amount in moves:
        balance = pool(account)[0]
        if amount > 0:
            with transaction():
                ledger.post_entry(account, "purchase", amount, actor="test", reason="more")
        elif balance + amount >= 0 and balance >= 100:
            [call] = customer.hold(lasts_ms=HOUR_MS)
            customer.settle(call, -amount)
        elif balance:
            with transaction():
                ledger.post_entry(account, "adjustment", -balance, actor="test", reason="all of it")
    entries = LedgerEntry.select().where(LedgerEntry.account == account).count()
    steps = run_all(account, batch)
    balance, _, plan_credits = pool(account)
    left = list(LedgerEntry.select().where(LedgerEntry.account == account))
    assert total(steps, "entries") == entries
    assert [(row.seq, row.amount, row.balance_after, row.plan_amount) for row in left] == (
        [(1, balance, balance, plan_credits)] if balance else []
    )
    assert not UsageLedger.select().where(UsageLedger.account == account).exists()


def test_running_calls_are_kept_and_settle_afterwards() -> None:
    customer = Customer(1_000)
    [running] = customer.hold(lasts_ms=HOUR_MS)
    [ended] = customer.hold(lasts_ms=HOUR_MS)
    customer.settle(ended, 10)
    run_all(customer.account, 100)
    assert customer.held == 100
    assert customer.settle(running, 40).credits == 40
    assert customer.settle(running, 40).is_first is False
    assert pool(customer.account)[:2] == (950, 0)
    assert verify_ledger(now_ms()).problems == ()


@pytest.mark.parametrize("deleted", [False, True])
def test_overage_keeps_its_total_but_not_its_calls(deleted: bool) -> None:
    """Also if the usage retention has deleted the calls before."""
    owner = factories.account(100)
    plan = Plan.create(name="Over", overage_allowed=True)
    subscription = Subscription.create(account=owner, plan=plan, overage_cap=10_000)
    key = digest(factories.api_key(owner)[1])
    for _ in range(3):  # the first uses up the pool, the others are overage
        call = new_id()
        with transaction():
            ledger.reserve(
                [Reservation(call, "m-1", Quote(PRICE, 100, 100, 10, 90), now_ms() + HOUR_MS, KeyPayer(key))], now_ms()
            )
        with transaction():
            [settled] = ledger.settle([Settlement(call, owner.id, 90, "completed", price=PRICE.id, model="m-1")], now_ms())
        assert settled.credits == 90
    used = Subscription.get_by_id(subscription.id).overage_used
    assert used > 0
    calls = OverageEntry.select().where(OverageEntry.account == owner.id).count()
    if deleted:
        with transaction():
            retention.delete_calls(owner.id, [row.id for row in UsageLedger.select().where(UsageLedger.account == owner.id)])
        assert verify_ledger(now_ms()).problems == ()
    steps = run_all(owner.id, 1_000)
    assert total(steps, "overage") == calls
    [entry] = OverageEntry.select().where(OverageEntry.account == owner.id)
    assert (entry.call, entry.amount, entry.kind) == (None, used, "charge")
    assert Subscription.get_by_id(subscription.id).overage_used == used
    assert total(run_all(owner.id, 1_000), "overage") == 0


def test_a_gap_is_still_found(bound_database: peewee.Database) -> None:
    customer = Customer(1_000)
    allow_tampering(bound_database)
    with transaction():
        ledger.post_entry(customer.account, "purchase", 5, actor="test", reason="more")
    LedgerEntry.update(seq=3).where((LedgerEntry.account == customer.account) & (LedgerEntry.seq == 2)).execute()
    Account.update(ledger_seq=3).where(Account.id == customer.account).execute()
    assert any("entry 3" in problem for problem in verify_ledger(now_ms()).problems)
