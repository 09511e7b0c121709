"""Database faults under load on two edges: is every delivered call charged exactly once, and how long is the recovery?

    python -m bench.database_faults [--streams 300] [--seconds 20] [--only pooler,fail-over,refused-writes]

Run as root on Debian with PgBouncer, nftables and iproute2 (`bin/setup dev`). Callers keep `--streams` streams open for
`--seconds`.

pooler          300 streams through PgBouncer in transaction mode
fail-over       packets of every open database connection are silently dropped; new connections succeed
refused-writes  the database is read-only for ten seconds

A call counts as delivered if any part of its answer reached the caller; a rejected one (503) does not. At the end both edges
get SIGTERM while streams run. The exit code is 1 if calls and charges differ, or if anything stays held, hangs, or exceeds the
drain time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import bind_database
from shared.core.process_main import EXIT_SECONDS
from shared.ledger import sweep
from shared.ledger.verify import verify_ledger
from shared.models import Account, Hold, LedgerEntry, UsageLedger
from tests import factories
from tests.databases import opened
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.network import Network
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.upstream import Upstream
from tests.upstream_responses import Pause, stream

DRAIN_SECONDS = 10
CALL_SECONDS = 90  # longer calls count as hung
FAULT_AFTER_SECONDS = 4
REFUSED_SECONDS = 10
SETTLED_SECONDS = 60


class Call(NamedTuple):
    """A call as its caller saw it; times are monotonic seconds. `status` is 0 if the connection failed, -1 if it hung."""

    began: float
    ended: float
    status: int
    id: UUID | None = None
    delivered: bool = False
    whole: bool = False


class Load:
    """Callers that keep streams open on several edges, in turn, until stopped."""

    def __init__(self, edges: list[WebProcess], secret: str) -> None:
        self.calls: list[Call] = []
        self._edges, self._secret = edges, secret
        self._stopping = False

    async def run(self, streams: int, seconds: float, fault: Callable[[], None]) -> None:
        callers = [asyncio.create_task(self._caller(number)) for number in range(streams)]
        await asyncio.sleep(FAULT_AFTER_SECONDS)
        await asyncio.to_thread(fault)
        await asyncio.sleep(max(0.0, seconds - FAULT_AFTER_SECONDS))
        self._stopping = True
        await asyncio.gather(*callers)

    async def once(self, streams: int) -> list[asyncio.Task[None]]:
        """Start this many calls."""
        return [asyncio.create_task(self._call(self._edges[number % len(self._edges)])) for number in range(streams)]

    async def _caller(self, number: int) -> None:
        while not self._stopping:
            await self._call(self._edges[number % len(self._edges)])
            if self.calls[-1].status != 200:
                await asyncio.sleep(0.5)  # retries like a client that honors Retry-After, but sooner

    async def _call(self, edge: WebProcess) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                head, body = await self._exchange(edge)
        except TimeoutError:
            self.calls.append(Call(began, time.monotonic(), -1))
            return
        except OSError:
            self.calls.append(Call(began, time.monotonic(), 0))
            return
        status = int(head.split(b" ", 2)[1]) if head else 0
        names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        id = UUID(names[b"x-request-id"].decode().removeprefix("req_")) if b"x-request-id" in names else None
        done = b"data: [DONE]" in body
        self.calls.append(Call(began, time.monotonic(), status, id, b'"content":"' in body, done))

    async def _exchange(self, edge: WebProcess) -> tuple[bytes, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        try:
            sent = json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nconnection: close\r\nauthorization: Bearer %s\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (self._secret.encode(), len(sent), sent)
            )
            head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
            return head, body
        finally:
            writer.close()


class World(NamedTuple):
    """The environment of a run: a database, two edges on it, an upstream, and an account with its key."""

    postgres: Postgres
    network: Network | None
    edges: list[WebProcess]
    owner: Account
    secret: str


@contextmanager
def world(stack: ExitStack, *, network: bool, pool_size: int) -> Iterator[World]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="yout-bench-")))
    postgres = Postgres()
    stack.callback(postgres.stop)
    link = Network() if network else None
    if link:
        stack.callback(link.close)
    pooler = PgBouncer(postgres, pool_size=pool_size, network=link)
    stack.callback(pooler.stop)
    redis = RedisServer("valkey", folder)
    stack.callback(redis.kill)
    upstream = Upstream()
    stack.callback(upstream.close)
    upstream.default = lambda _: stream(role(), chunk("Hel"), Pause(0.3), chunk("lo"), Pause(0.3), finish(), usage(7, 3), DONE)
    url = postgres.create_migrated()
    bind_database(stack.enter_context(opened(url)))
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000, minimum=10)
    owner = factories.account(10**12)
    secret = factories.api_key(owner)[1]
    settings = {"database_url": pooler.url(url), "redis_url": redis.url, "drain_seconds": DRAIN_SECONDS}
    edges = [start_edge(folder, environment_of(settings)) for _ in range(2)]
    for edge in edges:
        stack.callback(edge.kill)
    yield World(postgres, link, edges, owner, secret)


def no_fault(_: World) -> float:
    return time.monotonic()


def forget_connections(there: World) -> float:
    assert there.network is not None
    there.network.forget_connections()
    return time.monotonic()


def refuse_writes(there: World) -> float:
    with there.postgres.read_only():
        time.sleep(REFUSED_SECONDS)
    return time.monotonic()


RUNS: dict[str, tuple[bool, Callable[[World], float]]] = {
    "pooler": (False, no_fault),
    "fail-over": (True, forget_connections),
    "refused-writes": (False, refuse_writes),
}


def bench(name: str, streams: int, seconds: float) -> bool:
    """Print a run's row. Returns whether all checks passed."""
    network, fault = RUNS[name]
    with ExitStack() as stack, world(stack, network=network, pool_size=20) as there:
        load = Load(there.edges, there.secret)
        ended: list[float] = []
        stopped = asyncio.run(_run(load, there, streams, seconds, lambda: ended.append(fault(there))))
        settle_by = time.monotonic() + SETTLED_SECONDS
        while Hold.select().where(Hold.state == "held").exists() and time.monotonic() < settle_by:
            sweep(now_ms())
            time.sleep(0.5)
        return _report(name, load.calls, there, ended[0], stopped)


