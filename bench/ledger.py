"""The cost of the ledger per call: reserve and settle cycles by batch size, on SQLite and PostgreSQL.

    python -m bench.ledger [--seconds 3] [--sizes 1,8,64,256] [--accounts 20]

Each call reserves a hold and settles it later. `apart` commits each separately; `together` settles one batch and reserves the
next in one transaction, as an edge does under load. `alone` is one statement each, as for a single caller on PostgreSQL.
Databases are as durable as in production (fsync). PostgreSQL runs on the last core, this process on the first. At the end the
ledger must balance.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from bench.gateway.machine import choose_cores
from bench.gateway.postgres import DurablePostgres
from shared.billing.pricing import Quote, call_charge, quote
from shared.billing.token_usage import TokenUsage
from shared.catalog import reader
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database
from shared.core.postgres import Postgres
from shared.core.schema_version import migrate
from shared.identity.payer import KeyPayer
from shared.ledger import HoldTaken, Reservation, Settlement, SingleCalls, batch_transaction, reserve, settle
from shared.ledger.verify import verify_ledger
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.catalog import create_model
from shared.operations.channels import create_channel
from shared.operations.keys import create_key
from shared.operations.prices import Rates
from tests.databases import opened

ORIGIN = Origin("bench")
MODEL = "bench-model"
CREDITS = 10**14
USAGE = TokenUsage(20, 64)
REQUEST_SHA256, REQUEST_SHAPE = bytes(range(32)), bytes(range(16))
CALL_MS = 60_000


class Cost(NamedTuple):
    """Cycles per second, and this process's CPU microseconds per cycle."""

    cycles_a_second: float
    cpu_us: float


class Till:
    """Accounts with keys and one priced model, in the bound database. Creates the reservations and settlements of calls."""

    def __init__(self, accounts: int) -> None:
        self._channel = create_channel("mock", "openai", "http://127.0.0.1:9/v1", "", secret_key="", origin=ORIGIN).id
        create_model(MODEL, "mock", Rates(150, 600), origin=ORIGIN)
        price = reader.load_catalog().models[MODEL].prices[0]
        self._quote: Quote = quote(price, input_bound=100, input_estimate=20, output_limit=4_096)
        self._cost = call_charge(price, USAGE)
        rows = [create_account(f"bench-{number}@example.com", CREDITS, origin=ORIGIN) for number in range(accounts)]
        self._keys = cycle([(KeyPayer(create_key(row.id, "bench", origin=ORIGIN).row.digest), row.id) for row in rows])

    def asks(self, size: int) -> list[Reservation]:
        expires = now_ms() + CALL_MS
        keys = islice(self._keys, size)
        return [Reservation(new_id(), MODEL, self._quote, expires, payer, account=account) for payer, account in keys]

    def bills(self, asks: Sequence[Reservation], answers: Sequence[object]) -> list[Settlement]:
        return [self._bill(ask.call, taken) for ask, taken in zip(asks, answers, strict=True)]

    def _bill(self, call: UUID, taken: object) -> Settlement:
        if not isinstance(taken, HoldTaken):
            raise SystemExit(f"a reservation was rejected: {taken!r}")
        return Settlement(
            call,
            taken.account,
            self._cost,
            "completed",
            taken.api_key,
            MODEL,
            self._quote.price.id,
            self._channel,
            usage=USAGE,
            attempts=1,
            first_token_ms=500,
            duration_ms=2_000,
            created_at=now_ms(),
            held=taken.amount,
            is_ordinary=taken.is_ordinary,
            provider_cost=self._cost,
            request_sha256=REQUEST_SHA256,
            request_shape=REQUEST_SHAPE,
        )


def apart(till: Till, size: int) -> Generator[int, None, None]:
    """Two transactions per batch. Yields the number of complete cycles after each step."""
    while True:
        asks = till.asks(size)
        with batch_transaction():
            taken = reserve(asks, now_ms())
        with batch_transaction():
            settle(till.bills(asks, taken), now_ms())
        yield size


