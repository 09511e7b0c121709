"""CPU time that proofs add to each call: the hash of its charge, the hash of its request, and the shape of its request.

    python -m bench.proof_costs [--calls 20000] [--batch 16] [--body-bytes 2000]
    python -m bench.proof_costs --settle [--rounds 60] [--batch 16]

Each part runs alone, without a database, on a batch of charges as `settle` hashes it. The result is the lowest of several runs,
in microseconds a call. With `--settle`, charges are settled on SQLite in a temporary folder: with the hash chain, and without its
hashes and columns, in turn. The result is the median of the differences of neighboring rounds. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

from shared.billing.token_usage import TokenUsage
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database, open_database
from shared.core.schema_version import migrate
from shared.ledger import batch_transaction, settle
from shared.ledger.request_shapes import RequestShapes
from shared.ledger.settle import ENTRY_COLUMNS, Settled, Settlement, entry_rows
from shared.ledger.sql import AccountState, as_uuid, entry_month, execute, insert
from shared.models import Account
from transport.http_client import ADDED_HEADERS

RUNS = 7
FIELDS = ("model", "messages", "stream", "temperature", "max_completion_tokens", "stream_options")
HEADERS = tuple((name, "x") for name in ("content-type", "accept", "user-agent", "http-referer", "authorization"))


def measure(work: Callable[[], object], calls: int, each: int) -> float:
    """Return the lowest CPU time of several runs, in microseconds a call. `work` stands for `each` calls."""
    lowest = float("inf")
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in range(calls // each):
            work()
        lowest = min(lowest, time.thread_time() - began)
    return lowest / (calls // each * each) * 1e6


def parts(batch: int, body_bytes: int) -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield the name of each part, its work, and for how many calls that is."""
    now, account, digest = now_ms(), uuid4(), bytes(range(32))
    usage = TokenUsage(20, 64)
    items = [
        Settlement(
            new_id(),
            account,
            42,
            "completed",
            model="bench-model",
            price=uuid4(),
            usage=usage,
            created_at=now,
            request_sha256=digest,
            request_shape=digest[:16],
        )
        for _ in range(batch)
    ]
    pools = {account: AccountState(1_000, 0, 0)}
    charges = [(item, Settled(42, 1_000), seq + 1, -42, 1_000, 0) for seq, item in enumerate(items)]
    yield f"hash of the charge (batches of {batch})", lambda: entry_rows(charges, pools, {}, now), batch
    body = bytes(body_bytes)
    yield f"SHA-256 of the request ({body_bytes:,} bytes)", lambda: sha256(body).digest(), 1
    shapes = RequestShapes(ADDED_HEADERS, lambda _: None)
    yield "shape of the request", lambda: shapes.find(FIELDS, HEADERS, {}, account), 1


WITNESS = ("entry_hash", "commitment", "salt")
HOLD = ("id", "account_id", "model", "price", "amount", "state", "created_at", "expires_at")
ROUND_CALLS = 512


def _settlements(account: UUID, count: int, now: int) -> list[Settlement]:
    """Return finished calls like those of an edge."""
    digest, ids = bytes(range(32)), {"price": uuid4(), "channel": uuid4(), "api_key": uuid4()}
    request = {"request_sha256": digest, "request_shape": digest[:16]}
    times = {"attempts": 1, "duration_ms": 50, "first_token_ms": 20, "created_at": now}
    usage, model = TokenUsage(20, 64), "bench-model"
    return [
        Settlement(new_id(), account, 42, "completed", model=model, usage=usage, **ids, **request, **times)  # type: ignore[arg-type]  # of different types
        for _ in range(count)
    ]


def _lock_without_heads(accounts: Iterable[UUID]) -> Callable[[], dict[UUID, AccountState]]:
    """Like `lock_accounts` on SQLite, without the hashes of the latest entries."""
    columns = "id, balance, held, ledger_seq, plan_credits"
    cursor = execute(f"SELECT {columns} FROM account WHERE id IN ? ORDER BY id", [sorted(set(accounts))])
    return lambda: {as_uuid(id): AccountState(*numbers) for id, *numbers in cursor}


def _rows_without_hashes(charges: Sequence[Any], _pools: object, _heads: object, now: int) -> list[tuple[object, ...]]:
    """Like `entry_rows`, without the witness."""
    return [
        (item.account, seq, "charge", amount, balance, item.call, "edge", "", now, plan, entry_month(item.call, now))
        for item, _, seq, amount, balance, plan in charges
    ]


def _without_witness() -> Any:
    columns = tuple(name for name in ENTRY_COLUMNS if name not in WITNESS)
    changes: dict[str, Any] = {
        "entry_rows": _rows_without_hashes,
        "ENTRY_COLUMNS": columns,
        "lock_accounts": _lock_without_heads,
    }
    return patch.multiple(sys.modules["shared.ledger.settle"], **changes)


def _settle_round(account: UUID, batch: int) -> float:
    """Return the CPU microseconds of a settled call. Its hold is created before."""
    now, count = now_ms(), max(batch, ROUND_CALLS // batch * batch)
    items = _settlements(account, count, now)
    with batch_transaction():
        rows = [(item.call, account, item.model, item.price, 100, "held", now, now + 60_000) for item in items]
        insert("hold", HOLD, rows)
        execute("UPDATE account SET held = held + ? WHERE id = ?", [100 * count, account])
    for pragma in ("synchronous = OFF", "wal_autocheckpoint = 0", "wal_checkpoint(TRUNCATE)"):
        database.execute_sql(f"PRAGMA {pragma}").fetchall()
    gc.collect()
    began = time.thread_time()
    for start in range(0, count, batch):
        with batch_transaction():
            settle(items[start : start + batch], now)
    return (time.thread_time() - began) / count * 1e6


def settle_costs(batch: int, rounds: int) -> tuple[float, float]:
    """Return the CPU microseconds of a settled call without a hash chain, and what the chain adds to it (medians)."""
    plain, added = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = [open_database(f"sqlite:///{folder}/{number}.sqlite3") for number in range(2)]
        accounts = []
        for file in files:
            bind_database(file)
            migrate(file)
            accounts.append(Account.create(email="bench@example.com", balance=10**12).id)
        gc.disable()
        for _ in range(rounds):
            bind_database(files[0])
            with _without_witness():
                plain.append(_settle_round(accounts[0], batch))
            bind_database(files[1])
            added.append(_settle_round(accounts[1], batch) - plain[-1])
        gc.enable()
        for file in files:
            file.close()
    return statistics.median(plain), statistics.median(added)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.proof_costs", description="CPU time of proofs per call.")
    parser.add_argument("--calls", type=int, default=20_000, help="of each run")
    parser.add_argument("--batch", type=int, default=16, help="charges that are settled together")
    parser.add_argument("--body-bytes", type=int, default=2_000, help="size of the request")
    parser.add_argument("--settle", action="store_true", help="settle charges with and without the hash chain")
    parser.add_argument("--rounds", type=int, default=60, help="of each, with --settle")
    arguments = parser.parse_args()
    if arguments.settle:
        plain, added = settle_costs(arguments.batch, arguments.rounds)
        print(f"batches of {arguments.batch}: {plain:.1f} us a call without the hash chain, {added:.1f} more with it")
        return
    print("| part | CPU us a call |\n| --- | ---: |")
    total = 0.0
    for name, work, each in parts(arguments.batch, arguments.body_bytes):
        cost = measure(work, arguments.calls, each)
        total += cost
        print(f"| {name} | {cost:.2f} |")
    print(f"| together | {total:.2f} |")


if __name__ == "__main__":
    main()
