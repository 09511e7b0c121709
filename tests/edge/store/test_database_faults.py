"""Database faults during calls: delivered output is charged once, nothing stays held, nothing hangs."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import psycopg
import pytest

from shared.core.clock import now_ms
from shared.core.process_main import EXIT_SECONDS
from shared.ledger.verify import verify_ledger
from shared.models import Account, UsageLedger
from tests import factories
from tests.edge.http_calls import Stream, chat, run_concurrently
from tests.edge.store.test_database_outage import COST, readiness
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.network import Network
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import Postgres
from tests.servers.process import Process, eventually
from tests.upstream import Upstream
from tests.upstream_responses import Gate, stream

CREDITS = 1_000_000
StartPgBouncer = Callable[..., PgBouncer]
Fault = Callable[[Postgres, str], AbstractContextManager[None]]


@pytest.fixture
def account(bound_postgres: Any, upstream: Upstream) -> tuple[Account, str]:
    """An account with credits and the secret of its key; it may call the model `m-1`."""
    factories.model("m-1", factories.channel(upstream.url), input=1_000, output=2_000, minimum=10)
    owner = factories.account(CREDITS)
    return owner, factories.api_key(owner)[1]


def assert_charged(owner: Account, calls: int) -> None:
    """Asserts that `calls` calls were charged once each, that nothing is held, and that the ledger verifies."""
    eventually(lambda: Account.get_by_id(owner.id).held == 0, "nothing is held")
    assert UsageLedger.select().where(UsageLedger.credits == COST).count() == UsageLedger.select().count() == calls
    assert Account.get_by_id(owner.id).balance == CREDITS - calls * COST
    assert verify_ledger(now_ms()).problems == ()


def paused_stream(gate: Gate) -> Any:
    """A stream that pauses halfway until `gate` opens."""
    return stream(role(), chunk("Hello"), gate, finish(), usage(7, 3), DONE)


def read_only(postgres: Postgres, _: str) -> AbstractContextManager[None]:
    return postgres.read_only()


def revoked_right(postgres: Postgres, url: str) -> AbstractContextManager[None]:
    return postgres.without_right(url, "INSERT", "usage_ledger")


@pytest.mark.parametrize("fault", [read_only, revoked_right])
def test_a_refused_write_is_retried_and_the_call_is_charged(
    fault: Fault, account: Any, postgres: Postgres, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    owner, secret = account
    edge = start_edge(database_url=postgres.application(postgres_url), redis_url=redis_url)
    gate = Gate()
    upstream.script(paused_stream(gate))
    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        with fault(postgres, postgres_url):
            gate.open()
            eventually(lambda: readiness(edge)[0] == 503, "the edge is not ready")
            parts = readiness(edge)[1]
            assert (parts["status"], parts["database"], parts["database_writes"]) == ("unavailable", True, False)
            refused = chat(edge, secret)
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "service_unavailable", "5")
        ending = running.remaining_events()
    assert ending[-1] == {"done": True}
    assert ending[-2]["yout"] == {"credits_charged": COST, "balance": CREDITS - COST}
    eventually(lambda: readiness(edge)[0] == 200, "the edge is ready again")
    assert chat(edge, secret).status == 200
    assert_charged(owner, 2)


def test_shutdown_during_refused_writes_reports_the_complete_answer(
    account: Any, postgres: Postgres, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    _, secret = account
    edge = start_edge(database_url=postgres_url, redis_url=redis_url, drain_seconds=1)
    gate = Gate()
    upstream.script(paused_stream(gate))
    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        with postgres.read_only():
            # Open sessions notice it a moment later.
            eventually(lambda: chat(edge, secret).status == 503, "the edge's session refuses writes")
            gate.open()
            eventually(lambda: upstream.calls[0].outcome == "answered", "the upstream has said everything")
            assert edge.terminate() == 0
            ending = running.remaining_events()
    assert ending[-1]["error"]["code"] == "settlement_pending"
    # The process is gone, so the sweeper will settle this hold.
    assert Account.get().held > 0


def test_pgbouncer_in_transaction_mode_works_and_keeps_no_session_state(
    account: Any, start_pgbouncer: StartPgBouncer, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    owner, secret = account
    pooled = start_pgbouncer(pool_size=3).url(postgres_url)
    upstream.default = lambda _: stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)
    edges = [start_edge(database_url=pooled, redis_url=redis_url) for _ in range(2)]

    def call(number: int) -> Any:
        with Stream(edges[number % 2], secret) as running:
            running.response_head()
            return running.remaining_events()[-1]

    assert run_concurrently(40, call) == [{"done": True}] * 40
    assert_charged(owner, 40)
    with psycopg.connect(postgres_url) as connection:
        (session,) = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() or ()
    assert session == 0
    for _ in range(6):  # more than the pool size
        with psycopg.connect(pooled) as connection:
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
            assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_connections_whose_packets_are_dropped_are_replaced(
    account: Any,
    network: Network,
    start_pgbouncer: StartPgBouncer,
    postgres_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: Any,
) -> None:
    owner, secret = account
    edge = start_edge(database_url=start_pgbouncer(network=network).url(postgres_url), redis_url=redis_url)
    gates = [Gate() for _ in range(3)]
    upstream.script(*map(paused_stream, gates))
    with ExitStack() as stack:
        streams = [stack.enter_context(Stream(edge, secret)) for _ in gates]
        for running in streams:
            running.response_head()
            running.read_text("Hello")
        network.forget_connections()
        for gate in gates:
            gate.open()
        assert [running.remaining_events()[-1] for running in streams] == [{"done": True}] * 3
    assert chat(edge, secret).status == 200
    assert_charged(owner, 4)


def test_a_silent_database_does_not_delay_shutdown(
    account: Any,
    network: Network,
    start_pgbouncer: StartPgBouncer,
    postgres_url: str,
    redis_url: str,
    upstream: Upstream,
    start_edge: Any,
    start_worker: Callable[..., Process],
) -> None:
    _, secret = account
    settings = {"database_url": start_pgbouncer(network=network).url(postgres_url), "redis_url": redis_url, "drain_seconds": 1}
    edge, worker = start_edge(**settings), start_worker(**settings)
    assert chat(edge, secret).status == 200
    gate = Gate()
    upstream.script(paused_stream(gate))
    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        with network.drop_packets():
            gate.open()
            eventually(lambda: readiness(edge)[0] == 503, "the edge has noticed")
            for process in (edge.process, worker):
                process.send_signal(15)
            assert [process.wait(1 + EXIT_SECONDS + 10) for process in (edge.process, worker)] == [0, 0]


def test_new_connections_are_refused_once_two_workers_shut_down(
    account: Any, postgres_url: str, redis_url: str, upstream: Upstream, start_edge: Any
) -> None:
    owner, secret = account
    edge = start_edge(database_url=postgres_url, redis_url=redis_url, edge_workers=2)
    gate = Gate()
    upstream.script(paused_stream(gate))

    def refused() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            return not connection.getresponse()
        except TimeoutError as error:
            raise AssertionError("a connection was accepted but gets no response") from error
        except (OSError, http.client.HTTPException):
            return True
        finally:
            connection.close()

    with Stream(edge, secret) as running:
        running.response_head()
        running.read_text("Hello")
        edge.process.send_signal(15)
        eventually(refused, "new connections are refused")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", edge.port), timeout=5).close()
        gate.open()
        assert running.remaining_events()[-1] == {"done": True}
    assert edge.process.wait() == 0
    assert_charged(owner, 1)
