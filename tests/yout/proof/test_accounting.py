"""The cap proof's arithmetic: each way in which credits can be overdrawn, lost or doubled is found, and none is invented."""

from __future__ import annotations

from typing import Any

import pytest

from yout.proof.accounting import AccountState, Call, Proof, Sample, Sent, bounds, count_sent, prove
from yout.proof.answers import Script

WHOLE = {"status": 200, "whole": True, "words": True}
EXACT = 25 + 2 * 10  # 25 input and 10 output tokens


def call(plan: str = "complete", number: int = 1, *, surface: str = "chat", streamed: bool = True, **seen: Any) -> Call:
    return Call(Script(number, plan, 10), surface, streamed, **seen)


@pytest.mark.parametrize(
    ("made", "sent", "expected"),
    [
        (call(**WHOLE), Sent(1, 10), (EXACT, EXACT)),
        (call(**WHOLE, killed=True), Sent(1, 10), (EXACT, EXACT)),  # the charge was durable before the end was sent
        (call("flaky", **WHOLE), Sent(2, 10), (EXACT, EXACT)),
        (call(surface="embeddings", streamed=False, **WHOLE), Sent(1, 0), (25, 25)),
        (call(surface="images", streamed=False, **WHOLE), Sent(1, 0), (40, 40)),
        (call(surface="images", streamed=False, status=504, whole=True), Sent(1, 0), (0, 40)),  # its job goes on
        (call(surface="speech", streamed=False, **WHOLE), Sent(1, 0), (24, 24)),
        (call("no_usage", **WHOLE), Sent(1, 10), (10, 60)),
        (call(**WHOLE, cut=True), Sent(1, 10), (10, 60)),
        (call("empty", status=200, whole=True), Sent(1, 0), (0, 37)),
        (call("empty", status=200, whole=True, streamed=False), Sent(1, 0), (0, 37)),
        (call("error_event", **WHOLE, failed=True), Sent(1, 5), (10, 53)),
        (call("error_event", **WHOLE, failed=True, killed=True), Sent(1, 5), (0, 53)),
        (call("slow", status=200, words=True, left=True), Sent(1, 4), (10, 44)),
        (call("slow", status=200, left=True), Sent(1, 0), (0, 36)),
        (call("slow", status=0), Sent(1, 3), (0, 42)),  # the edge was killed before its head
        (call("slow", status=0), Sent(), (0, 0)),  # the provider never saw it
        (call("status_500", status=502, whole=True), Sent(3, 0), (0, 0)),
        (call(status=402, whole=True), Sent(), (0, 0)),
        (call(status=503, error="settlement_pending", whole=True), Sent(1, 10), (0, 60)),
        (call(status=503, error="service_unavailable", whole=True), Sent(1, 10), (0, 0)),
    ],
)
def test_bounds_of_a_charge(made: Call, sent: Sent, expected: tuple[int, int]) -> None:
    assert bounds(made, sent) == expected


def proof(
    *, charged: int = EXACT, twice: int = 0, balance: int | None = None, held: int = 0, sample: Sample | None = None, **more: int
) -> Proof:
    """One complete call of a pool of 100 credits."""
    balance = 100 - charged - twice if balance is None else balance
    state = AccountState(100, balance, held, held, {1: charged}, twice, **more)
    return prove([call(**WHOLE)], {1: Sent(1, 10)}, state, [sample or Sample(100, 60)])


@pytest.mark.parametrize(
    ("found", "overdraft", "lost", "doubled", "says"),
    [
        (proof(), 0, 0, 0, ""),
        (proof(adjusted=-30, balance=25), 0, 0, 0, ""),
        (proof(charged=40), 0, 5, 0, "lost: call 1 (chat, streamed, complete) delivered 45 credits, but 40 were charged"),
        (proof(charged=0), 0, 45, 0, "but 0 were charged"),
        (proof(charged=90), 0, 0, 45, "doubled: call 1 (chat, streamed, complete) may cost 45 credits, but 90 were charged"),
        (proof(twice=45), 0, 0, 45, "45 credits were charged for calls that no caller made"),
        (proof(charged=150), 50, 0, 105, "overdraft: 150 of 100 credits were used"),
        (proof(sample=Sample(100, 130)), 30, 0, 0, "held beyond the balance: 30"),
        (proof(sample=Sample(-5, 0)), 5, 0, 0, "overdraft"),
        (proof(held=20), 0, 20, 0, "20 credits are still held"),
        (proof(balance=50), 0, 5, 0, "lost: the balance differs from its entries by 5 credits"),
        (proof(balance=60), 0, 0, 5, "doubled: the balance differs from its entries by 5 credits"),
    ],
)
def test_faults_are_found(found: Proof, overdraft: int, lost: int, doubled: int, says: str) -> None:
    assert (found.overdraft, found.lost, found.doubled) == (overdraft, lost, doubled)
    assert found.clean == (not says)
    assert says in " ".join(found.problems)


def test_what_is_delivered_beyond_the_pool_is_an_overdraft() -> None:
    calls = [call(number=number, **WHOLE) for number in (1, 2, 3)]
    state = AccountState(100, 10, 0, 0, {1: EXACT, 2: EXACT, 3: 0})
    found = prove(calls, {number: Sent(1, 10) for number in (1, 2, 3)}, state, [])
    assert (found.overdraft, found.lost) == (35, 45)


def test_attempts_are_counted_by_call() -> None:
    assert count_sent([(Script(1, "flaky", 9), 0), (Script(2, "slow", 9), 4), (Script(1, "flaky", 9), 9)]) == {
        1: Sent(2, 9),
        2: Sent(1, 4),
    }
