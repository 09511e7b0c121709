"""The upstream of the floods, one process each: `python -m bench.floods.upstream PORT`.

`…/steady/…` streams a chunk every 50 ms, `max_tokens` in total; `…/flood/…` streams words endlessly, as fast as they are read.
`GET /taken` returns the bytes that each flood has written, as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import Any

import orjson
import uvloop

CHUNK_SECONDS = 0.05
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_taken: list[int] = []


def _event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + orjson.dumps({**head, **fields}) + b"\n\n"


_FLOOD = b"".join(_event({"content": f" word{number}"}) for number in range(250))


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                body = json.dumps(_taken).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            asked = orjson.loads(await reader.readexactly(length))
            writer.write(_HEAD)
            if b"/flood/" in head.split(b"\r\n", 1)[0]:
                await _flood(writer)
            await _stream(writer, asked["max_tokens"])
    writer.close()


async def _flood(writer: asyncio.StreamWriter) -> None:
    os.setpriority(os.PRIO_PROCESS, 0, 10)  # lower priority, as if the upstream ran on another machine
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536
    )  # so that written bytes have been read by the peer
    place = len(_taken)
    _taken.append(0)
    data = b"%x\r\n%b\r\n" % (len(_FLOOD), _FLOOD)
    while True:
        writer.write(data)
        await writer.drain()
        _taken[place] += len(_FLOOD)
        await asyncio.sleep(0)


async def _stream(writer: asyncio.StreamWriter, chunks: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(chunks):
        await asyncio.sleep(max(0, began + number * CHUNK_SECONDS - loop.time()))
        await _write(writer, _event({"content": " word"}))
    usage = {"prompt_tokens": 7, "completion_tokens": chunks, "total_tokens": chunks + 7}
    await _write(writer, _event({}, "stop") + _event({}, usage=usage) + b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=1_000)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
