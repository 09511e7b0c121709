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
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from edge.call.candidates import Candidate
from edge.call.conversation_key import conversation_key
from edge.call.outcome import FailedAttempt, Outcome, has_cost
from edge.call.priced_fields import priced_call
from edge.call.stream_hold import PaidPrompt, StreamHold
from edge.services import Services
from edge.store.large_bodies import LARGE_BODY_BYTES
from shared.billing.elastic_hold import spendable
from shared.billing.pricing import PLAIN, Quote, affordable_output
from shared.billing.relay_limit import RelayLimit, max_answer_bytes, unpriced_limit
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
from shared.dialects.base import (
    Answer,
    BlockedPrompt,
    BrokenStream,
    ChatCall,
    MalformedStream,
    ProviderRequest,
    StreamReader,
    Target,
    UnsupportedField,
)
from shared.dialects.failed_usage import read_failed_usage
from shared.dialects.retry_after import retry_after_ms
from shared.dialects.translators import dialect_for
from shared.ledger import HoldTaken
from transport.http_client import BodyTooLarge, FirstByteTimeout, HttpClientError, HttpRequest, HttpResponse, ReadTimeout

if TYPE_CHECKING:
    from edge.store.tracing import CallTrace

log = logging.getLogger("yout.edge")

MAX_RESPONSE_BYTES = 64_000_000  # bytes
MAX_ERROR_BYTES = 65_536
MAX_UNRELAYED_BYTES = 65_536  # of chunks without content, kept back before the first with content
MAX_BYTES_BEFORE_DELIVERY = 16_000_000  # the first event may be a large image
AFTER_FINISH_SECONDS = 10  # time limit for usage and the end marker after the finish reason
MODEL_SPECIFIC_ERRORS = frozenset({"context_length_exceeded", "content_filter"})  # errors that another model might not return
UPSTREAM_ERRORS = (MalformedStream, BrokenStream, BlockedPrompt, HttpClientError)
ERRORS_BY_CODE: dict[str, Callable[[], Unavailable]] = {  # of a failure
    "no_upstream_available": NoAvailableChannel,
    "upstream_error": UpstreamFailed,
    "upstream_timeout": UpstreamTimeout,
}
T = TypeVar("T")
AttemptFunction = Callable[[ChatCall, Route], Awaitable[T]]  # raises `_Failed`, `UpstreamRejected` or `UnsupportedField`


class _Failed(Exception):
    """A failed attempt whose cause is not the request itself."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class Completed(Struct, frozen=True, gc=False):
    """The complete answer: a chat completion, or the stream's last chunk with its `frame`.

    `remaining_bytes` is the last part to relay of a stream that exceeded the output that the call pays for. `stopped` is
    "credits" if its hold could not be extended.
    """

    body: dict[str, Any]
    frame: dict[str, Any]
    remaining_bytes: bytes = b""
    stopped: str | None = None


class _Opened(NamedTuple):
    response: HttpResponse
    reader: StreamReader
    relay: bytes
    route: Route
    began: float  # time of the first token, in seconds of `time.monotonic`


class StreamTimeout:
    """The timeout for the next bytes of a stream: `idle_seconds`, or less once the answer has finished.

    Some providers send a finish reason with every chunk, so an answer that is still growing has not finished.
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


