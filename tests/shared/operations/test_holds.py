"""Holds closed by staff: released or charged exactly once, even if others try at the same time."""

from __future__ import annotations

import pytest

from shared.core.clock import new_id, now_ms
from shared.core.database import database
from shared.core.errors import InvalidInput, NotFound
from shared.ledger import sweep
from shared.ledger.verify import verify_ledger
from shared.models import AuditEntry, Hold, LedgerEntry, UsageLedger
from shared.operations.audit import Origin
from shared.operations.holds import release_hold, settle_hold
from tests.threads import run_threads
from tests.workers.holds import AMOUNT, HOUR_MS, Customer, state_of

ANA = Origin("ana@yout.example", "10.0.0.9")


def test_a_hold_is_released_completely_and_audited(bound_database):
    customer = Customer(credits=1_000)
    [call] = customer.hold(lasts_ms=HOUR_MS)
    closed = release_hold(call, " stuck since noon ", origin=ANA)
    assert (closed.held, closed.credits, closed.account.id) == (AMOUNT, 0, customer.account)
    row = customer.account_row()
    assert (row.balance, row.held, state_of(call)) == (1_000, 0, "none")
    used = UsageLedger.get(UsageLedger.id == call)
    assert (used.status, used.error_code, used.credits, used.estimated) == ("cancelled", "released_by_staff", 0, True)
    trail = AuditEntry.get(AuditEntry.action == "hold.release")
    assert (trail.actor, trail.address, trail.target) == ("ana@yout.example", "10.0.0.9", str(call))
    assert (trail.before["held"], trail.after["reason"]) == (AMOUNT, "stuck since noon")
    assert verify_ledger(now_ms()).problems == ()


def test_a_settled_hold_is_charged_in_part_and_the_rest_is_released(bound_database):
    customer = Customer(credits=1_000)
    [call] = customer.hold(lasts_ms=HOUR_MS)
    assert settle_hold(call, 30, "the provider billed it", origin=ANA).credits == 30
    row = customer.account_row()
    assert (row.balance, row.held, state_of(call)) == (970, 0, "none")
    assert AuditEntry.get(AuditEntry.action == "hold.settle").after["charged"] == 30
    assert verify_ledger(now_ms()).problems == ()


def test_a_later_settlement_by_the_edge_changes_nothing(bound_database):
    customer = Customer(credits=1_000)
    released, settled = customer.hold(2, lasts_ms=HOUR_MS)
    release_hold(released, "x", origin=ANA)
    settle_hold(settled, 40, "x", origin=ANA)
    assert [customer.settle(call, 77).is_first for call in (released, settled)] == [False, False]
    sweep(now_ms() + 2 * HOUR_MS)
    assert customer.account_row().balance == 960
    assert verify_ledger(now_ms()).problems == ()


@pytest.mark.parametrize("credits", [-1, 0, AMOUNT + 1, 10**18, True])
def test_at_most_the_held_amount_is_charged(bound_database, credits):
    customer = Customer(credits=1_000)
    [call] = customer.hold(lasts_ms=HOUR_MS)
    with pytest.raises(InvalidInput):
        settle_hold(call, credits, "x", origin=ANA)
    assert state_of(call) == "held"
    assert not AuditEntry.select().where(AuditEntry.action.startswith("hold.")).exists()


def test_a_reason_is_required_and_an_unknown_call_is_not_found(bound_database):
    [call] = Customer().hold(lasts_ms=HOUR_MS)
    with pytest.raises(InvalidInput, match="reason"):
        release_hold(call, "  ", origin=ANA)
    with pytest.raises(NotFound, match="No hold"):
        release_hold(new_id(), "x", origin=ANA)
    assert state_of(call) == "held"


def test_concurrent_staff_actions_close_a_hold_once(bound_database):
    customer = Customer(credits=1_000)
    [call] = customer.hold(lasts_ms=HOUR_MS)
    done, refused = [], []

    def close(number: int) -> None:
        try:
            done.append(settle_hold(call, 10, "x", origin=ANA) if number % 2 else release_hold(call, "x", origin=ANA))
        except (InvalidInput, NotFound) as problem:
            refused.append(str(problem))
        database.close()

    run_threads(close, 6)
    assert (len(done), len(refused)) == (1, 5)
    assert customer.account_row().balance == 1_000 - done[0].credits
    assert Hold.select().where(Hold.state == "held").count() == 0
    assert LedgerEntry.select().where(LedgerEntry.kind == "charge").count() == (1 if done[0].credits else 0)
    assert AuditEntry.select().where(AuditEntry.action.startswith("hold.")).count() == 1
    assert verify_ledger(now_ms()).problems == ()
