"""CPU cost of the upstream client compared with aiohttp's, against a mock upstream written in C.

    python -m bench.http_client [--concurrency 32] [--rounds 5] [--loop uvloop] [--share-core]

Prints this process's CPU microseconds (user and system) for one JSON call and for one stream of 64 events, the best round of
each, and the ratio. Rounds alternate between the clients, so that disturbances affect both.

This process runs on the first allowed core and the mock on the last. The mock writes each event separately, so a fast client
wakes up for nearly every write, and the stream's CPU time measures wake-ups. With --share-core both run on one core and events
accumulate as in a busy process, so it measures bursts. The number of reads per stream shows which case applied.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import uvloop

from bench.load import COMPLETIONS_PATH, JSON_BODY, STREAM_BODY, MockUpstream, build
from transport.http_client import HttpClient, HttpRequest

HEADERS = (("content-type", "application/json"), ("authorization", "Bearer sk-bench"), ("user-agent", "bench"))

Call = Callable[[], Awaitable[int]]  # returns the number of body reads
Calls = dict[str, Call]


@contextmanager
def mock_upstream(core: int) -> Iterator[str]:
    """Run the mock upstream on one core and yield the URL of its chat endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        upstream = MockUpstream(Path(folder))
        try:
            os.sched_setaffinity(upstream.process.pid, {core})
            yield f"http://127.0.0.1:{upstream.port}{COMPLETIONS_PATH}"
        finally:
            upstream.process.kill()


@asynccontextmanager
async def our_calls(url: str) -> AsyncIterator[Calls]:
    client = HttpClient()

    async def json_call() -> int:
        response = await client.open(HttpRequest("POST", url, HEADERS, JSON_BODY), first_byte_timeout=30.0)
        body = await response.read_all(limit=1 << 20, timeout=30.0)
        check(response.status == 200 and body.endswith(b"}"))
        return 1

    async def stream_call() -> int:
        response = await client.open(HttpRequest("POST", url, HEADERS, STREAM_BODY), first_byte_timeout=30.0)
        last, reads = b"", 0
        while piece := await response.read(timeout=30.0):
            last, reads = piece, reads + 1
        check(last.endswith(b"data: [DONE]\n\n"))
        return reads

    yield {"json": json_call, "stream": stream_call}
    await client.close()


@asynccontextmanager
async def aiohttp_calls(url: str) -> AsyncIterator[Calls]:
    """aiohttp, without the features that a gateway does not need."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=30.0),
    )
    headers = dict(HEADERS)

    async def json_call() -> int:
        async with session.post(url, data=JSON_BODY, headers=headers) as response:
            body = await response.read()
            check(response.status == 200 and body.endswith(b"}"))
        return 1

    async def stream_call() -> int:
        last, reads = b"", 0
        async with session.post(url, data=STREAM_BODY, headers=headers) as response:
            async for piece in response.content.iter_any():
                last, reads = piece, reads + 1
        check(last.endswith(b"data: [DONE]\n\n"))
        return reads

    yield {"json": json_call, "stream": stream_call}
    await session.close()


def check(good: bool) -> None:
    if not good:
        raise SystemExit("a response of the mock upstream was cut off or unexpected; aborting")


async def cpu_microseconds(call: Call, count: int, concurrency: int) -> tuple[float, float]:
    """Return this process's CPU time and body reads per call, at this concurrency."""
    reads = 0

    async def worker() -> None:
        nonlocal reads
        for _ in range(count // concurrency):
            seen = await call()  # a separate statement: `reads += await …` would add to an outdated sum
            reads += seen

    before = time.process_time()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    made = count // concurrency * concurrency
    return (time.process_time() - before) * 1e6 / made, reads / made


async def measure(url: str, rounds: int, concurrency: int) -> dict[tuple[str, str], tuple[float, float]]:
    counts = {"json": 20_000, "stream": 3_000}
    best: dict[tuple[str, str], tuple[float, float]] = {}
    async with our_calls(url) as ours, aiohttp_calls(url) as theirs:
        for round_number in range(rounds + 1):
            for kind, count in counts.items():
                for name, calls in (("ours", ours), ("aiohttp", theirs)):
                    cost = await cpu_microseconds(calls[kind], count // (1 if round_number else 10), concurrency)
                    if round_number:  # the first round is a warm-up
                        best[name, kind] = min(cost, best.get((name, kind), cost))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share-core", action="store_true", help="run the mock on this process's core")
    parser.add_argument("--loop", choices=("uvloop", "asyncio"), default="uvloop")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    factory = uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop
    mock_core = cores[0] if options.share_core else cores[-1]
    with mock_upstream(mock_core) as url, asyncio.Runner(loop_factory=factory) as runner:
        best = runner.run(measure(url, options.rounds, options.concurrency))
    placement = "the mock on the same core" if options.share_core else "the mock on another core"
    print(f"{options.loop}, {placement}, {options.concurrency} concurrent, CPU microseconds, best of {options.rounds} rounds")
    for kind, label in (("json", "JSON call"), ("stream", "stream of 64 events")):
        (ours, our_reads), (theirs, their_reads) = best["ours", kind], best["aiohttp", kind]
        reads = f"   reads {our_reads:.1f} and {their_reads:.1f}" if kind == "stream" else ""
        print(f"{label:20} ours {ours:7.1f}   aiohttp {theirs:7.1f}   ratio {theirs / ours:5.2f}{reads}")


if __name__ == "__main__":
    main()
