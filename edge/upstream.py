"""The async sender: open a call at one of a model's channels, failing over until the first byte, and read its answer.

What is tried again: a connection that failed, 408, 409, 429 and 5xx answers, a stream that broke before anything was relayed.
What is not: an answer that the request itself is wrong. After the first relayed byte nothing is tried again.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, NamedTuple

from edge.hold import Hold
from edge.http_client import (
    FirstByteTimeout,
    HttpClientError,
    HttpRequest,
    HttpResponse,
    ReadTimeout,
)
from edge.services import Services
from shared.catalog import Route
from shared.clock import now_ms
from shared.errors import NoUpstream, Unavailable, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from shared.providers.base import BrokenStream, ChatCall, MalformedStream, StreamReader, Target
from shared.providers.kinds import translator
from shared.routing import order

MOST_ATTEMPTS = 3
BACKOFF_SECONDS = 0.25
LARGEST_ANSWER = 64_000_000  # bytes
LARGEST_ERROR = 65_536
AFTER_FINISH_SECONDS = 10  # how long usage and the end mark may follow the last finish reason
BAD_ANSWER = (MalformedStream, BrokenStream, HttpClientError)


class _Failed(Exception):
    """One attempt failed; another may be made. `error` is what the caller sees when it was the last."""

    def __init__(self, error: Unavailable, retry_after_ms: int | None = None, *, same_route: bool = True) -> None:
        self.error = error
        self.retry_after_ms = retry_after_ms
        self.same_route = same_route


class _Opened(NamedTuple):
    response: HttpResponse
    reader: StreamReader
    relay: bytes


async def answer(services: Services, call: ChatCall, routes: Sequence[Route], hold: Hold) -> None:
    """Get a whole answer into `hold`. Raises `UpstreamRejected` or an `Unavailable`."""
    await _with_failover(services, routes, hold, partial(_answer_once, services, call, hold))


async def stream(services: Services, call: ChatCall, routes: Sequence[Route], hold: Hold) -> AsyncGenerator[bytes, None]:
    """Yield the bytes to relay; `hold.reader` keeps the rest. Raises as `answer`, or `UpstreamFailed` when it breaks off."""
    opened: _Opened = await _with_failover(services, routes, hold, partial(_open_once, services, call, hold))
    response, reader, relay = opened
    try:
        while True:
            if relay:
                yield relay
            if reader.broken is not None:
                raise reader.broken
            if reader.done:
                break
            idle = services.settings.upstream_idle_seconds
            data = await response.read(timeout=min(idle, AFTER_FINISH_SECONDS) if reader.finished else idle)
            if not data:
                relay = reader.end()
                if relay:
                    yield relay
                break
            relay = reader.feed(data)
    except BAD_ANSWER as error:
        if reader.finished:
            return  # the answer is whole; only what follows it is missing
        if isinstance(error, ReadTimeout):
            raise UpstreamTimeout("The upstream fell silent in the middle of its answer.") from None
        raise UpstreamFailed("The upstream broke off in the middle of its answer.") from None
    finally:
        _let_go(services, response, reader)


def _let_go(services: Services, response: HttpResponse, reader: StreamReader) -> None:
    """A finished stream's connection is used again, once its last bytes are read; any other is closed at once."""
    if reader.done:
        services.spawn(_drain(response))
    else:
        response.cancel()


async def _drain(response: HttpResponse) -> None:
    try:
        while await response.read(timeout=1.0):
            pass
    except HttpClientError:
        response.cancel()
    else:
        response.release()


async def _with_failover(services: Services, routes: Sequence[Route], hold: Hold, attempt: Any) -> Any:
    candidates = order(routes, services.health, now_ms(), random.random)
    if not candidates:
        raise NoUpstream
    last: _Failed | None = None
    for number in range(MOST_ATTEMPTS):
        route = candidates[number % len(candidates)]
        breaker = services.health.of(route)
        if not breaker.admits(now_ms()):
            continue
        if number >= len(candidates):
            if last is not None and not last.same_route:
                break
            await asyncio.sleep(BACKOFF_SECONDS * (1 + random.random()) * (1 + number - len(candidates)))  # noqa: S311  (jitter, no secret)
        breaker.begin(now_ms())
        hold.attempt(route)
        try:
            result = await attempt(route)
        except _Failed as failure:
            last = failure
            breaker.fail(now_ms(), failure.retry_after_ms)
        except UpstreamRejected:
            breaker.succeed()
            raise
        except BaseException:
            breaker.abandon()
            raise
        else:
            breaker.succeed()
            return result
    raise last.error if last is not None else NoUpstream()


