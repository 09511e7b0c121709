"""Converts a generation's events to an OpenAI response: one JSON body or a stream of chunks."""

import logging
import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from embedded.chat_request import ChatRequest
from embedded.errors import ApiError, server_error
from embedded.generation_events import AbortConnection, Delta, Events, Usage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChunkHeader:
    """The fields that every chunk of a response repeats."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def body(self, kind: str, **rest: Any) -> dict[str, Any]:
        """Return a `chat.completion` or `chat.completion.chunk` object."""
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **rest}


async def send_response(http: web.Request, request: ChatRequest, events: Events) -> web.StreamResponse:
    """Send the response. Raises ApiError only before the first byte is sent."""
    async with aclosing(events):
        try:
            if request.stream:
                return await _stream(http, request, events)
            return web.json_response(body=orjson.dumps(await _collect(request, events)))
        except AbortConnection:
            return _cut(http)


async def _collect(request: ChatRequest, events: Events) -> dict[str, Any]:
    choices = [_Choice(index) for index in range(request.n)]
    usage = None
    async for event in events:
        if isinstance(event, Usage):
            usage = event.body()
        else:
            choices[event.index].add(event)
    return ChunkHeader(request.model).body("chat.completion", choices=[choice.body() for choice in choices], usage=usage)


class _Choice:
    """A choice, assembled from deltas."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text: list[str] = []
        self.tool_calls: list[dict[str, Any]] = []
        self.logprobs: list[dict[str, Any]] | None = None
        self.finish_reason: str | None = None

    def add(self, piece: Delta) -> None:
        self.text.append(piece.text or "")
        self.finish_reason = piece.finish_reason or self.finish_reason
        if piece.logprobs:
            self.logprobs = (self.logprobs or []) + piece.logprobs["content"]
        if piece.tool_call is not None:
            self._add_tool_call(piece.tool_call)

    def _add_tool_call(self, delta: dict[str, Any]) -> None:
        if "id" in delta:
            call = {name: delta[name] for name in ("id", "type")}
            self.tool_calls.append(call | {"function": dict(delta["function"])})
        else:
            self.tool_calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]

    def body(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.text), "refusal": None}
        if self.tool_calls:
            message |= {"content": None, "tool_calls": self.tool_calls}
        logprobs = None if self.logprobs is None else {"content": self.logprobs, "refusal": None}
        return {"index": self.index, "message": message, "logprobs": logprobs, "finish_reason": self.finish_reason}


async def _stream(http: web.Request, request: ChatRequest, events: Events) -> web.StreamResponse:
    # The first event decides between an HTTP error and a 200, so it is awaited before any byte goes out.
    first = await anext(events)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    chunks = _Chunks(ChunkHeader(request.model), request.include_usage)
    try:
        await response.write(chunks.frame(first))
        async for event in events:
            await response.write(chunks.frame(event))
    except ApiError as error:
        await response.write(_sse(error.body()))
        return response
    except (AbortConnection, ConnectionError):
        raise
    except Exception:
        # Status 200 is already sent, so the error goes into the stream; a clean end would look like a complete answer.
        log.exception("%s failed during a response", request.model)
        await response.write(_sse(server_error("Internal error of the embedded provider. See its log.").body()))
        return response
    await response.write(b"data: [DONE]\n\n")
    return response


class _Chunks:
    """Formats the chunks of a stream: the role on a choice's first delta, usage only if requested."""

    def __init__(self, heading: ChunkHeader, include_usage: bool) -> None:
        self._heading = heading
        self._include_usage = include_usage
        self._started: set[int] = set()

    def frame(self, event: Delta | Usage) -> bytes:
        if isinstance(event, Usage):
            return self._sse([], event.body()) if self._include_usage else b""
        delta: dict[str, Any] = {}
        if event.index not in self._started:
            self._started.add(event.index)
            delta["role"] = "assistant"
            delta["content"] = None if event.tool_call else ""
        if event.text is not None:
            delta["content"] = event.text
        if event.tool_call is not None:
            delta["tool_calls"] = [event.tool_call]
        choice = {"index": event.index, "delta": delta, "logprobs": event.logprobs}
        return self._sse([choice | {"finish_reason": event.finish_reason}], None)

    def _sse(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> bytes:
        body = self._heading.body("chat.completion.chunk", choices=choices)
        # OpenAI sends "usage": null on other chunks only if the stream will have a usage chunk.
        return _sse(body | {"usage": usage} if self._include_usage else body)


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _cut(http: web.Request) -> web.StreamResponse:
    """Close the connection without ending the chunked body, so that clients notice."""
    if http.transport is not None:
        http.transport.close()
    return web.Response()
