"""Subscription periods: each starts once, however often and wherever the renewal runs; grants, expiry and overage billing."""

from __future__ import annotations

from typing import Any

import peewee
import pytest

from shared import ledger
from shared.billing.token_usage import TokenUsage
from shared.core.billing_periods import next_renewal
from shared.core.clock import new_id, now_ms
from shared.core.database import drop_connection, transaction
from shared.core.errors import InsufficientCredits
from shared.identity.payer import KeyPayer
from shared.ledger import Extended, Extension, HoldTaken, Reservation, Settled, Settlement, renew_subscriptions
from shared.ledger.verify import verify_ledger
from shared.models import Account, ApiKey, LedgerEntry, OverageEntry, Plan, Subscription, SubscriptionPeriod, UsageLedger
from shared.operations.accounts import adjust_credits, set_account_status
from shared.operations.audit import Origin
from shared.operations.plans import create_plan
from shared.operations.subscriptions import (
    cancel_subscription,
    change_subscription,
    resume_subscription,
    set_overage,
    subscribe,
    suspend_subscription,
)
from shared.rollup import month_spending
from tests import factories
from tests.shared.ledger.test_ledger import HOLD_MS, PRICE, in_threads, quote

ACTOR = "test"
ORIGIN = Origin(ACTOR)


def plan(monthly: int = 100, name: str = "basic", **terms: Any) -> Plan:
    return create_plan(name, {"monthly_credits": monthly, **terms}, origin=ORIGIN)


def subscriber(bought: int = 0, **terms: Any) -> Account:
    owner = factories.account(bought)
    subscribe(owner.id, plan(**terms).id, origin=ORIGIN)
    return owner


def credits(owner: Account) -> tuple[int, int]:
    """The balance, and the plan credits in it."""
    row = Account.get_by_id(owner.id)
    return row.balance, row.plan_credits


def subscription(owner: Account) -> Subscription:
    return Subscription.get(Subscription.account == owner)


def entries(owner: Account) -> list[tuple[str, int, int]]:
    rows = LedgerEntry.select().where(LedgerEntry.account == owner).order_by(LedgerEntry.seq)
    return [(row.kind, row.amount, row.plan_amount) for row in rows]


def assert_ledger_verifies() -> None:
    assert verify_ledger(now_ms()).problems == ()


class Calls:
    """Calls with a key of the account."""

    def __init__(self, owner: Account) -> None:
        self.owner = owner
        self.digest = str(factories.api_key(owner)[0].digest)

    def reserve(self, bound: int, minimum: int | None = None) -> tuple[Reservation, Any]:
        lower_bound = bound if minimum is None else minimum
        reservation = Reservation(new_id(), "m-1", quote(bound, lower_bound), now_ms() + HOLD_MS, KeyPayer(self.digest))
        with transaction():
            return reservation, ledger.reserve([reservation], now_ms())[0]

    def settle(self, reservation: Reservation, cost: int) -> Settled:
        item = Settlement(
            reservation.call, self.owner.id, cost, "completed", price=PRICE.id, model="m-1", usage=TokenUsage(1, cost)
        )
        with transaction():
            return ledger.settle([item], now_ms())[0]

    def spend(self, cost: int) -> Settled:
        reservation, taken = self.reserve(cost)
        assert isinstance(taken, HoldTaken), taken
        return self.settle(reservation, cost)


def renew(owner: Account, times: int = 1) -> None:
    """Let `times` periods pass; the worker runs twice in each."""
    for _ in range(times):
        due = subscription(owner).renews_at
        renew_subscriptions(due)
        renew_subscriptions(due)


def test_a_subscription_grants_at_once_and_then_each_month(bound_database: peewee.Database) -> None:
    owner = subscriber(bought=30)
    assert credits(owner) == (130, 100)
    first = subscription(owner)
    assert renew_subscriptions(first.renews_at - 1) == 0
    renew(owner)
    assert credits(owner) == (230, 200)
    assert entries(owner) == [("grant", 30, 0), ("grant", 100, 100), ("grant", 100, 100)]
    starts = [row.starts_at for row in SubscriptionPeriod.select().order_by(SubscriptionPeriod.starts_at)]
    assert starts == [first.started_at, next_renewal(first.started_at, first.anchor_day)]
    assert_ledger_verifies()


