"""The provider client: which failures are tried again, where, and after which pause. The rules are those of the edge."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from typing import NamedTuple
from uuid import uuid4

import pytest

from shared.catalog.failover import FAILURES_TO_OPEN, NO_ROUTE, SEALED_SECRET, TIMEOUT, Failure, Retry, refused_request
from shared.catalog.snapshot import Route
from shared.core.secrets import seal
from shared.core.settings import Settings
from shared.dialects.base import ProviderError, ProviderRequest
from tests.upstream import Upstream
from tests.upstream_responses import RESET, ScriptedResponse, error_response, json_response, no_response, stream
from workers.provider_client import OUTPUT_TOO_LARGE, ProviderClient, ProviderFailed

ACCOUNT = uuid4()
GOOD = json_response(b"made")


def read_error(status: int, data: bytes) -> ProviderError:
    about_request = b"moderation_blocked" in data
    return ProviderError(about_request, None, None, "moderation_blocked" if about_request else None)


class Client(NamedTuple):
    """A client and two channels, tried in this order."""

    sender: ProviderClient
    first: Upstream
    second: Upstream
    routes: tuple[Route, Route]

    def call(self, *routes: Route) -> bytes:
        return self.sender.with_failover(routes or self.routes, ACCOUNT, self.attempt)

    def attempt(self, route: Route) -> bytes:
        request = ProviderRequest("POST", f"{route.base_url}/images/generations", (), b"{}")
        with self.sender.open(request, self.sender.target(route, ACCOUNT), read_error) as answer:
            return answer.read()

    def fetch(self, route: Route) -> bytes:
        with self.sender.fetch(f"{route.base_url}/made.png", self.sender.target(route, ACCOUNT)) as answer:
            return answer.read()

    def failure(self, *routes: Route) -> Failure:
        with pytest.raises(ProviderFailed) as caught:
            self.call(*routes)
        return caught.value.failure

    @property
    def calls(self) -> tuple[int, int]:
        return len(self.first.calls), len(self.second.calls)


def route_of(upstream: Upstream, settings: Settings, priority: int) -> Route:
    return Route(uuid4(), uuid4(), "c", "openai", upstream.url, seal("sk-1", settings.secret_key), {}, "m", priority, 1)


@pytest.fixture
def client(make_settings: Callable[..., Settings], start_upstream: Callable[[], Upstream]) -> Client:
    settings = make_settings(media_answer_seconds=1, media_max_bytes=1_000)
    first, second = start_upstream(), start_upstream()
    first.default = second.default = GOOD
    routes = (route_of(first, settings, 0), route_of(second, settings, 1))
    return Client(ProviderClient(settings), first, second, routes)


TRANSIENT = [*(error_response(code) for code in (408, 409, 425, 429, 500, 502, 503, 504, 529)), no_response(RESET), stream(RESET)]
OURS = [error_response(code) for code in (401, 402, 403, 404, 405)]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_transient_failure_is_retried_on_the_only_channel(client: Client, fault: ScriptedResponse) -> None:
    client.first.script(fault)
    assert client.call(client.routes[0]) == b"made"
    assert client.calls == (2, 0)


@pytest.mark.parametrize(
    "fault",
    [*TRANSIENT, *OURS, error_response(302, headers={"location": "/x"}), error_response(400), error_response(422), no_response()],
)
def test_another_channel_takes_over(client: Client, fault: ScriptedResponse) -> None:
    client.first.default = fault
    assert client.call() == b"made"
    assert client.calls == (1, 1)


@pytest.mark.parametrize("fault", OURS)
def test_a_channel_that_refuses_our_credential_is_not_asked_again(client: Client, fault: ScriptedResponse) -> None:
    client.first.default = fault
    client.second.script(error_response(500))
    assert client.call() == b"made"
    assert client.calls == (1, 2), "the retry goes to the other channel"


@pytest.mark.parametrize("fault", OURS)
def test_the_final_refusal_of_one_channel_leaves_the_retries_of_the_others(client: Client, fault: ScriptedResponse) -> None:
    client.first.script(error_response(500))
    client.second.default = fault
    assert client.call() == b"made"
    assert client.calls == (2, 1)


def test_a_refused_request_is_not_sent_to_another_channel(client: Client) -> None:
    client.first.default = error_response(400, {"error": {"message": "No.", "code": "moderation_blocked"}})
    for _ in range(FAILURES_TO_OPEN + 1):
        assert client.failure() == refused_request(400, "moderation_blocked")
    assert client.calls == (FAILURES_TO_OPEN + 1, 0), "a refused request does not open the breaker"


def test_a_timeout_is_not_retried_on_the_same_channel(client: Client) -> None:
    client.first.default = no_response()
    assert client.failure(client.routes[0]) == TIMEOUT
    assert client.calls == (1, 0)


def test_a_short_retry_after_is_waited_for(client: Client) -> None:
    client.first.script(error_response(503, headers={"retry-after-ms": "300"}))
    assert client.call(client.routes[0]) == b"made"
    assert client.calls == (2, 0)


@pytest.mark.parametrize("code", [429, 500, 503, 529])
def test_a_long_retry_after_date_pauses_the_channel(client: Client, code: int) -> None:
    client.first.default = error_response(code, headers={"retry-after": formatdate(time.time() + 60, usegmt=True)})
    failure = client.failure(client.routes[0])
    assert (failure.reason, failure.busy, failure.retry) == (f"status_{code}", True, Retry.SAME_ROUTE)
    assert failure.retry_after_ms is not None
    assert 0 < failure.retry_after_ms <= 60_000
    assert client.failure(client.routes[0]) == NO_ROUTE
    assert client.call() == b"made"
    assert client.calls == (1, 1)


@pytest.mark.parametrize("wait", ["soon", "-1", "9" * 400, "Mon, 21 Sep 99999 14:13:50 GMT"])
def test_an_invalid_retry_after_is_ignored(client: Client, wait: str) -> None:
    client.first.script(error_response(503, headers={"retry-after": wait}))
    assert client.call(client.routes[0]) == b"made"


def test_a_busy_channel_is_reported_if_the_others_cannot_serve(client: Client) -> None:
    client.first.default = error_response(503, headers={"retry-after": "60"})
    client.second.default = error_response(401)
    assert client.failure() == Failure("upstream_error", "status_503", busy=True, retry_after_ms=60_000)
    assert client.calls == (1, 1)


def test_a_secret_that_cannot_be_decrypted_fails_over(client: Client) -> None:
    foreign = client.routes[0]._replace(sealed_secret=seal("sk-1", "x" * 40))
    assert client.call(foreign, client.routes[1]) == b"made"
    assert client.failure(foreign) == SEALED_SECRET
    assert client.calls == (0, 1)


def test_a_file_that_is_too_large_does_not_close_the_channel(client: Client) -> None:
    client.first.default = lambda request: json_response(bytes(1_001)) if request.method == "GET" else GOOD
    route = client.routes[0]
    for _ in range(FAILURES_TO_OPEN + 1):
        with pytest.raises(ProviderFailed) as caught:
            client.sender.with_failover([route], ACCOUNT, client.fetch)
        assert caught.value.failure == OUTPUT_TOO_LARGE
    assert client.call(route) == b"made"
