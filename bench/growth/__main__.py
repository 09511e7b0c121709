"""The CPU time of a call along each axis on which its work, or the installation, grows.

    python -m bench.growth [--only sizes,dialects] [--rounds 3] [--before FOLDER]

    sizes      bodies of 1 KB, 100 KB and 5 MB: one text, images, and histories of 200 messages with tool calls
    dialects   each format that callers use × each dialect of a provider: a short question, and a history
    streams    streams of 64 and 1,000 chunks, a write each
    accounts   1, 1,000, 10,000 and 100,000 accounts: the first call of accounts, and later ones; SQLite and PostgreSQL
    processes  1, 2 and 4 edges on one PostgreSQL, whose calls are paid by one account or by a thousand
    neighbors  gaps between the chunks of other streams, alone and beside bodies of 5 MB

It starts PostgreSQL, Valkey, a mock upstream and the edges, prints Markdown, and verifies the ledger of each database; if that
fails, the exit code is 1. With `--before`, an edge of another checkout (with the same tables) is measured in turn with this one
on the same database, and the ratios are printed. CPU time is user and system time of the edge processes, and of PostgreSQL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.gateway.machine import choose_cores
from bench.growth.measurement import Bench, say
from bench.growth.tables import accounts, dialects, neighbors, processes, sizes, streams

AXES = {axis.__name__: axis for axis in (sizes, dialects, streams, accounts, processes, neighbors)}


def main() -> int:
    """Print the tables. Returns 0; 1 if an answer was bad or a ledger did not balance."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that started processes are stopped
    with ExitStack() as stack:
        cores = choose_cores()
        os.sched_setaffinity(0, {cores.load})  # inherited by everything except the edges
        folder = Path(tempfile.mkdtemp(prefix="yout-bench-"))
        stack.callback(shutil.rmtree, folder)
        bench = Bench(arguments, folder, cores, stack)
        for name in arguments.only:
            AXES[name](bench)
    for problem in bench.problems:
        say(problem)
    return 1 if bench.problems else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=_axes, default=tuple(AXES), metavar="AXES", help=f"of {', '.join(AXES)}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="rounds of each load, after one that warms up (3)")
    parser.add_argument("--before", type=_checkout, metavar="FOLDER", help="another checkout, set up by its own bin/setup")
    return parser.parse_args()


def _axes(value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    if unknown := [name for name in names if name not in AXES]:
        raise argparse.ArgumentTypeError(f"names of {', '.join(AXES)}, separated by commas, not {', '.join(unknown)}")
    return names


def _checkout(value: str) -> Path:
    folder = Path(value).resolve()
    if not (folder / ".venv" / "bin" / "python").exists():
        raise argparse.ArgumentTypeError(f"{folder} is not set up; run its bin/setup first")
    return folder


if __name__ == "__main__":
    sys.exit(main())