def test_credits_above_the_rollover_cap_expire(bound_database: peewee.Database) -> None:
    owner = subscriber(bought=30)
    renew(owner, times=3)
    assert credits(owner) == (230, 200)
    Calls(owner).spend(150)
    renew(owner)
    assert credits(owner) == (180, 150)
    last = SubscriptionPeriod.select().order_by(SubscriptionPeriod.starts_at.desc()).first()
    assert (last.granted, last.expired) == (100, 0)
    assert [entry for entry in entries(owner) if entry[0] == "expiry"] == [("expiry", -100, -100)] * 2
    assert_ledger_verifies()


@pytest.mark.parametrize(("cap", "after"), [(0, 100), (100, 100), (130, 130), (10_000, 400)])
def test_a_plans_own_rollover_cap(bound_database: peewee.Database, cap: int, after: int) -> None:
    owner = subscriber(rollover_cap=cap)
    renew(owner, times=3)
    assert credits(owner) == (after, after)


def test_credits_that_a_call_holds_do_not_expire(bound_database: peewee.Database) -> None:
    owner = subscriber(rollover_cap=0)
    calls = Calls(owner)
    reservation, _ = calls.reserve(80)
    renew(owner)
    assert credits(owner) == (180, 180)
    assert calls.settle(reservation, 10).credits == 10
    renew(owner)
    assert credits(owner) == (100, 100)
    assert_ledger_verifies()


def test_plan_credits_are_used_before_bought_ones(bound_database: peewee.Database) -> None:
    owner = subscriber(bought=50)
    calls = Calls(owner)
    calls.spend(90)
    assert credits(owner) == (60, 10)
    calls.spend(25)
    assert credits(owner) == (35, 0)
    assert entries(owner)[-2:] == [("charge", -90, -90), ("charge", -25, -10)]
    last = LedgerEntry.select().order_by(LedgerEntry.seq.desc()).get()
    with transaction():
        ledger.post_entry(owner.id, "refund", 20, actor=ACTOR, reason="a fault of ours", call=last.call)
    assert credits(owner) == (55, 10)  # plan credits used by the charge are refunded as plan credits
    adjust_credits(owner.id, -12, "a mistake", origin=ORIGIN)
    assert credits(owner) == (43, 0)
    assert_ledger_verifies()


def test_a_delayed_worker_catches_up_on_each_period(bound_database: peewee.Database) -> None:
    owner = subscriber(rollover_cap=1_000)
    row, moment = subscription(owner), subscription(owner).renews_at
    for _ in range(3):
        moment = next_renewal(moment, row.anchor_day)
    assert renew_subscriptions(moment - 1) == 3
    assert renew_subscriptions(moment - 1) == 0
    assert credits(owner) == (400, 400)
    assert subscription(owner).renews_at == moment


def test_a_suspended_account_is_granted_nothing_until_it_is_active_again(bound_database: peewee.Database) -> None:
    owner = subscriber(rollover_cap=1_000)
    row = subscription(owner)
    second, third = row.renews_at, next_renewal(row.renews_at, row.anchor_day)
    set_account_status(owner.id, "suspended", origin=ORIGIN)
    assert renew_subscriptions(second + 1) == 0
    assert renew_subscriptions(third) == 1  # the second period is over, so it is skipped
    assert credits(owner) == (100, 100)
    set_account_status(owner.id, "active", origin=ORIGIN)
    assert renew_subscriptions(third) == 1
    assert credits(owner) == (200, 200)
    states = [period.state for period in SubscriptionPeriod.select().order_by(SubscriptionPeriod.starts_at)]
    assert states == ["granted", "skipped", "granted"]


def test_a_suspended_subscription_is_granted_nothing_until_it_is_resumed(bound_database: peewee.Database) -> None:
    owner = subscriber()
    suspend_subscription(owner.id, origin=ORIGIN)
    due = subscription(owner).renews_at
    assert renew_subscriptions(due) == 0
    resume_subscription(owner.id, origin=ORIGIN)
    assert renew_subscriptions(due) == 1
    assert credits(owner) == (200, 200)


