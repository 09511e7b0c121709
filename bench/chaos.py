"""Kills edges, workers, the database and Redis at random moments under load. After each run every credit is accounted for.

    python -m bench.chaos --kills 1000 --seed 1

Two edges of two processes each, two workers, PostgreSQL and Redis run on this machine. Calls to every endpoint, streaming and
not, run all the time. Their provider answers, fails, breaks off and hangs in every way, and some callers disconnect. The pool is
always nearly used up. Every kill is a SIGKILL, also while a process starts. Each run is followed by the proof of `yout prove-cap`
and by `yout ledger verify`. The exit code is 1 if a credit is overdrawn, lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import peewee
from playhouse.pool import PooledDatabase

from shared.core.clock import now_ms
from shared.core.database import bind_database, database, open_database, transaction
from shared.core.settings import Settings
from shared.ledger import post_entry
from shared.ledger.verify import verify_ledger
from shared.models import Account, EdgeProcess, LedgerEntry
from shared.operations.audit import Origin
from tests.servers.edge import SECRET_KEY
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from yout.proof.account_state import Sampler, read_account_state, wait_until_settled
from yout.proof.accounting import Call, Proof, prove
from yout.proof.load import Load, plan_calls
from yout.proof.processes import ProcessFailed, ProofEdge, ProofProcess
from yout.proof.prove_cap import LoadUpstream, summarize, temporary_account

EDGES, WORKERS = 2, 2
PROCESSES = 2  # of each edge
WHOLE_EDGE = 0.02  # share of an edge's kills that kill all of its processes
CONCURRENT = 24
KILLS_PER_RUN = 50
KILL_CALLS = (1, 20)  # answered calls between kills, at random
BURSTS = (4, 3, 2, 1)  # weights of one to four kills at the same moment
PLANNED = 20_000  # more calls than a run makes
POOL, REFILL = 4_000, 2_000  # credits
REFILL_BELOW = 1_000  # of those that no call holds; a killed edge's calls hold theirs for half a minute
SETTLE_SECONDS = 180
WEIGHTS = {"edge": 50, "worker": 6, "database": 20, "redis": 24}
SETTINGS = {
    "YOUT_DRAIN_SECONDS": "5",
    "YOUT_MEDIA_ANSWER_SECONDS": "10",
    "YOUT_OUTBOUND_NETWORKS": "127.0.0.1/32",
    "YOUT_LOG_FORMAT": "json",
}
ORIGIN = Origin("bench.chaos")


class Stack:
    """The processes, and how each is killed and started again."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.postgres = Postgres(synchronous_commit="on")
        stack.callback(self.postgres.stop)
        self.redis = RedisServer("valkey", folder)
        stack.callback(self.redis.kill)
        # A process ends with the thread that started it, so these threads must live as long.
        self.killing = stack.enter_context(ThreadPoolExecutor(1, "kill"))
        self._restarts = stack.enter_context(ThreadPoolExecutor(2, "restart"))
        os.environ.update(
            DATABASE_URL=self.postgres.create_migrated(),
            REDIS_URL=self.redis.url,
            SECRET_KEY=SECRET_KEY,
            YOUT_DATA_DIR=str(folder / "var"),
            **SETTINGS,
        )
        self.settings = Settings.load()
        self.edges = [ProofEdge(number, folder, {"YOUT_EDGE_WORKERS": str(PROCESSES)}) for number in range(EDGES)]
        self.workers = [ProofProcess("worker", "workers", {}, folder / f"worker-{number}.log") for number in range(WORKERS)]
        for process in self.processes:
            stack.callback(process.kill)
        self.kills: dict[int, list[float]] = defaultdict(list)  # times by edge
        self._running: dict[str, Future[None]] = {}  # restarts

    @property
    def processes(self) -> list[ProofProcess]:
        return [*self.edges, *self.workers]

    def kill_one(self, rng: random.Random) -> str:
        """Kill something, and start it again without waiting. Returns its kind."""
        kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if kind == "edge":
            number = rng.randrange(EDGES)
            self._kill_edge(self.edges[number], rng)
            self.kills[number].append(time.monotonic())
        elif kind == "worker":
            self._restart(rng.choice(self.workers))
        else:
            server: Any = self.postgres if kind == "database" else self.redis
            if kind in self._running:
                self._running[kind].result(SETTLE_SECONDS)
            server.kill()
            self._running[kind] = self._restarts.submit(server.restart)
        return kind

    def revive(self) -> None:
        """Start processes that exited, as a supervisor does: they exit if the database is down while they start."""
        for process in self.processes:
            if not process.is_running:
                process.start()

    def is_serving(self) -> bool:
        """Return whether any edge is ready."""
        return any(edge.is_running and edge.is_ready() for edge in self.edges)

    def wait_ready(self) -> None:
        """Wait until everything runs."""
        for restart in self._running.values():
            restart.result(SETTLE_SECONDS)
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            self.revive()
            with suppress(ProcessFailed):
                if all(process.is_ready() for process in self.processes):
                    return
            if time.monotonic() > deadline:
                raise ProcessFailed(f"Not everything was ready {SETTLE_SECONDS} s after the last kill.")
            time.sleep(0.1)

    def _kill_edge(self, edge: ProofEdge, rng: random.Random) -> None:
        """Kill one of its processes, which it starts again, or sometimes all at once."""
        children = Path(f"/proc/{edge.pid}/task/{edge.pid}/children")
        serving = children.read_text().split() if children.exists() else []
        if not serving or rng.random() < WHOLE_EDGE:
            self._restart(edge)
            return
        with suppress(ProcessLookupError):
            os.kill(int(rng.choice(serving)), signal.SIGKILL)

    @staticmethod
    def _restart(process: ProofProcess) -> None:
        process.kill()
        process.start()


