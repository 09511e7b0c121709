"""All kinds of payers in random order: keys (one with a limit), sessions, visitors, plans with overage, redeem codes.

The test does not replicate the ledger's rules. It only adds up results and compares them with the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import peewee
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from shared import ledger
from shared.billing.token_usage import TokenUsage
from shared.core.billing_periods import DAY_MS, day_of, month_of
from shared.core.clock import new_id, now_ms
from shared.core.errors import InvalidInput
from shared.identity.payer import KeyPayer, Payer, SessionPayer, VisitorPayer
from shared.ledger import Extension, HoldTaken, Reservation, Settlement, VisitorSettings, renew_pool, renew_subscriptions
from shared.ledger.verify import verify_ledger
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID
from shared.models import (
    Account,
    Allowance,
    ApiKey,
    Hold,
    LedgerEntry,
    OverageEntry,
    Subscription,
    UsageLedger,
    VisitorPoolDay,
    WebSession,
)
from shared.operations.plans import create_plan
from shared.operations.redeem_codes import create_codes, redeem
from shared.operations.subscriptions import cancel_subscription, change_subscription, set_overage, subscribe
from tests import factories
from tests.factories import ORIGIN
from tests.shared.ledger.test_ledger import HOLD_MS, PRICE, quote

TERMS = VisitorSettings(200, 90)
KEY_LIMIT = 120
CAP = 60


@dataclass
class Call:
    """An admitted call and its charge."""

    ask: Reservation
    account: UUID
    amount: int
    api_key: UUID | None
    began_at: int
    charged: int | None = None


amounts = st.integers(0, 130)
indexes = st.integers(0, 7)


class LedgerOperations(RuleBasedStateMachine):
    """Random operations of all payers; each example is rolled back."""

    database: peewee.Database

    def __init__(self) -> None:
        super().__init__()
        self.now = now_ms()
        self.calls: list[Call] = []
        self.codes: list[str] = []
        self.bought: dict[UUID, int] = defaultdict(int)
        self.example = self.database.transaction()
        self.example.__enter__()

    def teardown(self) -> None:
        self.example.__exit__(Exception, None, None)  # leaving with an exception rolls back

    @initialize()
    def open(self) -> None:
        factories.model("free", is_free=True)
        create_plan("small", {"monthly_credits": 50, "overage_allowed": True}, origin=ORIGIN)
        create_plan("large", {"monthly_credits": 120, "rollover_cap": 150, "overage_allowed": True}, origin=ORIGIN)
        self.owners = [factories.account(100) for _ in range(2)]
        self.payers: list[Payer] = []
        for owner in self.owners:
            self.bought[owner.id] = 100
            self.payers.append(KeyPayer(str(factories.api_key(owner)[0].digest)))
            session = WebSession.create(digest=new_id().hex * 2, account=owner, expires_at=self.now + 400 * DAY_MS)
            self.payers.append(SessionPayer(str(session.digest)))
        self.limited = factories.api_key(self.owners[0], monthly_credit_limit=KEY_LIMIT)[0]
        self.payers += [KeyPayer(str(self.limited.digest)), *(VisitorPayer(name * 64) for name in "abc")]

    @rule(asks=st.lists(st.tuples(indexes, amounts, amounts, st.none() | amounts), min_size=1, max_size=6))
    def reserve(self, asks: list[tuple[int, int, int, int | None]]) -> None:
        batch = [
            Reservation(
                *(new_id(), "free", quote(bound, min(minimum, bound)), self.now + HOLD_MS, self.payers[index]),
                elastic=expected is not None,
                expected=expected,
            )
            for index, bound, minimum, expected in asks
        ]
        for reservation, result in zip(batch, ledger.reserve(batch, self.now, TERMS), strict=True):
            if isinstance(result, HoldTaken):
                self.calls.append(Call(reservation, result.account, result.amount, result.api_key, self.now))

    @precondition(lambda self: self.calls)
    @rule(items=st.lists(st.tuples(st.integers(0, 30), amounts), min_size=1, max_size=6))
    def settle(self, items: list[tuple[int, int]]) -> None:
        chosen = [(self.calls[-1 - index % len(self.calls)], cost) for index, cost in items]
        batch = [
            Settlement(
                *(call.ask.call, call.account, cost, "completed" if cost else "failed"),
                price=PRICE.id,
                model="free",
                usage=TokenUsage(1, cost) if cost else TokenUsage(0, 0),
                api_key=call.api_key,
                created_at=call.began_at,
            )
            for call, cost in chosen
        ]
        remembered = {hold.id for hold in Hold.select(Hold.id)}
        for (call, _), settled in zip(chosen, ledger.settle(batch, self.now), strict=True):
            if call.ask.call not in remembered:  # settled before, or expired so long ago that the sweeper deleted its hold
                assert (settled.credits, settled.is_first) == (call.charged or 0, False)
                continue
            assert settled.is_first == (call.charged is None)
            assert settled.credits <= call.amount + max(call.amount // 10, 100)
            assert call.charged in (None, settled.credits)  # a second settlement returns the first charge
            call.charged = settled.credits
            assert settled.credits >= settled.overage >= 0

    @precondition(lambda self: self.calls)
    @rule(items=st.lists(st.tuples(st.integers(0, 30), amounts), min_size=1, max_size=6))
    def extend(self, items: list[tuple[int, int]]) -> None:
        chosen = [(self.calls[-1 - index % len(self.calls)], credits) for index, credits in items]
        batch = [Extension(call.ask.call, call.account, credits) for call, credits in chosen]
        for (call, credits), extended in zip(chosen, ledger.extend(batch, self.now), strict=True):
            assert 0 <= extended.granted <= credits
            assert call.charged is None or not extended.granted
            call.amount += extended.granted
        for call in self.calls:
            hold = Hold.get_or_none(Hold.id == call.ask.call)
            assert hold is None or hold.amount + hold.overage == call.amount

    @rule(index=st.integers(0, 1), enabled=st.booleans())
    def switch_overage(self, index: int, enabled: bool) -> None:
        owner = self.owners[index].id
        if Subscription.get_or_none((Subscription.account == owner) & (Subscription.status == "active")) is not None:
            set_overage(owner, CAP if enabled else 0, origin=ORIGIN)

    @rule()
    def sweep(self) -> None:
        ledger.sweep(self.now)

    @rule(ahead=st.sampled_from([1, HOLD_MS + 1, DAY_MS // 2, DAY_MS, 16 * DAY_MS, 32 * DAY_MS]))
    def let_time_pass(self, ahead: int) -> None:
        self.now += ahead

    @rule(times=st.integers(1, 2))
    def run_periodic_jobs(self, times: int) -> None:
        for _ in range(times):
            renew_subscriptions(self.now)
            renew_pool(TERMS, self.now)

    @rule(index=st.integers(0, 1), plan=st.sampled_from(["small", "large"]), when=st.sampled_from(["now", "next_period"]))
    def start_subscription(self, index: int, plan: str, when: str) -> None:
        owner = self.owners[index].id
        if Subscription.get_or_none((Subscription.account == owner) & (Subscription.status == "active")) is None:
            subscribe(owner, plan, origin=ORIGIN)
        else:
            change_subscription(owner, plan, when, origin=ORIGIN)
        set_overage(owner, CAP, origin=ORIGIN)

    @rule(index=st.integers(0, 1), when=st.sampled_from(["now", "next_period"]))
    def end_subscription(self, index: int, when: str) -> None:
        owner = self.owners[index].id
        if Subscription.get_or_none((Subscription.account == owner) & (Subscription.status == "active")) is not None:
            cancel_subscription(owner, when, origin=ORIGIN)

    @rule(credits=st.integers(1, 80))
    def create_code(self, credits: int) -> None:
        self.codes += create_codes(credits, origin=ORIGIN).codes

    @precondition(lambda self: self.codes)
    @rule(index=st.integers(0, 1), picked=st.integers(0, 9))
    def redeem(self, index: int, picked: int) -> None:
        owner = self.owners[index].id
        try:
            collected = redeem(owner, self.codes[picked % len(self.codes)], origin=ORIGIN)
        except InvalidInput:
            return
        self.bought[owner] += collected.payment.credits

    @rule(index=st.integers(0, 1), revoked=st.booleans())
    def revoke(self, index: int, revoked: bool) -> None:
        at = self.now if revoked else None
        ApiKey.update(revoked_at=at).where(ApiKey.digest == self.payers[2 * index].digest).execute()
        WebSession.update(revoked_at=at).where(WebSession.digest == self.payers[2 * index + 1].digest).execute()

    @invariant()
    def the_ledger_verifies(self) -> None:
        assert verify_ledger(0).problems == ()  # 0, because stale holds are left to the sweeper

    @invariant()
    def every_credit_is_accounted_for(self) -> None:
        for owner in self.owners:
            row = Account.get_by_id(owner.id)
            sums = self.sums_of(owner.id)
            charged = sum(call.charged or 0 for call in self.calls if call.account == owner.id)
            beyond = self.total(OverageEntry, OverageEntry.account == owner.id, OverageEntry.kind == "charge")
            assert row.balance == self.bought[owner.id] + sums["grant"] - 100 + sums["expiry"] - (charged - beyond)
            assert 0 <= row.plan_credits <= row.balance
            # Bought credits never expire: all expired and remaining plan credits must come from plan grants.
            assert -sums["expiry"] + row.plan_credits <= sums["grant"] - 100

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        for row in Subscription.select():
            assert row.overage_used + row.overage_held <= CAP
        by_month: dict[int, int] = defaultdict(int)
        for call in self.calls:
            if call.api_key == self.limited.id:
                by_month[month_of(call.began_at)] += call.charged or 0
        assert all(used <= KEY_LIMIT for used in by_month.values())
        by_visitor: dict[tuple[str, int], int] = defaultdict(int)
        for call in self.calls:
            if call.account == POOL_ACCOUNT_ID:
                by_visitor[call.ask.payer.digest, day_of(call.began_at)] += call.charged or 0
        assert all(used <= TERMS.daily_credits for used in by_visitor.values())
        days = VisitorPoolDay.select().count()
        assert sum(by_visitor.values()) <= days * TERMS.pool_credits
        for row in Allowance.select():
            assert row.used + row.held <= row.allowed

    def sums_of(self, account: UUID) -> dict[str, int]:
        query = LedgerEntry.select(LedgerEntry.kind, peewee.fn.SUM(LedgerEntry.amount)).where(LedgerEntry.account == account)
        sums = {kind: int(total) for kind, total in query.group_by(LedgerEntry.kind).tuples()}
        return defaultdict(int, sums)

    def total(self, model: Any, *conditions: Any) -> int:
        return int(model.select(peewee.fn.SUM(model.amount)).where(*conditions).scalar() or 0)


def test_the_ledger_verifies_after_random_operations(bound_database: peewee.Database) -> None:
    class Machine(LedgerOperations):
        database = bound_database

    examples = settings(
        max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(Machine, settings=examples)
    assert not UsageLedger.select().exists()  # everything was rolled back
