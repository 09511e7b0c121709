"""The cost of building a provider's request: CPU microseconds per call, by dialect, template and size.

    python -m bench.request_building [--rounds 25]

Prints the best round, because other rounds were disturbed by other processes. Compare two checkouts by their ratio.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any
from uuid import UUID

from shared.catalog.snapshot import Route
from shared.catalog.templates import TEMPLATES
from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall, Target

CALLS_A_ROUND = 400
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "description": "Where"}, "days": {"type": "integer"}},
    "required": ["city"],
}
PLAIN = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
LONG = [*PLAIN, *({"role": role, "content": "word " * 50} for role in ("assistant", "user") * 10)]
TOOLS = [{"type": "function", "function": {"name": f"tool_{number}", "parameters": SCHEMA}} for number in range(10)]
BODIES: dict[str, dict[str, Any]] = {
    "2 messages": {"messages": PLAIN},
    "22 messages": {"messages": LONG},
    "10 tools": {"messages": PLAIN, "tools": TOOLS},
}
# Name → (dialect, channel settings).
CHANNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai, no settings": ("openai", {}),
    **{name: (TEMPLATES[name].dialect, dict(TEMPLATES[name].settings)) for name in ("openai", "mistral", "anthropic", "google")},
}


def microseconds_a_call(dialect: str, settings: dict[str, Any], body: dict[str, Any], rounds: int) -> float:
    """Return the CPU time of building one request, in the best round."""
    id = UUID(int=1)
    route = Route(id, id, "c", dialect, "http://provider/v1", "", settings, "model", 0, 1)
    target = Target(route, "key", "http://referer", str, None, 1_000)
    call = ChatCall("model", {"model": "model", "max_tokens": 100, **body}, False, False, 1, 100, 100, 20)
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time()
        for _ in range(CALLS_A_ROUND):
            DIALECTS[dialect].build_request(call, target)
        best = min(best, time.process_time() - before)
    return best / CALLS_A_ROUND * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.request_building", description="The cost of building a request.")
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    sys.stdout.write(f"| channel | {' | '.join(BODIES)} |\n|---{'|---' * len(BODIES)}|\n")
    for name, (dialect, settings) in CHANNELS.items():
        cells = [f"{microseconds_a_call(dialect, settings, body, rounds):.1f}" for body in BODIES.values()]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
