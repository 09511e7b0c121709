"""Headers that every API response has, whichever part of the edge creates it."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import pytest

from shared.models import ApiKey
from shared.operations.keys import revoke_key
from tests.edge.shared_edge import Reply, Sandbox, read
from tests.factories import ORIGIN
from tests.upstream_responses import WAIT_SECONDS, error_response


def call(sandbox: Sandbox, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    return sandbox.request(method, path, json.dumps(body).encode() if body is not None else None, headers)


def keyless(sandbox: Sandbox, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
    with closing(http.client.HTTPConnection("127.0.0.1", sandbox.edge.port, timeout=WAIT_SECONDS)) as connection:
        connection.request(method, path, data, headers or {})
        return read(connection.getresponse())


def chat_body(sandbox: Sandbox) -> dict[str, Any]:
    return sandbox.body(max_tokens=5)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses"),
        ("POST", "/api/chat/stream/"),
        ("POST", "/v1/images/generations"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/none"),
        ("GET", "/api/chat/models/"),
        ("GET", "/api/chat/limit/"),
        ("GET", "/api/chat/keys/"),
        ("GET", "/v1/nothing"),
        ("DELETE", "/v1/models"),
    ],
)
@pytest.mark.parametrize("key", ["good", "wrong"])
def test_authenticated_responses_are_not_cacheable(sandbox: Sandbox, method: str, path: str, key: str) -> None:
    headers = {"authorization": f"Bearer {sandbox.secret if key == 'good' else 'yout-wrong'}"}
    answer = call(sandbox, method, path, chat_body(sandbox) if method == "POST" else None, **headers)
    assert answer.headers["cache-control"] == "no-store", answer


def test_no_response_is_cacheable(sandbox: Sandbox) -> None:
    for answer in (sandbox.chat(), sandbox.chat(stream=True), sandbox.chat(n=0)):
        assert answer.headers["cache-control"] == "no-store"


def refusals(sandbox: Sandbox) -> list[tuple[int, Reply]]:
    """Errors that a retry cannot fix, on the ASGI routes and on Quart routes."""
    wrong, other = {"authorization": "Bearer yout-wrong"}, sandbox.body(model="none")
    anthropic = {"model": "none", "max_tokens": 5, "messages": sandbox.body()["messages"]}
    once = {"idempotency-key": "once"}
    sandbox.chat(once)
    return [
        (401, sandbox.chat(wrong)),
        (401, call(sandbox, "POST", "/v1/messages", anthropic, **wrong)),
        (401, call(sandbox, "GET", "/v1/models", **wrong)),
        (401, call(sandbox, "GET", "/api/chat/keys/", **wrong)),
        (402, sandbox.chat({"x-yout-max-credits": "1"})),
        (402, call(sandbox, "POST", "/v1/messages", {**anthropic, "model": sandbox.model}, **{"x-yout-max-credits": "1"})),
        (404, sandbox.chat(model="none")),
        (404, call(sandbox, "POST", "/v1/messages", anthropic)),
        (404, call(sandbox, "POST", "/v1/responses", {"model": "none", "input": "x"})),
        (404, call(sandbox, "GET", "/v1/models/none")),
        (404, call(sandbox, "GET", "/api/media/jobs/00000000-0000-7000-8000-000000000000/")),
        (404, call(sandbox, "POST", "/v1/nothing", other)),
        (404, call(sandbox, "GET", "/v1/responses/resp_none")),
        (409, sandbox.chat(once)),
        (403, keyless(sandbox, "POST", "/api/chat/stream/", b'{"model": "x", "prompt": "x"}', {"origin": "http://evil.example"})),
    ]


def test_permanent_errors_forbid_retries(sandbox: Sandbox) -> None:
    for expected, answer in refusals(sandbox):
        assert answer.status == expected, answer
        assert answer.headers["x-should-retry"] == "false", answer


def test_a_disallowed_client_ip_forbids_retries(stack: Any, sandbox: Sandbox) -> None:
    limited = stack.new_sandbox(allowed_ips=["192.0.2.0/24"])
    for answer in (limited.chat(), limited.get("/v1/models")):
        assert (answer.status, answer.headers["x-should-retry"]) == (403, "false")


def test_temporary_errors_leave_retries_to_the_client(sandbox: Sandbox) -> None:
    sandbox.provider.default = error_response(500)
    assert "x-should-retry" not in sandbox.chat().headers


def test_an_invalid_key_or_session_is_rejected(sandbox: Sandbox) -> None:
    """Even on routes that require no key."""
    assert keyless(sandbox, "GET", "/api/chat/models/").status == 200
    assert sandbox.get("/api/chat/models/").status == 200
    revoke_key(ApiKey.get(ApiKey.account == sandbox.account).id, origin=ORIGIN)
    revoked = {"authorization": f"Bearer {sandbox.secret}"}
    unknown = {"x-api-key": "yout-unknown"}
    ended = {"cookie": "yout_session=" + "x" * 43}
    for headers, code in ((revoked, "invalid_api_key"), (unknown, "invalid_api_key"), (ended, "sign_in_required")):
        answer = keyless(sandbox, "GET", "/api/chat/models/", headers=headers)
        assert (answer.status, answer.error["code"]) == (401, code)
