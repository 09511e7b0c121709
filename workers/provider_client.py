"""The sync sender: ask a vendor for media and store what it delivers, failing over between the channels of a model.

What is tried again, and where, is as at the edge: see `edge/call/upstream.py`. Nothing here follows a vendor to an inner address:
its own base URL was chosen by staff, whatever else it names goes through the guard of `shared.safe_http`.
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

from shared.catalog.failover import Health
from shared.catalog.routing import order
from shared.catalog.snapshot import Route
from shared.core.clock import now_ms
from shared.core.errors import OutboundFailed, OutboundRefused, OutboundTimeout, SettingsError
from shared.core.secrets import derive_key, unseal
from shared.core.settings import Settings
from shared.dialects.base import Target, VendorError, VendorRequest
from shared.dialects.retry_after import retry_after_ms
from shared.identity import pseudonyms
from shared.safe_http import Limits, Outbound, Policy, Reply, policy_of

log = logging.getLogger("yout.worker.upstream")

T = TypeVar("T")
MOST_ATTEMPTS = 3
BACKOFF_SECONDS = 0.25
LARGEST_ANSWER = 300_000_000  # bytes of JSON with pictures in it
LARGEST_ERROR = 65_536
GOOD = (200, 201, 202)
BUSY = (429, 503)  # worth a pause, where nothing else is to be had


class VendorFailed(Exception):
    """An attempt failed. `code` is for the job's owner, `kind` (words of our own) for staff.

    `final`: no other channel would help, for the request itself is wrong. `busy`: a pause would help.
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


ReadError = Callable[[int, bytes], VendorError]


class Sender:
    """What one worker process sends with; safe to share between its threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pseudonym_key = derive_key(settings.secret_key, pseudonyms.PURPOSE)
        self.health = Health()
        self._outbound = lru_cache(maxsize=256)(partial(_outbound, policy_of(settings)))

    def target(self, route: Route, account: UUID) -> Target:
        """The target of a job of `account`. Raises `VendorFailed` if the channel's secret was encrypted with another
        SECRET_KEY."""
        try:
            secret = unseal(route.sealed_secret, self._settings.secret_key)
        except SettingsError as error:
            log.error("channel %s: %s", route.channel, error)
            raise VendorFailed("no_upstream_available", "sealed_secret", same_route=False) from None
        return Target(
            route=route,
            secret=secret,
            referer=self._settings.referer,
            pseudonym=partial(pseudonyms.pseudonym, self._pseudonym_key, account, route.channel),
        )

    @contextmanager
    def open(self, request: VendorRequest, target: Target, read_error: ReadError) -> Iterator[Reply]:
        """Send a vendor's request; give the reply when its status is good. Raises `VendorFailed`."""
        seconds = self._settings.media_answer_seconds
        limits = Limits(total_seconds=seconds, idle_seconds=seconds)  # a vendor is silent while it works
        outbound, headers = self._outbound(target.route.base_url), dict(request.headers)
        most = max(LARGEST_ANSWER, self._settings.media_max_bytes)
        with _told():
            if request.method == "POST":
                exchange = outbound.post(request.url, request.body, max_bytes=most, headers=headers, limits=limits)
            else:
                exchange = outbound.get(request.url, max_bytes=most, headers=headers, limits=limits)
            with exchange as reply:
                if reply.status not in GOOD:
                    raise _refused(reply, read_error)
                yield reply

    @contextmanager
    def fetch(self, url: str, target: Target) -> Iterator[Reply]:
        """Fetch what a vendor named by its address. Raises `VendorFailed`."""
        limits = Limits(total_seconds=self._settings.media_answer_seconds)
        with (
            _told(),
            self._outbound(target.route.base_url).get(url, max_bytes=self._settings.media_max_bytes, limits=limits) as reply,
        ):
            if reply.status != 200:
                raise VendorFailed("nothing_delivered", f"link_status_{reply.status}")
            yield reply

    def with_failover(self, routes: Sequence[Route], account: UUID, attempt: Callable[[Route], T]) -> T:
        """What `attempt` gives for the first channel where it succeeds for a job of `account`. Raises the last `VendorFailed`."""
        candidates = order(routes, self.health, now_ms(), random.random, account)
        last = VendorFailed("no_upstream_available", "no_channel", busy=True)
        for number in range(MOST_ATTEMPTS if candidates else 0):
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
            except VendorFailed as failure:
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


def _outbound(policy: Policy, base_url: str) -> Outbound:
    return Outbound(policy, trusted=(base_url,))


@contextmanager
def _told() -> Iterator[None]:
    """The guard's errors as a vendor's failure. A vendor that was too slow is not asked a second time."""
    try:
        yield
    except OutboundRefused:
        raise VendorFailed("upstream_error", "address_refused", same_route=False) from None
    except OutboundTimeout:
        raise VendorFailed("upstream_timeout", "timeout", same_route=False) from None
    except OutboundFailed:
        raise VendorFailed("upstream_error", "connection") from None


def _refused(reply: Reply, read_error: ReadError) -> VendorFailed:
    status = reply.status
    kind = f"status_{status}"
    wait = retry_after_ms(reply.headers.get, now_ms())
    if status in (400, 413, 422):
        told = read_error(status, _beginning(reply))
        if told.about_request:
            return VendorFailed(told.code or "invalid_request", kind, final=True)
    if status in BUSY:
        return VendorFailed("no_upstream_available", kind, busy=True, retry_after_ms=wait)
    if status in (408, 504):
        return VendorFailed("upstream_timeout", kind, retry_after_ms=wait)
    # A redirect, and 401, 402, 403, 404: about our credential or our catalogue. The same route won't do better.
    return VendorFailed("upstream_error", kind, retry_after_ms=wait, same_route=status in (409, 425) or status >= 500)


def _beginning(reply: Reply) -> bytes:
    """As much of an error's body as is looked at; nothing of one that breaks off."""
    data = b""
    try:
        for piece in reply:
            data += piece
            if len(data) >= LARGEST_ERROR:
                break
    except OutboundFailed:
        return b""
    return data
