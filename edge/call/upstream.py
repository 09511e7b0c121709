"""The async sender: open a call at one of a model's channels, failing over until the first byte, and read its answer.

What is tried again: a connection that failed, 408, 409, 429 and 5xx answers, a stream that broke before anything was relayed.
What is not: an answer that the request itself is wrong. After the first relayed byte nothing is tried again. Each channel of a
model is asked once before any is asked again; a second time only after a pause, and within `upstream_retry_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from edge.call.call_state import Hold
from edge.call.candidates import Offer
from edge.services import Services
from shared.billing.relay_limit import RelayLimit, max_answer_bytes
from shared.catalog.failover import Health, backoff_seconds
from shared.catalog.routing import order, prefer
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import (
    InvalidRequest,
    NoUpstream,
    SettingsError,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from shared.dialects.base import BlockedPrompt, BrokenStream, ChatCall, MalformedStream, StreamReader, Target, UnsupportedField
from shared.dialects.retry_after import retry_after_ms
from shared.dialects.translators import translator
from transport.http_client import BodyTooLarge, FirstByteTimeout, HttpClientError, HttpRequest, HttpResponse, ReadTimeout

log = logging.getLogger("yout.edge")

MOST_ATTEMPTS = 3
LARGEST_ANSWER = 64_000_000  # bytes
LARGEST_ERROR = 65_536
MOST_HELD_BACK = 65_536  # bytes of chunks that deliver nothing, before the first that does
MAX_BYTES_BEFORE_DELIVERY = 16_000_000  # the first event may be an image; comments and empty events are much smaller
AFTER_FINISH_SECONDS = 10  # how long usage and the end mark may follow the last finish reason
OF_THE_MODEL = frozenset({"context_length_exceeded", "content_filter"})  # refusals that another model may not share
BAD_ANSWER = (MalformedStream, BrokenStream, BlockedPrompt, HttpClientError)
R = TypeVar("R", covariant=True)
T = TypeVar("T")


class _Failed(Exception):
    """One attempt failed, and `why` as a code; another may be made. `error` is what the caller sees when it was the last.
    `of_request`: the request may be the reason, so it does not count against the channel."""

    def __init__(
        self,
        error: Unavailable,
        why: str,
        retry_after_ms: int | None = None,
        *,
        same_route: bool = True,
        of_request: bool = False,
    ) -> None:
        self.error = error
        self.why = why
        self.retry_after_ms = retry_after_ms
        self.same_route = same_route
        self.of_request = of_request


class Attempt(Protocol[R]):
    """One attempt of a call at one channel. Raises `_Failed`, `UpstreamRejected` or `UnsupportedField`."""

    def __call__(self, call: ChatCall, route: Route, /) -> Awaitable[R]: ...


class _Opened(NamedTuple):
    response: HttpResponse
    reader: StreamReader
    relay: bytes
    route: Route
    began: float  # when its first token came, in seconds of `time.monotonic`


class Patience:
    """How long the next bytes of a stream may take: `idle_seconds`, and less once its answer is finished.

    Some providers name a finish reason in every chunk: an answer that goes on is not finished yet.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._text_bytes = -1  # of the answer when it finished last
        self._ends_at = math.inf  # when usage and the end mark must have come

    def seconds(self, reader: StreamReader, now: float) -> float:
        """`now` in seconds of `time.monotonic`."""
        if not reader.finished:
            return self._idle_seconds
        if reader.text_bytes != self._text_bytes:
            self._text_bytes = reader.text_bytes
            self._ends_at = now + AFTER_FINISH_SECONDS
        return min(self._idle_seconds, self._ends_at - now)


async def answer(services: Services, offers: Sequence[Offer], hold: Hold) -> None:
    """Get a whole answer into `hold`. Raises `UpstreamRejected`, `InvalidRequest` or an `Unavailable`."""
    began = time.monotonic()
    route = await _with_failover(services, offers, hold, partial(_answer_once, services, hold))
    tokens = hold.answer.usage.output_tokens if hold.answer is not None else None
    if tokens:
        services.health.pace_of(route).saw_tokens(tokens, time.monotonic() - began)


async def stream(services: Services, offers: Sequence[Offer], hold: Hold) -> AsyncGenerator[bytes, None]:
    """Yield the bytes to relay; `hold.reader` keeps the rest. Raises as `answer`, or `UpstreamFailed` when it breaks off."""
    response, reader, relay, route, began = await _with_failover(services, offers, hold, partial(_open_once, services, hold))
    limit, received = RelayLimit(hold.paid_output), 0
    patience = Patience(services.settings.upstream_idle_seconds)
    try:
        while True:
            over = received > limit.max_bytes or (reader.text_bytes > limit.look_at and _exceeded(limit, reader))
            if over and not (reader.finished or reader.done):
                hold.stop(relay)
                break
            if relay:
                yield relay
            if reader.broken is not None:
                raise reader.broken
            if reader.done or over:
                break
            data = await response.read(timeout=patience.seconds(reader, time.monotonic()))
            if not data:
                relay = reader.end()
                if relay:
                    yield relay
                break
            received += len(data)
            relay = reader.feed(data)
            del data  # not kept while a slow reader takes the relay
    except BAD_ANSWER as error:
        if reader.finished:
            return  # the answer is whole; only what follows it is missing
        if isinstance(error, ReadTimeout):
            raise UpstreamTimeout("The upstream fell silent in the middle of its answer.") from None
        raise UpstreamFailed("The upstream broke off in the middle of its answer.") from None
    finally:
        _let_go(services, response, reader)
        _learn_pace(services, route, reader, began)


