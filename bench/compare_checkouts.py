"""Compares this checkout with another, such as the state before a change, while both run.

Two edges share one core, and only one is under load at a time: short loads alternate, so both are exposed to the same
disturbances. The result is the median of the ratios of neighboring loads, with the standard error of the mean of their middle
three fifths.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from bench.gateway.machine import choose_cores
from bench.gateway.postgres import DurablePostgres
from bench.gateway.targets import Gateway, Place, inherited, launch
from bench.gateway.workloads import WORKLOADS, Bench
from bench.load import MODEL, MockUpstream, build
from tests.servers.process import ROOT, free_port
from tests.servers.redis import RedisServer

SECRET_KEY = "benchmark-secret-key-of-more-than-32-characters"
CREDITS = str(10**15)  # more than any run can spend
NO_LIMIT = str(10**9)  # limits are checked for each call, but never reached
COMMAND_SECONDS = 60
# What is compared in a test, as the path to a figure in the load client's results.
LATENCY, FIRST_TOKEN = ("latency_ms", "p50"), ("first_token_ms", "p50")
FIGURES = {"lat_c1": LATENCY, "lat_c16": LATENCY, "sat_c64": ("cpu_us",), "sse_c1": FIRST_TOKEN}
OF_OTHER_STREAMS = ("cpu_us_a_chunk",)


def main() -> int:
    """Print the ratios. Returns 0; 1 if an answer was incomplete; raises `SystemExit` if an edge does not start."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    with ExitStack() as stack:
        cores = choose_cores()
        os.sched_setaffinity(0, {cores.load})
        folder = Path(tempfile.mkdtemp(prefix="yout-bench-"))
        stack.callback(shutil.rmtree, folder)
        build(folder)
        mock = MockUpstream(folder)
        stack.callback(mock.process.kill)
        valkey = RedisServer("valkey", folder)
        stack.callback(valkey.kill)
        place = Place(mock, folder, cores.gateway)
        postgres = DurablePostgres() if arguments.postgres else None
        if postgres is not None:
            stack.callback(postgres.stop)
        edges = [
            _start(name, path, place, valkey.url, stack, postgres and postgres.create_database())
            for name, path in (("after", ROOT), ("before", arguments.before))
        ]
        bench = Bench(folder, mock, cores, arguments.scale)
        for edge in edges:
            bench.warm_up(edge)
        return max(_compare(test, edges, arguments.pairs, bench) for test in arguments.tests)


def _compare(test: str, edges: Sequence[Gateway], pairs: int, bench: Bench) -> int:
    """Measure in turn, every second pair in reverse order, and print one line. Returns 1 if an answer was incomplete."""
    path = FIGURES.get(test, OF_OTHER_STREAMS)
    ratios, afters, bad = [], [], 0
    for number in range(pairs):
        order = edges if number % 2 else edges[::-1]
        results = {edge.port: bench.run(WORKLOADS[test], edge, 0) for edge in order}
        bad += sum(int(result["bad"]) for result in results.values())
        after, before = (_figure(results[edge.port], path) for edge in edges)
        ratios.append(after / before)
        afters.append(after)
    ratio = f"after/before {statistics.median(ratios):.3f} ± {_standard_error(ratios):.3f}"
    print(f"{test} {' '.join(path)}: {statistics.median(afters):.2f}, {ratio}, {pairs} pairs, bad {bad}", flush=True)
    return 1 if bad else 0


def _figure(result: dict[str, Any], path: Sequence[str]) -> float:
    return float(reduce(getitem, path, result))  # type: ignore[arg-type]  # the last step is a number


def _standard_error(ratios: Sequence[float]) -> float:
    """Return the standard error of the mean of the middle three fifths, corrected for the trimming.

    The formula is Tukey and McLaughlin's (1963), with winsorized ratios.
    """
    cut = len(ratios) // 5
    ordered = sorted(ratios)
    winsorized = [min(max(ratio, ordered[cut]), ordered[-1 - cut]) for ratio in ordered]
    return statistics.stdev(winsorized) / ((1 - 2 * cut / len(ratios)) * math.sqrt(len(ratios)))


def _start(name: str, checkout: Path, place: Place, redis_url: str, stack: ExitStack, database_url: str | None = None) -> Gateway:
    """Start the edge of a checkout on a new database (without `database_url`, SQLite), which its own command line fills."""
    port = free_port()
    python = checkout / ".venv" / "bin" / "python"
    data = place.folder / name
    data.mkdir()
    settings = {
        "PYTHONPATH": str(checkout),
        "SECRET_KEY": SECRET_KEY,
        "YOUT_ENV": "production",
        "YOUT_ALLOW_SQLITE": "true",
        "YOUT_PUBLIC_URL": "https://bench.example",
        "YOUT_DATA_DIR": str(data),
        "YOUT_EDGE_PORT": str(port),
        "YOUT_DEFAULT_RPM": NO_LIMIT,
        "YOUT_DEFAULT_TPM": NO_LIMIT + "000",
        "DATABASE_URL": database_url or f"sqlite:///{data / 'yout.db'}",
        "REDIS_URL": redis_url,
    }

    def yout(*arguments: str) -> dict[str, Any]:
        command = [str(python), "-m", "yout", *arguments, "--json"]
        done = subprocess.run(
            command, cwd=data, env={**inherited(), **settings}, capture_output=True, text=True, timeout=COMMAND_SECONDS
        )
        if done.returncode:
            raise SystemExit(f"{checkout}: yout {' '.join(arguments)}: {done.stdout}{done.stderr}")
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    yout("migrate")
    yout("account", "create", "bench@example.com", "--credits", CREDITS)
    upstream = f"http://{place.upstream}/v1"
    yout("channel", "create", "mock", "--dialect", "openai", "--base-url", upstream, "--secret", "sk-upstream")
    rates = ("--input", "150", "--output", "600", "--cached-input", "75", "--max-output", "16384")
    yout("model", "create", MODEL, "--channel", "mock", *rates)
    key = yout("key", "create", "bench@example.com")["secret"]
    gateway = launch(name, [str(python), "-m", "edge"], port, place, key, settings)
    assert gateway.process is not None
    stack.callback(gateway.process.kill)
    return gateway


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare_checkouts", description="This checkout beside another.")
    parser.add_argument("before", type=_checkout, metavar="FOLDER", help="the other checkout, set up by its own bin/setup")
    known = tuple(WORKLOADS)
    parser.add_argument("--tests", nargs="+", choices=known, default=["sat_c64"], metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--pairs", type=int, default=40, metavar="N", help="pairs of loads per test (40)")
    parser.add_argument("--scale", type=float, default=0.4, metavar="X", help="multiplies the seconds of each load (0.4)")
    return parser.parse_args()


def _checkout(value: str) -> Path:
    folder = Path(value).resolve()
    if not (folder / ".venv" / "bin" / "python").exists():
        raise argparse.ArgumentTypeError(f"{folder} is not set up; run its bin/setup first")
    return folder


if __name__ == "__main__":
    sys.exit(main())
