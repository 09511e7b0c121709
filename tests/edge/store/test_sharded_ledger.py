"""A PostgreSQL whose accounts belong to two shards: no transaction spans both, and a shard that is stuck delays no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import peewee
import pytest

from edge.services import Services
from edge.store import sharded_ledger
from edge.store.sharded_ledger import ShardedLedger
from shared.billing.pricing import PriceList, Quote
from shared.core.clock import new_id, now_ms
from shared.core.settings import Settings
from shared.identity.payer import KeyPayer, Payer, VisitorPayer
from shared.ledger import Extension, HoldTaken, Reservation, Settled, Settlement, reserve, settle, sweep
from shared.ledger.sql import lock_accounts
from shared.ledger.verify import verify_ledger
from shared.models import UsageLedger
from tests import factories

HOUR_MS = 3_600_000
WAIT_SECONDS = 20
PRICE = PriceList(uuid4(), 0, 1_000, 1_000, None, 0, 0)
_FUNCTION = (
    "CREATE FUNCTION yout_shard_of(account uuid) RETURNS bigint LANGUAGE sql IMMUTABLE"
    " RETURN get_byte(uuid_send(account), 15) & 1"
)


class Owner:
    """An account on a shard, with a key."""

    def __init__(self, shard: int) -> None:
        self.id: UUID = factories.account(1_000).id
        while self.id.int & 1 != shard:
            self.id = factories.account(1_000).id
        self.payer = KeyPayer(str(factories.api_key(self)[0].digest))  # type: ignore[arg-type]  # only its id is needed

    def ask(self, lasts_ms: int = HOUR_MS) -> Reservation:
        return reservation_of(self.payer, self.id, lasts_ms)


def reservation_of(payer: Payer, account: UUID | None, lasts_ms: int = HOUR_MS) -> Reservation:
    return Reservation(new_id(), "free", Quote(PRICE, 20, 20, 0, 20), now_ms() + lasts_ms, payer, account=account)


@pytest.fixture
def owners(bound_postgres: peewee.Database) -> list[Owner]:
    """Two accounts on each shard, in turn."""
    bound_postgres.execute_sql(_FUNCTION)
    factories.model("free", is_free=True)
    return [Owner(number & 1) for number in range(4)]


@pytest.fixture
async def ledger(
    owners: list[Owner], make_settings: Callable[..., Settings], postgres_url: str, redis_url: str
) -> AsyncIterator[ShardedLedger]:
    services = await Services.start(
        make_settings(database_url=postgres_url, redis_url=redis_url, visitor_pool_credits=1_000, visitor_daily_credits=300)
    )
    assert isinstance(services.ledger, ShardedLedger)
    yield services.ledger
    await services.close()


def record_shards(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The shards of each batch's items from now on."""
    recorded: list[set[int]] = []

    def recording(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(items: Sequence[Any], *rest: Any) -> Any:
            # The visitors' pool is an account with an odd id.
            recorded.append({1 if item.account is None else item.account.int & 1 for item in items})
            return function(items, *rest)

        return run

    for name, function in (("reserve", reserve), ("settle", settle)):
        monkeypatch.setattr(f"edge.store.ledger_batcher.{name}", recording(function))
    return recorded


def settlement_of(ask: Reservation, taken: HoldTaken) -> Settlement:
    return Settlement(ask.call, taken.account, 15, status="completed", model="free", price=PRICE.id)


async def make_calls(ledger: ShardedLedger, asks: Sequence[Reservation]) -> list[Settled]:
    """Reserve all calls at once, then extend and settle all."""
    taken = await asyncio.gather(*map(ledger.reserve, asks))
    accounts = [(ask, hold) for ask, hold in zip(asks, taken, strict=True)]
    await asyncio.gather(*(ledger.extend(Extension(ask.call, hold.account, 1)) for ask, hold in accounts))
    return list(await asyncio.gather(*(ledger.settle(settlement_of(ask, hold)) for ask, hold in accounts)))


@pytest.mark.parametrize("known_accounts", [100, 1])
async def test_no_batch_has_accounts_of_two_shards(
    owners: list[Owner], ledger: ShardedLedger, monkeypatch: pytest.MonkeyPatch, known_accounts: int
) -> None:
    monkeypatch.setattr(sharded_ledger, "MAX_KNOWN_ACCOUNTS", known_accounts)
    batches = record_shards(monkeypatch)
    visitor = reservation_of(VisitorPayer("a" * 64), None)
    settled = await make_calls(ledger, [*(owner.ask() for owner in owners * 3), visitor])
    assert {one.credits for one in settled} == {15}
    if known_accounts > len(owners):  # otherwise the shards of most accounts are unknown when their calls are settled
        assert set(map(len, batches)) == {1}
    assert UsageLedger.select().count() == 13
    assert verify_ledger(now_ms()).problems == ()


async def test_a_stuck_shard_delays_no_other(owners: list[Owner], ledger: ShardedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = owners[:2]
    gate = threading.Event()

    def stuck(items: Sequence[Reservation], *rest: Any) -> Any:
        if items[0].account == first.id:
            assert gate.wait(WAIT_SECONDS)
        return reserve(items, *rest)

    monkeypatch.setattr("edge.store.ledger_batcher.reserve", stuck)
    waiting = asyncio.ensure_future(make_calls(ledger, [first.ask()]))
    try:
        assert [one.credits for one in await make_calls(ledger, [second.ask()])] == [15]
        assert not waiting.done()
    finally:
        gate.set()
    assert [one.credits for one in await waiting] == [15]


async def test_the_sweeper_locks_the_accounts_of_one_shard_at_a_time(
    owners: list[Owner], ledger: ShardedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.gather(*(ledger.reserve(owner.ask(lasts_ms=-1)) for owner in owners))
    locked: list[set[UUID]] = []

    def recording(accounts: Any) -> Any:
        locked.append(set(accounts))
        return lock_accounts(accounts)

    monkeypatch.setattr(import_module("shared.ledger.sweep"), "lock_accounts", recording)  # the package has a function `sweep`
    assert sweep(now_ms()) == 4
    assert sorted(locked, key=min) == sorted(({owner.id for owner in owners[side::2]} for side in (0, 1)), key=min)
    assert verify_ledger(now_ms()).problems == ()
