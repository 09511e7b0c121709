"""`deploy/nginx.conf` and `deploy/haproxy.cfg`, with real proxies in front of two edges.

Both proxies share the edges, because starting an edge takes longer than all calls here.
"""

from __future__ import annotations

import http.client
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import peewee
import pytest
from cryptography import x509

from tests import factories as build
from tests.deploy.customer import HOST, Customer
from tests.edge.http_calls import chat_body
from tests.openai_payloads import chunk, finish, role, usage
from tests.servers.authority import Authority
from tests.servers.edge import WebProcess
from tests.servers.reverse_proxy import ReverseProxy
from tests.upstream import Upstream
from tests.upstream_responses import Gate, stream

CLIENT, OTHER_CLIENT = "127.0.0.2", "127.0.0.3"  # the edges trust 127.0.0.1, where the proxies connect from


@pytest.fixture
def secret(bound_postgres: peewee.Database, upstream: Upstream) -> str:
    """A key that is valid at the customer's address only."""
    build.model("m-1", build.channel(upstream.url))
    return build.api_key(build.account(), allowed_ips=[CLIENT])[1]


@pytest.fixture
def edges(secret: str, postgres_url: str, redis_url: str, start_edge: Callable[..., WebProcess]) -> list[WebProcess]:
    settings = {"database_url": postgres_url, "redis_url": redis_url, "trusted_proxies": ("127.0.0.1",)}
    return [start_edge(**settings), start_edge(**settings)]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def proxies(
    edges: list[WebProcess], authority: Authority, start_proxy: Callable[[str, list[int], Path], ReverseProxy]
) -> list[ReverseProxy]:
    certificate = authority.certificate(x509.DNSName(HOST))
    return [start_proxy(name, [edge.port for edge in edges], certificate) for name in ("nginx", "haproxy")]


def test_both_proxies_in_front_of_two_edges(
    proxies: list[ReverseProxy], edges: list[WebProcess], authority: Authority, upstream: Upstream, secret: str
) -> None:
    context = authority.client_context()
    with ExitStack() as stack:
        for proxy in proxies:
            customer, stranger = (Customer(proxy, context, secret, stack, address) for address in (CLIENT, OTHER_CLIENT))
            assert _check_addresses(customer, stranger) == [200, 403], proxy.name
            _check_links(customer)
            _check_stream(customer, upstream)
            assert customer.send("GET", "/metrics").status == 404
            assert customer.send("POST", "/v1/chat/completions", content_length="21000000").status == 413
            assert customer.chat(messages=[{"role": "user", "content": "word " * 100_000}]).status == 200
            _check_redirect(proxy)
        _check_rolling_restart([Customer(proxy, context, secret, stack, CLIENT) for proxy in proxies], edges[0], upstream)


def _check_addresses(customer: Customer, stranger: Customer) -> list[int]:
    """Call with a key that is valid at one address; return the statuses for its owner and for a caller who forges it."""
    path, body = "/v1/chat/completions", chat_body()
    return [customer.chat().status, stranger.send("POST", path, body, x_forwarded_for=CLIENT).status]


def _check_links(customer: Customer) -> None:
    """Check that links begin with the scheme and host of the request, whatever headers the client sends."""
    page = customer.send("GET", "/docs", x_forwarded_host="evil.example", x_forwarded_proto="http").read().decode()
    assert f"https://{HOST}" in page
    assert "evil.example" not in page


def _check_stream(customer: Customer, upstream: Upstream) -> None:
    """Check that an event arrives while the upstream holds back the next one."""
    gate = Gate()
    upstream.script(stream(role(), chunk("Hel"), gate, chunk("lo"), finish(), usage()))
    response = customer.chat(stream=True)
    received = b""
    while b'"Hel"' not in received:
        received += response.readline()
    gate.wait_reached()
    gate.open()
    assert b"[DONE]" in response.read()


def _check_redirect(proxy: ReverseProxy) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", proxy.plain_port, timeout=20)
    plain.request("GET", "/docs", headers={"host": HOST})
    assert plain.getresponse().headers["location"] == f"https://{HOST}/docs"
    plain.close()


def _check_rolling_restart(customers: list[Customer], edge: WebProcess, upstream: Upstream) -> None:
    """Check that no call fails while one of two edges drains and after it has exited, and that its running streams complete."""
    gates = [Gate() for _ in range(2 * len(customers))]
    upstream.script(*(stream(role(), chunk("Hel"), gate, chunk("lo"), finish(), usage()) for gate in gates))
    running = [customer.chat(stream=True) for customer in customers for _ in range(2)]  # one on each edge, by each proxy
    for gate in gates:
        gate.wait_reached()
    edge.process.send_signal(signal.SIGTERM)
    statuses = [customer.chat().status for customer in customers for _ in range(10)]
    assert edge.process.returncode is None
    for gate in gates:
        gate.open()
    assert edge.process.wait() == 0
    statuses += [customer.chat().status for customer in customers for _ in range(10)]
    assert set(statuses) == {200}
    assert [b"[DONE]" in response.read() for response in running] == [True] * len(running)
