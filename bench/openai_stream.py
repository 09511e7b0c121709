"""The cost of the `openai` dialect's stream reader: CPU microseconds per event, by the number of events per read.

    python -m bench.openai_stream [--events 64] [--rounds 7]

`same name` is a model that the provider knows by our name: its events are relayed byte for byte. `renamed` replaces the name in
each event. Prints the best round, because other rounds were disturbed by other processes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall

UPSTREAM_MODEL = "gpt-4o-mini"
CALL_ID = "chatcmpl-0123456789abcdef"
BEGAN = 1_700_000_000  # seconds since 1970
CASES = {"same name": UPSTREAM_MODEL, "renamed": "our-own-name"}
READS = (1, 4, 16, 64)
STREAMS_A_ROUND = 200


def events(count: int) -> list[bytes]:
    """Return a stream as OpenAI sends it: a role, `count` words, the finish reason, usage, the end mark."""
    chunks = [_chunk({"role": "assistant", "content": ""})]
    chunks += [_chunk({"content": f" word{number}"}) for number in range(count)]
    chunks.append(_chunk({}, "stop"))
    usage = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
    chunks.append({**_chunk({}), "choices": [], "usage": usage})
    payloads = [json.dumps(chunk, separators=(",", ":")).encode() for chunk in chunks]
    return [b"data: " + payload + b"\n\n" for payload in (*payloads, b"[DONE]")]


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    frame = {"id": CALL_ID, "object": "chat.completion.chunk", "created": BEGAN, "model": UPSTREAM_MODEL}
    return {**frame, "service_tier": "default", "system_fingerprint": "fp_bench", "choices": [choice]}


def reads(stream: Sequence[bytes], together: int) -> list[bytes]:
    """Split the stream into reads of this many events."""
    return [b"".join(stream[start : start + together]) for start in range(0, len(stream), together)]


def microseconds_an_event(model: str, pieces: Sequence[bytes], count: int) -> float:
    """Return the CPU time per event of one round. Raises `SystemExit` if the reader did not see a whole stream."""
    call = ChatCall(
        model, {}, stream=True, include_usage=True, choices=1, output_limit=None, input_bound=100, input_estimate=20
    )  # fmt: skip
    before = time.process_time()
    for _ in range(STREAMS_A_ROUND):
        reader = DIALECTS["openai"].new_stream_reader(call, CALL_ID, BEGAN)
        for piece in pieces:
            reader.feed(piece)
    used = time.process_time() - before
    if not (reader.done and reader.usage().input_tokens == 20):
        raise SystemExit("the reader did not parse the stream correctly; aborting")
    return used / STREAMS_A_ROUND / count * 1e6


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.openai_stream", description="The cost of reading a stream.")
    parser.add_argument("--events", type=int, default=64, help="text events per stream")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    stream = events(arguments.events)
    print("| events a read | " + " | ".join(f"{name}, us an event" for name in CASES) + " |\n| ---: | ---: | ---: |")
    for together in READS:
        pieces = reads(stream, together)
        best = [
            min(microseconds_an_event(model, pieces, len(stream)) for _ in range(arguments.rounds)) for model in CASES.values()
        ]
        print(f"| {together} | " + " | ".join(f"{cost:.2f}" for cost in best) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
