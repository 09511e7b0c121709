"""Sends calls to upstreams, with retries and fail-over until the first byte is relayed.

`shared.catalog.failover` decides what is retried, where and when.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from edge.call.call_state import CallState
from edge.call.candidates import Candidate
from edge.services import Services
from shared.billing.relay_limit import RelayLimit, max_answer_bytes
from shared.catalog.failover import (
    BROKEN,
    CONNECTION,
    MALFORMED,
    SEALED_SECRET,
    TIMEOUT,
    TOO_LARGE,
    AttemptPlan,
    Failure,
    RouteHealth,
    status_failure,
)
from shared.catalog.routing import order_routes, sort_by_preferences
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import (
    InvalidRequest,
    NoAvailableChannel,
    SettingsError,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from shared.dialects.base import BlockedPrompt, BrokenStream, ChatCall, MalformedStream, StreamReader, Target, UnsupportedField
from shared.dialects.retry_after import retry_after_ms
from shared.dialects.translators import dialect_for
from transport.http_client import BodyTooLarge, FirstByteTimeout, HttpClientError, HttpRequest, HttpResponse, ReadTimeout

log = logging.getLogger("yout.edge")

MAX_RESPONSE_BYTES = 64_000_000  # bytes
MAX_ERROR_BYTES = 65_536
MAX_UNRELAYED_BYTES = 65_536  # of chunks without content, kept back before the first with content
MAX_BYTES_BEFORE_DELIVERY = 16_000_000  # the first event may be a large image
AFTER_FINISH_SECONDS = 10  # time limit for usage and the end marker after the finish reason
MODEL_SPECIFIC_ERRORS = frozenset({"context_length_exceeded", "content_filter"})  # errors that another model may not have
UPSTREAM_ERRORS = (MalformedStream, BrokenStream, BlockedPrompt, HttpClientError)
ERRORS_BY_CODE: dict[str, Callable[[], Unavailable]] = {  # of a failure
    "no_upstream_available": NoAvailableChannel,
    "upstream_error": UpstreamFailed,
    "upstream_timeout": UpstreamTimeout,
}
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class _Failed(Exception):
    """A failed attempt that is not about the request."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class AttemptFunction(Protocol[R]):
    """Makes one attempt of a call on a route. Raises `_Failed`, `UpstreamRejected` or `UnsupportedField`."""

    def __call__(self, call: ChatCall, route: Route, /) -> Awaitable[R]: ...


class _Opened(NamedTuple):
    response: HttpResponse
    reader: StreamReader
    relay: bytes
    route: Route
    began: float  # time of the first token, in seconds of `time.monotonic`


