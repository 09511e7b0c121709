"""The cost of choosing the order of a call's channels: CPU microseconds per call, at random and by conversation.

    python -m bench.route_order [--rounds 15]

Prints the best round, since disturbed rounds say nothing about the code.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from uuid import uuid4

from edge.call.conversation_key import conversation_key
from edge.call.requests import build_chat_call
from shared.catalog.failover import RouteHealth
from shared.catalog.routing import order_routes
from shared.catalog.snapshot import Route

CALLS_A_ROUND = 20_000
PAYER = uuid4()
TEXTS = {"a short message": "Hello", "a message of 20 KB": "word " * 4_000}
# Name → (priority, weight) of each channel.
CHANNELS = {
    "one channel": ((0, 1),),
    "two priorities": ((0, 1), (1, 1)),
    "two equal channels": ((0, 1), (0, 2)),
    "four equal channels": ((0, 1), (0, 2), (0, 3), (0, 4)),
}


def microseconds_a_call(routes: list[Route], conversation: Callable[[], bytes] | None, rounds: int) -> float:
    """Return the CPU time of ordering `routes`, in the best round."""
    health, best = RouteHealth(), float("inf")
    for _ in range(rounds):
        before = time.process_time()
        for _ in range(CALLS_A_ROUND):
            order_routes(routes, health, 1, random.random, PAYER, conversation)
        best = min(best, time.process_time() - before)
    return best / CALLS_A_ROUND * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.route_order", description="The cost of ordering channels.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    system = {"role": "system", "content": "word " * 1_000}
    calls = {
        name: build_chat_call({"model": "m", "messages": [system, {"role": "user", "content": text}]}, len(text))
        for name, text in TEXTS.items()
    }
    print(f"| us a call | at random | {' | '.join(TEXTS)} |\n|---|---:|{'---:|' * len(TEXTS)}")
    for name, channels in CHANNELS.items():
        routes = [_route(priority, weight) for priority, weight in channels]
        keys = [None, *(partial(conversation_key, call, PAYER) for call in calls.values())]
        cells = [f"{microseconds_a_call(routes, key, rounds):.1f}" for key in keys]
        print(f"| {name} | {' | '.join(cells)} |")


def _route(priority: int, weight: int) -> Route:
    id = uuid4()
    return Route(id, id, "c", "openai", "http://provider/v1", "", {}, "m", priority, weight)


if __name__ == "__main__":
    sys.exit(main())
