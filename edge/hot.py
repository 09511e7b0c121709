"""The hot POSTs as raw ASGI handlers, mounted inside the Quart app: the same exchange without the framework's cost."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from uuid import UUID

from edge.address import peer_address
from edge.admission import Caller
from edge.callers import web_caller
from edge.content_coding import DecodedBody, codings_of
from edge.errors import request_id
from edge.exchange import exchange
from edge.request_body import ClientGone, Receive
from edge.responses import Send, open_line, respond, send_refusal
from edge.services import Services
from edge.surface import Asked, Surface
from shared.clock import new_id
from shared.errors import InvalidRequest, RequestRefused
from shared.ledger import Claim

Scope = dict[str, Any]
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_IDEMPOTENCY_KEY = 255


class Wanted(NamedTuple):
    """The request headers that matter here."""

    authorization: bytes | None
    x_api_key: bytes | None
    content_length: bytes | None
    idempotency_key: bytes | None
    max_credits: bytes | None
    forwarded_for: bytes | None
    content_encoding: bytes | None
    origin: bytes | None

    @property
    def key_sent(self) -> bool:
        """Whether the request brings what should be a key."""
        return self.authorization is not None or self.x_api_key is not None


_NAMES = (
    *(b"authorization", b"x-api-key", b"content-length", b"idempotency-key", b"x-yout-max-credits", b"x-forwarded-for"),
    *(b"content-encoding", b"origin"),
)
_LISTS = (b"x-forwarded-for", b"content-encoding")  # several headers of these are one list (RFC 9110, section 5.3)


def call_handler(services: Services, surface: Surface) -> Handler:
    """The handler of a POST that calls a model: `surface` reads its body and shapes its answer, the rest is alike."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        call_id = new_id()
        line = open_line(send, surface, request_id(call_id))
        try:
            wanted = read_headers(scope)
            if wanted.origin is not None:
                line.headers.extend(services.cors.headers(wanted.origin))
            if wanted.content_encoding is not None:
                receive = DecodedBody(receive, codings_of(wanted.content_encoding), services.settings.max_body_bytes)
            if surface.for_web and not wanted.key_sent:
                caller = await web_caller(services, scope)
                body = await services.bodies.read(receive, wanted.content_length, caller.address)
            else:
                address = peer_address(scope, wanted.forwarded_for, services.settings.trusted_proxies)
                digest, limits = await services.keys.admit(wanted.authorization, wanted.x_api_key, address)
                body = await services.bodies.read(receive, wanted.content_length, address)
                caller = Caller(digest, limits, address)
            try:
                if surface.read_form is None:
                    asked = surface.read(body, call_id)
                else:
                    asked = await _read_form(surface, scope, body, call_id)
                if wanted.idempotency_key is not None:
                    same_as = body if asked.same_as is None else asked.same_as
                    caller = caller._replace(claim=claim_of(wanted.idempotency_key, same_as))
                cap = cap_of(wanted.max_credits)
            except RequestRefused as refusal:
                raise await services.keys.first_refusal(caller.digest, refusal) from None
            if asked.history is not None:
                asked = asked._replace(call=await asked.history.open(services, caller))
        except ClientGone:
            return
        except Exception as error:  # the outermost handler: every error becomes an answer in our format
            await send_refusal(line, error)
            return
        events = exchange(services, call_id, caller, asked.call, cap)
        if asked.history is not None:
            events = asked.history.keep(services, asked.call.model, events)
        await _until_gone(services, receive, respond(services, line, asked, events))

    return handle


async def _until_gone(services: Services, receive: Receive, work: Any) -> None:
    """Do `work`; cancel it as soon as the client is gone. In `services.calls` others find it who may have to cut it off."""
    running = services.calls.begin()
    watch = asyncio.get_running_loop().create_task(_watch(receive, running.task))
    try:
        await work
    except asyncio.CancelledError:
        if not watch.done():  # not the client: the server is stopping
            raise
    finally:
        services.calls.end(running)
        watch.cancel()


async def _watch(receive: Receive, task: asyncio.Task[Any]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    task.cancel()


def read_headers(scope: Scope) -> Wanted:
    """The values of the relevant headers. Raises `InvalidRequest` for a repeated header that must be unique."""
    found = dict.fromkeys(_NAMES)
    for name, value in scope["headers"]:
        if name in found:
            first = found[name]
            found[name] = value if first is None else _repeated(name, first, value)
    return Wanted(*found.values())


def _repeated(name: bytes, first: bytes, second: bytes) -> bytes:
    """The value of a repeated header. Two keys are refused: another server could read the other one."""
    if name in _LISTS:
        return b"%b, %b" % (first, second)
    raise InvalidRequest(f"Send the header '{name.decode()}' once, not several times.", name.decode())


async def _read_form(surface: Surface, scope: Scope, body: bytes, call_id: UUID) -> Asked:
    sent = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1")
    if surface.read_form is None or not sent.lower().startswith("multipart/form-data"):
        return surface.read(body, call_id)
    return await asyncio.to_thread(surface.read_form, body, sent, call_id)


def claim_of(key: bytes | None, body: bytes) -> Claim | None:
    """The claim that an `Idempotency-Key` makes for a body."""
    if key is None:
        return None
    if not 1 <= len(key) <= LONGEST_IDEMPOTENCY_KEY:
        raise InvalidRequest(f"'Idempotency-Key' must have 1 to {LONGEST_IDEMPOTENCY_KEY} characters.", "Idempotency-Key")
    return Claim(hashlib.sha256(key).hexdigest(), hashlib.sha256(body).hexdigest())


def cap_of(value: bytes | None) -> int | None:
    """The caller's own limit in credits, `x-yout-max-credits`."""
    if value is None:
        return None
    if not value.isdigit() or len(value) > 15:
        raise InvalidRequest("'x-yout-max-credits' must be a whole number of credits.", "x-yout-max-credits")
    return int(value)