class Run(NamedTuple):
    """A run's row of the table."""

    kills: Counter[str]
    calls: Sequence[Call]
    granted: int
    proof: Proof
    problems: tuple[str, ...]

    @property
    def good(self) -> bool:
        return self.proof.clean and not self.problems

    def row(self, name: str) -> str:
        outcomes: Counter[str] = Counter()
        for counts in summarize(self.calls).values():
            outcomes.update(counts)
        proof = self.proof
        cells = (
            *(name, *(self.kills[kind] for kind in WEIGHTS), len(self.calls)),
            *(outcomes[outcome] for outcome in ("completed", "refused", "failed", "left")),
            *(self.granted, proof.charged, proof.overdraft, proof.lost, proof.doubled),
        )
        return f"| {' | '.join(map(str, cells))} |"


HEAD = (
    "| run | edges | workers | database | Redis | calls | completed | refused | failed | disconnected | granted | charged |"
    " overdraft | lost | doubled |\n| --- |" + " ---: |" * 14
)


def run(stack: Stack, kills: int, seed: int) -> Run:
    """Kill `kills` times under load, and prove that no credit is missing."""
    rng = random.Random(seed)
    upstream = LoadUpstream()
    stack.wait_ready()
    with closing(upstream), connected():
        granted, counts = [POOL], Counter[str]()
        with temporary_account(upstream.base_url, POOL, stack.settings, ORIGIN) as account:
            upstream.secret = account.channel_secret
            load = Load(account, stack.edges, rng)
            with Sampler(account.id) as sampler, refilled(account.id, granted):
                asyncio.run(_kill_under_load(stack, load, kills, rng, counts))
            stack.wait_ready()
            load.mark_killed(stack.kills)
            reconnect()
            _forget_dead()
            settled = wait_until_settled(account.id, seconds=SETTLE_SECONDS)
            state = read_account_state(account.id, granted[0])
            proof = prove(load.calls, upstream.sent(), state, [sampler.worst] if sampler.worst else [])
            problems = verify_ledger(now_ms()).problems
    if not settled:
        problems = (*problems, f"calls or jobs were still open {SETTLE_SECONDS} s after the last kill")
    return Run(counts, load.calls, granted[0], proof, (*proof.problems, *problems))


