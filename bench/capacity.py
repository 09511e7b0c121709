"""A model of Yout at 1,000, 10,000 and 100,000 calls per second: machines, the next bottleneck, latency, and monthly cost.

    python -m bench.call_costs > costs.json
    python -m bench.capacity --costs costs.json [--edge-us 292] [--rates 1000,10000,100000]

No load is generated: the first two tables multiply the measured costs of one call. The third is a simulation of the one part that
does not scale linearly, the ledger's batches. Each edge commits its queued calls in one transaction, which locks their accounts
until it is durable, so a busy account's batches on different edges wait for each other. Calls arrive at random; an account's
share of them falls with its rank (Zipf). The limits and prices of machines are assumptions, which options can change.
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
GB, TB = 1e9, 1e12


class Costs(NamedTuple):
    """Costs of one call: CPU in microseconds, and bytes with indexes. Both kinds of rows are kept; holds reuse their space."""

    edge_us: float
    database_us: float
    limiter_us: float
    wal_bytes: float
    usage_bytes: float
    entry_bytes: float


class Limits(NamedTuple):
    """The limits of one machine."""

    database_cores: float
    wal_mb: float  # per second, of one database's disk
    disk_tb: float  # of one database
    commit_ms: float  # from the first statement of a batch until it is durable, without its calls
    commit_call_us: float  # per call of a batch


class Prices(NamedTuple):
    """USD per month."""

    core: float
    disk_gb: float


class Kept(NamedTuple):
    """Days that rows are kept: of usage until its retention, and of the ledger so far, because charges are never deleted."""

    usage_days: float
    ledger_days: float


class Parts(NamedTuple):
    """The number of machines, and USD a month. `saturates` are calls per second by part."""

    edges: int
    databases: int
    limiters: int
    disk_tb: float
    cores_usd: float
    disk_usd: float
    saturates: dict[str, float]


def unit_rates(costs: Costs, limits: Limits, kept: Kept) -> dict[str, float]:
    """Return the calls per second at which one edge process, one database and one Redis node are full, by part."""
    kept_bytes = 86_400 * (costs.usage_bytes * kept.usage_days + costs.entry_bytes * kept.ledger_days)
    return {
        "edge CPU": 1e6 / costs.edge_us,
        "database CPU": limits.database_cores * 1e6 / costs.database_us,
        "database WAL": limits.wal_mb * 1e6 / costs.wal_bytes,
        "database disk": limits.disk_tb * TB / kept_bytes,
        "Redis CPU": 1e6 / costs.limiter_us,
    }


def parts(rate: float, costs: Costs, limits: Limits, prices: Prices, kept: Kept) -> Parts:
    """Return what a rate of calls per second needs. Disks may be full at the end of the time; other parts have spare capacity."""
    unit = unit_rates(costs, limits, kept)
    counts = {part: math.ceil(rate / each / (1 if part == "database disk" else BUSY)) for part, each in unit.items()}
    edges = max(2, counts["edge CPU"])
    databases = max(count for part, count in counts.items() if part.startswith("database"))
    machines = {"edge CPU": edges, "Redis CPU": counts["Redis CPU"]}
    disk_tb = rate / unit["database disk"] * limits.disk_tb
    database_cores = max(2 * databases, rate * costs.database_us / 1e6 / BUSY)
    return Parts(
        edges,
        databases,
        counts["Redis CPU"],
        disk_tb,
        (edges + 2 * database_cores + counts["Redis CPU"]) * prices.core,  # a standby has the same cores and disk
        2 * disk_tb * TB / GB * prices.disk_gb,
        {part: each * machines.get(part, databases) for part, each in unit.items()},
    )


class Waits(NamedTuple):
    """Milliseconds until a call's hold is durable, and how many calls of a batch there were."""

    p50: float
    p99: float
    calls_a_batch: float
    finished: float  # share of the calls that had their hold when the simulated time ended


def simulate(rate: float, edges: int, accounts: int, limits: Limits, *, by_account: bool, seconds: float, seed: int) -> Waits:
    """Simulate holds. `by_account`: each account's calls go to one edge; otherwise to any."""
    rng = random.Random(seed)
    shares = list(accumulate(1 / rank for rank in range(1, accounts + 1)))
    arrivals = int(rate * seconds)
    times = sorted(rng.random() * seconds for _ in range(arrivals))
    owners = rng.choices(range(accounts), cum_weights=shares, k=arrivals)
    queues: list[deque[tuple[float, int]]] = [deque() for _ in range(edges)]
    for at, owner in zip(times, owners, strict=True):
        queues[hash((owner, seed)) % edges if by_account else rng.randrange(edges)].append((at, owner))
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


def report(rates: Sequence[float], costs: Costs, limits: Limits, prices: Prices, kept: Kept, accounts: int) -> str:
    """Return the three tables as Markdown."""
    lines = ["| part | saturated at, calls/s |", "| --- | ---: |"]
    lines += [f"| {part} | {each:,.0f} |" for part, each in unit_rates(costs, limits, kept).items()]
    lines += ["", "| calls/s | edge processes | databases | Redis nodes | disk TB | USD: cores | USD: disk | saturates next |"]
    lines.append("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    needed = {rate: parts(rate, costs, limits, prices, kept) for rate in rates}
    for rate, part in needed.items():
        sizes = f"{part.edges} | {part.databases} | {part.limiters} | {part.disk_tb:,.1f}"
        first = min(part.saturates, key=part.saturates.__getitem__)
        next_limit = f"{first}, at {part.saturates[first]:,.0f} calls/s"
        lines.append(f"| {rate:,.0f} | {sizes} | {part.cores_usd:,.0f} | {part.disk_usd:,.0f} | {next_limit} |")
    lines += ["", "| calls/s | calls go to | hold p50 ms | p99 ms | calls per batch | held within 2 s |"]
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
    names = ("database_us", "limiter_us", "wal_bytes", "usage_ledger_bytes", "ledger_entry_bytes")
    return Costs(edge_us, *(found[name] for name in names))


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description="What 1,000 to 100,000 calls a second need.")
    parser.add_argument("--costs", type=Path, required=True, help="the output of bench.call_costs")
    parser.add_argument("--edge-us", type=float, default=292, help="CPU of an edge for a call (docs/performance.md)")
    parser.add_argument("--rates", default="1000,10000,100000", help="calls per second")
    parser.add_argument("--days", type=float, default=90, help="that usage rows are kept")
    parser.add_argument("--ledger-days", type=float, default=365, help="of charges in the ledger, which are never deleted")
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--database-cores", type=float, default=16, help="of one database")
    parser.add_argument("--wal-mb", type=float, default=200, help="per second, of one database's disk")
    parser.add_argument("--disk-tb", type=float, default=16, help="of one database")
    parser.add_argument("--commit-ms", type=float, default=3, help="of a batch, without its calls")
    parser.add_argument("--commit-call-us", type=float, default=50, help="per call of a batch")
    parser.add_argument("--usd-core", type=float, default=25, help="per month, with 4 GB")
    parser.add_argument("--usd-gb", type=float, default=0.1, help="per month, of disk")
    options = parser.parse_args()
    costs = read_costs(options.costs, options.edge_us)
    limits = Limits(options.database_cores, options.wal_mb, options.disk_tb, options.commit_ms, options.commit_call_us)
    kept = Kept(options.days, options.ledger_days)
    rates = [float(rate) for rate in options.rates.split(",")]
    print(report(rates, costs, limits, Prices(options.usd_core, options.usd_gb), kept, options.accounts))


if __name__ == "__main__":
    main()