def _exceeded(limit: RelayLimit, reader: StreamReader) -> bool:
    return limit.exceeded(reader.text().encode(), reader.text_bytes)


def _let_go(services: Services, response: HttpResponse, reader: StreamReader) -> None:
    """A finished stream's connection is used again, once its last bytes are read; any other is closed at once."""
    if reader.done:
        services.spawn(_drain(response))
    else:
        response.cancel()


def _learn_pace(services: Services, route: Route, reader: StreamReader, began: float) -> None:
    tokens = reader.usage().output_tokens
    if reader.finished and tokens:
        services.health.pace_of(route).saw_tokens(tokens, time.monotonic() - began)


async def _drain(response: HttpResponse) -> None:
    try:
        while await response.read(timeout=1.0):
            pass
    except HttpClientError:
        response.cancel()
    else:
        response.release()


async def _with_failover(services: Services, offers: Sequence[Offer], hold: Hold, attempt: Attempt[T]) -> T:
    """The result of the first attempt that succeeds. Models are tried in the caller's order, each by its own rules."""
    failed: Unavailable | None = None
    unsupported: UnsupportedField | None = None
    rejected: UpstreamRejected | None = None
    try:
        for offer in offers:
            if offer.call is not hold.call:
                hold.offer(offer.call, offer.quote)
            try:
                return await _try_routes(services, offer, hold, attempt)
            except UnsupportedField as problem:
                unsupported = problem
            except Unavailable as problem:
                failed = problem
            except UpstreamRejected as problem:
                if problem.code not in OF_THE_MODEL:
                    raise
                rejected = problem
    finally:
        hold.routed()
    if rejected is not None:
        raise rejected
    if failed is None and unsupported is not None:
        unsupported = unsupported.named(hold.call.field_name)
        raise InvalidRequest(str(unsupported), unsupported.param, "unsupported_parameter")
    raise failed or NoUpstream()


async def _try_routes(services: Services, offer: Offer, hold: Hold, attempt: Attempt[T]) -> T:
    """Try the channels of one model. Raises what the last of them failed of, or `UnsupportedField` when none takes the call."""
    health = services.health
    routes = _ordered(offer, health, hold.account)
    queue = deque((0, 0, route) for route in routes)  # retries so far, what the vendor asked to wait for (ms)
    failed: Unavailable | None = None
    unsupported: UnsupportedField | None = None
    attempts = 0
    while queue and attempts < MOST_ATTEMPTS:
        retry, wait_ms, route = queue.popleft()
        breaker = health.of_payer(route, hold.account)
        if retry:
            pause = max(backoff_seconds(retry, random.random), wait_ms / 1000)
            if time.monotonic() + pause - hold.started > services.settings.upstream_retry_seconds:
                continue
            await asyncio.sleep(pause)
        if not breaker.admits(now_ms()):
            continue
        breaker.begin(now_ms())
        began = time.monotonic()
        try:
            result = await attempt(offer.call, route)
        except UnsupportedField as problem:
            breaker.abandon()
            unsupported = problem
        except _Failed as failure:
            attempts += 1
            failed = failure.error
            hold.failed(failure.why)
            if failure.of_request:
                breaker.abandon()
            else:
                breaker.fail(now_ms(), failure.retry_after_ms)
            if failure.same_route:
                queue.append((retry + 1, failure.retry_after_ms or 0, route))
        except BaseException:  # an `UpstreamRejected` too: the refused request tells nothing about the channel
            breaker.abandon()
            raise
        else:
            breaker.succeed()
            if offer.call.stream:
                health.pace_of(route).saw_first_token((time.monotonic() - began) * 1000)
            return result
    if failed is None and unsupported is not None:
        raise unsupported
    raise failed or NoUpstream()


def _ordered(offer: Offer, health: Health, payer: UUID) -> list[Route]:
    routes = order(offer.routes, health, now_ms(), random.random, payer)
    wanted = offer.call.preferences
    return routes if wanted is None else prefer(routes, wanted, health)


async def _answer_once(services: Services, hold: Hold, call: ChatCall, route: Route) -> Route:
    response = await _send(services, call, hold, route)
    try:
        most = max_answer_bytes(hold.paid_output, LARGEST_ANSWER) if call.kind == "chat" else LARGEST_ANSWER
        data = await response.read_all(limit=most, timeout=services.settings.upstream_idle_seconds)
        hold.answer = translator(route.dialect, call.kind).read_answer(data, call, _answer_id(hold), int(time.time()))
    except BlockedPrompt as error:
        raise _blocked(call) from error
    except BAD_ANSWER as error:
        raise _failure(error) from error
    finally:
        response.release()
    return route


