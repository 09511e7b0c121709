"""A PostgreSQL outage: callers get 503, running calls are settled afterwards, and the ledger verifies."""

from __future__ import annotations

import asyncio
import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import peewee
import psycopg
import pytest

from edge.store.ledger_batcher import LedgerBatcher
from shared.billing.pricing import PriceList, Quote
from shared.core.availability import DATABASE
from shared.core.clock import new_id, now_ms
from shared.core.database import database, is_sqlite, transaction
from shared.core.errors import DatabaseUnavailable
from shared.identity.payer import KeyPayer
from shared.ledger import Claim, HoldTaken, Reservation, Settlement, SingleCalls, reserve, settle, sweep
from shared.ledger.verify import verify_ledger
from shared.models import Account, Hold, IdempotencyClaim, LedgerEntry, UsageLedger
from tests import factories
from tests.edge.http_calls import Stream, chat, run_concurrently
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import WebProcess
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, stream

COST = 13  # 7 input tokens at one credit, 3 output tokens at two
PRICE = PriceList(uuid4(), 0, 1_000, 1_000, None, 0, 0)


def readiness(edge: WebProcess) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=20)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_an_outage_is_503_and_running_calls_are_settled_afterwards(
    postgres: Postgres, bound_postgres: Any, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000, minimum=10)
    owner = factories.account()
    poor, (_, secret) = factories.account(0), factories.api_key(owner)
    _, poor_secret = factories.api_key(poor)
    _, unseen_secret = factories.api_key(owner)
    edge = start_edge(database_url=postgres_url, redis_url=redis_url)
    assert [chat(edge, secret).status, chat(edge, poor_secret).status] == [200, 402]
    gate = Gate()
    upstream.script(stream(role(), chunk("Hello"), gate, finish(), usage(7, 3), DONE))
    made_before = len(upstream.calls) + 1
    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        bound_postgres.close_all()
        postgres.cut_off(postgres_url)
        try:
            # Keys known to this edge (one without enough credits), and one it has never seen.
            answers = run_concurrently(12, lambda number: chat(edge, (secret, poor_secret, unseen_secret)[number % 3]))
            assert {(answer.status, answer.code) for answer in answers} == {(503, "service_unavailable")}
            assert len(upstream.calls) == made_before
            gate.open()
            eventually(lambda: readiness(edge)[0] == 503, "the edge is not ready")
            parts = readiness(edge)[1]
            assert (parts["database"], parts["database_writes"], parts["redis"]) == (False, False, True)
        finally:
            postgres.reconnect(postgres_url)
        ending = running.remaining_events()
    assert ending[-1] == {"done": True}
    assert ending[-2]["yout"] == {"credits_charged": COST, "balance": 1_000_000 - 2 * COST}
    eventually(lambda: readiness(edge)[0] == 200, "the edge is ready again")
    answers = [chat(edge, one) for one in (secret, poor_secret, unseen_secret)]
    assert [answer.status for answer in answers] == [200, 402, 200]
    account = Account.get_by_id(owner.id)
    assert (account.balance, account.held) == (1_000_000 - 4 * COST, 0)
    log = edge.process.log.read_text()
    assert (log.count("The database is unavailable"), log.count("The database is available again")) == (1, 1)
    assert verify_ledger(now_ms()).problems == ()


def test_a_disconnect_during_an_outage_bills_delivered_output_once(
    postgres: Postgres, bound_postgres: Any, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000, minimum=10)
    owner = factories.account()
    _, secret = factories.api_key(owner)
    edge = start_edge(database_url=postgres_url, redis_url=redis_url)
    gate = Gate()
    upstream.script(stream(role(), chunk("Hello"), gate))
    with Stream(edge, secret) as leaving:
        leaving.response_head()
        leaving.read_text("Hello")
        bound_postgres.close_all()
        postgres.cut_off(postgres_url)
    assert upstream.calls[-1].wait_outcome() == "disconnected"
    gate.open()
    eventually(lambda: readiness(edge)[0] == 503, "the edge is not ready")
    postgres.reconnect(postgres_url)
    eventually(lambda: UsageLedger.select().count() == 1, "the call is settled after the outage")
    charged = UsageLedger.get().credits
    assert charged >= 10
    account = Account.get_by_id(owner.id)
    assert (account.balance, account.held) == (1_000_000 - charged, 0)
    assert verify_ledger(now_ms()).problems == ()


