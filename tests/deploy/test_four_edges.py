"""Four edges behind haproxy, on one PostgreSQL and one Valkey, behave like one.

The checks share the edges, because starting four takes longer than all calls here.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import peewee
import pytest
from cryptography import x509

from shared.core.clock import now_ms
from shared.core.database import database
from shared.ledger.sweep import HEARTBEAT_TIMEOUT_MS, sweep
from shared.ledger.verify import verify_ledger
from shared.models import Account, ChannelModel, Plan, Subscription, UsageLedger
from shared.operations.keys import revoke_key
from tests import factories as build
from tests.deploy.customer import HOST, Customer
from tests.edge.http_calls import chat, run_concurrently
from tests.openai_payloads import chunk, finish, role, usage
from tests.servers.authority import Authority
from tests.servers.edge import WebProcess
from tests.servers.metrics import Scrape
from tests.servers.postgres import Postgres
from tests.servers.process import eventually
from tests.servers.reverse_proxy import ReverseProxy
from tests.upstream import Upstream, default_script
from tests.upstream_responses import Gate, error_response, stream

EDGES = 4
CHANNELS = {"first", "second"}  # public names of channels of equal priority
FAILURES = 5  # of all payers, until an edge skips a channel (docs/routing.md)


class Site(NamedTuple):
    """Four edges, and haproxy in front of them. `customer(secret)` calls through haproxy on connections of its own."""

    edges: list[WebProcess]
    proxy: ReverseProxy
    customer: Callable[[str], Customer]
    working: Upstream
    failing: Upstream
    busy: Upstream


@pytest.fixture
def site(
    bound_postgres: peewee.Database,
    postgres_url: str,
    redis_url: str,
    start_upstream: Callable[[], Upstream],
    start_edge: Callable[..., WebProcess],
    start_proxy: Callable[[str, list[int], Path], ReverseProxy],
    tmp_path: Path,
) -> Iterator[Site]:
    working, failing, busy = start_upstream(), start_upstream(), start_upstream()
    build.model("m-1", build.channel(working.url))
    build.model("shared", *(build.channel(working.url, settings={"public_name": name}) for name in CHANNELS))
    ChannelModel.update(priority=0).execute()
    build.model("fails", build.channel(failing.url, name="failing"), build.channel(working.url))
    build.model("busy", build.channel(busy.url), build.channel(working.url))
    settings = {"database_url": postgres_url, "redis_url": redis_url, "trusted_proxies": ("127.0.0.1",)}
    edges = [start_edge(**settings) for _ in range(EDGES)]
    authority = Authority(tmp_path)
    proxy = start_proxy("haproxy", [edge.port for edge in edges], authority.certificate(x509.DNSName(HOST)))
    with ExitStack() as stack:
        context = authority.client_context()
        yield Site(edges, proxy, lambda secret: Customer(proxy, context, secret, stack), working, failing, busy)


def test_four_edges_behave_like_one(site: Site, postgres: Postgres, postgres_url: str) -> None:
    _check_revocation(site)
    _check_rate_limit_of_a_key(site)
    _check_rate_limit_of_an_account(site)
    _check_concurrent_requests(site)
    _check_conversations(site)
    _check_failing_provider(site)
    _check_busy_provider(site)
    _check_metrics(site)
    _check_connections()
    _check_killed_edge(site)
    _check_database_outage(site, postgres, postgres_url)


def _check_revocation(site: Site) -> None:
    """Check that a key that every edge knows is refused by the next call on each, whoever revoked it."""
    owner = build.account()
    (by_customer, first), (by_staff, second) = build.api_key(owner), build.api_key(owner)
    manager = site.customer(build.api_key(owner, can_manage=True)[1])
    assert [chat(edge, secret).status for edge in site.edges for secret in (first, second)] == [200] * 2 * EDGES

    assert manager.send("POST", f"/api/chat/keys/{by_customer.id}/revoke/", {}).status == 200
    assert [chat(edge, first).status for edge in site.edges] == [401] * EDGES
    revoke_key(by_staff.id, origin=build.ORIGIN)  # as the console and the command line do
    assert [chat(edge, second).status for edge in site.edges] == [401] * EDGES


def _check_rate_limit_of_a_key(site: Site) -> None:
    _check_rate_limit(site, 6, [build.api_key(build.account(), rpm=6)[1]])


def _check_rate_limit_of_an_account(site: Site) -> None:
    """Check that the plan's limit counts the calls of all keys on all edges."""
    owner = build.account()
    Subscription.create(account=owner, plan=Plan.create(name="Six", rpm=6))
    _check_rate_limit(site, 6, [build.api_key(owner)[1] for _ in range(2)])


