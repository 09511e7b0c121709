"""CORS: which origins may call the API with a key, checked in a real browser too."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.http.cors import Cors
from tests.conftest import OpenPage
from tests.edge.shared_edge import Reply, Sandbox, Stack
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.node import NodeSdk
from tests.upstream_responses import stream

PAGE = "https://app.example.com"
ASKED = "authorization, content-type, x-stainless-lang, x-api-key, anthropic-version, idempotency-key, x-yout-max-credits"


def preflight(sandbox: Sandbox, path: str, origin: str = PAGE, **more: str) -> Reply:
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": ASKED, **more}
    return sandbox.request("OPTIONS", path, headers=headers)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "//v1/models", "/v2/rerank", "/api/chat/keys/"])
def test_a_preflight_is_answered(sandbox: Sandbox, path: str) -> None:
    answer = preflight(sandbox, path)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == ASKED
    assert {"POST", "GET", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-private-network" not in answer.headers
    public = preflight(sandbox, path, **{"access-control-request-private-network": "true"})
    assert public.headers["access-control-allow-private-network"] == "true"


def test_every_response_is_readable_including_errors(sandbox: Sandbox) -> None:
    page = {"origin": PAGE}
    wrong = {**page, "authorization": "Bearer yout-wrong"}
    answers = [
        sandbox.chat(page),
        sandbox.chat(page, stream=True),
        sandbox.chat(page, n=0),
        sandbox.chat(wrong),
        sandbox.get("/v1/models", page),
    ]
    answers += [sandbox.get("/v1/models", wrong), sandbox.get("/v1/nothing", page), sandbox.get("/api/chat/limit/", page)]
    answers += [sandbox.post(b"{}", {**page, "content-encoding": "x"}), sandbox.post(b"{}", page, "/v1/messages")]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == "*", answer
        exposed = set(answer.headers["access-control-expose-headers"].split(", "))
        ours = {name for name in answer.headers if name.startswith(("x-request", "x-ratelimit", "x-yout", "x-should", "retry"))}
        assert ours <= exposed
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/", "/sign-in", "/account", "/healthz", "/c/AAAAAAAAAAAAAAAAAAAAAA"])
def test_html_pages_are_same_origin_only(sandbox: Sandbox, path: str) -> None:
    for answer in (sandbox.get(path, {"origin": PAGE}), preflight(sandbox, path)):
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_allowed_origins_can_be_restricted(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.edge = stack.edge(cors_origins=(PAGE,))
    assert preflight(sandbox, "/v1/models").headers["access-control-allow-origin"] == PAGE
    answer = sandbox.chat({"origin": PAGE})
    assert (answer.headers["access-control-allow-origin"], answer.headers["vary"]) == (PAGE, "origin")
    for other in ("https://evil.example", "http://app.example.com", "null"):
        assert preflight(sandbox, "/v1/chat/completions", other).status == 405
        refused = sandbox.chat({"origin": other})
        assert refused.status == 200  # the browser hides the response from the page
        assert "access-control-allow-origin" not in refused.headers


def test_cors_can_be_disabled() -> None:
    cors = Cors(())
    assert cors.headers(PAGE.encode()) == [(b"vary", b"origin")]
    assert cors.preflight([(b"origin", PAGE.encode()), (b"access-control-request-method", b"GET")]) is None


def test_other_options_requests_are_not_preflights() -> None:
    cors = Cors(("*",))
    assert cors.headers(None) == []
    assert cors.preflight([(b"origin", PAGE.encode())]) is None
    assert cors.preflight([(b"access-control-request-method", b"GET")]) is None
    long = (b"access-control-request-headers", b"x" * 10_000)
    answer = cors.preflight([(b"origin", PAGE.encode()), (b"access-control-request-method", b"GET"), long])
    assert answer is not None
    assert b"access-control-allow-headers" not in dict(answer)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".mjs": "text/javascript", ".html": "text/html"}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other_origin(node_sdk: NodeSdk, tmp_path: Path) -> Iterator[str]:
    """A web server with an empty page and the Node SDK's modules."""
    (tmp_path / "openai").symlink_to(node_sdk.folder / "node_modules" / "openai")
    (tmp_path / "index.html").write_text("<!doctype html><title>Elsewhere</title><link rel=icon href=data:,>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


SDK = """async ([url, key, model]) => {
    const { default: OpenAI } = await import('/openai/index.mjs')
    const client = new OpenAI({ baseURL: url, apiKey: key, dangerouslyAllowBrowser: true })
    const messages = [{ role: 'user', content: 'Hi' }]
    const { data, response } = await client.chat.completions
        .create({ model, messages, stream: true }, { idempotencyKey: 'browser' }).withResponse()
    let text = ''
    for await (const chunk of data) text += chunk.choices[0]?.delta?.content ?? ''
    return [text, response.headers.get('x-request-id'), response.headers.get('x-ratelimit-limit-requests')]
}"""
FETCH = """async ([url, key]) => {
    const answer = await fetch(url + '/models', { headers: { authorization: 'Bearer ' + key } })
    return [answer.status, (await answer.json()).error.code, answer.headers.get('x-should-retry')]
}"""
COOKIES = """async ([url]) => {
    try { return (await fetch(url + '/models', { credentials: 'include' })).status } catch (error) { return error.name }
}"""


async def test_a_page_of_another_origin_calls_the_api_with_the_sdk(
    sandbox: Sandbox, other_origin: str, open_page: OpenPage
) -> None:
    sandbox.provider.default = stream(role(), chunk("Hel"), chunk("lo"), finish("stop"), usage(7, 3), DONE)
    page = await open_page()
    await page.goto(other_origin)
    text, request_id, limit = await page.evaluate(SDK, [sandbox.api, sandbox.secret, sandbox.model])
    assert (text, request_id[:4], int(limit) > 0) == ("Hello", "req_", True)
    assert await page.evaluate(FETCH, [sandbox.api, "yout-wrong"]) == [401, "invalid_api_key", "false"]
    assert await page.evaluate(COOKIES, [sandbox.api]) == "TypeError"  # pages of other origins cannot read responses to cookies
    problems: list[str] = page.problems  # type: ignore[attr-defined]  # put there by `open_page`
    assert all("401" in problem or "credentials" in problem or "ERR_FAILED" in problem for problem in problems), problems
    problems.clear()
