"""The cost of one call on the servers behind the edge: CPU of PostgreSQL and Valkey, bytes of WAL, and bytes that stay on disk.

    python -m bench.call_costs [--calls 50000] [--accounts 1000]

Calls take holds and are settled in batches, as on a busy edge, in a PostgreSQL with fsync. Each has a channel and the digest of
its request, and its charge is hashed. The limiter serves them in batches.
The result is one JSON object, which `bench.capacity` reads. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import redis

from bench.gateway.machine import choose_cores, cpu_seconds
from bench.gateway.postgres import DurablePostgres
from bench.ledger import Till, together
from edge.store.limiter import Limiter
from shared.core.clock import new_id, now_ms
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.ledger.verify import verify_ledger
from tests.databases import opened
from tests.servers.redis import RedisServer

BATCH = 64
NO_LIMIT = RateLimits(10**9, 10**12, 10**6)
KEY_LIMIT = RateLimits(10**8, 10**11, 10**5)  # differs, so that calls are counted for the key, too
TABLES = "usage_ledger", "ledger_entry", "hold"


def database_costs(calls: int, accounts: int) -> dict[str, float]:
    """Return what a call costs PostgreSQL, by measuring `calls` calls of `accounts` accounts in turn."""
    server = DurablePostgres()
    try:
        with opened(server.create_database()) as db:
            bind_database(db)
            migrate(db)
            steps = together(Till(accounts), BATCH)
            run_calls(steps, calls // 10)
            before = written_bytes(), cpu_seconds(server.process.pid), _sizes()
            done = run_calls(steps, calls)
            after = written_bytes(), cpu_seconds(server.process.pid), _sizes()
            steps.close()
            if problems := verify_ledger(now_ms()).problems:
                raise SystemExit("The ledger does not balance: " + "; ".join(problems))
            kept = {f"{table}_bytes": (after[2][table] - before[2][table]) / done for table in TABLES}
        return {"database_us": (after[1] - before[1]) / done * 1e6, "wal_bytes": (after[0] - before[0]) / done, **kept}
    finally:
        server.stop()


def run_calls(steps: Iterator[int], calls: int) -> int:
    """Reserve and settle at least `calls` calls. Returns their number."""
    done = 0
    while done < calls:
        done += next(steps)
    return done


def written_bytes() -> int:
    """Return the bytes of WAL since the server was created."""
    return int(database.execute_sql("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')").fetchone()[0])


def _sizes() -> dict[str, int]:
    """Return the bytes of each table of calls with its indexes."""
    sql = """SELECT coalesce(sum(pg_total_relation_size(relid)), pg_total_relation_size(%s::regclass))
        FROM pg_partition_tree(%s::regclass)"""  # a table without partitions has no tree
    return {table: int(database.execute_sql(sql, (table, table)).fetchone()[0]) for table in TABLES}


async def limiter_us(url: str, calls: int, accounts: int) -> float:
    """Return the CPU microseconds of Valkey for a call: a permit and its release."""
    limiter = Limiter(url, lease_seconds=60)
    owners = [new_id() for _ in range(accounts)]
    with redis.Redis.from_url(url) as client:
        before = _server_seconds(client)
        for _ in range(calls // BATCH):
            limits = [KeyLimits(account, account, NO_LIMIT, KEY_LIMIT) for account in random.choices(owners, k=BATCH)]
            permits = await asyncio.gather(*(limiter.acquire(new_id(), limit, 1_000) for limit in limits))
            for permit in permits:
                limiter.release(permit, 500)
        await limiter.close()
        return (_server_seconds(client) - before) / (calls // BATCH * BATCH) * 1e6


def _server_seconds(client: redis.Redis) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_sys"] + info["used_cpu_user"])  # type: ignore[index]  # the client is synchronous


def main() -> int:
    """Print the costs as one JSON object. Returns 0; raises `SystemExit` if the ledger does not balance."""
    parser = argparse.ArgumentParser(prog="python -m bench.call_costs", description="What a call costs PostgreSQL and Valkey.")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    arguments = parser.parse_args()
    cores = choose_cores()
    os.sched_setaffinity(0, {cores.load})
    costs = database_costs(arguments.calls, arguments.accounts)
    with tempfile.TemporaryDirectory(prefix="yout-bench-") as folder:
        valkey = RedisServer("valkey", Path(folder))
        try:
            costs["limiter_us"] = asyncio.run(limiter_us(valkey.url, arguments.calls, arguments.accounts))
        finally:
            valkey.kill()
    print(json.dumps({name: round(value, 1) for name, value in costs.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
