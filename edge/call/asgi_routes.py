"""Raw ASGI handlers of the POST routes that call models: they bypass Quart's per-request overhead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec.structs import replace

from edge.call.admission import Caller
from edge.call.endpoint_adapter import EndpointAdapter, ParsedRequest
from edge.call.exchange import exchange
from edge.call.responses import Send, refuse, respond, response_context
from edge.call.sdk_retries import SdkCall, sdk_call
from edge.call.web_auth import is_from_page, web_caller
from edge.http.client_ip import client_ip
from edge.http.content_coding import DecodedBody, parse_codings
from edge.http.errors import request_id
from edge.http.headers import Scope, deprecation_headers, idempotency_claim, parse_max_credits, read_headers
from edge.http.request_body import ClientGone, Receive
from edge.http.tags import parse_tag
from edge.services import Services
from edge.store.inflight import InflightCall
from edge.store.large_bodies import LARGE_BODY_BYTES
from shared.core.clock import new_id
from shared.core.errors import RequestRefused
from transport.fast_hypercorn import DISCONNECT

if TYPE_CHECKING:
    from edge.store.tracing import Tracer

TRACE = "yout.trace"  # scope key of the request's trace

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def call_handler(services: Services, adapter: EndpointAdapter, surface: str) -> Handler:
    """Return the handler of a POST that calls a model. `adapter` parses the body and renders the response.

    `surface` is the path, for metrics and the log.
    """

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        call_id = new_id()
        context = response_context(send, adapter, request_id(call_id))
        try:
            headers = read_headers(scope)
            if headers.origin is not None:
                context.headers.extend(services.cors.headers(headers.origin))
            if headers.content_encoding is not None:
                receive = DecodedBody(receive, parse_codings(headers.content_encoding), services.settings.max_body_bytes)
            if not headers.has_key and (adapter.allows_web_callers or (adapter.allows_pages and is_from_page(scope))):
                caller = replace(await web_caller(services, scope), surface=surface, trace=scope.get(TRACE))
                body = await services.bodies.read(receive, headers.content_length, caller.address)
            else:
                address = client_ip(scope, headers.forwarded_for, services.settings.trusted_proxies)
                payer, limits = await services.keys.admit(headers.authorization, headers.x_api_key, address)
                body = await services.bodies.read(receive, headers.content_length, address)
                caller = Caller(payer, limits, address, None, surface, scope.get(TRACE))
            try:
                if adapter.parse_form is not None:
                    parsed = await _read_form(adapter, scope, body, call_id)
                elif len(body) > LARGE_BODY_BYTES:
                    parsed = await services.large_bodies.run(partial(adapter.parse, body, call_id))
                else:
                    parsed = adapter.parse(body, call_id)
                same_as = body if parsed.idempotency_body is None else parsed.idempotency_body
                retryable: SdkCall | None = None
                if headers.idempotency_key is not None:
                    caller = replace(caller, idempotency_claim=idempotency_claim(headers.idempotency_key, same_as))
                elif headers.is_retryable:
                    retryable = sdk_call(services, headers, caller.limits.account, surface, same_as, call_id)
                cap, tag = parse_max_credits(headers.max_credits), parse_tag(headers.tag)
            except RequestRefused as refusal:
                raise await services.keys.key_error_or(caller.payer, refusal) from None
            if parsed.extension is not None:
                parsed = replace(parsed, call=await parsed.extension.prepare_call(services, caller))
            notice = services.catalog.notice_of(parsed.call.model)
            if notice is not None:
                context.headers.extend(deprecation_headers(notice))
            if tag is not None:
                parsed = replace(parsed, call=parsed.call._replace(tag=tag))
        except ClientGone:
            return
        except Exception as error:  # the outermost handler: every error becomes an answer in our format
            await refuse(services, context, surface, error)
            return
        running = services.inflight.begin()
        events = exchange(services, running, call_id, caller, parsed.call, cap)
        if parsed.extension is not None:
            events = parsed.extension.record(services, parsed.call.model, events)
        if retryable is None:
            await _until_gone(services, running, scope, receive, respond(services, running, context, parsed, events))
        else:
            work = retryable.serve(context, surface, lambda context: respond(services, running, context, parsed, events))
            await _until_gone(services, running, scope, receive, work, retryable)

    return handle if services.tracer is None else _traced(services.tracer, handle, surface)


def _traced(tracer: Tracer, handle: Handler, surface: str) -> Handler:
    """Return `handle` with a span around each request."""

    async def traced(scope: Scope, receive: Receive, send: Send) -> None:
        trace = tracer.begin(scope, surface)
        try:
            await handle({**scope, TRACE: trace}, receive, trace.watch(send))
        finally:
            trace.end()

    return traced


async def _until_gone(
    services: Services,
    running: InflightCall,
    scope: Scope,
    receive: Receive,
    work: Awaitable[None],
    retryable: SdkCall | None = None,
) -> None:
    """Run the `work` of the `running` call, and cancel it when the client disconnects. Removes it from `services.inflight`.

    A `retryable` call may continue after the client disconnected.
    """
    services.metrics.add_running(1)
    watch: asyncio.Task[None] | None = None
    leave = running.disconnect if retryable is None else partial(_leave_retryable, running, retryable)
    call_on_disconnect = scope.get("extensions", {}).get(DISCONNECT)
    if call_on_disconnect is not None:  # cheaper than a task for each call
        call_on_disconnect(leave)
    else:
        watch = asyncio.get_running_loop().create_task(_watch(receive, leave))
    try:
        await work
    except asyncio.CancelledError:
        if not running.client_gone:  # cancelled by the server's shutdown, not by the client
            raise
    finally:
        services.inflight.end(running)
        services.metrics.add_running(-1)
        if watch is not None:
            watch.cancel()


def _leave_retryable(running: InflightCall, retryable: SdkCall) -> None:
    if not retryable.client_gone(running.disconnect):
        running.disconnect()


async def _watch(receive: Receive, leave: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    leave()


async def _read_form(adapter: EndpointAdapter, scope: Scope, body: bytes, call_id: UUID) -> ParsedRequest:
    sent = next((value for name, value in scope["headers"] if name == b"content-type"), b"").decode("latin-1")
    if adapter.parse_form is None or not sent.lower().startswith("multipart/form-data"):
        return adapter.parse(body, call_id)
    return await asyncio.to_thread(adapter.parse_form, body, sent, call_id)