class StreamTimeout:
    """The timeout for the next bytes of a stream: `idle_seconds`, and less once the answer has finished.

    Some providers send a finish reason with every chunk, so an answer that still grows has not finished.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._text_bytes = -1  # size of the answer at its latest finish reason
        self._ends_at = math.inf  # deadline for usage and the end marker

    def seconds(self, reader: StreamReader, now: float) -> float:
        """Return the timeout in seconds. `now` is in seconds of `time.monotonic`."""
        if not reader.finished:
            return self._idle_seconds
        if reader.text_bytes != self._text_bytes:
            self._text_bytes = reader.text_bytes
            self._ends_at = now + AFTER_FINISH_SECONDS
        return min(self._idle_seconds, self._ends_at - now)


async def fetch_completion(services: Services, candidates: Sequence[Candidate], state: CallState) -> None:
    """Get a complete answer and store it in `hold`. Raises `UpstreamRejected`, `InvalidRequest` or an `Unavailable`."""
    began = time.monotonic()
    route = await _with_failover(services, candidates, state, partial(_answer_once, services, state))
    tokens = state.answer.usage.output_tokens if state.answer is not None else None
    if tokens:
        services.health.speed_of(route).record_tokens(tokens, time.monotonic() - began)


async def relay_stream(services: Services, candidates: Sequence[Candidate], state: CallState) -> AsyncGenerator[bytes, None]:
    """Yield the bytes to relay; `hold.reader` has the final events. Raises like `answer`, also in mid-stream."""
    response, reader, relay, route, began = await _with_failover(
        services, candidates, state, partial(_open_once, services, state)
    )
    limit, received = RelayLimit(state.paid_output), 0
    patience = StreamTimeout(services.settings.upstream_idle_seconds)
    try:
        while True:
            over = received > limit.max_bytes or (reader.text_bytes > limit.next_check_at and _exceeded(limit, reader))
            if over and not (reader.finished or reader.done):
                state.stop_stream(relay)
                break
            if relay:
                yield relay
            if reader.error is not None:
                raise reader.error
            if reader.done or over:
                break
            data = await response.read(timeout=patience.seconds(reader, time.monotonic()))
            if not data:
                relay = reader.close()
                if relay:
                    yield relay
                break
            received += len(data)
            relay = reader.feed(data)
            del data  # freed while a slow client reads the relay
    except UPSTREAM_ERRORS as error:
        if reader.finished:
            return  # the answer is complete, only the data after it is missing
        if isinstance(error, ReadTimeout):
            raise UpstreamTimeout("The model stopped sending mid-answer (timeout).") from None
        raise UpstreamFailed("The model stopped responding mid-answer.") from None
    finally:
        _release(services, response, reader)
        _record_speed(services, route, reader, began)


def _exceeded(limit: RelayLimit, reader: StreamReader) -> bool:
    return limit.exceeded(reader.text().encode(), reader.text_bytes)


def _release(services: Services, response: HttpResponse, reader: StreamReader) -> None:
    """Drain and reuse the connection of a finished stream; close any other at once."""
    if reader.done:
        services.spawn(_drain(response))
    else:
        response.cancel()


def _record_speed(services: Services, route: Route, reader: StreamReader, began: float) -> None:
    tokens = reader.usage().output_tokens
    if reader.finished and tokens:
        services.health.speed_of(route).record_tokens(tokens, time.monotonic() - began)


async def _drain(response: HttpResponse) -> None:
    try:
        while await response.read(timeout=1.0):
            pass
    except HttpClientError:
        response.cancel()
    else:
        response.release()


async def _with_failover(services: Services, candidates: Sequence[Candidate], state: CallState, attempt: AttemptFunction[T]) -> T:
    """Return the result of the first successful attempt. Models are tried in the caller's order."""
    failed: Unavailable | None = None
    unsupported: UnsupportedField | None = None
    rejected: UpstreamRejected | None = None
    try:
        for candidate in candidates:
            if candidate.quote is not state.quote:  # the quote held for several models is that of the most expensive one
                state.switch_model(candidate.call, candidate.quote)
            try:
                return await _try_routes(services, candidate, state, attempt)
            except UnsupportedField as error:
                unsupported = error
            except Unavailable as error:
                failed = error
            except UpstreamRejected as error:
                if error.code not in MODEL_SPECIFIC_ERRORS:
                    raise
                rejected = error
    finally:
        state.add_routing_headers()
    if rejected is not None:
        raise rejected
    if failed is None and unsupported is not None:
        unsupported = unsupported.named(state.call.field_name)
        raise InvalidRequest(str(unsupported), unsupported.param, "unsupported_parameter")
    raise failed or NoAvailableChannel()


async def _try_routes(services: Services, candidate: Candidate, state: CallState, attempt: AttemptFunction[T]) -> T:
    """Try the routes of one model. Raises the last error, or `UnsupportedField` if no route supports the call."""
    health = services.health
    routes = _ordered(candidate, health, state.payer)
    plan = AttemptPlan(routes, services.settings.upstream_retry_seconds, random.random)
    failed: Unavailable | None = None
    unsupported: UnsupportedField | None = None
    while (planned := plan.next(time.monotonic() - state.started)) is not None:
        route, pause_seconds = planned
        if pause_seconds:
            await asyncio.sleep(pause_seconds)
        breaker = health.of_payer(route, state.payer, state.account)
        if not breaker.admits(now_ms()):
            continue
        breaker.begin(now_ms())
        began = time.monotonic()
        try:
            result = await attempt(candidate.call, route)
        except UnsupportedField as error:
            breaker.abandon()
            unsupported = error
        except _Failed as error:
            plan.record_failure(error.failure)
            breaker.record(error.failure, now_ms())
            failed = ERRORS_BY_CODE[error.failure.code]()
            state.mark_failed(error.failure.reason)
        except BaseException:  # including `UpstreamRejected`: a rejected request says nothing about the channel's health
            breaker.abandon()
            raise
        else:
            breaker.succeed()
            if candidate.call.stream:
                health.speed_of(route).record_first_token((time.monotonic() - began) * 1000)
            return result
    if failed is None and unsupported is not None:
        raise unsupported
    raise failed or NoAvailableChannel()


def _ordered(candidate: Candidate, health: RouteHealth, payer: UUID) -> list[Route]:
    routes = order_routes(candidate.routes, health, now_ms(), random.random, payer)
    preferences = candidate.call.preferences
    return routes if preferences is None else sort_by_preferences(routes, preferences, health)


