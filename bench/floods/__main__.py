"""One excessive upstream or caller beside twenty ordinary streams: its cost, and its effect on the streams.

    python -m bench.floods [--readers 200] [--seconds 15] [--stock]

Each run is measured on the same edge, beside twenty streams that send a chunk every 50 ms:

    quiet     nothing else
    flood     an endless upstream; callers ask for 60 tokens, one after the other, and read immediately
    slow      the same, for `--readers` concurrent callers who read 1 KB per second
    stalled   the same, for callers who pay for 100,000 tokens and read 1 KB per second: the buffer is bounded, not the charge
    bodies    `--readers` invalid keys, each with a body of 20 MB

Memory is the increase of the edge's resident set at its peak. Requires Linux and two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from bench.floods.callers import RUNS, Edge, call
from shared.core.database import bind_database
from shared.core.schema_version import migrate
from shared.models import Hold, UsageLedger
from tests import factories
from tests.databases import opened
from tests.servers.edge import environment_of, start_edge
from tests.servers.process import ROOT, Process, free_port
from tests.servers.redis import RedisServer

NEIGHBORS = 20
WARM_SECONDS = 3
CREDITS = 10**12


class Result(NamedTuple):
    """A run: gaps between the ordinary streams' chunks in ms, memory in bytes, charges and their holds in credits."""

    name: str
    gaps: list[float]
    memory: int
    calls: int
    charged: float
    taken: int
    closed_seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--stock", action="store_true", help="use Hypercorn's own connection class")
    parser.add_argument("--only", help="only these runs, comma-separated")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="floods-"))
    redis = RedisServer("valkey", folder)
    url, port = f"sqlite:///{folder / 'yout.db'}", free_port()
    steady_port = free_port()
    processes = [_start_upstream(folder, port), _start_upstream(folder, steady_port)]
    try:
        with opened(url) as target:
            bind_database(target)
            migrate(target)
            secret = _furnish(port, steady_port)
            values = {"database_url": url, "redis_url": redis.url, "data_dir": folder, "fast_http": not arguments.stock}
            edge = start_edge(folder, environment_of(values))
            processes.append(edge.process)
            place = Edge(edge.port, edge.process.pid, secret, port)
            _print(asyncio.run(_measure(place, arguments.readers, arguments.seconds, arguments.only)))
    finally:
        for process in processes:
            process.kill()
        redis.kill()
    return 0


def _start_upstream(folder: Path, port: int) -> Process:
    argv = [sys.executable, "-m", "bench.floods.upstream", str(port)]
    return Process("upstream", argv, env=os.environ, cwd=ROOT, log=folder / "upstream.log")


def _furnish(flood_port: int, steady_port: int) -> str:
    owner = factories.account(CREDITS)
    for name, port in (("steady", steady_port), ("flood", flood_port)):
        factories.model(
            name, factories.channel(f"http://127.0.0.1:{port}/{name}/v1", name=name), input=1_000, output=2_000, minimum=10
        )
    return factories.api_key(owner)[1]


async def _measure(edge: Edge, readers: int, seconds: float, only: str | None) -> list[Result]:
    chosen = only.split(",") if only else list(RUNS)
    await _run(edge, "quiet", readers, WARM_SECONDS)
    return [await _run(edge, name, readers, seconds) for name in chosen]


async def _run(edge: Edge, name: str, readers: int, seconds: float) -> Result:
    gaps: list[float] = []
    known = {row.id for row in Hold.select(Hold.id)}
    before, highest, taken = _memory(edge.pid), 0, len(_taken(edge))
    neighbors = [asyncio.create_task(_neighbor(edge, gaps, seconds)) for _ in range(NEIGHBORS)]
    argv = [sys.executable, "-m", "bench.floods.callers", name, json.dumps(edge), str(readers), str(seconds)]
    callers = await asyncio.create_subprocess_exec(*argv, cwd=ROOT)
    ended = asyncio.create_task(callers.wait())
    while not ended.done():
        highest = max(highest, _memory(edge.pid))
        await asyncio.sleep(0.05)
    if callers.returncode:
        raise SystemExit(f"the callers of {name!r} ended with {callers.returncode}")
    end = time.monotonic()
    while _open_holds(known, "flood"):
        highest = max(highest, _memory(edge.pid))
        await asyncio.sleep(0.05)
    closed = time.monotonic() - end
    await asyncio.gather(*neighbors)
    shares = _shares(known)
    written = _taken(edge)[taken:]
    return Result(name, gaps, highest - before, len(shares), max(shares, default=0), max(written, default=0), closed)


async def _neighbor(edge: Edge, gaps: list[float], seconds: float) -> None:
    """Read an ordinary stream and return the gaps between its chunks."""
    async with call(edge, "steady", int(seconds / 0.05)) as (reader, _):
        last = None
        while data := await reader.read(65_536):
            now = time.monotonic()
            if last is not None and b"word" in data:
                gaps.append((now - last) * 1_000)
            last = now


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _taken(edge: Edge) -> list[int]:
    """Return the bytes that each flood has written so far, as counted by the upstream."""
    with urllib.request.urlopen(f"http://127.0.0.1:{edge.upstream}/taken", timeout=30) as answer:
        return list(json.load(answer))


def _open_holds(known: set[object], model: str) -> bool:
    rows = Hold.select(Hold.id).where((Hold.state == "held") & (Hold.model == model))
    return any(row.id not in known for row in rows)


def _shares(known: set[object]) -> list[float]:
    """Return each flooded call's charge as a fraction of its hold."""
    held = {row.id: row.amount for row in Hold.select(Hold.id, Hold.amount) if row.id not in known}
    rows = UsageLedger.select(UsageLedger.id, UsageLedger.credits).where(UsageLedger.model == "flood")
    return [row.credits / held[row.id] for row in rows if row.id in held]


def _print(results: list[Result]) -> None:
    columns = ("run", "calls", "charged ÷ held, most", "KB taken upstream, most", "memory, MB", "last hold closed, s")
    print("| " + " | ".join((*columns, "gap p50, ms", "p99", "most")) + " |")
    print("| --- |" + " ---: |" * 8)
    for result in results:
        gaps = sorted(result.gaps)
        p50, p99 = statistics.median(gaps), gaps[int(len(gaps) * 0.99)]
        cells = [result.name, result.calls, f"{result.charged:.2f}", result.taken // 1_000, f"{result.memory / 1e6:.0f}"]
        cells += [f"{result.closed_seconds:.1f}", f"{p50:.0f}", f"{p99:.0f}", f"{gaps[-1]:.0f}"]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    sys.exit(main())