class UpstreamCall:
    """One call at the upstreams of its candidate models.

    No other object holds the state of the attempts. Results are returned or yielded; `outcome` is what the settlement needs, even
    after the call was cut off.
    """

    __slots__ = (
        *("_answer", "_attempts", "_call_id", "_candidate", "_candidates", "_clamp", "_failed_attempts", "_failures"),
        *("_first_token_at", "_output_exceeded", "_payer", "_provider_working", "_reader", "_requested", "_reserved", "_routed"),
        *(
            "_credits_used_up",
            "_hold",
            "_prompt",
            "_provider_status",
            "_request_sha256",
            "_request_shape",
            "_route",
            "_services",
            "_started_at",
            "_trace",
        ),
    )

    def __init__(
        self,
        services: Services,
        candidates: Sequence[Candidate],
        call_id: UUID,
        reserved: HoldTaken,
        payer: UUID,
        requested: str,
        prompt: PaidPrompt | None = None,
        trace: CallTrace | None = None,
    ) -> None:
        self._services = services
        self._candidates = candidates
        self._call_id = call_id
        self._reserved = reserved
        self._requested = requested  # model id or alias in the request
        self._payer = payer  # for the breakers: the account, or the visitor
        self._prompt = prompt  # if the hold can grow
        self._trace = trace
        self._candidate = candidates[0]
        self._clamp = self._output_clamp(self._candidate)
        self._started_at = time.monotonic()
        self._attempts = 0
        self._failures: list[str] = []  # error code of each failed attempt
        self._failed_attempts: list[FailedAttempt] = []
        self._route: Route | None = None  # the last route tried
        self._routed = False  # no further attempt follows
        self._provider_status: int | None = None  # HTTP status of the last response
        self._request_sha256: bytes | None = None  # of the body of the last request
        self._request_shape: bytes | None = None
        self._provider_working = False  # a provider is processing the request, and bills the prompt even if we cancel
        self._answer: Answer | None = None
        self._reader: StreamReader | None = None
        self._first_token_at: float | None = None
        self._output_exceeded = False
        self._credits_used_up = False
        self._hold: StreamHold | None = None

    async def answer(self) -> Completed:
        """Return the complete answer. Raises `UpstreamRejected`, `InvalidRequest` or an `Unavailable`."""
        began = time.monotonic()
        answer, route = await self._with_failover(self._answer_once)
        self._answer = answer
        if answer.usage.output_tokens:
            self._services.health.speed_of(route).record_tokens(answer.usage.output_tokens, time.monotonic() - began)
        self._mark_relayed()
        return Completed(answer.body, {})

    async def stream(self) -> AsyncGenerator[bytes | Completed, None]:
        """Yield the bytes to relay, then `Completed`. Raises like `answer`, even mid-stream."""
        response, reader, relay, route, began = await self._with_failover(self._open_once)
        self._reader = reader
        priced = self._candidate.call.kind == "chat"
        limit = RelayLimit(self._paid_output) if priced else unpriced_limit(MAX_RESPONSE_BYTES)
        received, remaining_bytes = 0, b""
        hold = self._hold = self._growing_hold()
        stream_timeout = StreamTimeout(self._services.settings.upstream_idle_seconds)
        relayed_since = time.time_ns()
        try:
            while True:
                over = received > limit.max_bytes or (reader.text_bytes > limit.next_check_at and _exceeded(limit, reader))
                if not (reader.finished or reader.done):
                    if over:
                        self._output_exceeded = True
                    elif hold is not None and not await hold.covers(reader, relay):
                        self._credits_used_up = True
                        self._services.metrics.record_stopped_stream()
                    if self._output_exceeded or self._credits_used_up:
                        reader.truncate()
                        remaining_bytes = relay
                        break
                if relay:
                    self._mark_relayed()
                    yield relay
                if reader.error is not None:
                    raise reader.error
                if reader.done or over:
                    break
                data = await response.read(timeout=stream_timeout.seconds(reader, time.monotonic()))
                if not data:
                    relay = reader.close()
                    if relay:
                        self._mark_relayed()
                        yield relay
                    break
                received += len(data)
                relay = reader.feed(data)
                del data  # freed while a slow client reads the relay
        except UPSTREAM_ERRORS as error:
            if not reader.finished:  # otherwise the answer is complete, only the data after it is missing
                if isinstance(error, ReadTimeout):
                    raise UpstreamTimeout("The model stopped sending mid-answer (timeout).") from None
                raise UpstreamFailed("The model stopped responding mid-answer.") from None
        finally:
            _release(self._services, response, reader)
            _record_speed(self._services, route, reader, began)
            if self._trace is not None:
                self._trace.add("relay", relayed_since)
        self._mark_relayed()
        stopped = "credits" if self._credits_used_up else None
        yield Completed(reader.final_chunk(), reader.chunk_fields(), remaining_bytes, stopped)

    def routing(self) -> list[tuple[bytes, bytes]]:
        """Return the response headers with the channel and the number of attempts; empty until no further attempt follows.

        If the model's id is not what the caller requested, because of an alias or a fallback, a header has it.
        """
        if not self._routed or self._route is None:
            return []
        headers = [(b"x-yout-channel", self._route.public_name.encode()), (b"x-yout-attempts", b"%d" % self._attempts)]
        if self._candidate.model != self._requested:
            headers.append((b"x-yout-model", self._candidate.model.encode()))
        return headers

    def outcome(self) -> Outcome:
        """Return the outcome of the call. Call it after all other methods have returned."""
        return Outcome(
            reserved=self._reserved,
            model=self._candidate.model,
            quote=self._candidate.quote,
            paid_output=self._paid_output,
            route=self._route,
            attempts=self._attempts,
            failures=self._failures,
            started_at=self._started_at,
            first_token_at=self._first_token_at,
            answer=self._answer,
            reader=self._reader,
            output_exceeded=self._output_exceeded,
            provider_working=self._provider_working,
            provider_status=self._provider_status,
            held=self._reserved.amount if self._hold is None else self._hold.amount,
            credits_used_up=self._credits_used_up,
            failed_attempts=self._failed_attempts,
            request_sha256=self._request_sha256,
            request_shape=self._request_shape,
        )

    def _growing_hold(self) -> StreamHold | None:
        """Return the hold of a stream that may need to grow, or None if the whole cost is held."""
        if self._prompt is None:
            return None
        services = self._services
        return StreamHold(
            services.ledger, self._call_id, self._reserved, self._candidate.quote, self._prompt, services.count_tokens
        )

    def _output_clamp(self, candidate: Candidate) -> int | None:
        """Return the output limit in tokens per choice to send upstream, or None if the requested one can stay.

        It is lowered to what the call can pay for, and to the model's maximum output, which providers enforce.
        """
        call, quote = candidate.call, candidate.quote
        taken = self._reserved
        if taken.amount < quote.bound or quote.cap is not None:  # the hold may not pay for the whole output
            if self._prompt is None:
                credits = spendable(quote, taken.amount, taken.free)
            else:
                credits = max(taken.amount, min(taken.payable, quote.bound))  # the hold can grow to this
            affordable = affordable_output(quote, credits)
            if affordable < quote.output_tokens:
                return max(1, affordable // call.choices)
        longest = quote.output_tokens // call.choices
        return longest if call.output_limit is not None and call.output_limit > longest else None

    @property
    def _paid_output(self) -> int:
        """The output tokens, over all choices, that the hold pays for, plus reasoning that the output limit does not count."""
        call, quote = self._candidate.call, self._candidate.quote
        output = quote.output_tokens if self._clamp is None else min(self._clamp * call.choices, quote.output_tokens)
        return output + quote.reasoning_tokens

    def _mark_relayed(self) -> None:
        """Record that bytes are relayed to the caller."""
        if self._first_token_at is None:
            self._first_token_at = time.monotonic()

    async def _with_failover(self, attempt: AttemptFunction[T]) -> T:
        """Return the result of the first successful attempt. Models are tried in the caller's order."""
        failed: Unavailable | None = None
        unsupported: UnsupportedField | None = None
        rejected: UpstreamRejected | None = None
        try:
            for candidate in self._candidates:
                if candidate is not self._candidate:
                    self._candidate, self._clamp = candidate, self._output_clamp(candidate)
                try:
                    return await self._try_routes(candidate, attempt)
                except UnsupportedField as error:
                    unsupported = error
                except Unavailable as error:
                    failed = error
                except UpstreamRejected as error:
                    if error.code not in MODEL_SPECIFIC_ERRORS:
                        raise
                    rejected = error
        finally:
            self._routed = True
        if rejected is not None:
            raise rejected
        if failed is None and unsupported is not None:
            unsupported = unsupported.named(self._candidate.call.field_name)
            raise InvalidRequest(str(unsupported), unsupported.param, unsupported.code)
        raise failed or NoAvailableChannel()

    async def _try_routes(self, candidate: Candidate, attempt: AttemptFunction[T]) -> T:
        """Try the routes of one model. Raises the last error, or `UnsupportedField` if no route supports the call."""
        health = self._services.health
        now = now_ms()
        routes = _ordered(candidate, health, self._payer, now)
        plan = AttemptPlan(routes, self._services.settings.upstream_retry_seconds, random.random)
        failed: Unavailable | None = None
        unsupported: UnsupportedField | None = None
        while (planned := plan.next(time.monotonic() - self._started_at)) is not None:
            route, pause_seconds = planned
            if pause_seconds:
                await asyncio.sleep(pause_seconds)
                now = now_ms()
            breaker = health.of_payer(route, self._payer, self._reserved.account)
            if not breaker.admits(now):
                continue
            breaker.begin(now)
            began = time.monotonic()
            try:
                attempting, trace = attempt(candidate.call, route), self._trace
                result = await (attempting if trace is None else trace.attempt(attempting, route.channel_name, candidate.model))
            except UnsupportedField as error:
                breaker.abandon()
                unsupported = error
            except _Failed as error:
                plan.record_failure(error.failure)
                was_open = breaker.shared.openings
                now = now_ms()
                breaker.record(error.failure, now)
                if breaker.shared.openings and not was_open:
                    self._log_outage(route, error.failure.reason)
                failed = ERRORS_BY_CODE[error.failure.code]()
                self._failures.append(error.failure.reason)
                self._services.metrics.record_failure(route.channel_name, error.failure.reason)
                self._provider_working = False
            except BaseException:  # including `UpstreamRejected`: a rejected request says nothing about the channel's health
                breaker.abandon()
                raise
            else:
                if breaker.shared.openings:
                    self._log_recovery(route)
                breaker.succeed()
                if candidate.call.stream:
                    health.speed_of(route).record_first_token((time.monotonic() - began) * 1000)
                return result
        if failed is None and unsupported is not None:
            raise unsupported
        raise failed or NoAvailableChannel()

    def _log_outage(self, route: Route, reason: str) -> None:
        model = self._candidate.model
        extra = {"channel": route.channel_name, "model": model, "provider_status": self._provider_status}
        log.error("channel %s fails for %s (%s); only probes are sent to it", route.channel_name, model, reason, extra=extra)

    def _log_recovery(self, route: Route) -> None:
        model = self._candidate.model
        log.info(
            "channel %s works again for %s", route.channel_name, model, extra={"channel": route.channel_name, "model": model}
        )

    async def _answer_once(self, call: ChatCall, route: Route) -> tuple[Answer, Route]:
        response = await self._send(call, route)
        data = b""
        try:
            limit = max_answer_bytes(self._paid_output, MAX_RESPONSE_BYTES) if call.kind == "chat" else MAX_RESPONSE_BYTES
            data = await response.read_all(limit=limit, timeout=self._services.settings.upstream_idle_seconds)
            answer = dialect_for(route.dialect, call.kind).parse_response(data, call, self._answer_id, int(time.time()))
        except BlockedPrompt as error:
            self._record_failed(FailedAttempt(route, read_failed_usage(data, route.dialect)))
            raise _blocked(call) from error
        except UPSTREAM_ERRORS as error:
            self._record_failed(FailedAttempt(route, read_failed_usage(data, route.dialect)))
            raise _failure(error) from error
        finally:
            response.release()
        return answer, route

    async def _open_once(self, call: ChatCall, route: Route) -> _Opened:
        """Open a stream and read until it delivers content or ends.

        Chunks without content are not relayed yet, so that another channel can still take over.
        """
        response = await self._send(call, route)
        reader = dialect_for(route.dialect, call.kind).new_stream_reader(call, self._answer_id, int(time.time()))
        relay, received = b"", 0
        try:
            while not (reader.delivered or reader.finished or reader.done or len(relay) > MAX_UNRELAYED_BYTES):
                data = await response.read(timeout=self._services.settings.upstream_first_byte_seconds)
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
            self._record_failed(_failed_stream(route, reader))
            raise _blocked(call) from error
        except UPSTREAM_ERRORS as error:
            response.cancel()
            self._record_failed(_failed_stream(route, reader))
            raise _failure(error) from error
        except BaseException:
            response.cancel()
            raise
        return _Opened(response, reader, relay, route, time.monotonic())

    async def _send(self, call: ChatCall, route: Route) -> HttpResponse:
        """Return the response to the request if its status is 200. Raises `_Failed`, `UpstreamRejected`, `UnsupportedField`."""
        settings = self._services.settings
        if call.server_tool is not None and route.dialect != "anthropic":
            raise UnsupportedField(call.server_tool, "only Anthropic executes this tool")
        target = Target(
            route=route,
            secret=_secret(self._services, route),
            referer=settings.referer,
            pseudonym=partial(self._services.pseudonym, self._reserved.account, route.channel),
            max_output_tokens=self._clamp,
            output_limit=self._candidate.quote.output_tokens // call.choices,
        )
        if call.body_bytes > LARGE_BODY_BYTES:
            built, request_sha256 = await self._services.large_bodies.run(partial(_build, call, target, self._candidate.quote))
        else:
            built, request_sha256 = _build(call, target, self._candidate.quote)
        request = HttpRequest(built.method, built.url, built.headers, built.body)
        if self._trace is not None:
            request = replace(request, headers=(*request.headers, *self._trace.headers(route.base_url)))
        self._attempts += 1
        self._route = route
        self._request_sha256 = request_sha256
        shapes = self._services.request_shapes
        self._request_shape = shapes.find(built.fields, request.headers, route.settings, self._reserved.account)
        self._provider_working = False
        self._provider_status = None
        try:
            response = await self._services.http.open(
                request, first_byte_timeout=settings.upstream_first_byte_seconds, on_sent=partial(self._mark_sent, route)
            )
        except HttpClientError as error:
            raise _failure(error) from error
        self._provider_status = response.status
        if self._trace is not None:
            self._trace.set_provider_status(response.status)
        if response.status == 200:
            return response
        self._provider_working = False
        await _refuse(response, call, target)
        raise AssertionError("unreachable")

    def _record_failed(self, attempt: FailedAttempt) -> None:
        """Record a failed attempt if its cost can be computed: it reported usage, or part of an answer arrived."""
        if attempt.text or attempt.image_count or has_cost(attempt.usage):
            self._failed_attempts.append(attempt)

    def _mark_sent(self, route: Route) -> None:
        """Record that the request was sent to the provider of `route`."""
        self._provider_working = route.settings.get("cancel") != "free"

    @property
    def _answer_id(self) -> str:
        return f"chatcmpl-{self._call_id.hex}"


def _build(call: ChatCall, target: Target, quoted: Quote) -> tuple[ProviderRequest, bytes]:
    """Return the request to a provider, and the SHA-256 of its body. Raises `UnsupportedField`. Pure."""
    route = target.route
    if quoted.costs is PLAIN:  # no route of this call has fields to price
        adapted, unpriced = call.for_dialect(route.dialect, route.settings), None
    else:
        adapted, unpriced = priced_call(call, route, quoted.price)
    built = dialect_for(route.dialect, call.kind).build_request(adapted, target)
    if unpriced is not None:
        raise unpriced
    return built, sha256(built.body).digest()


def _exceeded(limit: RelayLimit, reader: StreamReader) -> bool:
    return limit.exceeded(reader.text().encode(), reader.text_bytes)


def _failed_stream(route: Route, reader: StreamReader) -> FailedAttempt:
    return FailedAttempt(route, reader.usage(), reader.text(), reader.text_bytes, reader.image_count())


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


def _ordered(candidate: Candidate, health: RouteHealth, payer: UUID, now: int) -> Sequence[Route]:
    if len(candidate.routes) < 2:
        return candidate.routes  # each attempt asks its breaker
    call, preferences = candidate.call, candidate.call.preferences
    conversation = partial(conversation_key, call, payer) if call.kind == "chat" else None
    routes = order_routes(candidate.routes, health, now, random.random, payer, conversation)
    return routes if preferences is None else sort_by_preferences(routes, preferences, health)


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
