"""A real HTTP server that plays an OpenAI-shaped provider from a script, including its failures.

    upstream.script(
        status(500),                                          # the first call fails
        stream(chunk("Hel"), chunk("lo"), finish(), usage(7, 2), DONE),
        stream(chunk("Hello"), RESET),                        # the third breaks the connection
    )

`tests.upstream_responses` has the responses, `tests.openai_payloads` the JSON in them. The server speaks HTTP/1.1 on a
free port of 127.0.0.1 in its own thread, so that synchronous tests, asynchronous tests and other processes can call it. Without a
script it sends a short valid answer. It records every request, and whether the caller stayed until the end of the response.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httptools

from tests import openai_payloads
from tests.openai_payloads import DONE
from tests.threads import join
from tests.upstream_responses import (
    HANG,
    RESET,
    WAIT_SECONDS,
    Gate,
    Pause,
    Piece,
    ScriptedResponse,
    StreamEnd,
    TruncatedChunk,
    json_response,
    stream,
)

Script = ScriptedResponse | Callable[["Request"], ScriptedResponse]


@dataclass(slots=True)
class Request:
    """One received request. `outcome` says how it ended once `ended` is set.

    `answered`: everything was sent; `disconnected`: the caller disconnected earlier; `broken`: the script broke the connection.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    outcome: Literal["answered", "disconnected", "broken"] | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def wait_outcome(self) -> str | None:
        """Wait for the outcome."""
        assert self.ended.wait(WAIT_SECONDS), f"{self.method} {self.path} is still being answered"
        return self.outcome


def default_script(request: Request) -> ScriptedResponse:
    """The default script: a short text with exact usage, streamed if requested."""
    if request.method == "GET":
        return json_response({"object": "list", "data": [{"id": openai_payloads.MODEL, "object": "model", "owned_by": "acme"}]})
    asked = request.json
    if not asked.get("stream"):
        return json_response(openai_payloads.completion(usage=openai_payloads.tokens(7, 3)))
    last = [openai_payloads.usage(7, 3)] if (asked.get("stream_options") or {}).get("include_usage") else []
    return stream(
        openai_payloads.role(),
        openai_payloads.chunk("Hello"),
        openai_payloads.chunk(" there."),
        openai_payloads.finish(),
        *last,
        DONE,
    )


class Upstream:
    """The running server. `url` is the base URL for a channel."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.default: Script = default_script
        self._script: deque[Script] = deque()
        self._problems: list[Exception] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._thread.start()
        self._connections: set[_Connection] = set()
        self._server = self._call(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> list[Request]:
        """The POST requests."""
        return [request for request in self.requests if request.method == "POST"]

    def script(self, *answers: Script) -> None:
        """Answer the next POSTs with these, one each, in this order; afterwards use `default` again."""
        self._script.extend(answers)

    def close(self) -> None:
        """Stop listening and close every connection. Re-raises the exception of a scripted callable."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        join(self._thread, WAIT_SECONDS)
        self._loop.close()
        if self._problems:
            raise self._problems[0]

    def choose(self, request: Request) -> ScriptedResponse:
        """Record `request` and choose its answer."""
        self.requests.append(request)
        scripted = request.method == "POST" and self._script
        answer = self._script.popleft() if scripted else self.default
        return answer if isinstance(answer, ScriptedResponse) else answer(request)

    def report(self, problem: Exception) -> None:
        """Remember an exception in the script itself, for `close` to raise."""
        self._problems.append(problem)

    def _call(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_SECONDS)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self, self._connections), "127.0.0.1", 0)

    async def _stop(self) -> None:
        self._server.close()
        tasks = [connection.task for connection in self._connections]
        for connection in list(self._connections):
            connection.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Broken(Exception):
    """The script broke the connection."""


class _Connection(asyncio.Protocol):
    """One connection: parses requests, plays answers, and notices a disconnect immediately."""

    def __init__(self, upstream: Upstream, connections: set[_Connection]) -> None:
        self._upstream, self._connections = upstream, connections
        self._parser = httptools.HttpRequestParser(self)
        self._received: asyncio.Queue[Request] = asyncio.Queue()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def connection_lost(self, exc: Exception | None) -> None:
        self.task.cancel()
        self._connections.discard(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    def on_message_begin(self) -> None:
        self._target, self._body = b"", b""
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method, path = self._parser.get_method().decode(), self._target.decode()
        self._received.put_nowait(Request(method, path, self._headers, self._body))

    def abort(self) -> None:
        self._transport.abort()

    async def _serve(self) -> None:
        while True:
            request = await self._received.get()
            request.outcome = "disconnected"
            try:
                await self._play(self._upstream.choose(request))
                request.outcome = "answered"
            except _Broken:
                request.outcome = "broken"
                return
            except Exception as problem:
                self._upstream.report(problem)
                self.abort()
            finally:
                request.ended.set()

    async def _play(self, answer: ScriptedResponse) -> None:
        for piece in answer.before_status_line:
            await self._act(piece, answer, None)
        if answer.head is not None:
            code, headers = answer.head
            lines = [f"HTTP/1.1 {code} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
            await self._write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        compressor = zlib.compressobj(wbits=31) if answer.compressed else None
        for piece in answer.pieces:
            await self._act(piece, answer, compressor)
        if answer.head is None:
            self._transport.close()
            raise _Broken
        if answer.chunked:
            rest = compressor.flush() if compressor else b""
            await self._write((_http_chunk(rest) if rest else b"") + b"0\r\n\r\n")

    async def _act(self, piece: Piece, answer: ScriptedResponse, compressor: Any) -> None:
        if isinstance(piece, Gate):
            await piece.pass_through()
        elif isinstance(piece, Pause):
            await asyncio.sleep(piece.seconds)
        elif piece is HANG:
            await asyncio.Event().wait()
        elif isinstance(piece, TruncatedChunk):
            await self._write(_http_chunk(piece.data)[: -2 - len(piece.data) // 2])
            self._end_connection()
        elif isinstance(piece, StreamEnd):
            self._end_connection(reset=piece is RESET)
        else:
            await self._write(_encode(piece, answer, compressor))

    def _end_connection(self, *, reset: bool = False) -> None:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()
        raise _Broken

    async def _write(self, data: bytes) -> None:
        await self._writable.wait()
        await asyncio.sleep(0)  # let a disconnect be noticed between two pieces
        self._transport.write(data)


def _encode(piece: bytes | openai_payloads.Json, answer: ScriptedResponse, compressor: Any) -> bytes:
    data = piece if isinstance(piece, bytes) else openai_payloads.frame(piece, answer.line_end)
    if compressor:
        data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    bare = answer.head is None or not answer.chunked
    return data if bare or not data else _http_chunk(data)


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
