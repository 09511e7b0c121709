"""Receiving bodies: rejected early for unknown keys, and limited by a memory budget per process."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from edge.http.request_body import SMALL_BODY_BYTES, BodyBudget, BodyReader, ClientGone
from shared.core.errors import Overloaded, RequestTooLarge
from shared.identity.api_key_format import new_key
from tests.edge.shared_edge import Reply, Sandbox, Stack, read
from tests.upstream_responses import WAIT_SECONDS

LARGE = SMALL_BODY_BYTES + 1
LIMIT = 100_000


class Body:
    """The `receive` of a request whose body arrives in `pieces`."""

    def __init__(self, *pieces: bytes, ends: bool = True) -> None:
        self._messages: Iterator[dict[str, Any]] = iter(
            [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
            + [{"type": "http.request", "body": b"", "more_body": False} if ends else {"type": "http.disconnect"}]
        )
        self.received = 0

    async def __call__(self) -> dict[str, Any]:
        message = next(self._messages)
        self.received += len(message.get("body", b""))
        return message


class BudgetedReader:
    """A body reader with a budget."""

    def __init__(self) -> None:
        self.budget = BodyBudget(2 * LIMIT)
        self._reader = BodyReader(self.budget, LIMIT)

    async def read(self, body: Body, length: bytes | None = None, address: str = "a") -> bytes:
        return await self._reader.read(body, length, address)


async def test_a_large_body_is_received_completely() -> None:
    reader = BudgetedReader()
    assert await reader.read(Body(*[b"x" * 1_000] * 100)) == b"x" * LIMIT
    assert reader.budget.used_bytes == 0


@pytest.mark.parametrize(("pieces", "length"), [(1, b"100001"), (101, None), (200, b"5")])
async def test_a_body_over_the_limit_is_refused(pieces: int, length: bytes | None) -> None:
    reader, body = BudgetedReader(), Body(*[b"x" * 1_000] * pieces)
    with pytest.raises(RequestTooLarge):
        await reader.read(body, length)
    assert body.received <= LIMIT + 1_000
    assert reader.budget.used_bytes == 0


@pytest.mark.parametrize("pieces", [1, 50])
async def test_a_disconnect_returns_the_budget(pieces: int) -> None:
    reader = BudgetedReader()
    with pytest.raises(ClientGone):
        await reader.read(Body(*[b"x" * 1_000] * pieces, ends=False))
    assert reader.budget.used_bytes == 0


async def test_received_bytes_stay_within_the_budget() -> None:
    reader = BudgetedReader()
    reader.budget.acquire("b", LIMIT)
    with pytest.raises(Overloaded):
        reader.budget.acquire("b", 1)  # one client IP may use at most half
    reader.budget.acquire("c", LIMIT // 2)
    with pytest.raises(Overloaded):
        await reader.read(Body(*[b"x" * 1_000] * 60))
    assert reader.budget.used_bytes == LIMIT * 3 // 2, "the budget of the rejected body must be returned"
    assert await reader.read(Body(*[b"x" * 1_000] * 40))
    reader.budget.release("c", LIMIT // 2)
    reader.budget.release("b", LIMIT)
    assert await reader.read(Body(*[b"x" * 1_000] * 100))


async def test_an_ipv6_network_has_one_share() -> None:
    reader = BudgetedReader()
    reader.budget.acquire("2001:db8::/64", LIMIT)
    with pytest.raises(Overloaded):
        await reader.read(Body(b"x" * LARGE), address="2001:db8::7")
    assert await reader.read(Body(b"x" * LARGE), address="2001:db8:0:1::7")


class Upload:
    """A POST whose body the test sends piece by piece."""

    def __init__(self, port: int, secret: str, length: int, path: str = "/v1/chat/completions") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)
        self.send(
            f"POST {path} HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer {secret}\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n".encode()
        )

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def reply(self) -> Reply:
        response = http.client.HTTPResponse(self._socket)
        response.begin()
        return read(response)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=[True, False], ids=["fast", "stock"])
def narrow_lane(request: pytest.FixtureRequest, stack: Stack, sandbox: Sandbox) -> Sandbox:
    """A sandbox on an edge with a body budget of two megabytes, one per client IP."""
    sandbox.edge = stack.edge(max_unread_bytes=2_000_000, fast_http=request.param)
    return sandbox


def test_an_unknown_key_is_rejected_before_its_body_arrives(narrow_lane: Sandbox) -> None:
    upload = Upload(narrow_lane.edge.port, new_key().secret, 14_000_000)
    upload.send(b"x" * 100_000)
    reply = upload.reply()
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    upload.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/images/generations", "/v1/audio/speech", "/v1/videos", "/v1/messages/count_tokens", "/api/media/image/"),
        *("/api/quote/", "/api/chat/keys/", "/api/chat/share/"),
    ],
)
def test_no_route_reads_the_body_of_an_unknown_key(sandbox: Sandbox, path: str) -> None:
    upload = Upload(sandbox.edge.port, new_key().secret, 14_000_000, path)
    reply = upload.reply()
    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")
    upload.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/quote/"])
def test_bodies_beyond_the_budget_get_503(narrow_lane: Sandbox, path: str) -> None:
    body = json.dumps(narrow_lane.body(user="x" * 800_000)).encode()
    first = Upload(narrow_lane.edge.port, narrow_lane.secret, len(body), path)
    first.send(body[:-10])

    for _ in range(5):  # each needs many iterations of the event loop, which also receives the first body
        assert narrow_lane.chat().status == 200
    second = Upload(narrow_lane.edge.port, narrow_lane.secret, len(body), path)
    second.send(body[:400_000])
    refusal = second.reply()
    assert (refusal.status, refusal.headers["retry-after"], refusal.error["code"]) == (503, "5", "service_unavailable")
    second.close()
    first.send(body[-10:])
    assert first.reply().status == 200
    first.close()
    assert narrow_lane.post(body).status == 200