# The ledger queue


def reservation_of(digest: str, bound: int, claim: Claim | None = None) -> Reservation:
    return Reservation(new_id(), "m-1", Quote(PRICE, bound, bound, 0, bound), now_ms() + 60_000, KeyPayer(digest), claim=claim)


def settlement_of(taken: Reservation, owner: Account, cost: int) -> Settlement:
    return Settlement(taken.call, owner.id, cost, status="completed", model="m-1", price=PRICE.id)


@pytest.fixture
def owner(bound_database: peewee.Database) -> Account:
    return factories.account(100)


@pytest.fixture
def digest(owner: Account) -> str:
    return str(factories.api_key(owner)[0].digest)


def lose_next_commit_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit the next transaction, then raise as if the connection was lost before the commit was confirmed."""

    @contextmanager
    def committed_and_lost(**_: bool) -> Iterator[Any]:
        monkeypatch.undo()
        with transaction() as inner:
            yield inner
        raise peewee.OperationalError("the connection was lost")

    monkeypatch.setattr("edge.store.ledger_batcher.batch_transaction", committed_and_lost)


def held(owner: Account) -> int:
    return int(Account.get_by_id(owner.id).held)


async def test_every_charge_is_synced_to_disk_and_a_hold_alone_is_not(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_sqlite():
        pytest.skip("PostgreSQL syncs every commit")
    synced: list[tuple[str, int]] = []

    def recording(name: str, function: Any) -> Any:
        def recorded(*arguments: Any) -> Any:
            synced.append((name, database.execute_sql("PRAGMA synchronous").fetchone()[0]))
            return function(*arguments)

        return recorded

    for name, function in (("reserve", reserve), ("settle", settle)):
        monkeypatch.setattr(f"edge.store.ledger_batcher.{name}", recording(name, function))
    monkeypatch.setattr("edge.store.ledger_batcher.CROWDED_SECONDS", -1.0)
    ledger = LedgerBatcher()
    first = reservation_of(digest, 10)
    await ledger.reserve(first)
    await ledger.writer.run(lambda: synced.append(("job", database.execute_sql("PRAGMA synchronous").fetchone()[0])))
    settling = ledger.settle(Settlement(first.call, owner.id, 7))
    await ledger.reserve(reservation_of(digest, 10))  # in the same batch
    await settling
    await ledger.close(5)
    normal, full = 1, 2
    assert synced == [("reserve", normal), ("job", full), ("settle", full), ("reserve", full)]


@pytest.mark.parametrize(
    ("crowded_items", "crowded_seconds", "sizes"), [(5, 60.0, [1, 1, 1, 1, 1]), (4, 60.0, [5]), (5, -1.0, [5])]
)
async def test_items_are_committed_one_by_one_unless_the_queue_is_crowded(
    owner: Account,
    digest: str,
    monkeypatch: pytest.MonkeyPatch,
    crowded_items: int,
    crowded_seconds: float,
    sizes: list[int],
) -> None:
    committed: list[int] = []

    def recorded(reservations: Any, *rest: Any) -> Any:
        committed.append(len(reservations))
        return reserve(reservations, *rest)

    monkeypatch.setattr("edge.store.ledger_batcher.reserve", recorded)
    monkeypatch.setattr("edge.store.ledger_batcher.CROWDED_ITEMS", crowded_items)
    monkeypatch.setattr("edge.store.ledger_batcher.CROWDED_SECONDS", crowded_seconds)
    ledger = LedgerBatcher()
    await asyncio.gather(*(ledger.reserve(reservation_of(digest, 10)) for _ in range(5)))
    await ledger.close(5)
    assert committed == sizes
    assert held(owner) == 50


async def test_a_cancellation_just_after_the_commit_leaves_no_hold(owner: Account, digest: str) -> None:
    ledger = LedgerBatcher()
    claim = Claim("a" * 64, "b" * 64)
    running = asyncio.create_task(ledger.reserve(reservation_of(digest, 60, claim)))
    real = ledger._finish

    def cancel_first(results: Any) -> None:
        running.cancel()  # a disconnect in the same loop iteration that delivers the result
        real(results)

    ledger._finish = cancel_first  # type: ignore[method-assign]  # of this one object
    with pytest.raises(asyncio.CancelledError):
        await running
    ledger._finish = real  # type: ignore[method-assign]  # of this one object
    assert isinstance(await ledger.reserve(reservation_of(digest, 100, claim)), HoldTaken)
    await ledger.close(5)
    assert held(owner) == 100


async def test_a_cancellation_after_the_result_arrived_leaves_no_hold(owner: Account, digest: str) -> None:
    ledger = LedgerBatcher()
    running = asyncio.create_task(ledger.reserve(reservation_of(digest, 60)))
    real = ledger._finish

    def cancel_last(results: Any) -> None:
        real(results)
        running.cancel()

    ledger._finish = cancel_last  # type: ignore[method-assign]  # of this one object
    with pytest.raises(asyncio.CancelledError):
        await running
    ledger._finish = real  # type: ignore[method-assign]  # of this one object
    assert isinstance(await ledger.reserve(reservation_of(digest, 100)), HoldTaken)
    await ledger.close(5)


async def test_a_failed_settlement_does_not_affect_others_in_the_batch(owner: Account, digest: str) -> None:
    ledger = LedgerBatcher()
    good, bad = reservation_of(digest, 20), reservation_of(digest, 20)
    await asyncio.gather(ledger.reserve(good), ledger.reserve(bad))
    futures = [ledger.settle(settlement_of(good, owner, 5)), ledger.settle(settlement_of(bad, owner, -5))]
    reservation = asyncio.create_task(ledger.reserve(reservation_of(digest, 30)))
    results: list[Any] = await asyncio.gather(*futures, reservation, return_exceptions=True)
    assert results[0].credits == 5
    assert isinstance(results[1], DatabaseUnavailable)
    assert isinstance(results[2], HoldTaken)
    await ledger.close(5)
    assert held(owner) == 50  # the failed one waits for the sweeper


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
async def test_a_locked_account_delays_only_its_own_calls(owner: Account, digest: str, any_database_url: str) -> None:
    ledger = LedgerBatcher()
    other = factories.account(100)
    others_key = str(factories.api_key(other)[0].digest)
    taken = reservation_of(digest, 20)._replace(account=owner.id)
    await ledger.reserve(taken)
    with psycopg.connect(any_database_url) as locking:
        locking.execute("SELECT 1 FROM account WHERE id = %s FOR UPDATE", (owner.id,))
        settlement = ledger.settle(settlement_of(taken, owner, 5))
        refused = asyncio.ensure_future(ledger.reserve(reservation_of(digest, 30)._replace(account=owner.id)))
        passing = asyncio.ensure_future(ledger.reserve(reservation_of(others_key, 30)._replace(account=other.id)))
        assert isinstance(await passing, HoldTaken)
        with pytest.raises(DatabaseUnavailable):
            await refused
        assert not settlement.done()
    assert (await settlement).credits == 5
    await ledger.close(5)
    assert (held(owner), held(other)) == (0, 30)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
async def test_a_batch_that_the_database_does_not_support_is_split_by_account(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(function: Any) -> Any:
        def run(items: Any, *rest: Any) -> Any:
            if len({item.account for item in items}) > 1:  # as a distributed database does for accounts of two shards
                database.execute_sql("DO $$ BEGIN RAISE feature_not_supported; END $$")
            return function(items, *rest)

        return run

    for name, function in (("reserve", reserve), ("settle", settle)):
        monkeypatch.setattr(f"edge.store.ledger_batcher.{name}", refusing(function))
    ledger = LedgerBatcher()
    other = factories.account(100)
    calls = [
        reservation_of(digest, 20)._replace(account=owner.id),
        reservation_of(str(factories.api_key(other)[0].digest), 20)._replace(account=other.id),
    ]
    assert [type(taken) for taken in await asyncio.gather(*map(ledger.reserve, calls))] == [HoldTaken, HoldTaken]
    settled = await asyncio.gather(
        *(ledger.settle(settlement_of(call, one, 5)) for call, one in zip(calls, (owner, other), strict=True))
    )
    assert [one.credits for one in settled] == [5, 5]
    await ledger.close(5)
    assert DATABASE.is_available


async def test_a_reservation_with_an_unconfirmed_commit_is_released(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerBatcher()
    claim = Claim("a" * 64, "b" * 64)
    lose_next_commit_confirmation(monkeypatch)
    with pytest.raises(DatabaseUnavailable):
        await ledger.reserve(reservation_of(digest, 60, claim)._replace(account=owner.id))
    assert held(owner) == 60
    assert isinstance(await ledger.reserve(reservation_of(digest, 100, claim)), HoldTaken)
    await ledger.close(5)
    assert [hold.amount for hold in Hold.select().where(Hold.state == "held")] == [100]
    assert IdempotencyClaim.select().count() == 1


async def test_a_settlement_with_an_unconfirmed_commit_is_charged_once(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerBatcher()
    taken = reservation_of(digest, 60)
    await ledger.reserve(taken)
    lose_next_commit_confirmation(monkeypatch)
    settled = await ledger.settle(settlement_of(taken, owner, 25))
    assert (settled.credits, settled.balance, settled.is_first) == (25, 75, False)
    await ledger.close(5)
    assert verify_ledger(now_ms()).problems == ()
    assert sweep(now_ms()) == 0


def lose_next_answer(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Run the next statement of a single call, then raise as if the connection was lost before its result arrived."""
    real = getattr(SingleCalls, method)

    def run_and_lost(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert real(*arguments) is not None
        raise peewee.OperationalError("the connection was lost")

    monkeypatch.setattr(SingleCalls, method, run_and_lost)


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
async def test_a_hold_taken_alone_whose_result_was_lost_is_released(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerBatcher()
    lose_next_answer(monkeypatch, "reserve")
    with pytest.raises(DatabaseUnavailable):
        await ledger.reserve(reservation_of(digest, 60)._replace(account=owner.id))
    assert held(owner) == 60
    await ledger.reserve(reservation_of(digest, 10)._replace(account=owner.id))
    assert held(owner) == 70  # the statement could still arrive, so it is too early
    ledger._release_at = 0.0
    await ledger.reserve(reservation_of(digest, 20)._replace(account=owner.id))
    await ledger.close(5)
    assert held(owner) == 30


@pytest.mark.parametrize("any_database_url", ["postgresql"], indirect=True)
async def test_a_call_charged_alone_whose_result_was_lost_is_charged_once(
    owner: Account, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = LedgerBatcher()
    reservation = reservation_of(digest, 60)._replace(account=owner.id)
    taken = await ledger.reserve(reservation)
    assert taken.is_ordinary
    lose_next_answer(monkeypatch, "settle")
    item = settlement_of(reservation, owner, 25)._replace(held=taken.amount, is_ordinary=True)
    settled = await ledger.settle(item)
    assert (settled.credits, settled.balance, settled.is_first) == (25, 75, False)
    await ledger.close(5)
    assert LedgerEntry.select().where(LedgerEntry.kind == "charge").count() == 1
    assert verify_ledger(now_ms()).problems == ()
