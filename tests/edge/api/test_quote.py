"""Quotes: the cost of a call without making it, and the same figures in a 402."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import factories
from tests.edge.shared_edge import CREDITS, Lane, Stack
from tests.openai_payloads import Json
from tests.servers.process import eventually
from tests.upstream import Upstream


def quote(lane: Lane, headers: dict[str, str] | None = None, **fields: Any) -> Json:
    answer = lane.post(json.dumps(lane.body(**fields)).encode(), headers, path="/api/quote/")
    assert answer.status == 200, answer.body
    found: Json = answer.json
    return found


@pytest.fixture
def expensive_model(lane: Lane, upstream: Upstream) -> str:
    """Creates a model that costs more than the test account has (its id is returned) and one with vision."""
    name = f"dear-{lane.model}"
    channel = factories.channel(upstream.url)
    factories.model(name, channel, input=100_000_000, output=100_000_000)
    factories.model(f"seeing-{lane.model}", channel, input=2_000, output=2_000, capabilities=["vision"])
    eventually(lambda: lane.get(f"/v1/models/seeing-{lane.model}").status == 200, "the edge knows the models")
    return name


def test_a_quote_makes_no_call_and_no_hold(lane: Lane) -> None:
    found = quote(lane, max_tokens=100)
    assert (found["model"], found["output_limit"], found["balance"], found["held"]) == (lane.model, 100, CREDITS, 0)
    assert found["pricing"]["credits_per_1k_output"] == 2_000
    assert found["required"] <= found["typical"] <= found["worst"]
    assert found["worst"] >= 200
    assert (found["fits"], found["max_tokens_affordable"]) == (True, 100)
    assert (lane.vendor.calls, lane.usage(), lane.charged, lane.held) == ([], [], 0, 0)


def test_worst_is_never_exceeded_and_respects_the_cap(lane: Lane) -> None:
    worst = quote(lane, max_tokens=3)["worst"]
    assert lane.chat(max_tokens=3).json["yout"]["credits_charged"] <= worst
    assert quote(lane, {"x-yout-max-credits": "100"}, max_tokens=1_000)["worst"] == 100


def test_typical_cost_is_learned_from_the_accounts_calls(lane: Lane) -> None:
    assert quote(lane, max_tokens=1_000)["typical_output_tokens"] == 256
    lane.chat()
    learned = quote(lane, max_tokens=1_000)
    assert learned["typical_output_tokens"] == 3
    assert learned["typical"] == max(10, learned["input_tokens"] + 2 * 3)


def test_affordable_models_are_listed_cheapest_first(lane: Lane, expensive_model: str) -> None:
    found = quote(lane, model=expensive_model, max_tokens=2_000)
    assert found["fits"] is False
    ids = [model["id"] for model in found["models"]]
    assert expensive_model not in ids
    worsts = [model["worst"] for model in found["models"]]
    assert worsts == sorted(worsts)
    assert all(model["required"] <= CREDITS for model in found["models"])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    seen = quote(lane, model=expensive_model, messages=[{"role": "user", "content": [picture]}])
    ids = [model["id"] for model in seen["models"]]
    assert f"seeing-{lane.model}" in ids
    assert [id for id in ids if not id.startswith("seeing-")] == []


def test_a_402_lists_cheaper_models(stack: Stack, lane: Lane, expensive_model: str) -> None:
    answer = lane.chat(model=expensive_model, max_tokens=2_000)
    assert answer.status == 402
    details = answer.json["yout"]
    assert details["required"] > details["balance"] == CREDITS
    assert 0 < len(details["cheaper_models"]) <= 5
    assert all(set(model) == {"id", "worst"} and model["worst"] <= CREDITS for model in details["cheaper_models"])
    restricted = stack.take_lane(allowed_models=[expensive_model, lane.model])
    details = restricted.chat(model=expensive_model, max_tokens=2_000).json["yout"]
    assert [model["id"] for model in details["cheaper_models"]] == [lane.model]
    quoted = restricted.post(
        json.dumps(restricted.body(model=expensive_model, max_tokens=2_000)).encode(), path="/api/quote/"
    ).json
    assert {name: quoted[name] for name in details} == details, "the quote must say the same before the call"
    assert quote(lane, max_tokens=2_000)["cheaper_models"] == []
    assert lane.vendor.calls == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/quote/"])
def test_a_402_for_the_callers_cap_lists_models_within_it(stack: Stack, lane: Lane, expensive_model: str, path: str) -> None:
    restricted = stack.take_lane(allowed_models=[expensive_model, lane.model])
    asked = json.dumps(restricted.body(model=expensive_model, max_tokens=20)).encode()
    for cap, fitting in (("500", [lane.model]), ("1", [])):
        answer = restricted.post(asked, {"x-yout-max-credits": cap}, path)
        assert answer.status == 402
        assert [model["id"] for model in answer.json["yout"]["cheaper_models"]] == fitting


def test_errors_match_those_of_the_call(stack: Stack, lane: Lane) -> None:
    def refused(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        answer = lane.post(json.dumps(lane.body(**fields)).encode(), headers, path="/api/quote/")
        assert (answer.status, answer.error["code"]) == (status, code)

    refused(404, "model_not_found", model="nobody")
    refused(400, "invalid_request", temperature=9)
    refused(401, "invalid_api_key", {"authorization": "Bearer yout-wrong"})
    refused(400, "invalid_request", {"x-yout-max-credits": "many"})
    refused(402, "insufficient_credits", {"x-yout-max-credits": "1"})
    restricted = stack.take_lane(allowed_models=[lane.pair])
    answer = restricted.post(json.dumps(lane.body()).encode(), path="/api/quote/")
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