async def _open_once(services: Services, hold: Hold, call: ChatCall, route: Route) -> _Opened:
    """Open a stream and read on until it delivers something, or to its end.

    An opening chunk that only names the role is kept back: as long as nothing was relayed, another channel may take over.
    """
    response = await _send(services, call, hold, route)
    reader = translator(route.dialect, call.kind).read_stream(call, _answer_id(hold), int(time.time()))
    relay, received = b"", 0
    try:
        while not (reader.delivered or reader.finished or reader.done or len(relay) > MOST_HELD_BACK):
            data = await response.read(timeout=services.settings.upstream_first_byte_seconds)
            if not data:
                relay += reader.end()
                break
            received += len(data)
            if received > MAX_BYTES_BEFORE_DELIVERY:
                raise MalformedStream("megabytes that deliver nothing")
            relay += reader.feed(data)
            if reader.broken is not None:
                break
        if reader.broken is not None and not reader.answered:
            raise reader.broken  # nothing was relayed yet: another attempt is better than a part
    except BlockedPrompt as error:
        response.cancel()
        raise _blocked(call) from error
    except BAD_ANSWER as error:
        response.cancel()
        raise _failure(error) from error
    except BaseException:
        response.cancel()
        raise
    hold.reader = reader
    return _Opened(response, reader, relay, route, time.monotonic())


async def _send(services: Services, call: ChatCall, hold: Hold, route: Route) -> HttpResponse:
    """Send the request; give the response when its status is good. Raises `_Failed`, `UpstreamRejected`, `UnsupportedField`."""
    settings = services.settings
    target = Target(
        route=route,
        secret=_secret(services, route),
        referer=settings.referer,
        pseudonym=partial(services.pseudonym, hold.account, route.channel),
        clamp=hold.clamp,
        output_limit=hold.quote.output_tokens // call.choices,
    )
    told = call.told_to(route.dialect, route.settings)
    request = HttpRequest(*translator(route.dialect, call.kind).request(told, target))
    hold.attempt(route)
    try:
        response = await services.http.open(
            request, first_byte_timeout=settings.upstream_first_byte_seconds, on_sent=partial(hold.sent, route)
        )
    except HttpClientError as error:
        raise _failure(error) from error
    if response.status == 200:
        return response
    hold.working = False
    await _refuse(response, call, target)
    raise AssertionError("unreachable")


def _secret(services: Services, route: Route) -> str:
    """The channel's secret. One encrypted with another SECRET_KEY disables its channel, but does not fail the call."""
    try:
        return services.secret(route.sealed_secret)
    except SettingsError as error:
        log.error("channel %s: %s", route.channel, error)
        raise _Failed(NoUpstream(), "sealed_secret", same_route=False) from None


async def _refuse(response: HttpResponse, call: ChatCall, target: Target) -> None:
    """Read an error answer and raise what it means."""
    wait_ms = retry_after_ms(response.headers.get, now_ms())
    try:
        data = await response.read_all(limit=LARGEST_ERROR, timeout=5)
    except HttpClientError:
        data = b""
    finally:
        response.release()
    status = response.status
    error = translator(target.route.dialect, call.kind).read_error(status, data, call, target)
    if error.about_request:
        message = error.message or "The upstream refused this request."
        raise UpstreamRejected(message, _field_of(call, error.param), error.code)
    why = f"status_{status}"
    pause = wait_ms if wait_ms is not None else error.retry_after_ms
    if status == 429:
        raise _Failed(NoUpstream(), why, pause)
    if status in (408, 504):
        raise _Failed(UpstreamTimeout(), why, pause)
    # 401, 402, 403 and 404 are about our credential or our catalogue, never about the caller: the same route won't do better.
    raise _Failed(UpstreamFailed(), why, pause, same_route=status in (409, 425) or status >= 500)


def _failure(error: Exception) -> _Failed:
    """A failed attempt. A channel that was too slow is not asked a second time."""
    if isinstance(error, ReadTimeout | FirstByteTimeout):
        return _Failed(UpstreamTimeout(), "timeout", same_route=False)
    if isinstance(error, HttpClientError):
        return _Failed(UpstreamFailed(), "connection", of_request=isinstance(error, BodyTooLarge))
    return _Failed(UpstreamFailed(), "malformed" if isinstance(error, MalformedStream) else "broken")


def _blocked(call: ChatCall) -> UpstreamRejected:
    message = "The provider's safety system blocked this prompt."
    return UpstreamRejected(message, _field_of(call, "messages"), "content_filter")


def _field_of(call: ChatCall, param: str | None) -> str | None:
    """The caller's own name of a field of the chat body."""
    return param if param is None or call.field_name is None else call.field_name(param)


def _answer_id(hold: Hold) -> str:
    return f"chatcmpl-{hold.call_id.hex}"
