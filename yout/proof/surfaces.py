"""One call to any endpoint: its request, and what its caller receives."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from yout.proof.accounting import LIMIT_FACTOR, Call
from yout.proof.answers import WORD, Script

TAG_HEADER = "x-yout-tag"
TEXT = ("chat", "completions", "responses", "messages", "native")  # endpoints that answer with text
_WORD = WORD.strip().encode()
_CUT = re.compile(rb'"(?:finish_reason|stop_reason|reason)": ?"(?:length|max_tokens|max_output_tokens|credits)"')
_CODE = re.compile(rb'"code": ?"([a-z_]+)"')
_FAILED = re.compile(rb'^(?:data: ?\{"error"|event: ?error|event: ?response\.failed)', re.MULTILINE)
Json = dict[str, Any]


class Surface(NamedTuple):
    """An endpoint. `end` is part of the last event of a complete stream; without it, the endpoint does not stream.

    `always_streams`: there is no other mode.
    """

    path: str
    model: str
    body: Callable[[str, int], Json]
    end: tuple[bytes, ...] = ()
    always_streams: bool = False


def _messages(prompt: str, limit: int) -> Json:
    return {"messages": [{"role": "user", "content": prompt}], "max_tokens": limit}


SURFACES: Mapping[str, Surface] = {
    "chat": Surface("/v1/chat/completions", "chat", _messages, (b"data: [DONE]",)),
    "completions": Surface(
        "/v1/completions", "chat", lambda prompt, limit: {"prompt": prompt, "max_tokens": limit}, (b"data: [DONE]",)
    ),
    "responses": Surface(
        "/v1/responses",
        "chat",
        lambda prompt, limit: {"input": prompt, "max_output_tokens": max(16, limit)},
        (b'"response.completed"', b'"response.incomplete"'),
    ),
    "messages": Surface("/v1/messages", "chat", _messages, (b'"message_stop"',)),
    "native": Surface(
        "/api/chat/stream/",
        "chat",
        lambda prompt, limit: {"prompt": prompt, "max_tokens": limit},
        (b'data: {"done"',),
        always_streams=True,
    ),
    "embeddings": Surface("/v1/embeddings", "embedding", lambda prompt, _: {"input": prompt}),
    "images": Surface("/v1/images/generations", "image", lambda prompt, _: {"prompt": prompt, "response_format": "b64_json"}),
    "speech": Surface("/v1/audio/speech", "speech", lambda prompt, _: {"input": prompt, "voice": "alloy"}),
}


def request_of(script: Script, surface: str, model: str, key: str, *, streamed: bool) -> bytes:
    """Return the bytes of the request. The tag connects the usage row with the call."""
    where = SURFACES[surface]
    body = {"model": model, **where.body(script.prompt, script.words * LIMIT_FACTOR)}
    if streamed and not where.always_streams:
        body["stream"] = True
    data = json.dumps(body).encode()
    head = (
        f"POST {where.path} HTTP/1.1\r\nhost: yout\r\nconnection: close\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\n{TAG_HEADER}: {script.number}\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


async def make_call(call: Call, url: str, request: bytes, deadline: float, leave_after: float | None) -> None:
    """Send one request and record in `call` what its caller receives. `leave_after`: seconds until the caller disconnects, at the
    first word if it comes earlier; None to stay.
    """
    began = time.monotonic()
    received = bytearray()
    try:
        async with asyncio.timeout(deadline if leave_after is None else min(leave_after, deadline)):
            await _exchange(url, request, received, stop_at_word=leave_after is not None)
    except TimeoutError:
        call.left = True
    except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
        pass  # the edge was killed, or is not up
    call.left = call.left or leave_after is not None
    call.seconds = time.monotonic() - began
    _read(call, bytes(received))


async def _exchange(url: str, request: bytes, received: bytearray, *, stop_at_word: bool) -> None:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if secure else 80), ssl=context)
    try:
        writer.write(request)
        while data := await reader.read(65_536):
            received += data
            if stop_at_word and _WORD in received:
                return
    finally:
        writer.close()


def _read(call: Call, received: bytes) -> None:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return
    first, *lines = head.decode("latin-1").split("\r\n")
    call.status = int(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in headers:
        complete = len(body) == int(headers["content-length"])
    else:
        complete = body.endswith(b"0\r\n\r\n")
        body = _without_chunks(body)
    call.words = call.status == 200 and (_WORD in body or call.surface not in TEXT)
    call.cut = _CUT.search(body) is not None
    call.failed = call.status == 200 and _FAILED.search(body) is not None
    if call.status >= 400 and (found := _CODE.search(body)):
        call.error = found[1].decode()
    elif call.failed:
        call.error = "stream_error"
    ends = SURFACES[call.surface].end
    call.whole = complete and (call.status != 200 or not call.streamed or any(end in body for end in ends))


def _without_chunks(body: bytes) -> bytes:
    """Return a chunked body without the framing; the rest of a truncated one is kept as it is."""
    found = bytearray()
    while True:
        size, separator, rest = body.partition(b"\r\n")
        if not separator:
            return bytes(found + body)
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return bytes(found + body)
        found += rest[:length]
        if not length or len(rest) < length + 2:
            return bytes(found)
        body = rest[length + 2 :]
