"""Traces of calls for OpenTelemetry. Only an edge with `OTEL_EXPORTER_OTLP_ENDPOINT` imports this module and its library.

A call is one span with the steps as its children: limiter, reserve, each attempt at a provider, relay, settle. Spans have ids,
codes and numbers, never content, a key or an email address.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from edge.http.errors import error_spec
from shared.core.settings import Settings

Scope = dict[str, Any]
Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")

EXPORT_SECONDS = 3  # timeout of a request to the collector
_PROPAGATED = (b"traceparent", b"tracestate")
_CONTEXT = TraceContextTextMapPropagator()


class Tracer:
    """Sends the spans of one process to a collector, in batches and in a thread of its own."""

    def __init__(self, settings: Settings) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "yout-edge")
        resource = Resource.create({"service.name": name, "service.version": version("yout")})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        endpoint = f"{settings.otlp_endpoint}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_SECONDS)))
        self._tracer = self._provider.get_tracer("yout")
        self._traces_all_providers = settings.trace_providers

    def begin(self, scope: Scope, surface: str) -> CallTrace:
        """Begin the span of a request. It continues the caller's trace if there is a valid `traceparent`."""
        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _PROPAGATED}
        attributes = {"http.request.method": "POST", "http.route": surface}
        context = _CONTEXT.extract(sent, Context())
        span = self._tracer.start_span(f"POST {surface}", context, SpanKind.SERVER, attributes)
        return CallTrace(self._tracer, span, self._traces_all_providers)

    def close(self) -> None:
        """Send the remaining spans. Blocks for up to a few seconds for each batch that the collector does not accept."""
        self._provider.shutdown()


class CallTrace:
    """The spans of one call."""

    def __init__(self, tracer: trace.Tracer, span: Span, traces_all_providers: bool) -> None:
        self._tracer = tracer
        self._span = span
        self._context = trace.set_span_in_context(span, Context())
        self._traces_all_providers = traces_all_providers
        self._attempt: Span | None = None
        self._settling = False
        self._ended_at: int | None = None

    def watch(self, send: Send) -> Send:
        """Return `send`, which also records the status of the response."""

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    self._span.set_status(StatusCode.ERROR)
            await send(message)

        return watched

    def set(self, **attributes: Any) -> None:
        """Set attributes of the call, whose names begin with `yout.`. None is left out."""
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(f"yout.{name}", value)

    async def timed(self, name: str, step: Awaitable[T]) -> T:
        """Await `step` in a span of this name."""
        with self._child(name, SpanKind.INTERNAL):
            return await step

    async def attempt(self, step: Awaitable[T], channel: str, model: str) -> T:
        """Await an attempt at a provider, in a span with the channel and the catalog's model."""
        with self._child("attempt", SpanKind.CLIENT, {"yout.channel": channel, "gen_ai.request.model": model}) as span:
            self._attempt = span
            return await step

    def headers(self, base_url: str) -> tuple[tuple[str, str], ...]:
        """Return the headers that propagate the trace to the provider of the current attempt; empty if they must not be sent."""
        if self._attempt is None or not (self._traces_all_providers or is_private(base_url)):
            return ()
        carrier: dict[str, str] = {}
        _CONTEXT.inject(carrier, trace.set_span_in_context(self._attempt, Context()))
        return tuple(carrier.items())

    def set_provider_status(self, status: int) -> None:
        """Set the HTTP status of the provider's response to the current attempt."""
        if self._attempt is not None:
            self._attempt.set_attribute("http.response.status_code", status)

    def add(self, name: str, began_ns: int) -> None:
        """Add the span of a step that began at `began_ns`, in nanoseconds since 1970, and ends now."""
        self._tracer.start_span(name, self._context, start_time=began_ns).end()

    def end(self) -> None:
        """End the span of the call now. After `wait_for`, it is sent after the settlement, with the current time as its end."""
        self._ended_at = time.time_ns()
        if not self._settling:
            self._span.end(self._ended_at)

    def wait_for(self, settlement: asyncio.Task[object]) -> None:
        """Keep the span open until `settlement` ends, which may be after the request: it sets the attributes."""
        self._settling = True
        settlement.add_done_callback(self._settled)

    def _settled(self, _: object) -> None:
        self._settling = False
        if self._ended_at is not None:
            self._span.end(self._ended_at)

    @contextmanager
    def _child(self, name: str, kind: SpanKind, attributes: dict[str, str] | None = None) -> Iterator[Span]:
        span = self._tracer.start_span(name, self._context, kind, attributes)
        try:
            yield span
        except BaseException as error:
            # Only the code: the message of an exception could quote content.
            span.set_attribute("error.type", error_code(error))
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()


def error_code(error: BaseException) -> str:
    """Return a short name of the error: the reason of a failed attempt, `cancelled`, or the code for callers."""
    failure = getattr(error, "failure", None)
    if failure is not None:
        return str(failure.reason)
    return error_spec(error).code if isinstance(error, Exception) else "cancelled"


@lru_cache(maxsize=1024)
def is_private(base_url: str) -> bool:
    """Return whether a URL has the address of this machine or of a private network, which a trace id may be sent to."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_private
    except ValueError:
        return host == "localhost" or host.endswith((".internal", ".localhost"))