def alone(till: Till, size: int) -> Generator[int, None, None]:
    """One statement to take a hold, and one to settle it, for each call in turn. PostgreSQL only."""
    calls = SingleCalls()
    while True:
        for ask in till.asks(size):
            taken = calls.reserve(ask, now_ms())
            [bill] = till.bills([ask], [taken])
            if calls.settle(bill, now_ms()) is None:
                raise SystemExit("a call was not charged")
        yield size


def together(till: Till, size: int) -> Generator[int, None, None]:
    """One transaction per batch: the settlements of the previous batch, then the reservations of the next."""
    bills: list[Settlement] = []
    try:
        while True:
            asks = till.asks(size)
            with batch_transaction():
                if bills:
                    settle(bills, now_ms())
                taken = reserve(asks, now_ms())
            bills = till.bills(asks, taken)
            yield size
    finally:
        with batch_transaction():
            settle(bills, now_ms())


def measure(steps: Generator[int, None, None], seconds: float) -> Cost:
    """Run for this many seconds, after a warm-up of a quarter of that."""
    _run(steps, seconds / 4)
    cpu, began = time.process_time(), time.monotonic()
    cycles = _run(steps, seconds)
    elapsed, used = time.monotonic() - began, time.process_time() - cpu
    steps.close()  # settles the last batch
    return Cost(cycles / elapsed, used / cycles * 1e6)


def _run(steps: Iterator[int], seconds: float) -> int:
    deadline, cycles = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        cycles += next(steps)
    return cycles


WAYS: dict[str, Callable[[Till, int], Generator[int, None, None]]] = {"apart": apart, "together": together}


def bench(kind: str, url: str, sizes: Sequence[int], seconds: float, accounts: int, *, prepares: bool = True) -> bool:
    """Print a row for each size and mode. Returns whether the ledger balances. A pooler disables prepared statements."""
    with opened(url) as database:
        if isinstance(database, Postgres):
            database.prepares_statements = prepares
        bind_database(database)
        migrate(database)
        till = Till(accounts)
        for size in sizes:
            ways = WAYS | {"alone": alone} if size == 1 and isinstance(database, Postgres) else WAYS
            for name, way in ways.items():
                cost = measure(way(till, size), seconds)
                wall_us = 1e6 / cost.cycles_a_second
                print(f"| {kind} | {size} | {name} | {cost.cycles_a_second:,.0f} | {wall_us:,.0f} | {cost.cpu_us:,.0f} |")
        problems = verify_ledger(now_ms()).problems
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return not problems


@contextmanager
def postgres_url(load_core: int) -> Iterator[str]:
    """Return a database of a durable server that runs on `load_core`."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})
    server = DurablePostgres()
    os.sched_setaffinity(0, mine)
    try:
        yield server.create_database()
    finally:
        server.stop()


def main() -> int:
    """Return 0, or 1 if the ledger does not balance."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description="Cycles of reserve and settle.")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--sizes", type=lambda text: [int(size) for size in text.split(",")], default=[1, 8, 64, 256])
    parser.add_argument("--accounts", type=int, default=20, help="that take turns")
    arguments = parser.parse_args()
    cores = choose_cores()
    os.sched_setaffinity(0, {cores.gateway})
    print("| database | batch | commits | cycles/s | us a cycle | CPU us a cycle |\n| --- | ---: | --- | ---: | ---: | ---: |")
    rest = (arguments.sizes, arguments.seconds, arguments.accounts)
    with tempfile.TemporaryDirectory(prefix="yout-bench-") as folder:
        good = bench("SQLite", f"sqlite:///{Path(folder) / 'yout.db'}", *rest)
    for kind, prepares in (("PostgreSQL", True), ("PostgreSQL, no prepared statements", False)):
        with postgres_url(cores.load) as url:
            good = bench(kind, url, *rest, prepares=prepares) and good
    print("\nThe ledger balances." if good else "\nTHE LEDGER DOES NOT BALANCE.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
