"""A client IP is the same in every notation: allow-lists, /metrics and links, on an edge that listens on `::`."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing

import pytest

from shared.models import ApiKey
from tests.edge.shared_edge import Reply, Sandbox, Stack, read
from tests.upstream_responses import WAIT_SECONDS

TRUSTED = {"bind_host": "::", "trusted_proxies": ("127.0.0.1",)}
SPELLINGS = ["203.0.113.7", "203.0.113.7:51008", "::ffff:203.0.113.7", '"203.0.113.7:1"', "[::ffff:203.0.113.7]:443"]


@pytest.fixture
def dual(stack: Stack, sandbox: Sandbox) -> Sandbox:
    """A sandbox on an edge that listens on `::`, where IPv4 clients appear as IPv4-mapped IPv6."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    sandbox.edge = stack.edge(**TRUSTED)
    return sandbox


def call(sandbox: Sandbox, path: str, address: str = "127.0.0.1", **headers: str) -> Reply:
    with closing(http.client.HTTPConnection(address, sandbox.edge.port, timeout=WAIT_SECONDS)) as connection:
        connection.request("GET", path, headers=headers)
        return read(connection.getresponse())


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stored", ["203.0.113.0/24", "::ffff:203.0.113.7"])
def test_an_allow_list_matches_every_notation_of_an_address(stack: Stack, dual: Sandbox, spelling: str, stored: str) -> None:
    sandbox = stack.new_sandbox(allowed_ips=["203.0.113.7"])
    ApiKey.update(allowed_ips=[stored]).where(ApiKey.account == sandbox.account).execute()  # the notation of an older release
    sandbox.edge = dual.edge
    allowed = {"x-forwarded-for": spelling}
    assert sandbox.chat(allowed).status == 200
    assert sandbox.get("/v1/models", allowed).status == 200
    for other in ("203.0.114.7", "unknown", f"{spelling}, 198.51.100.1"):
        assert sandbox.chat({"x-forwarded-for": other}).status == 403


def test_several_forwarded_headers_are_one_list(stack: Stack, dual: Sandbox) -> None:
    sandbox = stack.new_sandbox(allowed_ips=["203.0.113.7"])
    sandbox.edge = dual.edge
    with closing(http.client.HTTPConnection("127.0.0.1", sandbox.edge.port, timeout=WAIT_SECONDS)) as connection:
        connection.putrequest("GET", "/v1/models")
        connection.putheader("authorization", f"Bearer {sandbox.secret}")
        connection.putheader("x-forwarded-for", "203.0.113.7")
        connection.putheader("x-forwarded-for", "127.0.0.1")  # the peer address of the inner proxy
        connection.endheaders()
        assert read(connection.getresponse()).status == 200


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_metrics_are_served_to_localhost_over_ipv4_and_ipv6(dual: Sandbox, address: str) -> None:
    assert call(dual, "/metrics", address).status == 200
    for header in ("x-forwarded-for", "forwarded", "x-real-ip"):
        assert call(dual, "/metrics", address, **{header: "127.0.0.1"}).status == 404


def test_links_ignore_an_untrusted_host_header(dual: Sandbox) -> None:
    foreign = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    document = call(dual, "/openapi.json", "::1", **foreign)
    assert document.json["servers"][0]["url"] == f"http://[::1]:{dual.edge.port}"
    shared = dual.request("POST", "/api/chat/share/", b'{"title": "t", "messages": [{"role": "user", "content": "x"}]}', foreign)
    assert shared.json["url"].startswith("http://evil.example/c/")  # 127.0.0.1 is a trusted proxy here, so its host is used
    assert b"evil.example" not in call(dual, "/", "::1", accept="text/html", **foreign).body
