"""Quotes: the cost of a call without making it, and the same figures in a 402."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import factories
from tests.edge.shared_edge import CREDITS, Sandbox, Stack
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.upstream import Upstream


def quote(sandbox: Sandbox, headers: dict[str, str] | None = None, **fields: Any) -> Json:
    answer = sandbox.post(json.dumps(sandbox.body(**fields)).encode(), headers, path="/api/quote/")
    assert answer.status == 200, answer.body
    found: Json = answer.json
    return found


@pytest.fixture
def expensive_model(sandbox: Sandbox, upstream: Upstream) -> str:
    """Creates a model that costs more than the test account has (its id is returned) and one with vision."""
    name = f"dear-{sandbox.model}"
    channel = factories.channel(upstream.url)
    factories.model(name, channel, input=100_000_000, output=100_000_000)
    factories.model(f"seeing-{sandbox.model}", channel, input=2_000, output=2_000, capabilities=["vision"])
    eventually(lambda: sandbox.get(f"/v1/models/seeing-{sandbox.model}").status == 200, "the edge knows the models")
    return name


def test_a_quote_makes_no_call_and_no_hold(sandbox: Sandbox) -> None:
    found = quote(sandbox, max_tokens=100)
    assert (found["model"], found["output_limit"], found["balance"], found["held"]) == (sandbox.model, 100, CREDITS, 0)
    assert found["pricing"]["credits_per_1k_output"] == 2_000
    assert found["required"] <= found["typical"] <= found["worst"]
    assert found["worst"] >= 200
    assert (found["fits"], found["max_tokens_affordable"]) == (True, 100)
    assert (sandbox.provider.calls, sandbox.usage(), sandbox.charged, sandbox.held) == ([], [], 0, 0)


def test_worst_is_never_exceeded_and_respects_the_cap(sandbox: Sandbox) -> None:
    worst = quote(sandbox, max_tokens=3)["worst"]
    assert sandbox.chat(max_tokens=3).json["yout"]["credits_charged"] <= worst
    assert quote(sandbox, {"x-yout-max-credits": "100"}, max_tokens=1_000)["worst"] == 100


def test_typical_cost_is_learned_from_the_accounts_calls(sandbox: Sandbox) -> None:
    assert quote(sandbox, max_tokens=1_000)["typical_output_tokens"] == 256
    sandbox.chat()
    learned = quote(sandbox, max_tokens=1_000)
    assert learned["typical_output_tokens"] == 3
    assert learned["typical"] == max(10, learned["input_tokens"] + 2 * 3)


def test_affordable_models_are_listed_cheapest_first(sandbox: Sandbox, expensive_model: str) -> None:
    found = quote(sandbox, model=expensive_model, max_tokens=2_000)
    assert found["fits"] is False
    ids = [model["id"] for model in found["models"]]
    assert expensive_model not in ids
    worsts = [model["worst"] for model in found["models"]]
    assert worsts == sorted(worsts)
    assert all(model["required"] <= CREDITS for model in found["models"])
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    seen = quote(sandbox, model=expensive_model, messages=[{"role": "user", "content": [image]}])
    ids = [model["id"] for model in seen["models"]]
    assert f"seeing-{sandbox.model}" in ids
    assert [id for id in ids if not id.startswith("seeing-")] == []


def test_a_402_lists_cheaper_models(stack: Stack, sandbox: Sandbox, expensive_model: str) -> None:
    answer = sandbox.chat(model=expensive_model, max_tokens=2_000)
    assert answer.status == 402
    details = answer.json["yout"]
    assert details["required"] > details["balance"] == CREDITS
    assert 0 < len(details["cheaper_models"]) <= 5
    assert all(set(model) == {"id", "worst"} and model["worst"] <= CREDITS for model in details["cheaper_models"])
    restricted = stack.new_sandbox(allowed_models=[expensive_model, sandbox.model])
    details = restricted.chat(model=expensive_model, max_tokens=2_000).json["yout"]
    assert [model["id"] for model in details["cheaper_models"]] == [sandbox.model]
    quoted = restricted.post(
        json.dumps(restricted.body(model=expensive_model, max_tokens=2_000)).encode(), path="/api/quote/"
    ).json
    assert {name: quoted[name] for name in details} == details, "the quote must say the same before the call"
    assert quote(sandbox, max_tokens=2_000)["cheaper_models"] == []
    assert sandbox.provider.calls == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/quote/"])
def test_a_402_for_the_callers_cap_lists_models_within_it(
    stack: Stack, sandbox: Sandbox, expensive_model: str, path: str
) -> None:
    restricted = stack.new_sandbox(allowed_models=[expensive_model, sandbox.model])
    asked = json.dumps(restricted.body(model=expensive_model, max_tokens=20)).encode()
    for cap, fitting in (("500", [sandbox.model]), ("1", [])):
        answer = restricted.post(asked, {"x-yout-max-credits": cap}, path)
        assert answer.status == 402
        assert [model["id"] for model in answer.json["yout"]["cheaper_models"]] == fitting


def test_errors_match_those_of_the_call(stack: Stack, sandbox: Sandbox) -> None:
    def refused(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        answer = sandbox.post(json.dumps(sandbox.body(**fields)).encode(), headers, path="/api/quote/")
        assert (answer.status, answer.error["code"]) == (status, code)

    refused(404, "model_not_found", model="nobody")
    refused(400, "invalid_request", temperature=9)
    refused(401, "invalid_api_key", {"authorization": "Bearer yout-wrong"})
    refused(400, "invalid_request", {"x-yout-max-credits": "many"})
    refused(402, "insufficient_credits", {"x-yout-max-credits": "1"})
    restricted = stack.new_sandbox(allowed_models=[sandbox.pair])
    answer = restricted.post(json.dumps(sandbox.body()).encode(), path="/api/quote/")
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
    capped = sandbox.post(json.dumps(sandbox.body()).encode(), {"x-yout-max-credits": "1"}, path="/api/quote/").json["yout"]
    assert (capped["balance"], capped["max_credits"]) == (CREDITS, 1)
