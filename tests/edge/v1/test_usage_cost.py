"""`usage: {"include": true}`: the cost of a call in USD, at every endpoint. The field is not sent to the provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.call.exchange import Finished
from edge.call.requests import parse_chat_request
from edge.v1.embeddings import EmbeddingsRenderer, parse
from shared.billing.token_usage import TokenUsage
from shared.core.errors import InvalidRequest
from shared.ledger import Settled
from shared.operations.account_export import TABLES, read_rows
from tests.edge.sdks.scripts import text_answer
from tests.edge.shared_edge import DEFAULT_COST, DEFAULT_PROVIDER_COST, Sandbox
from tests.openai_payloads import DONE, chunk, completion, event, finish, tokens
from tests.upstream_responses import error_response, json_response, stream

INCLUDE = {"usage": {"include": True}}
MESSAGES = {"messages": [{"role": "user", "content": "Hi"}]}
USD = DEFAULT_COST / 1_000_000


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", MESSAGES),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/messages", {**MESSAGES, "max_tokens": 100}),
    ],
)
def test_the_cost_in_usd(sandbox: Sandbox, path: str, body: dict[str, Any], streams: bool) -> None:
    sandbox.provider.script(text_answer("Hello there."), text_answer("Hello there."))
    sent = {"model": sandbox.model, "stream": streams, **body}
    answer, without = (sandbox.post(json.dumps({**sent, **more}).encode(), path=path) for more in (INCLUDE, {}))
    documents = answer.chunks if streams else [answer.json]
    usages = [document.get("usage") or document.get("response", {}).get("usage") for document in documents]
    assert [usage["cost"] for usage in usages if usage and "cost" in usage] == [USD]
    assert b'"cost"' not in without.body
    assert sandbox.charged == 2 * DEFAULT_COST
    assert [call.json.get("usage") for call in sandbox.provider.calls] == [None, None]


def test_a_cost_that_the_provider_reports_is_not_passed_on(sandbox: Sandbox) -> None:
    reported = {**tokens(7, 3), "cost": 0.5, "cost_details": {"upstream_inference_cost": 0.4}, "is_byok": False, "own": 1}
    sandbox.provider.script(*[json_response(completion("Hello", usage=reported))] * 2)
    plain, priced = sandbox.chat().json["usage"], sandbox.chat(**INCLUDE).json["usage"]
    assert (plain.get("cost"), priced["cost"], plain["own"]) == (None, USD, 1)
    assert not {"cost_details", "is_byok"} & {*plain, *priced}


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_what_a_call_cost_us_is_recorded_and_not_shown(sandbox: Sandbox, streams: bool) -> None:
    for reported in ({"cost": 0.000123}, {"cost_in_usd_ticks": 4_560_000}, {"cost": "?"}, {}):
        usage = {**tokens(7, 3), **reported}
        answer = json_response(completion("Hello", usage=usage))
        sandbox.provider.script(stream(chunk("Hello"), finish(), event([], usage=usage), DONE) if streams else answer)
        asked = {"stream": True, "stream_options": {"include_usage": True}} if streams else {}
        body = sandbox.chat(**asked).body
        assert b'"completion_tokens":3' in body
        assert b"cost" not in body
    assert [row.provider_cost for row in sandbox.usage()] == [123, 456, DEFAULT_PROVIDER_COST, DEFAULT_PROVIDER_COST]
    assert sandbox.charged == 4 * DEFAULT_COST, "what a call costs us must not affect its charge"
    for path in (f"/api/receipts/{sandbox.usage()[0].id}/", "/api/usage/?by=model", "/api/key/"):
        found = sandbox.get(path)
        assert (found.status, b"provider_cost" in found.body) == (200, False)
    exported = str([read_rows(table, sandbox.account.id) for table in TABLES])
    assert str(sandbox.usage()[0].id) in exported
    assert "provider_cost" not in exported


def test_a_failed_call_has_no_known_cost(sandbox: Sandbox) -> None:
    sandbox.provider.script(error_response(400))
    assert sandbox.chat().status == 400
    assert [row.provider_cost for row in sandbox.usage()] == [None]


def test_embeddings() -> None:
    call = parse(json.dumps({"model": "m", "input": "Hi", **INCLUDE}).encode())
    assert (call.include_cost, "usage" in call.body) == (True, False)
    rendered = EmbeddingsRenderer().render_complete(Finished({"data": []}, {}, TokenUsage(5, 0), Settled(5, 0), 0.000005))
    assert rendered["usage"] == {"prompt_tokens": 5, "total_tokens": 5, "cost": 0.000005}


@pytest.mark.parametrize(("usage", "param"), [(True, "usage"), ([], "usage"), ({"include": 1}, "usage.include")])
def test_invalid_options_are_named(usage: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_chat_request(json.dumps({"model": "m", **MESSAGES, "usage": usage}).encode())
    assert refused.value.param == param


@pytest.mark.parametrize("usage", [None, {}, {"include": None}, {"include": False}, {"include": False, "other": 1}])
def test_without_the_option_nothing_changes(usage: object) -> None:
    call = parse_chat_request(json.dumps({"model": "m", **MESSAGES, "usage": usage}).encode())
    assert (call.include_cost, call.include_usage, call.body) == (False, False, {"model": "m", **MESSAGES})
