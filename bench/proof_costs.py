"""CPU time that proofs add to each call: the hash of its charge, the hash of its request, and the shape of its request.

    python -m bench.proof_costs [--calls 20000] [--batch 16] [--body-bytes 2000]

Each part runs alone, without a database, on a batch of charges as `settle` hashes it. The result is the lowest of several runs,
in microseconds a call. Run it on idle cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from uuid import uuid4

from shared.billing.token_usage import TokenUsage
from shared.core.clock import new_id, now_ms
from shared.ledger.request_shapes import RequestShapes
from shared.ledger.settle import Settled, Settlement, _entry_rows
from shared.ledger.sql import AccountState
from transport.http_client import ADDED_HEADERS

RUNS = 7
FIELDS = ("model", "messages", "stream", "temperature", "max_completion_tokens", "stream_options")
HEADERS = tuple((name, "x") for name in ("content-type", "accept", "user-agent", "http-referer", "authorization"))


def measure(work: Callable[[], object], calls: int, each: int) -> float:
    """Return the lowest CPU time of several runs, in microseconds a call. `work` stands for `each` calls."""
    lowest = float("inf")
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in range(calls // each):
            work()
        lowest = min(lowest, time.thread_time() - began)
    return lowest / (calls // each * each) * 1e6


def parts(batch: int, body_bytes: int) -> Iterator[tuple[str, Callable[[], object], int]]:
    """Yield the name of each part, its work, and for how many calls that is."""
    now, account, digest = now_ms(), uuid4(), bytes(range(32))
    usage = TokenUsage(20, 64)
    items = [
        Settlement(
            new_id(),
            account,
            42,
            "completed",
            model="bench-model",
            price=uuid4(),
            usage=usage,
            created_at=now,
            request_sha256=digest,
            request_shape=digest[:16],
        )
        for _ in range(batch)
    ]
    pools = {account: AccountState(1_000, 0, 0)}
    charges = [(item, Settled(42, 1_000), seq + 1, -42, 1_000, 0) for seq, item in enumerate(items)]
    yield f"hash of the charge (batches of {batch})", lambda: _entry_rows(charges, pools, {}, now), batch
    body = bytes(body_bytes)
    yield f"SHA-256 of the request ({body_bytes:,} bytes)", lambda: sha256(body).digest(), 1
    shapes = RequestShapes(ADDED_HEADERS, lambda _: None)
    yield "shape of the request", lambda: shapes.find(FIELDS, HEADERS, {}, account), 1


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.proof_costs", description="CPU time of proofs per call.")
    parser.add_argument("--calls", type=int, default=20_000, help="of each run")
    parser.add_argument("--batch", type=int, default=16, help="charges that are settled together")
    parser.add_argument("--body-bytes", type=int, default=2_000, help="size of the request")
    arguments = parser.parse_args()
    print("| part | CPU us a call |\n| --- | ---: |")
    total = 0.0
    for name, work, each in parts(arguments.batch, arguments.body_bytes):
        cost = measure(work, arguments.calls, each)
        total += cost
        print(f"| {name} | {cost:.2f} |")
    print(f"| together | {total:.2f} |")


if __name__ == "__main__":
    main()
