"""The cost of a stream of the Responses API for a caller of the same API: CPU microseconds per event of text.

    python -m bench.responses_stream [--events 500] [--rounds 7]

`relayed` is a channel of the dialect `responses`; `from chat` is one of the dialect `openai`, whose chunks become events. Prints
the best round, because other rounds were disturbed by other processes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from bench import openai_stream
from edge.v1.responses.request import parse
from edge.v1.responses.response_renderer import ResponseRenderer
from shared.dialects import DIALECTS

CALL = UUID(int=1)


def response_events(count: int) -> list[bytes]:
    """Return a stream of `count` words as OpenAI sends it."""
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
    response: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    at = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
    text = "".join(f" word{number}" for number in range(count))
    done = {**item, "status": "completed", "content": [{**part, "text": text}]}
    usage = {"input_tokens": 20, "output_tokens": count, "total_tokens": 20 + count}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": f" word{number}", "logprobs": []} for number in range(count)),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {"type": "response.completed", "response": {**response, "status": "completed", "output": [done], "usage": usage}},
    ]
    return [_event({**event, "sequence_number": number}) for number, event in enumerate(events)]


def _event(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: ".encode() + orjson.dumps(event) + b"\n\n"


def microseconds_an_event(dialect: str, stream: Sequence[bytes]) -> float:
    """Return the CPU time per event of one stream. Raises `SystemExit` if the reader did not see a whole stream."""
    request = parse(orjson.dumps({"model": "our-own-name", "input": "Hi", "stream": True}))
    reader = DIALECTS[dialect].new_stream_reader(request.call, "chatcmpl-1", 1)
    renderer = ResponseRenderer(CALL, 1, request)
    before = time.process_time()
    for event in stream:
        relay = reader.feed(event)
        if relay:
            renderer.transform_chunks(relay)
    used = time.process_time() - before
    if not (reader.done and reader.usage().input_tokens == 20):
        raise SystemExit("the reader did not parse the stream correctly; aborting")
    return used / len(stream) * 1e6


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.responses_stream", description="The cost of a Responses stream.")
    parser.add_argument("--events", type=int, default=500, help="text events per stream")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    streams = {
        "relayed": ("responses", response_events(arguments.events)),
        "from chat": ("openai", openai_stream.events(arguments.events)),
    }
    print("| channel | us an event |\n| --- | ---: |")
    for name, (dialect, stream) in streams.items():
        best = min(microseconds_an_event(dialect, stream) for _ in range(arguments.rounds))
        print(f"| {name} | {best:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
