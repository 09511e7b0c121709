"""Renders the exchange's events as HTTP: JSON or server-sent events. A 200 is sent only with the first data.

If a stream is silent for longer than `keepalive_first_seconds`, its headers are sent, and comments keep proxies from closing
it. An error before that is sent with its own status, a later one as the stream's last event.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import orjson

from edge.call.endpoint_adapter import EndpointAdapter, Events, ParsedRequest, RawResponse, Renderer
from edge.call.exchange import Admitted, Finished
from edge.http.errors import error_spec, is_internal
from edge.services import Services
from edge.store.inflight import InflightCall
from shared.core.errors import YoutError
from shared.core.failure_report import describe_failure
from shared.core.token_bucket import RateLimitState, ms_until_full

log = logging.getLogger("yout.edge")

Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


_NO_STORE = (b"cache-control", b"no-store")


@dataclass(slots=True)
class ResponseContext:
    """The context of one response: where to send it, the adapter that renders errors, the request id, common headers.

    `routing` returns the headers about the channel; empty until the call is admitted and its channel is known.
    """

    send: Send
    adapter: EndpointAdapter
    request_id: str
    headers: Headers
    routing: Callable[[], Headers] = list

    def admit(self, event: Admitted) -> None:
        """Add the headers of an admitted call."""
        self.headers += rate_headers(event.rate_limit_status)
        self.routing = event.routing


def response_context(send: Send, adapter: EndpointAdapter, request_id: str) -> ResponseContext:
    """Return the response context of a new request."""
    name = request_id.encode()
    return ResponseContext(send, adapter, request_id, [*((header, name) for header in adapter.id_headers), _NO_STORE])


_JSON = (b"content-type", b"application/json")
_SSE: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),
]


async def send_complete(context: ResponseContext, status: int, headers: Headers, body: bytes) -> None:
    """Send a complete response, with `headers` in addition to the common ones."""
    await context.send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*context.headers, *context.routing(), *headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await context.send({"type": "http.response.body", "body": body})


async def refuse(services: Services, context: ResponseContext, surface: str, error: Exception) -> None:
    """Send `error`, raised for a request to `surface` before a call began. Log it if it is internal."""
    services.metrics.record_refusal(surface, "", error_spec(error).code)
    await _send_counted_error(services, context, _reported(error, context))


async def _send_counted_error(services: Services, context: ResponseContext, error: Exception) -> None:
    """Send `error` in the endpoint's format."""
    spec = error_spec(error)
    services.metrics.record_error(spec.status, spec.code)
    problem = context.adapter.render_error(error, context.request_id)
    standing = rate_headers(error.rate_limit_state) if isinstance(error, YoutError) and error.rate_limit_state else []
    await send_complete(context, problem.status, [*standing, *problem.headers], problem.body)


def respond(
    services: Services, running: InflightCall, context: ResponseContext, parsed: ParsedRequest, events: Events
) -> Coroutine[Any, Any, None]:
    """Return a coroutine that sends the response for `events`. Errors become error responses; a cancellation propagates."""
    if parsed.call.stream:
        return _Stream(services, running, context, parsed.renderer).run(events)
    return _respond_complete(services, running, context, parsed.renderer, events)


async def _respond_complete(
    services: Services, running: InflightCall, context: ResponseContext, renderer: Renderer, events: Events
) -> None:
    try:
        async for event in events:
            if isinstance(event, Admitted):
                context.admit(event)
            elif isinstance(event, Finished):
                whole = renderer.render_complete(event)
                if isinstance(whole, RawResponse):
                    await send_complete(context, 200, whole.headers, whole.body)
                else:
                    await send_complete(context, 200, [_JSON], orjson.dumps(whole))
    except asyncio.CancelledError:
        if running.abort_reason is None:
            raise
        await _send_counted_error(services, context, running.abort_reason)
    except Exception as error:  # any error becomes a response in the endpoint's format
        await _send_counted_error(services, context, _reported(error, context))
    finally:
        await events.aclose()  # otherwise the hold would last until garbage collection


