"""The hold sweep, on both databases."""

from __future__ import annotations

from typing import Any

import pytest

from shared.core.clock import new_id, now_ms
from shared.ledger import Claim, sweep
from shared.ledger.sweep import BATCH, GRACE_MS, HEARTBEAT_TIMEOUT_MS, KEEP_CLOSED_HOLDS_MS, HeartbeatGrace
from shared.models import EdgeProcess, Hold, IdempotencyClaim, UsageLedger
from tests.workers.holds import AMOUNT, HOUR_MS, Customer, assert_ledger_verifies, expired_calls, state_of


@pytest.fixture(autouse=True)
def _database(bound_database: Any) -> None:
    """Every test here writes rows."""


def edge_process(seen_ago_ms: int) -> EdgeProcess:
    row: EdgeProcess = EdgeProcess.create(host="edge-1", pid=1, seen_at=now_ms() - seen_ago_ms)
    return row


def test_a_running_call_is_not_swept() -> None:
    customer = Customer()
    [call] = customer.hold(lasts_ms=HOUR_MS, edge_process=edge_process(0).id)
    assert sweep(now_ms()) == 0
    assert (state_of(call), customer.held) == ("held", AMOUNT)


def test_an_overdue_call_is_released_and_can_be_looked_up() -> None:
    customer = Customer()
    [call] = customer.hold()
    assert sweep(now_ms()) == 1
    assert (state_of(call), customer.held) == ("expired", 0)
    row = UsageLedger.get(UsageLedger.id == call)
    assert (row.status, row.error_code, row.credits, row.account_id) == ("expired", "hold_expired", 0, customer.account)
    assert_ledger_verifies()


@pytest.mark.parametrize("known", [True, False])
def test_calls_of_a_dead_edge_process_are_released_before_their_deadline(known: bool) -> None:
    customer = Customer()
    process = edge_process(HEARTBEAT_TIMEOUT_MS + 1_000).id if known else new_id()
    [call] = customer.hold(lasts_ms=HOUR_MS, edge_process=process)
    assert sweep(now_ms()) == 1
    assert (state_of(call), customer.held) == ("expired", 0)


def test_more_than_one_batch() -> None:
    customers = [Customer(), Customer()]
    for customer in customers:
        customer.hold(BATCH // 2 + 1)
    assert sweep(now_ms()) == 2 * (BATCH // 2 + 1)
    assert [customer.held for customer in customers] == [0, 0]
    assert_ledger_verifies()


def test_a_second_sweep_finds_nothing() -> None:
    customer = Customer()
    customer.hold(3)
    assert [sweep(now_ms()), sweep(now_ms())] == [3, 0]
    assert expired_calls() == 3


def test_a_late_settlement_charges_free_credits_once() -> None:
    customer = Customer(credits=150)
    [call] = customer.hold()
    sweep(now_ms())
    customer.hold(lasts_ms=HOUR_MS)  # holds 100 of the 150
    late, again = customer.settle(call, 80), customer.settle(call, 80)
    assert (late.credits, late.uncharged_cost, late.is_first) == (50, 30, True)
    assert not again.is_first
    assert (customer.account_row().balance, customer.held) == (100, AMOUNT)
    assert_ledger_verifies()


def test_sweeping_a_call_releases_its_idempotency_key() -> None:
    customer, claim = Customer(), Claim("k" * 64, "b" * 64)
    customer.hold(claim=claim)
    sweep(now_ms())
    [again] = customer.hold(claim=claim, lasts_ms=HOUR_MS)
    assert IdempotencyClaim.get().call == again


def test_a_settled_call_keeps_its_idempotency_key() -> None:
    customer = Customer()
    [call] = customer.hold(claim=Claim("k" * 64, "b" * 64))
    customer.settle(call, 10, has_claim=True)
    sweep(now_ms())
    assert IdempotencyClaim.get().state == "done"


def test_expired_holds_and_dead_processes_are_deleted_eventually() -> None:
    customer, alive = Customer(), edge_process(0)
    edge_process(2 * HOUR_MS)
    [old, recent] = customer.hold(2)
    [running] = customer.hold(lasts_ms=HOUR_MS, edge_process=alive.id)
    sweep(now_ms())
    Hold.update(closed_at=now_ms() - KEEP_CLOSED_HOLDS_MS - 1).where(Hold.id == old).execute()
    sweep(now_ms())
    assert {hold.id for hold in Hold.select()} == {recent, running}
    assert [process.id for process in EdgeProcess.select()] == [alive.id]
    assert_ledger_verifies()


def test_missing_heartbeats_are_ignored_after_an_outage() -> None:
    customer = Customer()
    [silent] = customer.hold(lasts_ms=HOUR_MS, edge_process=edge_process(HEARTBEAT_TIMEOUT_MS + 1_000).id)
    [overdue] = customer.hold(edge_process=edge_process(0).id)
    assert sweep(now_ms(), expire_silent=False) == 1
    assert (state_of(silent), state_of(overdue)) == ("held", "expired")
    assert sweep(now_ms()) == 1


def test_missing_heartbeats_count_again_after_a_while() -> None:
    grace = HeartbeatGrace()
    beats = [(at, grace.is_over(at), grace.record_sweep(at)) for at in range(0, GRACE_MS + 10_000, 10_000)]
    assert [over for _, over, _ in beats] == [False, False, True]
    after_an_outage = 100_000
    assert not grace.is_over(after_an_outage)
    grace.record_sweep(after_an_outage)
    assert not grace.is_over(after_an_outage + GRACE_MS - 1)
    assert grace.is_over(after_an_outage + GRACE_MS)
