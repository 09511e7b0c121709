"""The axes: each function measures one and prints its table."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence

from bench.growth import bodies
from bench.growth.callers import Counts
from bench.growth.measurement import SOME_KEYS, Bench, Cost, Load, LockSampler
from bench.growth.stack import UPSTREAMS, Edge, model

DIALECTS = ("chat", "responses", "messages")
MB, KB = 1_000_000, 1_000
WAYS = (("chat", "openai"), ("responses", "anthropic"), ("messages", "gemini"))


def sizes(bench: Bench) -> None:
    """Print what bodies of each kind and size cost."""
    loads = [Load("100 B", "chat", model("openai"), bodies.small, 1_000)]
    for label, size, calls in (("1 KB", KB, 1_000), ("100 KB", 100 * KB, 300), ("5 MB", 5 * MB, 20)):
        loads.append(Load(f"text, {label}", "chat", model("openai"), bodies.long_text(size), calls))
    for label, size, calls in (("100 KB", 100 * KB, 300), ("5 MB", 5 * MB, 20)):
        loads.append(Load(f"images, {label}", "chat", model("openai"), bodies.images(size), calls))
    loads.append(Load("history, 200 messages", "chat", model("openai"), bodies.history, 300))
    for client in ("responses", "messages"):
        loads.append(Load(f"text, 5 MB, {client}", client, model("openai"), bodies.long_text(5 * MB), 20))
        loads.append(Load(f"images, 5 MB, {client}", client, model("openai"), bodies.images(5 * MB), 20))
    for upstream in UPSTREAMS[1:]:
        loads.append(Load(f"text, 5 MB, to {upstream}", "chat", model(upstream), bodies.long_text(5 * MB), 20))
        loads.append(Load(f"images, 5 MB, to {upstream}", "chat", model(upstream), bodies.images(5 * MB), 20))
    _print_loads(bench, "Bodies", loads)


def dialects(bench: Bench) -> None:
    """Print what a short question and a history cost, by formats."""
    loads = []
    for client in DIALECTS:
        for upstream in UPSTREAMS:
            loads.append(Load(f"short, {client} to {upstream}", client, model(upstream), bodies.small, 600))
            loads.append(Load(f"history, {client} to {upstream}", client, model(upstream), bodies.history, 150))
    loads.append(Load("short, completions to openai", "completions", model("openai"), bodies.small, 600))
    _print_loads(bench, "Formats", loads)


def streams(bench: Bench) -> None:
    """Print what streams cost, by formats and length."""
    loads = []
    for client in DIALECTS:
        for upstream in UPSTREAMS:
            for chunks, calls in ((64, 160), (1_000, 32)):
                name = f"{chunks} chunks, {client} to {upstream}"
                loads.append(Load(name, client, model(upstream, chunks), bodies.small, calls, 16, stream=True))
    _print_loads(bench, "Streams", loads)


def _print_loads(bench: Bench, title: str, loads: Sequence[Load]) -> None:
    ratio_head = (" after / before |", " ---: |") if bench.compares else ("", "")
    print(f"\n| {title} | body, KB | CPU of the edge, us |{ratio_head[0]}\n| --- | ---: | ---: |{ratio_head[1]}")
    for load, cost, ratio in bench.compare(loads):
        size = len(bodies.encode(load.body(load.client), load.client, load.model, stream=load.stream))
        compared = "" if ratio is None else f" {ratio:.2f} |"
        print(f"| {load.name} | {size / KB:,.1f} | {cost.edge:,.0f} |{compared}", flush=True)


def accounts(bench: Bench) -> None:
    """Print what the first and the later calls of accounts cost, by their number and by database."""
    print(
        "\n| Accounts | database | first call: edge, us | PostgreSQL | later calls: edge | PostgreSQL |\n| ---: | --- |"
        + " ---: |" * 4
    )
    for postgres in (False, True):
        for count in (1, 1_000, 10_000, 100_000):
            _accounts(bench, count, postgres=postgres)


def _accounts(bench: Bench, count: int, *, postgres: bool) -> None:
    load = Load("", "chat", model("openai"), bodies.small, 1_000, connections=16)

    def measure(edges: list[Edge], keys: list[str]) -> Counts:
        edge = edges[:1]
        random.Random(1).shuffle(keys)
        _, total = bench.measure(load, edge, keys[-1:])  # warms up
        first, counts = bench.measure(load, edge, keys[:1_000])
        total = total.plus(counts)
        later = []
        for _ in range(3):
            cost, counts = bench.measure(load, edge, keys[:1_000])
            total = total.plus(counts)
            later.append(cost)
        again = Cost(*(statistics.median(figures) for figures in zip(*later, strict=True)))
        name = "PostgreSQL" if postgres else "SQLite"
        shown = [f"{cost:,.0f}" for cost in (*first, *again)]
        print(f"| {count:,} | {name} | {' | '.join(shown)} |", flush=True)
        return total

    bench.on_edges(count, measure, postgres=postgres)


def processes(bench: Bench) -> None:
    """Print what a call costs on several edges, and how many of their transactions wait for the lock of another."""
    print("\n| Edges | accounts that pay | edges' CPU, us | PostgreSQL | backends waiting for a lock |\n| ---: |" + " ---: |" * 4)
    for count in (1, 2, 4):
        for paying in (1, 1_000):
            _processes(bench, count, paying)


def _processes(bench: Bench, count: int, paying: int) -> None:
    load = Load("", "chat", model("openai"), bodies.small, 1_000, connections=64)

    def measure(edges: list[Edge], keys: list[str]) -> Counts:
        _, total = bench.measure(load, edges, keys)  # warms up
        costs, waits = [], []
        for _ in range(3):
            with LockSampler(bench.url) as sampler:
                cost, counts = bench.measure(load, edges, keys)
            total = total.plus(counts)
            costs.append(cost)
            waits.append(sampler.mean)
        shown = [f"{statistics.median(figures):,.0f}" for figures in zip(*costs, strict=True)]
        print(f"| {count} | {paying:,} | {' | '.join(shown)} | {statistics.median(waits):.2f} |", flush=True)
        return total

    bench.on_edges(paying, measure, postgres=True, processes=count)


def neighbors(bench: Bench) -> None:
    """Print the gaps of streams beside large bodies."""
    print("\n| Beside 8 streams | gaps p50, ms | p99 | p99.9 | longest |\n| --- |" + " ---: |" * 4)
    loads = [
        None,
        *(
            Load(f"texts of 5 MB, {client} to {upstream}", client, model(upstream), bodies.long_text(5 * MB), 4, 1)
            for client, upstream in WAYS
        ),
    ]
    loads += [
        Load(f"images of 5 MB, {client} to {upstream}", client, model(upstream), bodies.images(5 * MB), 4, 1)
        for client, upstream in WAYS
    ]

    def measure(edges: list[Edge], keys: list[str]) -> Counts:
        total = Counts()
        for edge in edges:
            total = total.plus(_print_gaps(bench, edge, keys[0], loads))
        return total

    bench.on_edges(SOME_KEYS, measure)


def _print_gaps(bench: Bench, edge: Edge, key: str, loads: Sequence[Load | None]) -> Counts:
    total = Counts()
    for load in loads:
        found, counts = bench.gaps(edge, key, load)
        total = total.plus(counts)
        name = "nothing else" if load is None else load.name
        label = f"{name} ({edge.name})" if bench.compares else name
        print(f"| {label} | {' | '.join(f'{cell:.1f}' for cell in found)} |", flush=True)
    return total