async def _kill_under_load(stack: Stack, load: Load, kills: int, rng: random.Random, counts: Counter[str]) -> None:
    """Make calls all the time, and kill after a random number of them."""
    done, loop = asyncio.Event(), asyncio.get_running_loop()
    calls = asyncio.create_task(load.run(plan_calls(PLANNED, rng, media=True), CONCURRENT, done.is_set))
    try:
        while counts.total() < kills:
            target = _served(load) + rng.randint(*KILL_CALLS)
            deadline = time.monotonic() + SETTLE_SECONDS
            while _served(load) < target or not await asyncio.to_thread(_serves, stack):
                stack.revive()
                if calls.done() or time.monotonic() > deadline:
                    raise ProcessFailed("The calls have ended before the kills.")
                await asyncio.sleep(0.05)
            for _ in range(min(rng.choices(range(1, len(BURSTS) + 1), BURSTS)[0], kills - counts.total())):
                counts[await loop.run_in_executor(stack.killing, partial(stack.kill_one, rng))] += 1
    finally:
        done.set()
        await calls


def _served(load: Load) -> int:
    """Return the number of calls that an edge answered."""
    return sum(call.status > 0 for call in load.calls)


def _serves(stack: Stack) -> bool:
    with suppress(ProcessFailed):
        return stack.is_serving()
    return False


@contextmanager
def refilled(account: UUID, granted: list[int]) -> Iterator[None]:
    """Keep the pool tight, but not empty, while the block runs. `granted` counts the credits."""
    done = threading.Event()
    thread = threading.Thread(target=_refill, args=(account, granted, done), name="refill")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _refill(account: UUID, granted: list[int], done: threading.Event) -> None:
    """A grant whose commit was not confirmed is found by its reason."""
    while not done.wait(0.1):
        with suppress(peewee.PeeweeException), database.connection_context():
            row, reason = Account.get_by_id(account), f"refill after {granted[0]}"
            if LedgerEntry.select().where((LedgerEntry.account == account) & (LedgerEntry.reason == reason)).exists():
                granted[0] += REFILL
            elif row.balance - row.held < REFILL_BELOW:
                with transaction():
                    post_entry(account, "grant", REFILL, actor="system", reason=reason)
    with connected():
        reason = f"refill after {granted[0]}"
        if LedgerEntry.select().where((LedgerEntry.account == account) & (LedgerEntry.reason == reason)).exists():
            granted[0] += REFILL


@contextmanager
def connected() -> Iterator[None]:
    """Use a fresh connection in the block; the former one may have died with the database."""
    reconnect()
    try:
        yield
    finally:
        database.close()


def reconnect() -> None:
    """Connect this thread again, as soon as the database answers."""
    if not database.is_closed():
        database.close()
    if isinstance(database.obj, PooledDatabase):
        database.obj.close_idle()
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            database.connect(reuse_if_open=True)
            database.execute_sql("SELECT 1")
            return
        except peewee.PeeweeException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _forget_dead() -> None:
    """Delete the rows of killed edge processes, so that the sweep need not wait for their heartbeats."""
    alive = [row.id for row in EdgeProcess.select() if Path(f"/proc/{row.pid}").exists()]
    EdgeProcess.delete().where(EdgeProcess.id.not_in(alive)).execute()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.chaos", description="Random kills under load, and a proof after each run."
    )
    parser.add_argument("--kills", type=int, default=100, help="number of kills (default 100)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the choices (default 1)")
    parser.add_argument("--per-run", type=int, default=KILLS_PER_RUN, help=f"kills per run (default {KILLS_PER_RUN})")
    parser.add_argument("--first", type=int, default=1, metavar="RUN", help="number of the first run, to continue a series")
    options = parser.parse_args(arguments)
    bad = 0
    total: Counter[str] = Counter()
    with ExitStack() as ending:
        folder = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="yout-chaos-")))
        stack = Stack(ending, folder)
        bind_database(open_database(stack.settings.database_url))
        print(HEAD, flush=True)
        for number in range(options.first - 1, -(-options.kills // options.per_run)):
            kills = min(options.per_run, options.kills - number * options.per_run)
            found = run(stack, kills, options.seed * 1_000_003 + number)
            total.update(found.kills)
            print(found.row(str(number + 1)), *found.problems, sep="\n", flush=True)
            bad += not found.good
    print(f"\n{total.total()} kills: {dict(total)}; {bad} runs with problems.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
