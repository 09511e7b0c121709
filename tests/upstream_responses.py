"""What the scripted upstream can be told to send: whole bodies, streams, and every way to break off."""

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

WAIT_SECONDS = 20  # for what must happen; passing never takes that long
_SSE = {"content-type": "text/event-stream; charset=utf-8"}
_JSON = {"content-type": "application/json"}


class Gate:
    """A piece of an answer that waits for the test: `reached` is set when the answer is there, `open()` lets it go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened: Future[None] = Future()

    @property
    def is_open(self) -> bool:
        return self._opened.done()

    def open(self) -> None:
        self._opened.set_result(None)

    def wait_reached(self) -> None:
        """Return when an answer has sent everything before the gate."""
        assert self.reached.wait(WAIT_SECONDS), "no answer came to the gate"

    async def pass_through(self) -> None:
        self.reached.set()
        await asyncio.shield(asyncio.wrap_future(self._opened))  # shielded: one caller's leaving opens nothing


@dataclass(frozen=True, slots=True)
class Pause:
    """A piece: send nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Torn:
    """A piece: announce all of `data` as one HTTP chunk, send half of it, and close the connection."""

    data: bytes


class Break(Enum):
    """Pieces after which nothing comes."""

    HANG = "say nothing more until the caller gives up"
    RESET = "end the connection with RST"
    CLOSE = "end the connection in good order, but without the end of the HTTP body"


HANG, RESET, CLOSE = Break
Piece = bytes | Json | Gate | Pause | Torn | Break


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What to send. `head` None sends the pieces bare, without HTTP around them.

    A dict is sent as a server-sent event with `line_end`, bytes as they are; each is one write, and one HTTP chunk.
    """

    pieces: tuple[Piece, ...]
    head: tuple[int, Mapping[str, str]] | None
    before_head: tuple[Piece, ...] = ()
    chunked: bool = True
    line_end: str = "\n"
    compressed: bool = False


def reply(body: Json | bytes, code: int = 200, headers: Mapping[str, str] | None = None, *, compressed: bool = False) -> Answer:
    """A whole body with its length. A dict is sent as JSON; `compressed` uses gzip."""
    data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    if compressed:
        data = gzip.compress(data)
    encoding = {"content-encoding": "gzip"} if compressed else {}
    fields = {**_JSON, "content-length": str(len(data)), **encoding, **(headers or {})}
    return Answer(pieces=(data,), head=(code, fields), chunked=False)


def status(code: int, error: Json | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """An error as vendors send it; `headers` may hold a `retry-after`."""
    return reply(error or openai_payloads.failure(f"Vendor error {code}."), code, headers)


def context_too_long() -> Answer:
    """The 400 of a request that doesn't fit the model."""
    message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens."
    error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    return status(400, {"error": error})


def html(code: int = 200) -> Answer:
    """The page of some proxy in between, with a status that may say that all is well."""
    return reply(b"<html><body><h1>Welcome to nginx!</h1></body></html>", code, {"content-type": "text/html"})


def stream(*pieces: Piece, line_end: str = "\n", compressed: bool = False, headers: Mapping[str, str] | None = None) -> Answer:
    """Server-sent events. Ends the HTTP body in good order unless a piece ends the connection before."""
    encoding = {"content-encoding": "gzip"} if compressed else {}
    fields = {**_SSE, "transfer-encoding": "chunked", **encoding, **(headers or {})}
    return Answer(pieces=pieces, head=(200, fields), line_end=line_end, compressed=compressed)


def silence(*pieces: Piece) -> Answer:
    """Read the request and send no HTTP at all: bare `pieces`, by default nothing until the caller gives up."""
    return Answer(pieces=pieces or (HANG,), head=None)


def later(wait: Gate | Pause, answer: Answer) -> Answer:
    """`answer`, its status line held back behind a gate or a pause."""
    return replace(answer, before_head=(wait, *answer.before_head))