def test_a_cancelled_subscription_ends_with_its_period(bound_database: peewee.Database) -> None:
    owner = subscriber(bought=30)
    Calls(owner).spend(40)
    cancel_subscription(owner.id, origin=ORIGIN)
    assert credits(owner) == (90, 60)
    row = subscription(owner)
    renew(owner)
    assert credits(owner) == (30, 0)
    ended = subscription(owner)
    assert (ended.status, ended.ended_at) == ("ended", row.renews_at)
    assert renew_subscriptions(next_renewal(row.renews_at, 1)) == 0
    assert entries(owner)[-1] == ("expiry", -60, -60)
    assert_ledger_verifies()


def test_credits_held_at_period_end_expire_when_the_call_ends(bound_database: peewee.Database) -> None:
    owner = subscriber()
    calls = Calls(owner)
    reservation, _ = calls.reserve(70)
    cancel_subscription(owner.id, "now", origin=ORIGIN)
    assert credits(owner) == (70, 70)
    assert renew_subscriptions(now_ms()) == 0
    calls.settle(reservation, 20)
    assert renew_subscriptions(now_ms()) == 1
    assert credits(owner) == (0, 0)
    assert_ledger_verifies()


def test_an_immediate_upgrade_grants_the_difference_once(bound_database: peewee.Database) -> None:
    owner = subscriber()
    plan(250, "greater")
    due = subscription(owner).renews_at
    for name in ("greater", "basic", "greater", "greater"):
        change_subscription(owner.id, name, "now", origin=ORIGIN)
    assert credits(owner) == (250, 250)
    assert subscription(owner).renews_at == due
    renew(owner)
    assert credits(owner) == (500, 500)
    assert_ledger_verifies()


def test_a_plan_change_at_the_next_period(bound_database: peewee.Database) -> None:
    owner = subscriber()
    smaller = plan(40, "smaller")
    change_subscription(owner.id, "smaller", origin=ORIGIN)
    assert (credits(owner), subscription(owner).plan.name) == ((100, 100), "basic")
    renew(owner)
    assert credits(owner) == (80, 80)  # twice the new plan's monthly credits
    row = subscription(owner)
    assert (row.plan, row.next_plan) == (smaller, None)


def test_concurrent_renewals_grant_once(bound_postgres: peewee.Database) -> None:
    owners = [subscriber(name=f"plan {number}") for number in range(8)]
    due = max(subscription(owner).renews_at for owner in owners)
    spent: list[int] = []

    def work(index: int) -> None:
        if index < 3:
            renew_subscriptions(due)
        else:
            for owner in owners:
                spent.append(Calls(owner).spend(7).credits)
        drop_connection()

    in_threads(work, 5)
    assert sum(credits(owner)[0] for owner in owners) == 8 * 200 - sum(spent)
    assert SubscriptionPeriod.select().count() == 16
    assert_ledger_verifies()


# Overage


def account_with_overage(cap: int = 50, bought: int = 0) -> tuple[Account, Calls]:
    owner = subscriber(bought=bought, monthly=20, overage_allowed=True)
    set_overage(owner.id, cap, origin=ORIGIN)
    return owner, Calls(owner)


def overage(owner: Account) -> tuple[int, int]:
    row = subscription(owner)
    return row.overage_used, row.overage_held