async def _answer_once(services: Services, state: CallState, call: ChatCall, route: Route) -> Route:
    response = await _send(services, call, state, route)
    try:
        limit = max_answer_bytes(state.paid_output, MAX_RESPONSE_BYTES) if call.kind == "chat" else MAX_RESPONSE_BYTES
        data = await response.read_all(limit=limit, timeout=services.settings.upstream_idle_seconds)
        state.answer = dialect_for(route.dialect, call.kind).parse_response(data, call, _answer_id(state), int(time.time()))
    except BlockedPrompt as error:
        raise _blocked(call) from error
    except UPSTREAM_ERRORS as error:
        raise _failure(error) from error
    finally:
        response.release()
    return route


async def _open_once(services: Services, state: CallState, call: ChatCall, route: Route) -> _Opened:
    """Open a stream and read until it delivers content or ends.

    Chunks without content are not relayed yet, so that another channel can still take over.
    """
    response = await _send(services, call, state, route)
    reader = dialect_for(route.dialect, call.kind).new_stream_reader(call, _answer_id(state), int(time.time()))
    relay, received = b"", 0
    try:
        while not (reader.delivered or reader.finished or reader.done or len(relay) > MAX_UNRELAYED_BYTES):
            data = await response.read(timeout=services.settings.upstream_first_byte_seconds)
            if not data:
                relay += reader.close()
                break
            received += len(data)
            if received > MAX_BYTES_BEFORE_DELIVERY:
                raise MalformedStream("too many bytes without content")
            relay += reader.feed(data)
            if reader.error is not None:
                break
        if reader.error is not None and not reader.is_complete:
            raise reader.error  # nothing was relayed yet, so retry instead of sending a truncated answer
    except BlockedPrompt as error:
        response.cancel()
        raise _blocked(call) from error
    except UPSTREAM_ERRORS as error:
        response.cancel()
        raise _failure(error) from error
    except BaseException:
        response.cancel()
        raise
    state.reader = reader
    return _Opened(response, reader, relay, route, time.monotonic())


async def _send(services: Services, call: ChatCall, state: CallState, route: Route) -> HttpResponse:
    """Send the request. Return the response if its status is 200. Raises `_Failed`, `UpstreamRejected`, `UnsupportedField`."""
    settings = services.settings
    target = Target(
        route=route,
        secret=_secret(services, route),
        referer=settings.referer,
        pseudonym=partial(services.pseudonym, state.account, route.channel),
        max_output_tokens=state.output_clamp,
        output_limit=state.quote.output_tokens // call.choices,
    )
    adapted = call.for_dialect(route.dialect, route.settings)
    request = HttpRequest(*dialect_for(route.dialect, call.kind).build_request(adapted, target))
    state.start_attempt(route)
    try:
        response = await services.http.open(
            request, first_byte_timeout=settings.upstream_first_byte_seconds, on_sent=partial(state.mark_sent, route)
        )
    except HttpClientError as error:
        raise _failure(error) from error
    if response.status == 200:
        return response
    state.provider_working = False
    await _refuse(response, call, target)
    raise AssertionError("unreachable")


def _secret(services: Services, route: Route) -> str:
    """Return the channel's secret. If it was encrypted with another SECRET_KEY, only this attempt fails."""
    try:
        return services.secret(route.sealed_secret)
    except SettingsError as error:
        log.error("channel %s: %s", route.channel, error)
        raise _Failed(SEALED_SECRET) from None


async def _refuse(response: HttpResponse, call: ChatCall, target: Target) -> None:
    """Read an error response and raise the matching error."""
    wait_ms = retry_after_ms(response.headers.get, now_ms())
    try:
        data = await response.read_all(limit=MAX_ERROR_BYTES, timeout=5)
    except HttpClientError:
        data = b""
    finally:
        response.release()
    error = dialect_for(target.route.dialect, call.kind).parse_error(response.status, data, call, target)
    if error.is_request_error:
        message = error.message or "The provider rejected this request."
        raise UpstreamRejected(message, _field_of(call, error.param), error.code)
    raise _Failed(status_failure(response.status, wait_ms if wait_ms is not None else error.retry_after_ms))


def _failure(error: Exception) -> _Failed:
    if isinstance(error, ReadTimeout | FirstByteTimeout):
        return _Failed(TIMEOUT)
    if isinstance(error, HttpClientError):
        return _Failed(TOO_LARGE if isinstance(error, BodyTooLarge) else CONNECTION)
    return _Failed(MALFORMED if isinstance(error, MalformedStream) else BROKEN)


def _blocked(call: ChatCall) -> UpstreamRejected:
    message = "The provider's safety system blocked this prompt."
    return UpstreamRejected(message, _field_of(call, "messages"), "content_filter")


def _field_of(call: ChatCall, param: str | None) -> str | None:
    """Return the caller's name for a field of the chat body."""
    return param if param is None or call.field_name is None else call.field_name(param)


def _answer_id(state: CallState) -> str:
    return f"chatcmpl-{state.call_id.hex}"
