"""The command line: prepares everything in a temporary folder, runs the rounds, prints the report, and cleans up."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from bench.gateway.machine import choose_cores
from bench.gateway.node_targets import NodeRelay, Portkey
from bench.gateway.ours import Yout, sqlite_files
from bench.gateway.postgres import DurablePostgres
from bench.gateway.report import Results, report
from bench.gateway.rounds import Row, run_rounds
from bench.gateway.targets import Direct, LiteLLM, Nginx, Place, Target
from bench.gateway.workloads import WORKLOADS, Bench
from bench.load import MockUpstream, build
from tests.servers.redis import RedisServer

Number = TypeVar("Number", int, float)
NAMES = ("direct", "nginx", "node", "portkey", "litellm", "yout-sqlite", "yout-postgres")
FIGURES = (
    *("start_seconds", "good", "bad", "unfinished", "calls_per_second", "chunks_per_second"),
    *("cpu_us", "foreign_share", "error", "problems"),
)


def main() -> int:
    """Return 0; 1 if a ledger did not balance, a test failed, or nothing was measured; 130 after Ctrl-C."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    rows: list[Row] = []
    try:
        with ExitStack() as stack:
            _measure(arguments, rows, stack)
    except KeyboardInterrupt:
        _say("interrupted; results so far:")
        print(report(rows))
        return 130
    if not rows:
        return 1
    print(report(rows))
    return 1 if Results(rows).problems() else 0


def _measure(arguments: argparse.Namespace, rows: list[Row], stack: ExitStack) -> None:
    """Add rows to `rows` and to the file of `--out`. Started processes are stopped by `stack`."""
    cores = choose_cores()
    os.sched_setaffinity(0, {cores.load})  # inherited by everything except the gateways
    _raise_file_limit()
    folder = Path(tempfile.mkdtemp(prefix="yout-bench-"))
    stack.callback(shutil.rmtree, folder)
    build(folder)
    mock = MockUpstream(folder)
    stack.callback(mock.process.kill)
    targets = _present(_targets(arguments, Place(mock, folder, cores.gateway), stack))
    out = stack.enter_context(arguments.out.open("a", buffering=1)) if arguments.out else None
    bench = Bench(folder, mock, cores, arguments.scale)
    for row in run_rounds(targets, arguments.tests, arguments.rounds, bench, mock, _say):
        rows.append(row)
        _say("  " + _line(row))
        if out:
            out.write(json.dumps(row) + "\n")


def _targets(arguments: argparse.Namespace, place: Place, stack: ExitStack) -> list[Target]:
    """Return the targets of `--only`, with the servers that they need."""
    found: dict[str, Target] = {
        "direct": Direct(place),
        "nginx": Nginx(place),
        "node": NodeRelay(place, arguments.peers),
        "portkey": Portkey(place, arguments.peers),
        "litellm": LiteLLM(place, arguments.peers),
    }
    if any(name.startswith("yout-") for name in arguments.only):
        valkey = RedisServer("valkey", place.folder)
        stack.callback(valkey.kill)
        found["yout-sqlite"] = Yout("yout-sqlite", place, valkey.url, sqlite_files(place.folder))
    if "yout-postgres" in arguments.only:
        postgres = DurablePostgres()
        stack.callback(postgres.stop)
        new_database = postgres.create_database
        found["yout-postgres"] = Yout("yout-postgres", place, valkey.url, new_database, postgres.process)
    return [found[name] for name in NAMES if name in arguments.only]


def _present(targets: list[Target]) -> list[Target]:
    """Return the targets that can be measured here, and print which cannot."""
    present = []
    for target in targets:
        if why := target.missing():
            _say(f"{target.name} skipped: {why}")
        else:
            present.append(target)
    return present


def _raise_file_limit() -> None:
    """Raise the limit: 1,000 streams need 2,000 sockets in a gateway; the usual soft limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _line(row: Row) -> str:
    shown = {name: row[name] for name in FIGURES if row.get(name) is not None}
    figures = ", ".join(
        f"{name} {value:,.2f}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )
    return f"{row['test']}: {figures}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description="Yout beside other gateways.")
    parser.add_argument(
        "--peers", type=Path, metavar="DIR", help="holds litellm/venv, node/node_modules and portkey/node_modules"
    )
    parser.add_argument("--only", type=_words(NAMES), default=NAMES, metavar="NAMES", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--tests", type=_words(tuple(WORKLOADS)), default=tuple(WORKLOADS), metavar="NAMES", help=f"of {', '.join(WORKLOADS)}"
    )
    parser.add_argument("--rounds", type=_positive(int), default=3, metavar="N", help="rounds per target (3)")
    parser.add_argument("--scale", type=_positive(float), default=1, metavar="X", help="multiplies the duration of each test (1)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append every figure to this file, one JSON object per line")
    return parser.parse_args()


def _positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    def parse(text: str) -> Number:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"a number, not {text!r}") from None
        if not 0 < value < 1_000:
            raise argparse.ArgumentTypeError(f"more than 0 and less than 1,000, not {text}")
        return value

    return parse


def _words(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        unknown = [word for word in words if word not in known]
        if unknown or not words:
            raise argparse.ArgumentTypeError(f"names of {', '.join(known)}, separated by commas, not {text!r}")
        return words

    return parse


if __name__ == "__main__":
    sys.exit(main())
