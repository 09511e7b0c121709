"""The callers of one run, in their own process: `python -m bench.floods.callers RUN EDGE READERS SECONDS`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from shared.identity.api_key_format import new_key

READ_BYTES = 256  # four times per second: 1 KB/s
START_SECONDS = 0.01  # between two
BODY_BYTES = 20_000_000


class Edge(NamedTuple):
    """The running edge, the key to pay with, and the port of the endless upstream."""

    port: int
    pid: int
    secret: str
    upstream: int


@asynccontextmanager
async def call(edge: Edge, model: str, tokens: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Start a stream of `model` with this token limit. It is closed at the end of the block."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": tokens}
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(_head(edge.secret, len(data)) + data)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _quiet(_: Edge, __: int, seconds: float) -> None:
    await asyncio.sleep(seconds)


async def _flood(edge: Edge, _: int, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        async with call(edge, "flood", 60) as (reader, _writer):
            while await reader.read(65_536):
                pass


async def _slow(edge: Edge, readers: int, seconds: float) -> None:
    await _together(readers, lambda: _read_slowly(edge, 60, seconds))


async def _stalled(edge: Edge, readers: int, seconds: float) -> None:
    await _together(readers, lambda: _read_slowly(edge, 100_000, seconds))


async def _bodies(edge: Edge, readers: int, _: float) -> None:
    await _together(readers, lambda: _send_body(edge))


RUNS: dict[str, Callable[[Edge, int, float], Awaitable[None]]] = {
    "quiet": _quiet,
    "flood": _flood,
    "slow": _slow,
    "stalled": _stalled,
    "bodies": _bodies,
}


async def _together(count: int, work: Callable[[], Awaitable[None]]) -> None:
    """Run all concurrently, with staggered starts: simultaneous arrivals would delay other streams anyway."""

    async def begin(number: int) -> None:
        await asyncio.sleep(number * START_SECONDS)
        await work()

    await asyncio.gather(*(begin(number) for number in range(count)))


async def _read_slowly(edge: Edge, tokens: int, seconds: float) -> None:
    """Read 1 KB per second, then disconnect."""
    loop = asyncio.get_running_loop()
    body = {"model": "flood", "messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": tokens}
    data = json.dumps(body).encode()
    with socket.socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", edge.port))
        await loop.sock_sendall(sock, _head(edge.secret, len(data)) + data)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(READ_BYTES / 1_024)
            with contextlib.suppress(BlockingIOError):
                if not sock.recv(READ_BYTES):
                    return


async def _send_body(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    with contextlib.suppress(OSError):
        writer.write(_head(new_key().secret, BODY_BYTES))
        for _ in range(BODY_BYTES // 65_536):
            writer.write(b"x" * 65_536)
            await writer.drain()
    with contextlib.suppress(OSError):
        answer = await reader.read(65_536)
        assert not answer or b" 401 " in answer[:20], answer[:100]
    writer.close()


def _head(secret: str, length: int) -> bytes:
    lines = ("POST /v1/chat/completions HTTP/1.1", "host: edge", f"authorization: Bearer {secret}", "connection: close")
    return "\r\n".join((*lines, "content-type: application/json", f"content-length: {length}", "", "")).encode()


if __name__ == "__main__":
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # lower priority, as if the callers ran on other machines
    asyncio.run(RUNS[sys.argv[1]](Edge(*json.loads(sys.argv[2])), int(sys.argv[3]), float(sys.argv[4])))
