"""The ledger on both databases, with random batches, compared with a simple reference model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from shared import ledger
from shared.billing.pricing import PriceList, Quote
from shared.billing.token_usage import ExtraUsage, TokenUsage, stored_extra
from shared.core.clock import new_id
from shared.core.database import drop_connection, transaction
from shared.core.errors import (
    AccessDenied,
    CreditsHeld,
    IdempotencyConflict,
    InsufficientCredits,
    InvalidApiKey,
    InvalidInput,
    NotFound,
    RequestRefused,
)
from shared.identity.payer import KeyPayer
from shared.ledger import (
    Claim,
    Extended,
    Extension,
    HoldTaken,
    PoolIsTight,
    Reservation,
    Settled,
    Settlement,
    SingleCalls,
    UsageDetails,
)
from shared.ledger.idempotency import CLAIM_MS
from shared.ledger.sql import Change, change_accounts
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS
from shared.ledger.verify import verify_ledger
from shared.models import Account, ApiKey, EdgeProcess, Hold, IdempotencyClaim, LedgerEntry, UsageLedger
from tests import factories
from tests.databases import allow_tampering
from tests.threads import run_threads

PRICE = PriceList(uuid4(), 0, 0, 1_000, None, 0, 0)  # one credit per output token: affordable tokens = free credits
START = 1_800_000_000_000
HOLD_MS = 60_000


def quote(bound: int, minimum: int) -> Quote:
    return Quote(PRICE, bound, minimum, 0, bound)


def ask(digest: str, bound: int, minimum: int = 0, *, now: int = START, **columns: Any) -> Reservation:
    return Reservation(new_id(), "m-1", quote(bound, min(minimum, bound)), now + HOLD_MS, KeyPayer(digest), **columns)


def settlement(taken: Reservation, account: UUID, cost: int, status: str = "completed", **columns: Any) -> Settlement:
    return Settlement(
        taken.call,
        account,
        cost,
        status=status,
        price=PRICE.id,
        model="m-1",
        usage=TokenUsage(1, cost),
        has_claim=True,
        **columns,
    )


def reserve(*asks: Reservation, now: int = START) -> list[HoldTaken | RequestRefused]:
    with transaction():
        return ledger.reserve(asks, now)


def extend(*items: Extension, now: int = START) -> list[Extended]:
    with transaction():
        return ledger.extend(items, now)


def settle(*items: Settlement, now: int = START) -> list[Settled]:
    with transaction():
        return ledger.settle(items, now)


def pool_of(account: UUID) -> tuple[int, int]:
    row = Account.get_by_id(account)
    return row.balance, row.held


# The model


@dataclass
class Pool:
    balance: int
    held: int = 0
    entries: int = 1
    status: str = "active"

    @property
    def free(self) -> int:
        return self.balance - self.held


@dataclass
class Call:
    ask: Reservation
    account: UUID
    amount: int
    state: str = "held"  # held, expired, closed
    charged: int = 0


@dataclass
class Oracle:
    """Reference model of the ledger: processes one call at a time, with dictionaries for tables."""

    pools: dict[UUID, Pool] = field(default_factory=dict)
    keys: dict[str, UUID] = field(default_factory=dict)
    refused_keys: set[str] = field(default_factory=set)
    calls: dict[UUID, Call] = field(default_factory=dict)
    claims: dict[tuple[UUID, str], tuple[Call, bool, int]] = field(default_factory=dict)

    def reserve(self, ask: Reservation, now: int) -> tuple[Any, ...]:
        account = self.keys.get(ask.payer.digest)
        if account is None or ask.payer.digest in self.refused_keys:
            return (InvalidApiKey,)
        pool = self.pools[account]
        if pool.status != "active":
            return (AccessDenied, "account_suspended")
        conflict = self._conflict(ask, account, now)
        if conflict is not None:
            return conflict
        amount = min(ask.quote.bound, pool.free)
        if ask.elastic and ask.quote.minimum < ask.quote.bound and ask.quote.minimum <= pool.free < 8 * ask.quote.bound:
            if ask.expected is None:
                return (PoolIsTight,)
            amount = min(max(ask.expected, ask.quote.minimum), ask.quote.bound, pool.balance)
            if pool.free < amount:
                return (CreditsHeld, amount, pool.free, pool.held)
        if pool.free < ask.quote.minimum:
            if pool.balance >= ask.quote.minimum:
                return (CreditsHeld, ask.quote.minimum, pool.free, pool.held)
            return (InsufficientCredits, ask.quote.minimum, pool.balance, min(pool.free, ask.quote.bound))
        pool.held += amount
        call = self.calls[ask.call] = Call(ask, account, amount)
        if ask.claim:
            self.claims[account, ask.claim.key_digest] = (call, False, now + CLAIM_MS)
        return (HoldTaken, account, amount)

    def _conflict(self, ask: Reservation, account: UUID, now: int) -> tuple[Any, ...] | None:
        claimed = self.claims.get((account, ask.claim.key_digest)) if ask.claim else None
        if claimed is None or claimed[2] <= now:
            return None
        call, done, _ = claimed
        assert ask.claim is not None
        assert call.ask.claim is not None
        if call.ask.claim.body_digest != ask.claim.body_digest:
            return (IdempotencyConflict, "key_reused", None, None)
        if not done:
            return (IdempotencyConflict, "in_progress", call.ask.call, None)
        return (IdempotencyConflict, "key_used", call.ask.call, call.charged)

    def extend(self, item: Extension) -> Extended:
        call = self.calls.get(item.call)
        if call is None or call.account != item.account or call.state != "held":
            return Extended(0, may_retry=True)
        pool = self.pools[call.account]
        if pool.status != "active" or call.ask.payer.digest in self.refused_keys:
            return Extended(0, may_retry=True)
        others = pool.held > call.amount
        granted = min(item.credits, pool.free)
        pool.held += granted
        call.amount += granted
        return Extended(granted, others)

    def settle(self, item: Settlement) -> Settled:
        pool = self.pools.get(item.account, Pool(0))
        call = self.calls.get(item.call)
        if call is None or call.account != item.account:
            return Settled(0, pool.balance, is_first=False)
        if call.state == "closed":
            return Settled(call.charged, pool.balance, is_first=False)
        if call.state == "held":
            pool.held -= call.amount
        margin = max(call.amount // 10, 100)  # a charge exceeds its hold by at most 10 percent, or 100 credits
        call.charged = min(item.cost, pool.free, call.amount + margin, item.cost if item.cap is None else item.cap)
        call.state = "closed"
        pool.balance -= call.charged
        pool.entries += 1 if call.charged else 0
        self._close_claim(call, kept=item.status == "completed" or (call.charged > 0 and item.first_token_ms is not None))
        return Settled(call.charged, pool.balance, item.cost - call.charged)

    def _close_claim(self, call: Call, *, kept: bool) -> None:
        for key, (claimed, _, expires) in list(self.claims.items()):
            if claimed is call and kept:
                self.claims[key] = (call, True, expires)
            elif claimed is call:
                del self.claims[key]

    def sweep(self, now: int) -> int:
        stale = [call for call in self.calls.values() if call.state == "held" and call.ask.expires_at < now]
        for call in stale:
            call.state = "expired"
            self.pools[call.account].held -= call.amount
            self._close_claim(call, kept=False)
        self.claims = {key: claim for key, claim in self.claims.items() if claim[2] >= now}
        return len(stale)


def comparable(result: HoldTaken | RequestRefused) -> tuple[Any, ...]:
    """A result in the form that the reference model returns."""
    if isinstance(result, HoldTaken):
        return (HoldTaken, result.account, result.amount)
    if isinstance(result, InsufficientCredits):
        return (InsufficientCredits, result.required, result.balance, result.max_tokens_affordable)
    if isinstance(result, CreditsHeld):
        return (CreditsHeld, result.required, result.available, result.held)
    if isinstance(result, IdempotencyConflict):
        return (IdempotencyConflict, result.code, result.call_id, result.credits_charged)
    return (type(result), result.code) if isinstance(result, AccessDenied) else (type(result),)


amounts = st.integers(0, 120)
indexes = st.integers(0, 5)


class LedgerMachine(RuleBasedStateMachine):
    """Two accounts with two keys each, an expired key and an unknown one; each example is rolled back."""

    database: peewee.Database

    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle()
        self.now = START
        self.single_calls = SingleCalls()
        self.example = self.database.transaction()
        self.example.__enter__()

    def teardown(self) -> None:
        self.example.__exit__(Exception, None, None)  # leaving with an exception rolls back

    @initialize(first=st.integers(1, 300), second=st.integers(1, 300))
    def open_accounts(self, first: int, second: int) -> None:
        self.digests = ["f" * 64]  # an unknown key
        for credits in (first, second):
            owner = factories.account(credits)
            self.oracle.pools[owner.id] = Pool(credits)
            for _ in range(2):
                row, _ = factories.api_key(owner)
                self.digests.append(row.digest)
                self.oracle.keys[row.digest] = owner.id
        self.accounts = list(self.oracle.pools)
        expired, _ = factories.api_key(owner)
        ApiKey.update(expires_at=START).where(ApiKey.id == expired.id).execute()
        self.digests.append(expired.digest)
        self.oracle.refused_keys.add(expired.digest)

    asks = st.lists(
        st.tuples(
            *(indexes, amounts, amounts, st.none() | st.tuples(st.integers(0, 2), st.integers(0, 1))),
            st.booleans(),
            st.none() | amounts,
        ),
        max_size=6,
    )

    @rule(asks=asks)
    def reserve(self, asks: Sequence[tuple[int, int, int, tuple[int, int] | None, bool, int | None]]) -> None:
        batch = [
            ask(
                self.digests[index],
                bound,
                minimum,
                now=self.now,
                claim=None if claim is None else Claim(str(claim[0]) * 64, str(claim[1]) * 64),
                elastic=elastic,
                expected=expected,
            )
            for index, bound, minimum, claim, elastic, expected in asks
        ]
        if batch:
            expected = [self.oracle.reserve(one, self.now) for one in batch]
            assert [comparable(result) for result in ledger.reserve(batch, self.now)] == expected

    items = st.lists(st.tuples(st.integers(0, 40), amounts, st.none() | amounts, st.booleans(), st.booleans()), max_size=6)

    @precondition(lambda self: self.oracle.calls)
    @rule(items=items)
    def settle(self, items: Sequence[tuple[int, int, int | None, bool, bool]]) -> None:
        calls = list(self.oracle.calls.values())
        batch = []
        for index, cost, cap, completed, own in items:
            call = calls[-1 - index % len(calls)]
            account = call.account if own or index % 7 else self.accounts[index % 2]
            status = "completed" if completed else "failed"
            batch.append(settlement(call.ask, account, cost, status, cap=cap))
        if batch:
            assert ledger.settle(batch, self.now) == [self.oracle.settle(item) for item in batch]

    @rule(index=indexes, bound=amounts, elastic=st.booleans())
    def reserve_alone(self, index: int, bound: int, elastic: bool) -> None:
        account = self.oracle.keys.get(self.digests[index], self.accounts[0])
        one = ask(self.digests[index], bound, now=self.now, account=account, elastic=elastic)
        taken = self.single_calls.reserve(one, self.now)
        [result] = [taken] if taken is not None else ledger.reserve([one], self.now)
        assert comparable(result) == self.oracle.reserve(one, self.now)

    @precondition(lambda self: self.oracle.calls)
    @rule(index=st.integers(0, 40), cost=amounts, held=st.none() | amounts, cap=st.none() | amounts)
    def settle_alone(self, index: int, cost: int, held: int | None, cap: int | None) -> None:
        calls = list(self.oracle.calls.values())
        call = calls[-1 - index % len(calls)]
        item = settlement(call.ask, call.account, cost, cap=cap, held=call.amount if held is None else held, is_ordinary=True)
        item = item._replace(has_claim=call.ask.claim is not None)
        settled = self.single_calls.settle(item, self.now)
        [result] = [settled] if settled is not None else ledger.settle([item._replace(held=0)], self.now)
        assert result == self.oracle.settle(item)

    @precondition(lambda self: self.oracle.calls)
    @rule(items=st.lists(st.tuples(st.integers(0, 40), amounts, st.booleans()), min_size=1, max_size=6))
    def extend(self, items: Sequence[tuple[int, int, bool]]) -> None:
        calls = list(self.oracle.calls.values())
        batch = []
        for index, credits, own in items:
            call = calls[-1 - index % len(calls)]
            account = call.account if own or index % 7 else self.accounts[index % 2]
            batch.append(Extension(call.ask.call, account, credits))
        assert ledger.extend(batch, self.now) == [self.oracle.extend(item) for item in batch]

    @rule(cost=amounts, index=st.integers(0, 1))
    def settle_unknown_call(self, cost: int, index: int) -> None:
        item = settlement(ask(self.digests[1], 1), self.accounts[index], cost)
        assert ledger.settle([item], self.now) == [self.oracle.settle(item)]

    @precondition(lambda self: self.oracle.calls)
    @rule(picked=st.lists(st.integers(0, 40), min_size=1, max_size=3))
    def release(self, picked: Sequence[int]) -> None:
        calls = list(self.oracle.calls.values())
        chosen = [calls[index % len(calls)] for index in picked]
        ledger.release([call.ask.call for call in chosen], self.now, [call.account for call in chosen])
        for call in chosen:
            if call.state == "held":
                self.oracle.settle(Settlement(call.ask.call, call.account, 0))

    @rule(
        kind=st.sampled_from(["grant", "purchase", "adjustment", "expiry"]),
        amount=st.integers(-150, 150),
        index=st.integers(0, 1),
    )
    def post(self, kind: str, amount: int, index: int) -> None:
        account = self.accounts[index]
        pool = self.oracle.pools[account]
        wrong_sign = amount == 0 or (kind in ("grant", "purchase") and amount < 0) or kind == "expiry"  # no expiry here
        if wrong_sign or pool.free + amount < 0:
            with pytest.raises(InvalidInput):
                ledger.post_entry(account, kind, amount, actor="test", reason="")
            return
        pool.balance += amount
        pool.entries += 1
        entry = ledger.post_entry(account, kind, amount, actor="test", reason="")
        assert (entry.seq, entry.balance_after) == (pool.entries, pool.balance)

    @rule(ahead=st.sampled_from([1, HOLD_MS // 2, HOLD_MS + 1, CLAIM_MS]))
    def let_time_pass(self, ahead: int) -> None:
        self.now += ahead

    @rule()
    def sweep(self) -> None:
        assert ledger.sweep(self.now) == self.oracle.sweep(self.now)

    @rule(index=indexes)
    def revoke(self, index: int) -> None:
        ApiKey.update(revoked_at=self.now).where(ApiKey.digest == self.digests[index]).execute()
        self.oracle.refused_keys.add(self.digests[index])

    @rule(index=st.integers(0, 1), status=st.sampled_from(["active", "suspended"]))
    def set_status(self, index: int, status: str) -> None:
        Account.update(status=status).where(Account.id == self.accounts[index]).execute()
        self.oracle.pools[self.accounts[index]].status = status

    @invariant()
    def the_ledger_matches(self) -> None:
        for account, pool in self.oracle.pools.items():
            row = Account.get_by_id(account)
            assert (row.balance, row.held, row.ledger_seq) == (pool.balance, pool.held, pool.entries)
            assert 0 <= row.held <= row.balance
        assert verify_ledger(START).problems == ()


def test_random_batches_match_the_reference_model(bound_database: peewee.Database) -> None:

    class Machine(LedgerMachine):
        database = bound_database

    examples = settings(
        max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(Machine, settings=examples)


# Single cases


@pytest.fixture
def owner(bound_database: peewee.Database) -> Account:
    return factories.account(100)


@pytest.fixture
def digest(owner: Account) -> str:
    row, _ = factories.api_key(owner)
    return str(row.digest)


def test_a_batch_reserves_exactly_what_is_affordable(owner: Account, digest: str) -> None:
    results = reserve(*(ask(digest, 30, 30) for _ in range(5)))
    assert [type(result) for result in results] == [HoldTaken] * 3 + [CreditsHeld] * 2
    assert pool_of(owner.id) == (100, 90)


def test_a_balance_below_the_bound_is_held_completely(owner: Account, digest: str) -> None:
    (taken,) = reserve(ask(digest, 500, 40))
    assert isinstance(taken, HoldTaken)
    assert taken.amount == 100


def test_a_late_settlement_replaces_the_expired_usage_row(owner: Account, digest: str) -> None:
    reservation = ask(digest, 60, claim=Claim("a" * 64, "b" * 64))
    reserve(reservation)
    assert ledger.sweep(START + HOLD_MS + 1) == 1
    assert UsageLedger.get().status == "expired"
    assert settle(settlement(reservation, owner.id, 30)) == [Settled(30, 70)]
    row = UsageLedger.get()
    assert (row.status, row.credits, pool_of(owner.id)) == ("completed", 30, (70, 0))
    assert verify_ledger(START).problems == ()


def test_a_batch_leaves_the_holds_of_calls_with_the_wrong_account(owner: Account, digest: str) -> None:
    other = factories.account(100)
    first, second = ask(digest, 30), ask(str(factories.api_key(other)[0].digest), 30)
    reserve(first, second)
    swapped = settle(settlement(first, other.id, 5), settlement(second, owner.id, 5))
    assert [settled.is_first for settled in swapped] == [False, False]
    assert [pool_of(account) for account in (owner.id, other.id)] == [(100, 30), (100, 30)]
    settle(settlement(first, owner.id, 5), settlement(second, other.id, 5))
    assert [pool_of(account) for account in (owner.id, other.id)] == [(95, 0), (95, 0)]
    assert verify_ledger(START).problems == ()


def test_details_are_stored_beside_calls_without_any(owner: Account, digest: str) -> None:
    plain, detailed = (ask(digest, bound=10) for _ in range(2))
    reserve(plain, detailed)
    details = UsageDetails("asked", "timeout", "drained", "team:a")
    settle(settlement(plain, owner.id, 5), settlement(detailed, owner.id, 5, details=details))
    rows = {row.id: (row.asked_model, row.failed_attempts, row.cut, row.tag) for row in UsageLedger.select()}
    assert rows == {plain.call: (None,) * 4, detailed.call: tuple(details)}


def test_extra_usage_is_recorded_without_its_zeros(owner: Account, digest: str) -> None:
    """Also beside a call of the same batch that has none."""
    calls = [ask(digest, 30), ask(digest, 30)]
    reserve(*calls)
    extra = ExtraUsage(audio_input_tokens=1, service_tier="flex")
    plain, counted = (settlement(one, owner.id, 10) for one in calls)
    settle(plain, counted._replace(usage=TokenUsage(1, 10, extra=extra)))
    stored = {row.id: row.extra_usage for row in UsageLedger.select()}
    assert stored == {plain.call: None, counted.call: {"audio_input_tokens": 1, "service_tier": "flex"}}
    assert stored_extra(stored[counted.call]) == extra


def test_a_late_settlement_uses_no_credits_held_by_others(owner: Account, digest: str) -> None:
    late, other = ask(digest, 60), ask(digest, 90)
    reserve(late)
    ledger.sweep(START + HOLD_MS + 1)
    reserve(other, now=START + HOLD_MS + 1)
    assert settle(settlement(late, owner.id, 60)) == [Settled(10, 90, uncharged_cost=50)]
    assert settle(settlement(other, owner.id, 90)) == [Settled(90, 0)]


def test_a_second_settlement_returns_the_first_charge(owner: Account, digest: str) -> None:
    reservation = ask(digest, 60)
    reserve(reservation)
    settle(settlement(reservation, owner.id, 25))
    assert settle(settlement(reservation, owner.id, 60)) == [Settled(25, 75, is_first=False)]
    assert LedgerEntry.select().where(LedgerEntry.kind == "charge").count() == 1


def test_releasing_a_reservation_releases_its_idempotency_key(owner: Account, digest: str) -> None:
    first, second = (ask(digest, 60, claim=Claim("a" * 64, "b" * 64)) for _ in range(2))
    reserve(first)
    with transaction():
        ledger.release([first.call], START, [owner.id])
    assert isinstance(reserve(second)[0], HoldTaken)


def test_another_account_cannot_settle_a_call(owner: Account, digest: str) -> None:
    thief = factories.account(100)
    reservation = ask(digest, 60)
    reserve(reservation)
    mixed = [settlement(reservation, thief.id, 60), settlement(reservation, owner.id, 10), settlement(reservation, thief.id, 60)]
    nothing = Settled(0, 100, is_first=False)
    assert settle(*mixed) == [nothing, Settled(10, 90), nothing]
    assert pool_of(thief.id) == (100, 0)


def test_holds_of_a_silent_process_are_swept_before_their_deadline(owner: Account, digest: str) -> None:
    alive, dead = new_id(), new_id()
    EdgeProcess.create(id=alive, host="a", pid=1, seen_at=START)
    EdgeProcess.create(id=dead, host="a", pid=2, seen_at=START - HEARTBEAT_TIMEOUT_MS - 1)
    reserve(*(ask(digest, 10, edge_process=process) for process in (alive, dead, new_id())))
    assert ledger.sweep(START) == 2
    assert Hold.get(Hold.state == "held").edge_process == alive


def test_an_idempotency_key_expires_after_a_day(owner: Account, digest: str) -> None:
    claim = Claim("a" * 64, "b" * 64)
    first = ask(digest, 10, claim=claim)
    reserve(first)
    settle(settlement(first, owner.id, 1))
    (conflict,) = reserve(ask(digest, 10, claim=claim), now=START + CLAIM_MS - 1)
    assert isinstance(conflict, IdempotencyConflict)
    assert isinstance(reserve(ask(digest, 10, claim=claim), now=START + CLAIM_MS)[0], HoldTaken)
    assert IdempotencyClaim.select().count() == 1


@pytest.mark.parametrize(
    "difference", [(-101, 0, 0, 0), (0, 101, 0, 0), (0, -1, 0, 0), (-1, 100, 0, 0), (0, 0, 0, -1), (0, 0, 0, 101)]
)
def test_a_check_constraint_prevents_an_overdraft(owner: Account, difference: Change) -> None:
    with pytest.raises(peewee.IntegrityError), transaction():
        change_accounts({owner.id: difference})
    assert pool_of(owner.id) == (100, 0)


@pytest.mark.parametrize("cost", [-1, -(10**12)])
def test_a_negative_cost_is_rejected(owner: Account, digest: str, cost: int) -> None:
    reservation = ask(digest, 60)
    reserve(reservation)
    with pytest.raises(peewee.IntegrityError):
        settle(settlement(reservation, owner.id, cost))
    assert pool_of(owner.id) == (100, 60)


def test_a_call_is_reserved_once(owner: Account, digest: str) -> None:
    reservation = ask(digest, 10)
    reserve(reservation)
    with pytest.raises(peewee.IntegrityError):
        reserve(reservation)
    assert pool_of(owner.id) == (100, 10)


@pytest.mark.parametrize(
    ("kind", "amount"), [("grant", 0), ("grant", -1), ("expiry", 1), ("adjustment", -101), ("grant", 2 * 10**15)]
)
def test_an_invalid_amount_is_not_posted(owner: Account, kind: str, amount: int) -> None:
    with pytest.raises(InvalidInput), transaction():
        ledger.post_entry(owner.id, kind, amount, actor="test", reason="")
    assert pool_of(owner.id) == (100, 0)


def test_posting_to_an_unknown_account(bound_database: peewee.Database) -> None:
    with pytest.raises(NotFound), transaction():
        ledger.post_entry(new_id(), "grant", 1, actor="test", reason="")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ("UPDATE account SET balance = balance + 1", "its ledger sums to"),
        ("UPDATE account SET held = held + 1", "its open holds sum to"),
        ("UPDATE account SET ledger_seq = 9", "should have 9 entries"),
        ("UPDATE ledger_entry SET balance_after = 7 WHERE seq = 1", "the chain says 100"),
        ("UPDATE ledger_entry SET created_at = 7 WHERE seq = 1", "entry 1: its hash does not follow"),
        ("UPDATE ledger_entry SET reason = 'x' WHERE seq = 1", "entry 1: its details are not those"),
        ("UPDATE usage_ledger SET output_tokens = 7", "entry 2: its details are not those"),
        ("UPDATE account SET ledger_head = NULL", "its last entry has the hash"),
        ("UPDATE usage_ledger SET credits = 999", "its usage row says 999"),
        ("UPDATE hold SET expires_at = 1 WHERE state = 'held'", "yout ledger sweep"),
    ],
)
def test_verify_detects_damage(bound_database: peewee.Database, owner: Account, digest: str, damage: str, complaint: str) -> None:
    charged, running = ask(digest, 20), ask(digest, 20)
    reserve(charged, running)
    settle(settlement(charged, owner.id, 5))
    assert verify_ledger(START).problems == ()
    allow_tampering(bound_database)
    bound_database.execute_sql(damage)
    assert any(complaint in problem for problem in verify_ledger(START).problems)


def test_an_extension_takes_what_is_available(owner: Account, digest: str) -> None:
    first, second = ask(digest, 60), ask(digest, 30)
    reserve(first, second)
    assert extend(Extension(first.call, owner.id, 5), Extension(second.call, owner.id, 50)) == [
        Extended(5, may_retry=True),
        Extended(5, may_retry=True),
    ]
    assert pool_of(owner.id) == (100, 100)
    settle(settlement(second, owner.id, 35))
    assert pool_of(owner.id) == (65, 65)
    closed = Extended(0, may_retry=True)
    assert extend(Extension(first.call, owner.id, 1), Extension(second.call, owner.id, 1)) == [Extended(0), closed]
    assert settle(settlement(first, owner.id, 65)) == [Settled(65, 0)]
    assert verify_ledger(START).problems == ()


def test_a_closed_hold_never_grows(owner: Account, digest: str) -> None:
    swept, revoked = ask(digest, 10), ask(digest, 10, now=START + HOLD_MS)
    reserve(swept, revoked)
    assert ledger.sweep(START + HOLD_MS + 1) == 1
    ApiKey.update(revoked_at=START).where(ApiKey.digest == digest).execute()
    closed = Extended(0, may_retry=True)
    assert extend(Extension(swept.call, owner.id, 5), Extension(revoked.call, owner.id, 5)) == [closed, closed]
    assert pool_of(owner.id) == (100, 10)


# Concurrent writers


def in_threads(work: Callable[[int], None], number: int) -> None:
    """Run `work(0)`, `work(1)`, … concurrently, each on its own connection; re-raise the first exception."""

    def run(index: int) -> None:
        try:
            work(index)
        finally:
            drop_connection()

    run_threads(run, number)


def test_concurrent_batches_neither_deadlock_nor_overdraw(bound_postgres: peewee.Database) -> None:
    owners = [factories.account(500) for _ in range(6)]
    digests = {owner.id: [factories.api_key(owner)[0].digest for _ in range(2)] for owner in owners}
    granted = count()

    def work(index: int) -> None:
        running: list[tuple[Reservation, UUID]] = []
        for turn in range(25):
            chosen = [owners[(index * 5 + turn * (index + 1) + step) % 6].id for step in range(4)]
            asks = [ask(digests[account][turn % 2], 40, 40, account=account) for account in chosen]
            items = [settlement(reservation, account, 7) for reservation, account in running]
            with transaction():
                ledger.lock_in_order([*(item.account for item in items), *chosen])
                ledger.settle(items, START) if items else None
                ledger.extend([Extension(item.call, item.account, 1) for item in items], START) if items else None
                results = ledger.reserve(asks, START)
            running = [(a, r.account) for a, r in zip(asks, results, strict=True) if isinstance(r, HoldTaken)]
            for _ in running:
                next(granted)
        settle(*(settlement(reservation, account, 7) for reservation, account in running)) if running else None

    in_threads(work, 4)
    charged = next(granted) * 7
    assert charged
    assert sum(row.balance for row in Account.select()) == 6 * 500 - charged
    assert all(row.held == 0 for row in Account.select())
    assert verify_ledger(START).problems == ()


def test_sweepers_and_late_settlements_release_nothing_twice(bound_database: peewee.Database) -> None:
    owner = factories.account(1_000)
    digest = str(factories.api_key(owner)[0].digest)
    asks = [ask(digest, 10) for _ in range(60)]
    reserve(*asks)
    swept: list[int] = []

    def work(index: int) -> None:
        if index < 2:
            swept.append(ledger.sweep(START + HOLD_MS + 1))
        else:
            for reservation in asks[index - 2 :: 2]:
                settle(settlement(reservation, owner.id, 3))

    in_threads(work, 4)
    assert sum(swept) <= 60
    assert pool_of(owner.id) == (1_000 - 60 * 3, 0)
    assert verify_ledger(START).problems == ()
