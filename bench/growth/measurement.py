"""Measures loads: the CPU time of edges and of their database for a call, locks, and gaps between chunks."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import psycopg
import uvloop

from bench.gateway.machine import Cores, cpu_seconds
from bench.gateway.postgres import DurablePostgres
from bench.growth import bodies
from bench.growth.callers import Counts, Request, run
from bench.growth.stack import Edge, book_problems, furnish, model, start_upstream, started_edges
from tests.servers.process import ROOT
from tests.servers.redis import RedisServer

SOME_KEYS = 16
GAP_SECONDS = 4
SAMPLE_SECONDS = 0.02


class Load(NamedTuple):
    """Equal calls of one cell of a table: their body, where they go, and how many are made at a time."""

    name: str
    client: str
    model: str
    body: Callable[[str], bodies.Json]
    calls: int
    connections: int = 8
    stream: bool = False


class Cost(NamedTuple):
    """What a call took, in microseconds of CPU."""

    edge: float
    database: float = 0.0


class Bench:
    """Measures loads, and collects what went wrong."""

    def __init__(self, arguments: argparse.Namespace, folder: Path, cores: Cores, stack: ExitStack) -> None:
        self._rounds = arguments.rounds
        self._checkouts = [("after", ROOT), *([("before", arguments.before)] if arguments.before else [])]
        self._folder, self._cores = folder, cores
        self._upstream, self._upstream_port = start_upstream(folder)
        stack.callback(self._upstream.kill)
        self._valkey = RedisServer("valkey", folder)
        stack.callback(self._valkey.kill)
        self._stack = stack
        self._postgres: DurablePostgres | None = None
        self._databases = 0
        self.url = ""  # of the latest database
        self.problems: list[str] = []

    @property
    def compares(self) -> bool:
        """Whether another checkout is measured, too."""
        return len(self._checkouts) > 1

    def _new_database(self, *, postgres: bool) -> str:
        """Return the URL of an empty database."""
        self._databases += 1
        if not postgres:
            return f"sqlite:///{self._folder / f'yout-{self._databases}.db'}"
        if self._postgres is None:
            self._postgres = DurablePostgres()
            self._stack.callback(self._postgres.stop)
        return self._postgres.create_database()

    def on_edges(
        self, accounts: int, measure: Callable[[list[Edge], list[str]], Counts], *, postgres: bool = False, processes: int = 0
    ) -> None:
        """Run `measure` with edges on a new database and the keys of its accounts. Then verify the ledger.

        There is one edge of each checkout, or `processes` edges of this one.
        """
        self.url = url = self._new_database(postgres=postgres)
        keys = furnish(url, accounts, self._upstream_port)
        checkouts = self._checkouts[:1] * processes or self._checkouts
        with started_edges(checkouts, url, self._valkey.url, self._folder, self._cores.gateway) as edges:
            counts = measure(edges, keys)
        if counts.bad:
            self.problems.append(f"{counts.bad} bad answers, the first: {counts.first_bad}")
        self.problems += book_problems(url, counts.good)

    def measure(self, load: Load, edges: Sequence[Edge], keys: Sequence[str]) -> tuple[Cost, Counts]:
        """Make the calls of `load`, spread over edges and keys. Returns the cost of one."""
        encoded = bodies.encode(load.body(load.client), load.client, load.model, stream=load.stream)
        path = bodies.PATHS[load.client]
        ways = [(edges[number % len(edges)].port, keys[number % len(keys)]) for number in range(load.calls)]
        before = self._seconds(edges)
        counts = uvloop.run(run((Request(port, path, key, encoded) for port, key in ways), load.connections))
        after = self._seconds(edges)
        return Cost(*((last - first) / load.calls * 1e6 for first, last in zip(before, after, strict=True))), counts

    def _seconds(self, edges: Sequence[Edge]) -> tuple[float, float]:
        database = 0.0 if self._postgres is None else cpu_seconds(self._postgres.process.pid)
        return sum(edge.cpu_seconds() for edge in edges), database

    def compare(self, loads: Sequence[Load]) -> Iterator[tuple[Load, Cost, float | None]]:
        """Measure loads on SQLite in rounds, each checkout in turn. Yields the medians, and the ratio to the other checkout."""
        costs: dict[tuple[str, str], list[float]] = {}

        def measure(edges: list[Edge], keys: list[str]) -> Counts:
            total = Counts()
            for load in loads:
                for number in range(self._rounds + 1):
                    for edge in edges if number % 2 else edges[::-1]:
                        calls = load.calls if number else max(2, load.calls // 5)  # the first round warms up
                        cost, counts = self.measure(load._replace(calls=calls), [edge], keys)
                        total = total.plus(counts)
                        if number:
                            costs.setdefault((load.name, edge.name), []).append(cost.edge)
                say(
                    f"{load.name}: "
                    + ", ".join(f"{edge.name} {statistics.median(costs[load.name, edge.name]):,.0f}" for edge in edges)
                )
            return total

        self.on_edges(SOME_KEYS, measure)
        for load in loads:
            after = costs[load.name, "after"]
            ratio = None
            if self.compares:
                ratio = statistics.median(one / other for one, other in zip(after, costs[load.name, "before"], strict=True))
            yield load, Cost(statistics.median(after)), ratio

    def gaps(self, edge: Edge, key: str, beside: Load | None) -> tuple[list[float], Counts]:
        """Read streams of 1,000 chunks while `beside` runs, if given. Returns `SHARES` of the gaps between chunks in ms."""
        body = bodies.encode(bodies.small("chat"), "chat", model("openai", 1_000), stream=True)
        argv = [
            sys.executable,
            "-m",
            "bench.growth.callers",
            str(edge.port),
            bodies.PATHS["chat"],
            key,
            body.decode(),
            str(GAP_SECONDS),
        ]
        counts = Counts()
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as reading:
            end = time.monotonic() + GAP_SECONDS
            while beside is not None and time.monotonic() < end:
                counts = counts.plus(self.measure(beside, [edge], [key])[1])
            output, _ = reading.communicate(timeout=60)
        found, streams = json.loads(output)
        return found, counts.plus(Counts(good=streams))


class LockSampler:
    """Counts PostgreSQL's backends that wait for a lock of another, every `SAMPLE_SECONDS`. `mean` has the mean afterwards."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._found: list[int] = []
        self.mean = 0.0

    def __enter__(self) -> LockSampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.mean = statistics.mean(self._found)

    def _sample(self) -> None:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=20) as connection:
            while not self._ended.wait(SAMPLE_SECONDS):
                row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone()
                self._found.append(0 if row is None else row[0])


def say(text: str) -> None:
    """Print progress."""
    print(text, file=sys.stderr, flush=True)
