"""A provider on loopback that answers as scripted, and records every request and how much of each answer it sent."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

MAX_HEAD_BYTES = 256 * 1024
CLOSE_SECONDS = 10


class Ending(Enum):
    """Ways to end an answer; no piece may follow."""

    RESET = "reset the connection"
    CLOSE = "close the connection without the end of the body"
    HANG = "send nothing more until the caller leaves"


class Word(bytes):
    """A piece with one word of the answer's text."""

    words = 1


class Words(bytes):
    """A piece with several words of the answer's text."""

    words = 0

    @classmethod
    def of(cls, data: bytes, words: int) -> Words:
        made = cls(data)
        made.words = words
        return made


Piece = bytes | float | Ending  # bytes to send, seconds to wait, or an ending


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Without `status` only the pieces are sent. With `length`, the body has that Content-Length, else chunks."""

    pieces: Sequence[Piece]
    status: int | None = 200
    content_type: str = "application/json"
    length: int | None = None
    headers: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Received:
    """One request, and what was sent: `words` of the answer's text, and whether the answer was sent to its end (`whole`)."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    words: int = 0
    whole: bool = False
    ended: threading.Event = field(default_factory=threading.Event, repr=False)


class ScriptedUpstream:
    """The running server, in a thread of its own. `base_url` has no path. A request must have `secret` in a header."""

    def __init__(self, answer: Callable[[Received], Answer]) -> None:
        self.requests: list[Received] = []
        self.secret = ""  # set before the first call; without it every request is refused
        self._answer = answer
        self._connections: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted upstream", daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(CLOSE_SECONDS)
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Close every connection and stop."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=MAX_HEAD_BYTES)

    async def _stop(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  (a coroutine runs in a task)
        self._connections.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                if not await self._serve(request, reader, writer):
                    break
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # the edge was killed, or has disconnected
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Returns whether the connection can be used again."""
        if not self.secret or not any(self.secret in value for _, value in request.headers):
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            return True
        self.requests.append(request)
        try:
            request.whole = await _play(self._answer(request), request, reader, writer)
        finally:
            request.ended.set()
        return request.whole


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    named = {name.lower(): value for name, value in headers}
    if "chunked" in named.get("transfer-encoding", ""):
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(named.get("content-length", 0)))
    return Received(method, path, headers, body)


async def _play(answer: Answer, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send the answer. Returns whether it was sent to its end."""
    if answer.status is not None:
        size = "transfer-encoding: chunked" if answer.length is None else f"content-length: {answer.length}"
        more = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        head = f"HTTP/1.1 {answer.status} Scripted\r\ncontent-type: {answer.content_type}\r\n{more}{size}\r\n\r\n"
        writer.write(head.encode())
    chunked = answer.status is not None and answer.length is None
    for piece in answer.pieces:
        if reader.at_eof():
            return False
        if isinstance(piece, float):
            await asyncio.sleep(piece)
        elif isinstance(piece, Ending):
            return await _break(piece, reader, writer)
        else:
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            request.words += getattr(piece, "words", 0)
            await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    return answer.status is not None


async def _break(ending: Ending, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if ending is Ending.HANG:
        await reader.read()  # until the caller leaves
    elif ending is Ending.RESET:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return False
