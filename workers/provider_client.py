"""The synchronous provider client: sends media requests, with failover between a model's channels.

Failures and retries follow the edge's rules, `shared.catalog.failover`. Requests to a channel's base URL, chosen by staff, are
trusted; every other URL that a provider returns goes through the address checks of `shared.safe_http`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TypeVar
from uuid import UUID

from shared.catalog.failover import (
    CONNECTION,
    NO_ROUTE,
    SEALED_SECRET,
    TIMEOUT,
    TOO_LARGE,
    AttemptPlan,
    Failure,
    Retry,
    RouteHealth,
    refused_request,
    status_failure,
)
from shared.catalog.routing import order_routes
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import OutboundFailed, OutboundRefused, OutboundTimeout, OutboundTooLarge, SettingsError
from shared.core.secrets import derive_key, unseal
from shared.core.settings import Settings
from shared.dialects.base import ProviderError, ProviderRequest, Target
from shared.dialects.retry_after import retry_after_ms
from shared.identity import pseudonyms
from shared.safe_http import OutboundPolicy, Response, SafeHttpClient, Timeouts, policy_from_settings

log = logging.getLogger("yout.worker.upstream")

T = TypeVar("T")
MAX_ANSWER_BYTES = 300_000_000  # bytes of JSON, which may contain images
MAX_ERROR_BYTES = 65_536
SUCCESS_STATUSES = (200, 201, 202)
OUTPUT_TOO_LARGE = TOO_LARGE._replace(code="output_too_large", reason="too_large", retry=Retry.OTHER_ROUTE)
ADDRESS_REFUSED = Failure("upstream_error", "address_refused", Retry.OTHER_ROUTE)


class ProviderFailed(Exception):
    """An attempt failed. The failure's `code` is for the job's owner, its `reason` (our own text) for staff."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.code} ({failure.reason})")
        self.failure = failure


ReadError = Callable[[int, bytes], ProviderError]


class ProviderClient:
    """Sends the provider requests of one worker process; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pseudonym_key = derive_key(settings.secret_key, pseudonyms.PURPOSE)
        self.health = RouteHealth()
        self._outbound = lru_cache(maxsize=256)(partial(_outbound, policy_from_settings(settings)))

    def target(self, route: Route, account: UUID) -> Target:
        """Return the target of a job of `account`. Raises `ProviderFailed` if the channel's secret cannot be decrypted."""
        try:
            secret = unseal(route.sealed_secret, self._settings.secret_key)
        except SettingsError as error:
            log.error("channel %s: %s", route.channel, error)
            raise ProviderFailed(SEALED_SECRET) from None
        return Target(
            route=route,
            secret=secret,
            referer=self._settings.referer,
            pseudonym=partial(
                pseudonyms.pseudonym,
                self._pseudonym_key,
                account,
                route.channel,
                pseudonyms.period_of(route.channel, self._settings.pseudonym_days, now_ms()),
            ),
        )

    @contextmanager
    def open(self, request: ProviderRequest, target: Target, read_error: ReadError) -> Iterator[Response]:
        """Send a request to a provider and yield the reply if its status is good. Raises `ProviderFailed`."""
        seconds = self._settings.media_answer_seconds
        limits = Timeouts(total_seconds=seconds, idle_seconds=seconds)  # providers send nothing while they generate
        outbound, headers = self._outbound(target.route.base_url), dict(request.headers)
        max_bytes = max(MAX_ANSWER_BYTES, self._settings.media_max_bytes)
        with _outbound_errors():
            if request.method == "POST":
                exchange = outbound.post(request.url, request.body, max_bytes=max_bytes, headers=headers, limits=limits)
            else:
                exchange = outbound.get(request.url, max_bytes=max_bytes, headers=headers, limits=limits)
            with exchange as reply:
                if reply.status not in SUCCESS_STATUSES:
                    raise ProviderFailed(_refused(reply, read_error))
                yield reply

    @contextmanager
    def fetch(self, url: str, target: Target) -> Iterator[Response]:
        """Fetch a URL that a provider returned. Raises `ProviderFailed`."""
        limits = Timeouts(total_seconds=self._settings.media_answer_seconds)
        with (
            _outbound_errors(too_large=OUTPUT_TOO_LARGE),
            self._outbound(target.route.base_url).get(url, max_bytes=self._settings.media_max_bytes, limits=limits) as reply,
        ):
            if reply.status != 200:
                raise ProviderFailed(Failure("nothing_delivered", f"link_status_{reply.status}"))
            yield reply

    def with_failover(self, routes: Sequence[Route], account: UUID, attempt: Callable[[Route], T]) -> T:
        """Return the result of `attempt` on the first channel where it succeeds for a job of `account`.

        Raises the last `ProviderFailed` for which waiting may help, or else the last one.
        """
        routes = order_routes(routes, self.health, now_ms(), random.random, account)
        plan = AttemptPlan(routes, self._settings.upstream_retry_seconds, random.random)
        failed: ProviderFailed | None = None
        paused_seconds = 0.0  # no caller waits for a job, so only the pauses count
        while (planned := plan.next(paused_seconds)) is not None:
            route, pause_seconds = planned
            time.sleep(pause_seconds)
            paused_seconds += pause_seconds
            breaker = self.health.of_payer(route, account)
            if not breaker.admits(now_ms()):
                continue
            breaker.begin(now_ms())
            try:
                result = attempt(route)
            except ProviderFailed as error:
                breaker.record(error.failure, now_ms())
                if error.failure.retry is Retry.NEVER:
                    raise
                plan.record_failure(error.failure)
                if failed is None or error.failure.busy or not failed.failure.busy:
                    failed = error
            except BaseException:
                breaker.abandon()
                raise
            else:
                breaker.succeed()
                return result
        raise failed or ProviderFailed(NO_ROUTE)


def _outbound(policy: OutboundPolicy, base_url: str) -> SafeHttpClient:
    return SafeHttpClient(policy, trusted=(base_url,))


@contextmanager
def _outbound_errors(too_large: Failure = TOO_LARGE) -> Iterator[None]:
    """Convert outbound errors to `ProviderFailed`."""
    try:
        yield
    except OutboundRefused:
        raise ProviderFailed(ADDRESS_REFUSED) from None
    except OutboundTimeout:
        raise ProviderFailed(TIMEOUT) from None
    except OutboundTooLarge:
        raise ProviderFailed(too_large) from None
    except OutboundFailed:
        raise ProviderFailed(CONNECTION) from None


def _refused(reply: Response, read_error: ReadError) -> Failure:
    if reply.status in (400, 413, 422):
        error = read_error(reply.status, _read_error_body(reply))
        if error.is_request_error:
            return refused_request(reply.status, error.code)
    return status_failure(reply.status, retry_after_ms(reply.headers.get, now_ms()))


def _read_error_body(reply: Response) -> bytes:
    """Read at most `MAX_ERROR_BYTES` bytes of an error body. Returns b"" if the connection breaks."""
    data = b""
    try:
        for piece in reply:
            data += piece
            if len(data) >= MAX_ERROR_BYTES:
                break
    except OutboundFailed:
        return b""
    return data
