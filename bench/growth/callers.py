"""Makes calls over kept-alive connections, each of which sends one after the other.

`python -m bench.growth.callers PORT PATH KEY BODY SECONDS` reads streams and prints `gaps` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import uvloop

ANSWER_SECONDS = 60  # how long to wait for an answer
SHARES = (0.5, 0.99, 0.999, 1)  # of the gaps that are not longer
STREAMS = 8  # read at the same time, for their gaps


class Request(NamedTuple):
    """A request to the edge at `port`."""

    port: int
    path: str
    key: str
    body: bytes

    @property
    def head(self) -> bytes:
        """The request line and headers."""
        lines = (
            f"POST {self.path} HTTP/1.1",
            "host: edge",
            f"authorization: Bearer {self.key}",
            "content-type: application/json",
        )
        return "\r\n".join((*lines, f"content-length: {len(self.body)}", "", "")).encode()


class Counts(NamedTuple):
    """The number of complete answers with status 200, and of others; the start of the first other one."""

    good: int = 0
    bad: int = 0
    first_bad: str = ""

    def plus(self, other: Counts) -> Counts:
        """Return the sum."""
        return Counts(self.good + other.good, self.bad + other.bad, self.first_bad or other.first_bad)


async def run(requests: Iterable[Request], connections: int) -> Counts:
    """Send all requests, this many at a time."""
    waiting = iter(requests)

    async def send_in_turn() -> Counts:
        counts, opened = Counts(), {}
        for request in waiting:
            if request.port not in opened:
                opened[request.port] = await asyncio.open_connection("127.0.0.1", request.port)
            status, answer = await asyncio.wait_for(_call(*opened[request.port], request), ANSWER_SECONDS)
            is_good = status == 200 and b"word" in answer
            counts = counts.plus(Counts(good=1) if is_good else Counts(bad=1, first_bad=answer[:500].decode(errors="replace")))
        for _, writer in opened.values():
            writer.close()
        return counts

    total = Counts()
    for counts in await asyncio.gather(*(send_in_turn() for _ in range(connections))):
        total = total.plus(counts)
    return total


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request) -> tuple[int, bytes]:
    """Send one request. Returns the status and the body."""
    writer.write(request.head)
    writer.write(request.body)
    status, headers = await _read_head(reader)
    pieces = [piece async for piece in _body(reader, headers)]
    return status, b"".join(pieces)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


async def _body(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    """Yield the body, chunk by chunk."""
    if b"content-length" in headers:
        yield await reader.readexactly(int(headers[b"content-length"]))
        return
    while size := int(await reader.readline(), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


async def gaps(request: Request, seconds: float) -> tuple[list[float], int]:
    """Read `STREAMS` streams, again and again. Returns `SHARES` of the gaps between chunks in ms, and the number of streams."""
    found: list[float] = []
    streams, end = 0, time.monotonic() + seconds

    async def read_in_turn() -> None:
        nonlocal streams
        reader, writer = await asyncio.open_connection("127.0.0.1", request.port)
        while time.monotonic() < end:
            writer.write(request.head + request.body)
            _, headers = await _read_head(reader)
            last = None
            async for _ in _body(reader, headers):
                now = time.monotonic()
                if last is not None:
                    found.append((now - last) * 1_000)
                last = now
            streams += 1
        writer.close()

    await asyncio.gather(*(read_in_turn() for _ in range(STREAMS)))
    found.sort()
    return [found[int((len(found) - 1) * share)] for share in SHARES], streams


if __name__ == "__main__":
    port, path, key, body, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(gaps(Request(int(port), path, key, body.encode()), float(seconds)))))
