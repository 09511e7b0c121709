"""The cost of decoding compressed request bodies: CPU seconds for 20 MB, and the longest block of the event loop.

    python -m bench.content_coding [--megabytes 20] [--rounds 3]

Bodies are JSON text, and zeros, the worst case for a small body. Prints the best round in CPU time, which other processes do
not affect.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import brotli

from edge.http.content_coding import DecodedBody, parse_codings, zstd

CHUNK_BYTES = 64 * 1024  # read size of a connection
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: bytes(brotli.compress(data, quality=4)),
    "zstd": lambda data: bytes(zstd.compress(data)),
}


def text(size: int) -> bytes:
    """Return JSON of about this size, with repeated words as in prompts."""
    chosen = random.Random(7)
    words = ["".join(chosen.choices("etaoinshrdlu", k=chosen.randint(2, 9))) for _ in range(2_000)]
    messages = [{"role": "user", "content": " ".join(chosen.choices(words, k=100))} for _ in range(size // 700)]
    return json.dumps(messages).encode()[:size]


async def decode(coding: str, packed: bytes, size: int) -> tuple[float, float]:
    """Return the CPU seconds, and the longest block of the event loop."""
    pieces = [packed[at : at + CHUNK_BYTES] for at in range(0, len(packed), CHUNK_BYTES)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    pauses, done = [0.0], False

    async def watch() -> None:
        last = time.process_time()
        while not done:
            await asyncio.sleep(0)
            now = time.process_time()
            pauses.append(now - last)
            last = now

    watching = asyncio.ensure_future(watch())
    body, found, began = DecodedBody(receive, parse_codings(coding.encode()), size), 0, time.process_time()
    while (message := await body())["more_body"]:
        found += len(message["body"])
    seconds, done = time.process_time() - began, True
    await watching
    assert found == size
    return seconds, max(pauses)


def main() -> None:
    """Print a row for each coding and kind of body."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    size = options.megabytes * 1_000_000
    for kind, data in (("text", text(size)), ("zeros", bytes(size))):
        for coding, compress in COMPRESS.items():
            packed = compress(data)
            rounds = [asyncio.run(decode(coding, packed, len(data))) for _ in range(options.rounds)]
            seconds, pause = (min(values) for values in zip(*rounds, strict=True))
            print(f"{kind:6} {coding:8} {len(packed) / 1e6:7.3f} MB  {seconds:6.3f} s  {pause * 1000:6.2f} ms at once")


if __name__ == "__main__":
    main()
