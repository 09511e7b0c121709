"""How fast the usage retention deletes calls in a PostgreSQL with fsync, and how long one transaction takes.

    python -m bench.usage_retention [--calls 50000] [--accounts 1000]

Calls are reserved and settled in batches, as on a busy edge, and then made old. The result is one JSON object. `wal_bytes` and
`database_us` are per deleted call; compare them with `bench.call_costs`. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from bench.call_costs import BATCH, run_calls, written_bytes
from bench.gateway.machine import choose_cores, cpu_seconds
from bench.gateway.postgres import DurablePostgres
from bench.ledger import Till, together
from shared.core.clock import now_ms
from shared.core.database import bind_database, database
from shared.core.schema_version import migrate
from shared.ledger.retention import DAY_MS
from shared.ledger.verify import verify_ledger
from shared.models import RollupState
from tests.databases import opened
from workers.usage_retention import UsageRetention

AGE_DAYS = 100


def measure(calls: int, accounts: int) -> dict[str, float]:
    """Return the costs of deleting `calls` calls of `accounts` accounts."""
    server = DurablePostgres()
    try:
        with opened(server.create_database()) as db:
            bind_database(db)
            migrate(db)
            steps = together(Till(accounts), BATCH)
            done = run_calls(steps, calls)
            steps.close()
            database.execute_sql("UPDATE usage_ledger SET created_at = created_at - %s", (AGE_DAYS * DAY_MS,))
            RollupState.update(rolled_until=now_ms()).execute()
            database.execute_sql("VACUUM ANALYZE")
            return _delete_all(server, done)
    finally:
        server.stop()


def _delete_all(server: DurablePostgres, calls: int) -> dict[str, float]:
    retention, seconds, deleted = UsageRetention(30), [0.0], 0
    wal, cpu = written_bytes(), cpu_seconds(server.process.pid)
    while deleted < calls:
        began = time.monotonic()
        deleted += retention.run(now_ms(), seconds=0)  # one transaction, and the search for the next account
        seconds.append(time.monotonic() - began)
    wal, cpu = written_bytes() - wal, cpu_seconds(server.process.pid) - cpu
    if problems := verify_ledger(now_ms()).problems:
        raise SystemExit("The ledger does not balance: " + "; ".join(problems))
    return {
        "deleted": deleted,
        "calls_per_second": deleted / sum(seconds),
        "database_us": cpu / deleted * 1e6,
        "wal_bytes": wal / deleted,
        "longest_run_ms": max(seconds) * 1000,
    }


def main() -> int:
    """Print the costs as one JSON object. Returns 0; raises `SystemExit` if the ledger does not balance."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage_retention", description="What deleting old calls costs.")
    parser.add_argument("--calls", type=int, default=50_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {choose_cores().load})
    found = measure(arguments.calls, arguments.accounts)
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
