"""The ASGI entry point: POSTs that call models go to their handlers, all other requests are normalized and go to Quart.

Rejects unknown methods and protocol upgrades, answers preflights, collapses slashes and prefixes doubled by a client's base URL,
and decompresses bodies. A POST to a model route with its exact path skips all of this.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from edge.http.content_coding import DecodedBody, parse_codings
from edge.http.cors import PATHS, Cors
from edge.http.errors import openai_error_body, request_id
from shared.core.clock import new_id
from shared.core.errors import YoutError

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # case-sensitive: RFC 9110, section 9.1
BODY_ERROR = "yout.body_error"  # scope key of an error in decoding the body; raised when a route reads the body
_SLASHES = re.compile(r"/{2,}")


def entry(inner: App, routes: Mapping[str, App], cors: Cors, max_body_bytes: int) -> App:
    """Return the ASGI app: `routes` serves POSTs by path, with or without a trailing slash; `inner` serves all others."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            if scope["method"] == "POST":
                path = scope["path"]
                handler = routes.get(path) or routes.get(path.rstrip("/"))
                if handler is None and _is_odd(path):
                    scope = {**scope, "path": canonical_path(path)}
                    handler = routes.get(scope["path"].rstrip("/"))
                if handler is not None:
                    await handler(scope, receive, send)
                    return
            refused = _refuse(scope, cors)
            if refused is not None:
                await _send(send, "http.response", *refused)
                return
            scope, receive = _prepare(scope, receive, max_body_bytes)
        elif kind == "websocket":
            await receive()
            await _send(send, "websocket.http.response", *_NO_WEBSOCKETS)
            return
        await inner(scope, receive, send)

    return asgi


def canonical_path(path: str) -> str:
    """Return the API path without double slashes and without a doubled `/v1`, both of which come from a client's base URL."""
    plain = _SLASHES.sub("/", path)
    while plain.startswith("/v1/v1/"):
        plain = plain[3:]
    return plain if plain.startswith(PATHS) else path


def _is_odd(path: str) -> bool:
    return "//" in path or path.startswith("/v1/v1/")


RefusedRequest = tuple[int, list[tuple[bytes, bytes]], bytes]


def _error(status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> RefusedRequest:
    body = openai_error_body(message, "invalid_request_error", code)
    return status, [(b"content-type", b"application/json"), *headers], orjson.dumps(body)


# Codex tries a WebSocket first. It falls back to HTTP at once after a 426, and retries after any other status.
_NO_WEBSOCKETS = _error(
    426,
    "upgrade_required",
    "WebSockets are not supported. Send the request over HTTP; responses stream as server-sent events.",
    (b"upgrade", b"HTTP/1.1"),  # required by RFC 9110, section 15.5.22
    (b"connection", b"upgrade"),
)


def _refuse(scope: Scope, cors: Cors) -> RefusedRequest | None:
    """Return the response to a request that Quart should not see, or None."""
    method, headers = scope["method"], scope["headers"]
    if not all(_is_host(value) for name, value in headers if name == b"host"):
        return _error(400, "invalid_request", "Invalid Host header. Send a valid host name and an optional port.")
    if method not in METHODS:
        return _error(501, "method_not_implemented", f"Unknown HTTP method '{method[:40]}'. Method names are case-sensitive.")
    if method == "GET" and any(name == b"upgrade" and b"websocket" in value.lower() for name, value in headers):
        return _NO_WEBSOCKETS
    if method == "OPTIONS" and canonical_path(scope["path"]).startswith(PATHS):
        allowed = cors.preflight(headers)
        if allowed is not None:
            return 204, allowed, b""
    return None


def _is_host(value: bytes) -> bool:
    """Return whether Quart can parse a `Host`: it fails on empty labels and on labels over 63 characters."""
    try:
        value.decode("latin-1").partition(":")[0].encode("idna")
    except UnicodeError:
        return False
    return True


def _prepare(scope: Scope, receive: Receive, max_body_bytes: int) -> tuple[Scope, Receive]:
    """Return the request for Quart, with a normalized path and a decompressed body."""
    if _is_odd(scope["path"]):
        scope = {**scope, "path": canonical_path(scope["path"])}
    coding = b", ".join(value for name, value in scope["headers"] if name == b"content-encoding")
    if not coding:
        return scope, receive
    headers = [field for field in scope["headers"] if field[0] not in (b"content-encoding", b"content-length")]
    scope = {**scope, "headers": headers}
    try:
        codings = parse_codings(coding)
    except YoutError as error:
        scope[BODY_ERROR] = error
        return scope, receive
    return scope, _decoding(scope, receive, DecodedBody(receive, codings, max_body_bytes))


def _decoding(scope: Scope, receive: Receive, body: DecodedBody) -> Receive:
    """Wrap `body` for Quart, which reads it in a separate task: an error is stored in the scope and ends the body."""

    async def decoded() -> Message:
        if BODY_ERROR in scope:
            while (message := await receive())["type"] != "http.disconnect":
                pass
            return message
        try:
            return await body()
        except YoutError as error:
            scope[BODY_ERROR] = error
            return {"type": "http.request", "body": b"", "more_body": False}

    return decoded


async def _send(send: Send, kind: str, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    own = [(b"x-request-id", request_id(new_id()).encode())]
    if status != 204:
        own.append((b"content-length", b"%d" % len(body)))
    await send({"type": f"{kind}.start", "status": status, "headers": [*headers, *own]})
    await send({"type": f"{kind}.body", "body": body})
