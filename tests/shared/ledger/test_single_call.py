"""Single ordinary calls: one statement each to take the hold and to charge it, with the same rows as a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import peewee
import psycopg
import pytest

from shared import ledger
from shared.billing.pricing import PriceList, Quote
from shared.billing.token_usage import TokenUsage
from shared.core.clock import new_id, now_ms
from shared.core.database import drop_connection, transaction
from shared.identity.payer import KeyPayer
from shared.ledger import Claim, Extension, HoldTaken, Reservation, Settled, Settlement, SingleCalls, batch_transaction
from shared.ledger.verify import verify_ledger
from shared.models import Account, ApiKey, Hold, LedgerEntry, UsageLedger
from shared.operations.members import MemberTerms, add_member
from shared.operations.plans import create_plan
from shared.operations.subscriptions import subscribe
from tests import factories
from tests.factories import ORIGIN
from tests.threads import run_threads

PRICE = PriceList(uuid4(), 0, 0, 1_000, None, 0, 0)
CREDITS, BOUND, COST = 10_000, 100, 40


@pytest.fixture
def owner(bound_postgres: peewee.Database) -> Account:
    for model in ("m-1", "m-2"):
        factories.model(model)
    return factories.account(CREDITS)


@pytest.fixture
def key(owner: Account) -> ApiKey:
    return factories.api_key(owner)[0]


def ask(key: ApiKey, bound: int = BOUND, **columns: Any) -> Reservation:
    account = columns.pop("account", key.account.id)
    quote = Quote(PRICE, bound, 1, 0, bound)
    return Reservation(new_id(), "m-1", quote, now_ms() + 60_000, KeyPayer(key.digest), account=account, **columns)


def bill(reservation: Reservation, taken: HoldTaken, cost: int = COST, **columns: Any) -> Settlement:
    item = Settlement(
        *(reservation.call, taken.account, cost, "completed", taken.api_key, "m-1", PRICE.id),
        usage=TokenUsage(1, cost),
        created_at=now_ms(),
        held=taken.amount,
        is_ordinary=taken.is_ordinary,
    )
    return item._replace(**columns)


def taken_alone(calls: SingleCalls, reservation: Reservation) -> HoldTaken:
    taken = calls.reserve(reservation, now_ms())
    assert taken is not None
    return taken


def rows(model: type[peewee.Model]) -> list[dict[str, Any]]:
    found: Any = model.select().order_by(model._meta.primary_key).dicts()
    return list(found)


def state(owner: Account) -> tuple[int, int, int]:
    row = Account.get_by_id(owner.id)
    return row.balance, row.held, row.ledger_seq


def test_each_step_is_one_statement_and_writes_the_rows_of_a_batch(
    owner: Account, key: ApiKey, bound_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, statements = SingleCalls(), list[str]()
    alone, in_batch = ask(key), ask(key)
    execute: Callable[..., Any] = bound_postgres.execute_sql

    def recording(sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    bound_postgres.is_distributed = False  # known: looking it up takes a statement
    with monkeypatch.context() as patch:
        patch.setattr(bound_postgres, "execute_sql", recording)
        now = now_ms()
        taken = calls.reserve(alone, now)
        assert taken is not None
        assert (taken.account, taken.api_key, taken.amount, taken.is_ordinary) == (owner.id, key.id, BOUND, True)
        [hold] = rows(Hold)
        statements.pop()
        assert calls.settle(bill(alone, taken, request_sha256=bytes(32)), now) == Settled(COST, CREDITS - COST)
        assert len(statements) == 2
    with batch_transaction():
        [other] = ledger.reserve([in_batch], now)
        assert isinstance(other, HoldTaken)
    [expected] = rows(Hold)
    assert {**hold, "id": None, "expires_at": 0} == {**expected, "id": None, "expires_at": 0}
    assert other == taken._replace(is_ordinary=False)
    with batch_transaction():
        ledger.settle([bill(in_batch, other, request_sha256=bytes(32))], now)
    first, second = ({**row, "id": None, "created_at": 0} for row in rows(UsageLedger))
    assert first == second
    assert [entry.amount for entry in LedgerEntry.select().order_by(LedgerEntry.seq)] == [CREDITS, -COST, -COST]
    assert state(owner) == (CREDITS - 2 * COST, 0, 3)
    assert verify_ledger(now_ms()).problems == ()


def test_nothing_is_written_for_a_call_that_is_not_ordinary(owner: Account, key: ApiKey) -> None:
    create_plan("small", {"monthly_credits": 50, "allowed_models": ["m-2"]}, origin=ORIGIN)
    on_plan = factories.account(CREDITS)
    subscribe(on_plan.id, "small", origin=ORIGIN)
    suspended = factories.account(CREDITS)
    Account.update(status="suspended").where(Account.id == suspended.id).execute()
    creator = factories.api_key(owner, can_manage=True)[0]
    now = now_ms()

    def with_columns(**columns: Any) -> Reservation:
        row = factories.api_key(owner)[0]
        ApiKey.update(**columns).where(ApiKey.id == row.id).execute()
        return ask(row)

    member = add_member(owner.id, "member@example.com", MemberTerms("developer", None, None), origin=ORIGIN).member
    asks = {
        "revoked": with_columns(revoked_at=now),
        "expired": with_columns(expires_at=now),
        "other models": with_columns(allowed_models=["m-2"]),
        "addresses": with_columns(allowed_ips=["127.0.0.1"]),
        "month": with_columns(monthly_credit_limit=10**6),
        "day": with_columns(daily_credit_limit=10**6),
        "child": with_columns(parent=creator.id),
        "member": with_columns(member=member.id),
        "plan": ask(factories.api_key(on_plan)[0]),
        "suspended": ask(factories.api_key(suspended)[0]),
        "poor": ask(key, CREDITS + 1),
        "tight": ask(factories.api_key(owner)[0], CREDITS // 8 + 1, elastic=True),
        "claim": ask(key, claim=Claim("a" * 64, "b" * 64)),
        "fallbacks": ask(key, fallbacks=("m-2",)),
        "other account": ask(key, account=on_plan.id),
        "unknown account": ask(key, account=None),
    }
    before = [list(model.select().tuples()) for model in (Account, Hold)]
    assert {name: SingleCalls().reserve(one, now) for name, one in asks.items()} == dict.fromkeys(asks)
    assert [list(model.select().tuples()) for model in (Account, Hold)] == before
    assert SingleCalls().reserve(ask(key, CREDITS), now) is not None
    assert SingleCalls().reserve(with_columns(allowed_models=["m-2", "m-1"]), now) is None  # all credits are held


def test_a_key_that_is_allowed_the_model_makes_ordinary_calls(owner: Account) -> None:
    key = factories.api_key(owner, allowed_models=["m-2", "m-1"])[0]
    assert SingleCalls().reserve(ask(key), now_ms()) is not None
    assert SingleCalls().reserve(ask(key)._replace(model="m-"), now_ms()) is None


def test_a_locked_account_is_left_to_the_batch(owner: Account, key: ApiKey, postgres_url: str) -> None:
    calls, reservation = SingleCalls(), ask(key)
    taken = taken_alone(calls, reservation)
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (owner.id,))
        assert calls.reserve(ask(key), now_ms()) is None
        assert calls.settle(bill(reservation, taken), now_ms()) is None
    assert calls.settle(bill(reservation, taken), now_ms()) == Settled(COST, CREDITS - COST)


def test_a_charge_follows_entries_that_others_wrote_meanwhile(owner: Account, key: ApiKey) -> None:
    calls, other, first, second = SingleCalls(), SingleCalls(), ask(key), ask(key)
    taken, others = taken_alone(calls, first), taken_alone(other, second)
    with transaction():
        ledger.post_entry(owner.id, "grant", 500, actor="test", reason="", plan=True)
    assert other.settle(bill(second, others, 60), now_ms()) == Settled(60, CREDITS + 440)
    assert calls.settle(bill(first, taken), now_ms()) == Settled(COST, CREDITS + 400)
    assert state(owner) == (CREDITS + 400, 0, 4)
    assert [entry.plan_amount for entry in LedgerEntry.select().order_by(LedgerEntry.seq)] == [0, 500, -60, -40]
    assert verify_ledger(now_ms()).problems == ()


def test_a_hold_that_changed_is_left_to_the_batch(owner: Account, key: ApiKey) -> None:
    calls = SingleCalls()
    asks = [ask(key) for _ in range(5)]
    settled, extended, expired, expensive, free = (bill(one, taken_alone(calls, one)) for one in asks)
    assert calls.settle(settled, now_ms()) == Settled(COST, CREDITS - COST)
    with transaction():
        ledger.extend([Extension(extended.call, owner.id, 10)], now_ms())
    Hold.update(expires_at=0).where(Hold.id == expired.call).execute()
    assert ledger.sweep(now_ms()) == 1
    before = state(owner)
    left = settled, extended, expired, expensive._replace(cost=BOUND + 1), free._replace(cost=0)
    assert [calls.settle(item, now_ms()) for item in left] == [None] * 5
    assert state(owner) == before == (CREDITS - COST, 3 * BOUND + 10, 2)
    with batch_transaction():
        ledger.settle(left, now_ms())
    assert verify_ledger(now_ms()).problems == ()


def test_concurrent_calls_batches_and_sweeps_keep_every_credit(owner: Account, key: ApiKey) -> None:
    rounds = 25

    def alone(_: int) -> int:
        calls, charged = SingleCalls(), 0
        for number in range(rounds):
            one = ask(key)
            taken = calls.reserve(one, now_ms())
            if taken is None:
                charged += in_batches(1)
                continue
            if number % 5 == 0:
                Hold.update(expires_at=0).where(Hold.id == one.call).execute()
                ledger.sweep(now_ms())
            item = bill(one, taken)
            settled = calls.settle(item, now_ms())
            if settled is None:
                with batch_transaction():
                    [settled] = ledger.settle([item], now_ms())
            charged += settled.credits
        drop_connection()
        return charged

    def in_batches(count: int) -> int:
        charged = 0
        for _ in range(count):
            one = ask(key)
            with batch_transaction():
                [taken] = ledger.reserve([one], now_ms())
            assert isinstance(taken, HoldTaken)
            with batch_transaction():
                charged += ledger.settle([bill(one, taken)], now_ms())[0].credits
        return charged

    def batches(_: int) -> int:
        charged = in_batches(rounds)
        drop_connection()
        return charged

    charged = sum(run_threads(lambda index: (alone, batches)[index % 4 == 3](index), 4))
    assert charged == 4 * rounds * COST
    assert state(owner) == (CREDITS - charged, 0, 1 + 4 * rounds)
    assert verify_ledger(now_ms()).problems == ()