def _check_rate_limit(site: Site, rpm: int, secrets: list[str]) -> None:
    """Check that concurrent calls on all edges share one bucket: `rpm` calls, and what it refilled meanwhile."""
    calls = [(edge, secret) for edge in site.edges for secret in secrets * (8 // len(secrets))]
    start = time.monotonic()
    statuses = run_concurrently(len(calls), lambda index: chat(*calls[index]).status)
    refilled = (time.monotonic() - start) * rpm / 60
    assert set(statuses) == {200, 429}
    assert rpm <= statuses.count(200) <= rpm + refilled


def _check_concurrent_requests(site: Site) -> None:
    """Check that a key that may have three running calls has exactly three, wherever haproxy sends them."""
    _, secret = build.api_key(build.account(), concurrency=3)
    gate = Gate()
    site.working.default = stream(role(), chunk("Hel"), gate, chunk("lo"), finish(), usage())
    responses = run_concurrently(12, lambda _: site.customer(secret).chat(stream=True))
    assert sorted(response.status for response in responses) == [200] * 3 + [429] * 9
    gate.open()
    assert [b"[DONE]" in response.read() for response in responses].count(True) == 3
    site.working.default = default_script
    eventually(lambda: chat(site.edges[0], secret).status == 200, "the slots are free again")


def _check_conversations(site: Site) -> None:
    """Check that all edges send a conversation to the same channel, and use all channels of equal priority."""
    _, secret = build.api_key(build.account())
    conversations = [
        {_channel_of(edge, secret, model="shared", prompt_cache_key=str(number)) for edge in site.edges} for number in range(16)
    ]
    assert {len(channels) for channels in conversations} == {1}
    assert set.union(*conversations) == CHANNELS  # chance would fail this once in 32,768 runs


def _channel_of(edge: WebProcess, secret: str, **fields: Any) -> str:
    return chat(edge, secret, **fields).headers["x-yout-channel"]


def _check_failing_provider(site: Site) -> None:
    """Check that each edge skips a failing channel after five failures of its own, while callers get answers."""
    site.failing.default = error_response(500)
    secrets = [build.api_key(build.account())[1] for _ in range(2)]  # three failures in a row of one account count for all
    statuses = [chat(edge, secrets[n % 2], model="fails").status for edge in site.edges for n in range(FAILURES)]
    assert statuses == [200] * EDGES * FAILURES
    assert len(site.failing.calls) == EDGES * FAILURES
    assert ["channel failing fails for fails" in edge.process.output() for edge in site.edges] == [True] * EDGES


def _check_busy_provider(site: Site) -> None:
    """Check that each edge skips a channel after one answer with `Retry-After`."""
    site.busy.default = error_response(429, headers={"retry-after": "120"})
    _, secret = build.api_key(build.account())
    assert [chat(edge, secret, model="busy").status for edge in site.edges for _ in range(3)] == [200] * EDGES * 3
    assert len(site.busy.calls) == EDGES


def _check_metrics(site: Site) -> None:
    """Check that the sums of the edges' counters are the calls and charges in the database."""
    scrapes = [Scrape(edge.port) for edge in site.edges]
    completed = UsageLedger.select().where(UsageLedger.status == "completed")
    assert sum(scrape.total("yout_calls_total", status="completed") for scrape in scrapes) == completed.count()
    charged = sum(row.credits for row in completed)
    assert sum(scrape.total("yout_credits_charged_total") for scrape in scrapes) == charged
    assert [scrape.total("yout_holds_open") for scrape in scrapes] == [0] * EDGES
    assert [scrape.total("yout_edge_processes") for scrape in scrapes] == [1] * EDGES


def _check_connections() -> None:
    """Check that each edge has at most five connections to the database (docs/scaling.md)."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert database.execute_sql(statement).fetchone()[0] <= 5 * EDGES


def _check_killed_edge(site: Site) -> None:
    """Check that a crash of one edge breaks only its own streams, costs nobody a wrong credit, and is bypassed by new calls."""
    owners = [build.account() for _ in range(3)]
    secrets = [build.api_key(owner)[1] for owner in owners]
    gate = Gate()
    site.working.default = stream(role(), chunk("Hel"), gate, chunk("lo"), finish(), usage())
    running = run_concurrently(24, lambda n: site.customer(secrets[n % 3]).chat(stream=True))
    assert {response.status for response in running} == {200}
    before = UsageLedger.select().count()

    site.edges[0].kill()
    site.working.default = default_script
    gate.open()
    complete = [b"[DONE]" in _read(response) for response in running].count(True)
    assert 0 < complete < len(running)
    assert {site.customer(secrets[n % 3]).chat().status for n in range(12)} == {200}

    eventually(lambda: UsageLedger.select().count() == before + complete + 12, "the other edges have settled their calls")
    later_on = now_ms() + HEARTBEAT_TIMEOUT_MS + 1_000
    assert sweep(later_on) == len(running) - complete
    rows = [Account.get_by_id(owner.id) for owner in owners]
    assert [row.held for row in rows] == [0, 0, 0]
    assert verify_ledger(later_on).problems == ()


def _check_database_outage(site: Site, postgres: Postgres, url: str) -> None:
    """Check that calls get the edges' own 503 even while haproxy counts no edge as ready."""
    customer = site.customer(build.api_key(build.account())[1])
    postgres.cut_off(url)
    # The names of the first two are those in deploy/haproxy.cfg.
    names = ["edge-8000", "edge-8010", *(f"edge-{edge.port}" for edge in site.edges[2:])]
    eventually(lambda: all(f"yout_edge/{name} is DOWN" in site.proxy.process.output() for name in names), "all edges are unready")
    responses = [customer.chat() for _ in range(4)]
    assert [(response.status, json.load(response)["error"]["code"]) for response in responses] == [
        (503, "service_unavailable")
    ] * 4
    assert all(response.headers["retry-after"] for response in responses)
    postgres.reconnect(url)
    eventually(lambda: customer.chat().status == 200, "calls are served again", interval=0.2)


def _read(response: http.client.HTTPResponse) -> bytes:
    """The rest of a response, or what arrived before the connection broke."""
    received = b""
    with suppress(http.client.IncompleteRead, ConnectionError):
        while line := response.readline():
            received += line
    return received