async def _answer_once(services: Services, call: ChatCall, hold: Hold, route: Route) -> None:
    response = await _send(services, call, hold, route)
    try:
        data = await response.read_all(limit=LARGEST_ANSWER, timeout=services.settings.upstream_idle_seconds)
        hold.answer = translator(route.dialect, call.kind).read_answer(data, call, _answer_id(hold), int(time.time()))
    except BAD_ANSWER as error:
        raise _failure(error) from error
    finally:
        response.release()


async def _open_once(services: Services, call: ChatCall, hold: Hold, route: Route) -> _Opened:
    """Open a stream and read on until there is something to relay, or its end."""
    response = await _send(services, call, hold, route)
    reader = translator(route.dialect, call.kind).read_stream(call, _answer_id(hold), int(time.time()))
    relay = b""
    try:
        while not relay and not reader.done:
            data = await response.read(timeout=services.settings.upstream_first_byte_seconds)
            if not data:
                relay = reader.end()
                break
            relay = reader.feed(data)
        if reader.broken is not None:
            raise reader.broken  # nothing was relayed yet: another attempt is better than a part
    except BAD_ANSWER as error:
        response.cancel()
        raise _failure(error) from error
    except BaseException:
        response.cancel()
        raise
    hold.reader = reader
    return _Opened(response, reader, relay)


async def _send(services: Services, call: ChatCall, hold: Hold, route: Route) -> HttpResponse:
    """Send the request; give the response when its status is good. Raises `_Failed` or `UpstreamRejected`."""
    settings = services.settings
    target = Target(
        route=route,
        secret=services.secret(route.sealed_secret),
        referer=settings.referer,
        pseudonym=partial(services.pseudonym, hold.account, route.channel),
        clamp=hold.clamp,
    )
    request = HttpRequest(*translator(route.dialect, call.kind).request(call.told_to(route.dialect), target))
    try:
        response = await services.http.open(request, first_byte_timeout=settings.upstream_first_byte_seconds)
    except HttpClientError as error:
        raise _failure(error) from error
    if response.status == 200:
        return response
    await _refuse(response, call, target)
    raise AssertionError("unreachable")


async def _refuse(response: HttpResponse, call: ChatCall, target: Target) -> None:
    """Read an error answer and raise what it means."""
    retry_after_ms = _retry_after_ms(response)
    try:
        data = await response.read_all(limit=LARGEST_ERROR, timeout=5)
    except HttpClientError:
        data = b""
    finally:
        response.release()
    status = response.status
    error = translator(target.route.dialect, call.kind).read_error(status, data, call, target)
    if error.about_request:
        raise UpstreamRejected(error.message or "The upstream refused this request.", error.param, error.code)
    if status == 429:
        raise _Failed(NoUpstream(), retry_after_ms)
    if status in (408, 504):
        raise _Failed(UpstreamTimeout(), retry_after_ms)
    # 401, 402, 403 and 404 are about our credential or our catalogue, never about the caller: the same route won't do better.
    raise _Failed(UpstreamFailed(), retry_after_ms, same_route=status in (409, 425) or status >= 500)


def _retry_after_ms(response: HttpResponse) -> int | None:
    text = response.headers.get("retry-after")
    return int(text) * 1000 if text and text.isdigit() and len(text) < 6 else None


def _failure(error: Exception) -> _Failed:
    """A failed attempt. A channel that was too slow is not asked a second time."""
    if isinstance(error, ReadTimeout | FirstByteTimeout):
        return _Failed(UpstreamTimeout(), same_route=False)
    return _Failed(UpstreamFailed())


def _answer_id(hold: Hold) -> str:
    return f"chatcmpl-{hold.call_id.hex}"
