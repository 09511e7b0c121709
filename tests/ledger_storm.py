"""A process that reserves, extends, settles, releases and abandons calls of many accounts, as fast as it can."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4

from edge.store.database_reader import DatabaseReader
from edge.store.metrics import Metrics
from edge.store.sharded_ledger import ShardedLedger
from shared.billing.pricing import PriceList, Quote
from shared.billing.token_usage import TokenUsage
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database
from shared.core.errors import DatabaseUnavailable, RequestRefused
from shared.identity.payer import KeyPayer
from shared.ledger import VISITORS_DISABLED, Extension, Reservation, Settlement
from tests.databases import opened

CALLERS = 12
SETTLE_SECONDS = 120
HOUR_MS = 3_600_000
BOUND = 40
COSTS = (0, 5, 25, 60)
PRICE = PriceList(uuid4(), 0, 1_000, 1_000, None, 0, 0)


class Payer(NamedTuple):
    """A key by its digest, and its account."""

    digest: str
    account: UUID


class Tally(NamedTuple):
    """The calls that the process made.

    charges      credits by call
    refusals     number by error
    held         when calls of an account were accepted, in seconds of `time.time`
    unavailable  when they were refused by an outage
    """

    charges: dict[UUID, int]
    refusals: Counter[str]
    held: dict[UUID, list[float]]
    unavailable: dict[UUID, list[float]]


def storm(url: str, payers: list[Payer], seed: int, stop: Path) -> Tally:
    """Call until the file `stop` exists."""
    tally = Tally({}, Counter(), defaultdict(list), defaultdict(list))
    with opened(url) as target:
        bind_database(target)
        asyncio.run(_storm(payers, seed, stop, tally))
        database.initialize(None)
    return tally


async def _storm(payers: list[Payer], seed: int, stop: Path, tally: Tally) -> None:
    reader = DatabaseReader("reader")
    ledger = ShardedLedger(reader, VISITORS_DISABLED, Metrics())
    await asyncio.gather(*(_call(ledger, payers, random.Random(seed + number), stop, tally) for number in range(CALLERS)))
    await ledger.close(SETTLE_SECONDS)
    reader.close()


async def _call(ledger: ShardedLedger, payers: list[Payer], choose: random.Random, stop: Path, tally: Tally) -> None:
    while not stop.exists():  # noqa: ASYNC240  (quick, and the process has nothing else to do)
        payer = choose.choice(payers)
        abandoned = choose.random() < 0.1
        expires_at = now_ms() + (-1 if abandoned else HOUR_MS)
        ask = Reservation(
            new_id(), "free", Quote(PRICE, BOUND, BOUND, 0, BOUND), expires_at, KeyPayer(payer.digest), account=payer.account
        )
        try:
            taken = await ledger.reserve(ask)
        except DatabaseUnavailable:
            tally.unavailable[payer.account].append(time.time())
            await asyncio.sleep(0.05)
            continue
        except RequestRefused as refusal:
            tally.refusals[type(refusal).__name__] += 1
            await asyncio.sleep(0.005)
            continue
        tally.held[payer.account].append(time.time())
        if abandoned and choose.random() < 0.7:
            continue
        if choose.random() < 0.3:
            await ledger.extend(Extension(ask.call, taken.account, 10))
        cost = choose.choice(COSTS)
        item = Settlement(
            *(ask.call, taken.account, cost, "completed" if cost else "failed", taken.api_key, ask.model, PRICE.id),
            usage=TokenUsage(1, cost),
            created_at=now_ms(),
        )
        settled = await asyncio.wait_for(ledger.settle(item), SETTLE_SECONDS)
        if settled.credits:
            tally.charges[ask.call] = settled.credits