class _Stream:
    """Sends one response as server-sent events."""

    def __init__(self, services: Services, running: InflightCall, context: ResponseContext, renderer: Renderer) -> None:
        self._services = services
        self._running = running
        self._context = context
        self._renderer = renderer
        self._loop = asyncio.get_running_loop()
        self._begun = False
        self._writing = False
        self._keepalive: asyncio.Task[None] | None = None
        self._last_write = self._loop.time()
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(services.settings.keepalive_first_seconds, self._tick)

    async def run(self, events: Events) -> None:
        relay = self._renderer.transform_chunks
        try:
            async for event in events:
                if self._keepalive is not None:
                    await self._finish_keepalive()
                if isinstance(event, bytes):
                    data = event if relay is None else relay(event)
                    if data:
                        await self._write(data)
                elif isinstance(event, Admitted):
                    self._context.admit(event)
                else:
                    await self._write(self._renderer.finish(event), more=False)
        except asyncio.CancelledError:
            if self._running.abort_reason is None:
                raise
            await events.aclose()  # settles, even if the client does not read the error below
            await self._fail(self._running.abort_reason)
        except Exception as error:  # any error is sent before the stream ends
            await self._fail(_reported(error, self._context))
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._keepalive is not None:
                self._keepalive.cancel()
            await events.aclose()  # otherwise the hold would last until garbage collection

    async def _finish_keepalive(self) -> None:
        """Wait for a comment that is being written: concurrent writes could interleave with an event or the headers."""
        if self._keepalive is not None:
            await asyncio.wait([self._keepalive])
            self._keepalive = None

    async def _fail(self, error: Exception) -> None:
        await self._finish_keepalive()
        if self._begun:
            await self._write(self._renderer.render_failure(error), more=False)
        else:
            await _send_counted_error(self._services, self._context, error)

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        self._writing = True
        if not self._begun:
            await self._begin()
        await self._context.send({"type": "http.response.body", "body": data, "more_body": more})
        self._writing = False
        self._last_write = self._loop.time()

    async def _begin(self) -> None:
        self._begun = True
        headers = [*self._context.headers, *self._context.routing(), *_SSE]
        await self._context.send({"type": "http.response.start", "status": 200, "headers": headers})

    def _tick(self) -> None:
        """Send a comment if nothing was written for a while. One timer per stream is cheaper than one per event."""
        settings = self._services.settings
        interval = settings.keepalive_seconds if self._begun else settings.keepalive_first_seconds
        silent = self._loop.time() - self._last_write
        if silent >= interval - 0.01 and not self._writing:
            self._keepalive = self._services.spawn(self._write(self._renderer.keepalive()))
            silent, interval = 0.0, settings.keepalive_seconds
        self._timer = self._loop.call_later(max(interval - silent, 0.1), self._tick)


def _reported(error: Exception, context: ResponseContext) -> Exception:
    """Return `error`, after logging it if it is internal; the caller then gets a 500 without the cause."""
    if is_internal(error):
        log.error("%s failed with an internal error: %s", context.request_id, describe_failure(error))
    return error


def rate_headers(standing: RateLimitState) -> Headers:
    """Return the `x-ratelimit-*` headers in OpenAI's format."""
    limit, left, token_limit, tokens_left = standing
    return [
        (b"x-ratelimit-limit-requests", b"%d" % limit),
        (b"x-ratelimit-remaining-requests", b"%d" % left),
        (b"x-ratelimit-reset-requests", _duration(ms_until_full(left, limit))),
        (b"x-ratelimit-limit-tokens", b"%d" % token_limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % tokens_left),
        (b"x-ratelimit-reset-tokens", _duration(ms_until_full(tokens_left, token_limit))),
    ]


def _duration(ms: int) -> bytes:
    return b"%dms" % ms if ms < 1000 else b"%.3gs" % (ms / 1000)
