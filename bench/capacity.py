"""A model of Yout at 1,000, 10,000 and 100,000 calls per second: machines, the next bottleneck, latency, and monthly cost.

    python -m bench.call_costs > costs.json
    python -m bench.capacity --costs costs.json [--edge-us 230] [--rates 1000,10000,100000]

No load is generated: the first table multiplies the measured costs of one call. The second is a simulation of the one part that
does not scale linearly, the ledger's batches. Each edge commits its queued calls in one transaction, which locks their accounts
until it is durable, so a busy account's batches on different edges wait for each other. Calls arrive at random; an account's
share of them falls with its rank (Zipf). The prices of machines are assumptions, which options can change.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import statistics
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

MAX_BATCH = 256  # as in edge/store/ledger_batcher.py
BUSY = 0.6  # planned share of a core: the rest is for peaks, and for the load of a failed machine
GB = 1e9


class Costs(NamedTuple):
    """Costs of one call: CPU in microseconds, and bytes. `row_bytes` are kept as long as usage, `hold_bytes` for a week."""

    edge_us: float
    database_us: float
    limiter_us: float
    wal_bytes: float
    row_bytes: float
    hold_bytes: float


class Limits(NamedTuple):
    """The limits of one machine."""

    database_cores: float
    wal_mb: float  # per second, of one database's disk
    commit_ms: float  # from the first statement of a batch until it is durable, without its calls
    commit_call_us: float  # per call of a batch


class Prices(NamedTuple):
    """USD per month."""

    core: float
    disk_gb: float


class Parts(NamedTuple):
    """The number of machines, and their load without spare capacity."""

    edges: int
    databases: int
    limiters: int
    disk_gb: float
    usd: float
    next_limit: str


def parts(rate: float, costs: Costs, limits: Limits, prices: Prices, days: int) -> Parts:
    """Return what a rate of calls per second needs, with usage kept for `days`. `next_limit` is the fullest part."""
    edges = rate * costs.edge_us / 1e6
    database_cores = rate * costs.database_us / 1e6
    wal_mb = rate * costs.wal_bytes / 1e6
    limiters = rate * costs.limiter_us / 1e6
    databases = max(1, math.ceil(max(database_cores / limits.database_cores, wal_mb / limits.wal_mb) / BUSY))
    needed = Parts(max(2, math.ceil(edges / BUSY)), databases, max(1, math.ceil(limiters / BUSY)), 0, 0, "")
    disk_gb = rate * 86_400 * (costs.row_bytes * days + costs.hold_bytes * 7) / GB
    cores = needed.edges + max(database_cores / BUSY, 2 * databases) + needed.limiters
    use = {
        "edge CPU": edges / needed.edges,
        "database CPU": database_cores / limits.database_cores / databases,
        "database WAL": wal_mb / limits.wal_mb / databases,
        "Redis CPU": limiters / needed.limiters,
    }
    fullest = max(use, key=use.__getitem__)
    usd = cores * prices.core + 2 * disk_gb * prices.disk_gb  # and a standby's copy
    return needed._replace(disk_gb=disk_gb, usd=usd, next_limit=f"{fullest} ({use[fullest]:.0%})")


class Waits(NamedTuple):
    """Milliseconds until a call's hold is durable, and how many calls of a batch there were."""

    p50: float
    p99: float
    calls_a_batch: float
    finished: float  # share of the calls that had their hold when the simulated time ended


def simulate(rate: float, edges: int, accounts: int, limits: Limits, *, by_account: bool, seconds: float, seed: int) -> Waits:
    """Simulate holds. `by_account`: each account's calls go to one edge; otherwise to any."""
    chance = random.Random(seed)
    shares = list(accumulate(1 / rank for rank in range(1, accounts + 1)))
    arrivals = int(rate * seconds)
    times = sorted(chance.random() * seconds for _ in range(arrivals))
    owners = chance.choices(range(accounts), cum_weights=shares, k=arrivals)
    queues: list[deque[tuple[float, int]]] = [deque() for _ in range(edges)]
    for at, owner in zip(times, owners, strict=True):
        queues[hash((owner, seed)) % edges if by_account else chance.randrange(edges)].append((at, owner))
    return _commit_all(queues, limits, arrivals, seconds)