async def _run(load: Load, there: World, streams: int, seconds: float, fault: Callable[[], None]) -> float:
    """Apply the load and a fault, then SIGTERM during calls. Returns how long the slower edge took to stop."""
    await load.run(streams, seconds, fault)
    last = await load.once(20)
    await asyncio.sleep(0.3)
    began = time.monotonic()
    for edge in there.edges:
        edge.process.send_signal(15)
    codes = await asyncio.gather(*(asyncio.to_thread(edge.process.wait, 120) for edge in there.edges))
    stopped = time.monotonic() - began
    await asyncio.gather(*last)
    if any(codes):
        raise SystemExit(f"an edge exited with {codes}")
    return stopped


def _report(name: str, calls: list[Call], there: World, fault_ended: float, stopped: float) -> bool:
    delivered = {call.id for call in calls if call.delivered}
    rows = list(UsageLedger.select(UsageLedger.id).where(UsageLedger.credits > 0))
    entries = Counter(entry.call for entry in LedgerEntry.select(LedgerEntry.call).where(LedgerEntry.kind == "charge"))
    charged, twice = {row.id for row in rows}, sum(number > 1 for number in entries.values())
    held = Hold.select().where(Hold.state == "held").count()
    refused = Counter(call.status for call in calls if not call.delivered)
    hung, broken = refused.pop(-1, 0), sum(call.delivered and not call.whole for call in calls)
    after = [call.ended for call in calls if call.whole and call.began >= fault_ended]
    recovered = min(after) - fault_ended if after else float("inf")
    longest = max(call.ended - call.began for call in calls)
    problems = verify_ledger(now_ms()).problems
    good = delivered == charged == set(entries) and not (twice or held or hung or problems)
    good = good and Account.get_by_id(there.owner.id).held == 0 and stopped <= DRAIN_SECONDS + EXIT_SECONDS
    counts = (len(calls), len(delivered), len(charged), twice, broken, dict(refused) or "-", held, hung)
    times = (f"{seconds:.1f}" for seconds in (recovered, longest, stopped))
    print("|", " | ".join(map(str, (name, *counts, *times, "good" if good else "BAD"))), "|", flush=True)
    if delivered != charged:
        print(f"  delivered and not charged: {len(delivered - charged)}; charged and not delivered: {len(charged - delivered)}")
    print(*problems, sep="\n", end="\n" if problems else "")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.database_faults", description="Faults of the database under load.")
    parser.add_argument("--streams", type=int, default=300, help="concurrent streams")
    parser.add_argument("--seconds", type=float, default=20, help="duration of the load, including the fault")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(RUNS), help="names of the runs")
    arguments = parser.parse_args()
    print(
        "| run | calls | delivered | charged | twice | cut | refused | held | hung | recovered s | longest call s | stop s | |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    )
    results = [bench(name, arguments.streams, arguments.seconds) for name in arguments.only]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
