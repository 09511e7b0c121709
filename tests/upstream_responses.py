"""Responses that the scripted upstream can send: JSON bodies, streams, and every kind of failure."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import Enum

from tests import openai_payloads
from tests.openai_payloads import Json

WAIT_SECONDS = 20  # upper bound for events that must happen; passing tests never wait this long
_SSE = {"content-type": "text/event-stream; charset=utf-8"}
_JSON = {"content-type": "application/json"}


class Gate:
    """Holds back the rest of a response until the test calls `open()`; `reached` is set once everything before it was sent."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened: Future[None] = Future()

    @property
    def is_open(self) -> bool:
        return self._opened.done()

    def open(self) -> None:
        self._opened.set_result(None)

    def wait_reached(self) -> None:
        """Block until a response has sent everything before the gate."""
        assert self.reached.wait(WAIT_SECONDS), "no response reached the gate"

    async def pass_through(self) -> None:
        self.reached.set()
        await asyncio.shield(asyncio.wrap_future(self._opened))  # shielded: one caller's disconnect must not open the gate


@dataclass(frozen=True, slots=True)
class Pause:
    """Piece of a response: send nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TruncatedChunk:
    """Piece of a response: announce `data` as one HTTP chunk, send half of it, and close the connection."""

    data: bytes


class StreamEnd(Enum):
    """Ways to stop sending; no piece may follow."""

    HANG = "say nothing more until the caller gives up"
    RESET = "end the connection with RST"
    CLOSE = "end the connection in good order, but without the end of the HTTP body"


HANG, RESET, CLOSE = StreamEnd
Piece = bytes | Json | Gate | Pause | TruncatedChunk | StreamEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedResponse:
    """A scripted response. With `head=None`, only the pieces are sent, without any HTTP around them.

    A dict is sent as a server-sent event terminated by `line_end`; bytes are sent unchanged. Each piece is one write and one HTTP
    chunk.
    """

    pieces: tuple[Piece, ...]
    head: tuple[int, Mapping[str, str]] | None
    before_status_line: tuple[Piece, ...] = ()
    chunked: bool = True
    line_end: str = "\n"
    compressed: bool = False


def json_response(
    body: Json | bytes, code: int = 200, headers: Mapping[str, str] | None = None, *, compressed: bool = False
) -> ScriptedResponse:
    """A complete body with Content-Length. A dict is sent as JSON; `compressed` uses gzip."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    if compressed:
        data = gzip.compress(data)
    encoding = {"content-encoding": "gzip"} if compressed else {}
    fields = {**_JSON, "content-length": str(len(data)), **encoding, **(headers or {})}
    return ScriptedResponse(pieces=(data,), head=(code, fields), chunked=False)


def error_response(code: int, error: Json | None = None, headers: Mapping[str, str] | None = None) -> ScriptedResponse:
    """An error response as providers send it; pass `retry-after` in `headers` if needed."""
    return json_response(error or openai_payloads.failure(f"Acme error {code}."), code, headers)


def context_too_long() -> ScriptedResponse:
    """The 400 for a prompt that exceeds the model's context window."""
    message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
    error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    return error_response(400, {"error": error})


def html_response(code: int = 200) -> ScriptedResponse:
    """An HTML page from a proxy in front of the provider, possibly with status 200."""
    return json_response(b"<html><body><h1>Welcome to nginx!</h1></body></html>", code, {"content-type": "text/html"})


def stream(
    *pieces: Piece, line_end: str = "\n", compressed: bool = False, headers: Mapping[str, str] | None = None
) -> ScriptedResponse:
    """Server-sent events. The HTTP body ends properly unless one of the pieces breaks the connection."""
    encoding = {"content-encoding": "gzip"} if compressed else {}
    fields = {**_SSE, "transfer-encoding": "chunked", **encoding, **(headers or {})}
    return ScriptedResponse(pieces=pieces, head=(200, fields), line_end=line_end, compressed=compressed)


def no_response(*pieces: Piece) -> ScriptedResponse:
    """Read the request and send `pieces` without any HTTP head; by default send nothing until the caller gives up."""
    return ScriptedResponse(pieces=pieces or (HANG,), head=None)


def delayed(wait: Gate | Pause, answer: ScriptedResponse) -> ScriptedResponse:
    """Delay the status line of `answer` until the gate opens or the pause ends."""
    return replace(answer, before_status_line=(wait, *answer.before_status_line))