def _commit_all(queues: Sequence[deque[tuple[float, int]]], limits: Limits, arrivals: int, seconds: float) -> Waits:
    """Run each edge's batches in order of their start. An account is locked by one batch at a time."""
    free_at: dict[int, float] = {}
    waits, sizes = [], []
    ready = [(queue[0][0], edge) for edge, queue in enumerate(queues) if queue]
    heapq.heapify(ready)
    while ready:
        now, edge = heapq.heappop(ready)
        if now > seconds:
            break
        queue, batch = queues[edge], []
        while queue and queue[0][0] <= now and len(batch) < MAX_BATCH:
            batch.append(queue.popleft())
        held = {owner for _, owner in batch}
        start = max([now, *(free_at.get(owner, 0.0) for owner in held)])
        done = start + limits.commit_ms / 1e3 + len(batch) * limits.commit_call_us / 1e6
        free_at.update(dict.fromkeys(held, done))
        waits += [1e3 * (done - at) for at, _ in batch]
        sizes.append(len(batch))
        if queue:
            heapq.heappush(ready, (max(done, queue[0][0]), edge))
    waits.sort()
    return Waits(waits[len(waits) // 2], waits[len(waits) * 99 // 100], statistics.mean(sizes), len(waits) / arrivals)


def report(rates: Sequence[float], costs: Costs, limits: Limits, prices: Prices, days: int, accounts: int) -> str:
    """Return both tables as Markdown."""
    lines = ["| calls/s | edge processes | databases | Redis nodes | disk TB | USD a month | fullest part |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    needed = {rate: parts(rate, costs, limits, prices, days) for rate in rates}
    for rate, part in needed.items():
        sizes = f"{part.edges} | {part.databases} | {part.limiters} | {part.disk_gb / 1e3:,.1f} | {part.usd:,.0f}"
        lines.append(f"| {rate:,.0f} | {sizes} | {part.next_limit} |")
    lines += ["", "| calls/s | calls go to | hold p50 ms | p99 ms | calls a batch | of the calls, held within 2 s |"]
    lines.append("| ---: | --- | ---: | ---: | ---: | ---: |")
    for rate, part in needed.items():
        for by_account, name in ((False, "any edge"), (True, "their account's edge")):
            waits = simulate(rate, part.edges, accounts, limits, by_account=by_account, seconds=2, seed=1)
            times = f"{waits.p50:,.1f} | {waits.p99:,.1f} | {waits.calls_a_batch:.1f} | {waits.finished:.1%}"
            lines.append(f"| {rate:,.0f} | {name} | {times} |")
    return "\n".join(lines)


def read_costs(path: Path, edge_us: float) -> Costs:
    """Read what `bench.call_costs` has printed."""
    found = json.loads(path.read_text())
    rows = found["usage_ledger_bytes"] + found["ledger_entry_bytes"]
    return Costs(edge_us, found["database_us"], found["limiter_us"], found["wal_bytes"], rows, found["hold_bytes"])


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description="What 1,000 to 100,000 calls a second need.")
    parser.add_argument("--costs", type=Path, required=True, help="the output of bench.call_costs")
    parser.add_argument("--edge-us", type=float, default=230, help="CPU of an edge for a call (bench.gateway)")
    parser.add_argument("--rates", default="1000,10000,100000", help="calls per second")
    parser.add_argument("--days", type=int, default=90, help="that usage rows are kept")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--database-cores", type=float, default=16, help="of one database")
    parser.add_argument("--wal-mb", type=float, default=200, help="per second, of one database's disk")
    parser.add_argument("--commit-ms", type=float, default=3, help="of a batch, without its calls")
    parser.add_argument("--commit-call-us", type=float, default=50, help="per call of a batch")
    parser.add_argument("--usd-core", type=float, default=25, help="per month, with 4 GB")
    parser.add_argument("--usd-gb", type=float, default=0.1, help="per month, of disk")
    options = parser.parse_args()
    costs = read_costs(options.costs, options.edge_us)
    limits = Limits(options.database_cores, options.wal_mb, options.commit_ms, options.commit_call_us)
    rates = [float(rate) for rate in options.rates.split(",")]
    print(report(rates, costs, limits, Prices(options.usd_core, options.usd_gb), options.days, options.accounts))


if __name__ == "__main__":
    main()
