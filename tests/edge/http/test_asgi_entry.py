"""Requests that the edge's entry point rejects, on both HTTP/1.1 implementations."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.edge.shared_edge import Sandbox, Stack
from tests.upstream_responses import WAIT_SECONDS

WEBSOCKET = (
    "upgrade: websocket",
    "connection: Upgrade",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)


class Answer(NamedTuple):
    """The first response, and whether the connection was kept alive."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(params=[True, False], ids=["fast", "hypercorn"])
def served(request: pytest.FixtureRequest, stack: Stack, sandbox: Sandbox) -> Sandbox:
    """A sandbox on each implementation."""
    sandbox.edge = stack.edge(fast_http=request.param)
    return sandbox


def send(sandbox: Sandbox, request_line: str, *lines: str, host: str = "x") -> Answer:
    """Send a request without a body and read one response including its body."""
    head = (f"{request_line} HTTP/1.1", f"host: {host}", *lines)
    with closing(socket.create_connection(("127.0.0.1", sandbox.edge.port), timeout=WAIT_SECONDS)) as connection:
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        response = http.client.HTTPResponse(connection)
        with closing(response):
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())


@pytest.mark.parametrize("method", ["HeAd", "head", "gEt", "get", "Options", "PROPFIND", "TRACE", "CONNECTED"])
def test_only_upper_case_methods_are_accepted(served: Sandbox, method: str) -> None:
    answer = send(served, f"{method} /healthz")
    assert answer.status == 501
    assert answer.headers["content-length"] == str(len(answer.body))  # the body is sent too, unlike for HEAD


def test_a_lower_case_post_makes_no_call(served: Sandbox) -> None:
    head = ("post /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {served.secret}")
    body = json.dumps(served.body()).encode()
    with closing(socket.create_connection(("127.0.0.1", served.edge.port), timeout=WAIT_SECONDS)) as connection:
        connection.sendall("\r\n".join((*head, f"content-length: {len(body)}", "", "")).encode() + body)
        assert connection.recv(100).startswith(b"HTTP/1.1 501")
    assert served.provider.calls == []


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/realtime", "/healthz"])
def test_a_websocket_upgrade_is_rejected(served: Sandbox, path: str) -> None:
    answer = send(served, f"GET {path}", *WEBSOCKET)
    assert answer.status == 426
    assert answer.headers["upgrade"] == "HTTP/1.1"
    assert "upgrade" in answer.headers["connection"].lower()
    assert answer.headers["x-request-id"].startswith("req_")
    assert json.loads(answer.body)["error"]["code"] == "upgrade_required"
    assert served.chat().status == 200


def test_an_http_2_upgrade_is_ignored(served: Sandbox) -> None:
    offer = ("upgrade: h2c", "connection: Upgrade, HTTP2-Settings", "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA")
    answer = send(served, "GET /healthz", *offer)
    assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok"})


def test_an_upgrade_with_another_method_is_ignored(served: Sandbox) -> None:
    assert served.chat({"upgrade": "websocket", "connection": "upgrade"}).status == 200


@pytest.mark.parametrize("host", ["a..b", ".a", "a" * 64, f"{'a' * 64}.example:8443"])
def test_an_invalid_host_header_is_rejected(served: Sandbox, host: str) -> None:
    for path in ("/sign-in", "/healthz", "/v1/models"):
        assert send(served, f"GET {path}", host=host).status == 400


@pytest.mark.parametrize("host", ["", "x.example.", f"{'a' * 63}.example:8443", "[::1]:80", "xn--bcher-kva.example"])
def test_any_valid_host_is_served(served: Sandbox, host: str) -> None:
    assert send(served, "GET /healthz", host=host).status == 200