def test_overage_extends_the_balance_up_to_the_cap(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage(bought=10)
    reservation, taken = calls.reserve(60)
    assert (taken.amount, overage(owner)) == (60, (0, 30))
    assert calls.settle(reservation, 45) == Settled(45, 0, overage=15)
    assert (credits(owner), overage(owner)) == ((0, 0), (15, 0))
    row = UsageLedger.get(UsageLedger.id == reservation.call)
    assert (row.credits, row.overage_credits) == (45, 15)
    assert not calls.settle(reservation, 45).is_first
    assert calls.settle(reservation, 45).credits == 45
    reservation, taken = calls.reserve(100, 10)
    assert taken.amount == 35
    assert calls.settle(reservation, 100) == Settled(35, 0, uncharged_cost=65, overage=35)
    assert isinstance(calls.reserve(1)[1], InsufficientCredits)
    assert LedgerEntry.select().where(LedgerEntry.kind == "charge").count() == 1
    assert_ledger_verifies()


def test_an_extension_uses_overage_after_the_pool(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()  # 20 plan credits, and up to 50 of overage
    reservation, _ = calls.reserve(15)
    extension = Extension(reservation.call, owner.id, 30)
    with transaction():
        assert ledger.extend([extension], now_ms()) == [Extended(30)]
    assert (credits(owner), overage(owner)) == ((20, 20), (0, 25))
    assert_ledger_verifies()
    set_overage(owner.id, 0, origin=ORIGIN)
    with transaction():
        assert ledger.extend([extension], now_ms()) == [Extended(0)]
    assert calls.settle(reservation, 45) == Settled(45, 0, overage=25)
    assert_ledger_verifies()


def test_credits_added_during_a_call_are_used_before_overage(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()
    reservation, _ = calls.reserve(60)
    adjust_credits(owner.id, 100, "a gift", origin=ORIGIN)
    assert calls.settle(reservation, 60) == Settled(60, 60)
    assert overage(owner) == (0, 0)
    assert_ledger_verifies()


def test_overage_must_be_enabled_in_plan_and_subscription(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()
    for change in (
        Plan.update(overage_allowed=False),
        Plan.update(overage_allowed=True),
        Subscription.update(overage_cap=0),
        Subscription.update(overage_cap=50),
        Subscription.update(suspended_at=1),
    ):
        change.execute()
        allowed = Plan.get().overage_allowed and subscription(owner).overage_cap and subscription(owner).suspended_at is None
        reservation, taken = calls.reserve(30)
        assert isinstance(taken, HoldTaken if allowed else InsufficientCredits)
        if allowed:
            calls.settle(reservation, 0)


def test_a_swept_call_releases_its_overage_once(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()
    reservation, _ = calls.reserve(60)
    late = now_ms() + HOLD_MS + 1_000
    assert [ledger.sweep(late), ledger.sweep(late)] == [1, 0]
    assert overage(owner) == (0, 0)
    _, other = calls.reserve(40)
    assert other.amount == 40
    assert calls.settle(reservation, 60) == Settled(30, 20, uncharged_cost=30, overage=30)  # the other calls hold the rest
    assert_ledger_verifies()


def test_overage_is_billed_with_the_next_period(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()
    calls.spend(55)
    reservation, _ = calls.reserve(10)
    renew(owner)
    assert overage(owner) == (0, 10)
    calls.settle(reservation, 10)
    assert overage(owner) == (0, 0)  # paid from the new period's grant
    bills = [(row.kind, row.amount) for row in OverageEntry.select().order_by(OverageEntry.id)]
    assert bills == [("charge", 35), ("bill", -35)]
    assert_ledger_verifies()


def test_overage_held_at_period_end_is_billed_when_the_call_ends(bound_database: peewee.Database) -> None:
    owner, calls = account_with_overage()
    reservation, _ = calls.reserve(60)
    cancel_subscription(owner.id, "now", origin=ORIGIN)
    assert calls.settle(reservation, 60) == Settled(60, 0, overage=40)
    assert overage(owner) == (40, 0)
    assert renew_subscriptions(now_ms()) == 1
    assert overage(owner) == (0, 0)
    assert OverageEntry.get(OverageEntry.kind == "bill").amount == -40
    assert_ledger_verifies()


def test_a_keys_limit_counts_overage_too(bound_database: peewee.Database) -> None:
    owner, _ = account_with_overage()
    calls = Calls(owner)
    calls.digest = str(factories.api_key(owner, monthly_credit_limit=30)[0].digest)
    reservation, taken = calls.reserve(60, 20)
    assert (taken.amount, overage(owner)) == (30, (0, 10))
    assert calls.settle(reservation, 60) == Settled(30, 0, uncharged_cost=30, overage=10)
    assert isinstance(calls.reserve(1)[1], InsufficientCredits)
    assert month_spending(owner.id, now_ms()) == {ApiKey.get(ApiKey.digest == calls.digest).id: 30}
    assert_ledger_verifies()


def test_concurrent_calls_never_exceed_the_cap(bound_postgres: peewee.Database) -> None:
    owner, calls = account_with_overage(cap=200)
    charged: list[Settled] = []

    def work(index: int) -> None:
        for turn in range(15):
            reservation, taken = calls.reserve(20, 5)
            if isinstance(taken, HoldTaken):
                charged.append(calls.settle(reservation, 3 + (index * 7 + turn) % 25))
        drop_connection()

    in_threads(work, 4)
    assert sum(one.overage for one in charged) == overage(owner)[0] <= 200
    assert sum(one.credits for one in charged) == 20 + overage(owner)[0] > 210
    assert overage(owner)[1] == 0
    assert_ledger_verifies()
