"""The synchronous provider client: sends media requests, with failover between a model's channels.

Retries follow the same rules as on the edge, see `edge/call/upstream.py`. Requests to a channel's base URL, chosen by staff, are
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

from shared.catalog.failover import RouteHealth
from shared.catalog.routing import order_routes
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import OutboundFailed, OutboundRefused, OutboundTimeout, SettingsError
from shared.core.secrets import derive_key, unseal
from shared.core.settings import Settings
from shared.dialects.base import ProviderError, ProviderRequest, Target
from shared.dialects.retry_after import retry_after_ms
from shared.identity import pseudonyms
from shared.safe_http import OutboundPolicy, Response, SafeHttpClient, Timeouts, policy_from_settings

log = logging.getLogger("yout.worker.upstream")

T = TypeVar("T")
MAX_ATTEMPTS = 3
BACKOFF_SECONDS = 0.25
MAX_ANSWER_BYTES = 300_000_000  # bytes of JSON, which may contain images
MAX_ERROR_BYTES = 65_536
SUCCESS_STATUSES = (200, 201, 202)
BUSY_STATUSES = (429, 503)  # worth waiting for if no other channel is left


class ProviderFailed(Exception):
    """An attempt failed. `code` is for the job's owner, `kind` (our own text) for staff.

    `final`: no other channel would help, because the request itself is invalid. `busy`: waiting may help. `same_route`: another
    attempt on the same route may help.
    """

    def __init__(
        self,
        code: str,
        kind: str,
        *,
        final: bool = False,
        busy: bool = False,
        same_route: bool = True,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(f"{code} ({kind})")
        self.code = code
        self.kind = kind
        self.final = final
        self.busy = busy
        self.same_route = same_route
        self.retry_after_ms = retry_after_ms


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
            raise ProviderFailed("no_upstream_available", "sealed_secret", same_route=False) from None
        return Target(
            route=route,
            secret=secret,
            referer=self._settings.referer,
            pseudonym=partial(pseudonyms.pseudonym, self._pseudonym_key, account, route.channel),
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
                    raise _refused(reply, read_error)
                yield reply

    @contextmanager
    def fetch(self, url: str, target: Target) -> Iterator[Response]:
        """Fetch a URL that a provider returned. Raises `ProviderFailed`."""
        limits = Timeouts(total_seconds=self._settings.media_answer_seconds)
        with (
            _outbound_errors(),
            self._outbound(target.route.base_url).get(url, max_bytes=self._settings.media_max_bytes, limits=limits) as reply,
        ):
            if reply.status != 200:
                raise ProviderFailed("nothing_delivered", f"link_status_{reply.status}")
            yield reply

    def with_failover(self, routes: Sequence[Route], account: UUID, attempt: Callable[[Route], T]) -> T:
        """Return the result of `attempt` on the first channel where it succeeds for a job of `account`.

        Raises the last `ProviderFailed`.
        """
        candidates = order_routes(routes, self.health, now_ms(), random.random, account)
        last = ProviderFailed("no_upstream_available", "no_channel", busy=True)
        for number in range(MAX_ATTEMPTS if candidates else 0):
            route = candidates[number % len(candidates)]
            breaker = self.health.of_payer(route, account)
            if not breaker.admits(now_ms()):
                continue
            if number >= len(candidates):
                if not last.same_route:
                    break
                time.sleep(BACKOFF_SECONDS * (1 + random.random()) * (1 + number - len(candidates)))  # noqa: S311  (jitter)
            breaker.begin(now_ms())
            try:
                result = attempt(route)
            except ProviderFailed as failure:
                if failure.final:
                    breaker.abandon()
                    raise
                last = failure
                breaker.fail(now_ms(), failure.retry_after_ms)
            except BaseException:
                breaker.abandon()
                raise
            else:
                breaker.succeed()
                return result
        raise last


def _outbound(policy: OutboundPolicy, base_url: str) -> SafeHttpClient:
    return SafeHttpClient(policy, trusted=(base_url,))


@contextmanager
def _outbound_errors() -> Iterator[None]:
    """Convert outbound errors to `ProviderFailed`. A provider that timed out is not tried again."""
    try:
        yield
    except OutboundRefused:
        raise ProviderFailed("upstream_error", "address_refused", same_route=False) from None
    except OutboundTimeout:
        raise ProviderFailed("upstream_timeout", "timeout", same_route=False) from None
    except OutboundFailed:
        raise ProviderFailed("upstream_error", "connection") from None


def _refused(reply: Response, read_error: ReadError) -> ProviderFailed:
    status = reply.status
    kind = f"status_{status}"
    wait = retry_after_ms(reply.headers.get, now_ms())
    if status in (400, 413, 422):
        error = read_error(status, _read_error_body(reply))
        if error.is_request_error:
            return ProviderFailed(error.code or "invalid_request", kind, final=True)
    if status in BUSY_STATUSES:
        return ProviderFailed("no_upstream_available", kind, busy=True, retry_after_ms=wait)
    if status in (408, 504):
        return ProviderFailed("upstream_timeout", kind, retry_after_ms=wait)
    # A redirect, 401, 402, 403 or 404 concerns our credential or catalog entry: the same route would fail again.
    return ProviderFailed("upstream_error", kind, retry_after_ms=wait, same_route=status in (409, 425) or status >= 500)


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
