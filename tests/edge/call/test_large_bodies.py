"""A running edge: large bodies, which a thread parses and translates, are served, charged and refused like small ones."""

from __future__ import annotations

import hashlib
import http.client
import json
from typing import Any, NamedTuple

import pytest

from edge.store.large_bodies import LARGE_BODY_BYTES
from shared.identity.api_key_format import new_key
from shared.models import Hold, UsageLedger
from tests import anthropic_payloads as claude
from tests import factories
from tests.edge.http_calls import WAIT_SECONDS
from tests.servers.edge import WebProcess
from tests.upstream import Upstream

TEXT = "word " * (LARGE_BODY_BYTES // 5 + 1)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": TEXT}]},
    "/v1/responses": {"input": [{"role": "user", "content": TEXT}]},
    "/v1/messages": {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 9},
}


class Setup(NamedTuple):
    """One edge, with a model on a channel of OpenAI's format and one on Anthropic's, and a key."""

    edge: WebProcess
    upstream: Upstream
    secret: str

    def post(self, path: str, body: dict[str, Any], secret: str | None = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=WAIT_SECONDS)
        headers = {"authorization": f"Bearer {secret or self.secret}", "content-type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found


@pytest.fixture
def setup(bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any) -> Setup:
    owner = factories.account(credits=10**9)
    factories.model("open", factories.channel(upstream.url, name="o"))
    factories.model("claude", factories.channel(upstream.url, name="c", dialect="anthropic"))
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    return Setup(edge, upstream, factories.api_key(owner)[1])


one_kind = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize("path", BODIES)
def test_a_large_body_arrives_whole_and_is_charged_once(setup: Setup, path: str) -> None:
    for number, model in enumerate(("open", "claude"), start=1):
        if model == "claude":
            setup.upstream.default = claude.script_of(claude.message(claude.text("Hello")))
        status, answer = setup.post(path, {**BODIES[path], "model": model})
        assert status == 200, answer
        sent = setup.upstream.calls[-1]
        assert TEXT in json.dumps(sent.json)
        row = UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()).get()
        assert (row.model, row.status, row.credits > 0) == (model, "completed", True)
        assert bytes(row.request_sha256) == hashlib.sha256(sent.body).digest()
        assert UsageLedger.select().count() == number
    assert not Hold.select().where(Hold.state == "held").exists()


@one_kind
def test_a_large_body_is_refused_like_a_small_one(setup: Setup) -> None:
    path, large = "/v1/chat/completions", BODIES["/v1/chat/completions"]
    status, answer = setup.post(path, {**large, "model": "open", "temperature": 9})
    assert (status, answer["error"]["param"]) == (400, "temperature")
    status, answer = setup.post(path, {**large, "model": "claude", "logprobs": True})
    assert (status, answer["error"]["param"]) == (400, "logprobs")
    status, answer = setup.post(path, {**large, "model": "open", "temperature": 9}, new_key().secret)
    assert status == 401
    assert not setup.upstream.calls
    assert UsageLedger.select().where(UsageLedger.credits > 0).count() == 0
    assert not Hold.select().where(Hold.state == "held").exists()
