"""Quotes: what a call would cost, told without a call; and the same in a 402."""

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
def dear(lane: Lane, upstream: Upstream) -> str:
    """A model that costs more than an account of the tests has, and one that has eyes."""
    name = f"dear-{lane.model}"
    channel = factories.channel(upstream.url)
    factories.model(name, channel, input=100_000_000, output=100_000_000)
    factories.model(f"seeing-{lane.model}", channel, input=2_000, output=2_000, capabilities=["vision"])
    eventually(lambda: lane.get(f"/v1/models/seeing-{lane.model}").status == 200, "the edge knows the models")
    return name


def test_a_quote_calls_and_holds_nothing(lane: Lane) -> None:
    found = quote(lane, max_tokens=100)
    assert (found["model"], found["output_limit"], found["balance"], found["held"]) == (lane.model, 100, CREDITS, 0)
    assert found["pricing"]["credits_per_1k_output"] == 2_000
    assert found["required"] <= found["typical"] <= found["worst"]
    assert found["worst"] >= 200
    assert (found["fits"], found["max_tokens_affordable"]) == (True, 100)
    assert (lane.vendor.calls, lane.usage(), lane.charged, lane.held) == ([], [], 0, 0)


def test_the_worst_is_what_is_held_and_never_exceeded(lane: Lane) -> None:
    worst = quote(lane, max_tokens=3)["worst"]
    assert lane.chat(max_tokens=3).json["yout"]["credits_charged"] <= worst
    assert quote(lane, {"x-yout-max-credits": "100"}, max_tokens=1_000)["worst"] == 100


def test_what_is_typical_is_learned_from_the_accounts_own_calls(lane: Lane) -> None:
    assert quote(lane, max_tokens=1_000)["typical_output_tokens"] == 256
    lane.chat()
    learned = quote(lane, max_tokens=1_000)
    assert learned["typical_output_tokens"] == 3
    assert learned["typical"] == max(10, learned["input_tokens"] + 2 * 3)


def test_models_that_fit_are_told_the_cheapest_first(lane: Lane, dear: str) -> None:
    found = quote(lane, model=dear, max_tokens=2_000)
    assert found["fits"] is False
    ids = [model["id"] for model in found["models"]]
    assert dear not in ids
    worsts = [model["worst"] for model in found["models"]]
    assert worsts == sorted(worsts)
    assert all(model["required"] <= CREDITS for model in found["models"])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    seen = quote(lane, model=dear, messages=[{"role": "user", "content": [picture]}])
    ids = [model["id"] for model in seen["models"]]
    assert f"seeing-{lane.model}" in ids
    assert [id for id in ids if not id.startswith("seeing-")] == []


def test_a_402_tells_what_would_do(stack: Stack, lane: Lane, dear: str) -> None:
    answer = lane.chat(model=dear, max_tokens=2_000)
    assert answer.status == 402
    told = answer.json["yout"]
    assert told["required"] > told["balance"] == CREDITS
    assert 0 < len(told["cheaper_models"]) <= 5
    assert all(set(model) == {"id", "worst"} and model["worst"] <= CREDITS for model in told["cheaper_models"])
    narrow = stack.take_lane(allowed_models=[dear, lane.model])
    told = narrow.chat(model=dear, max_tokens=2_000).json["yout"]
    assert [model["id"] for model in told["cheaper_models"]] == [lane.model]
    quoted = narrow.post(json.dumps(narrow.body(model=dear, max_tokens=2_000)).encode(), path="/api/quote/").json
    assert {name: quoted[name] for name in told} == told, "the quote tells it before the call"
    assert quote(lane, max_tokens=2_000)["cheaper_models"] == []
    assert lane.vendor.calls == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/quote/"])
def test_ones_own_cap_is_told_what_would_do_for_it(stack: Stack, lane: Lane, dear: str, path: str) -> None:
    narrow = stack.take_lane(allowed_models=[dear, lane.model])
    asked = json.dumps(narrow.body(model=dear, max_tokens=20)).encode()
    for cap, fitting in (("500", [lane.model]), ("1", [])):
        answer = narrow.post(asked, {"x-yout-max-credits": cap}, path)
        assert answer.status == 402
        assert [model["id"] for model in answer.json["yout"]["cheaper_models"]] == fitting


def test_errors_are_those_of_the_call(stack: Stack, lane: Lane) -> None:
    def refused(status: int, code: str, headers: dict[str, str] | None = None, **fields: Any) -> None:
        answer = lane.post(json.dumps(lane.body(**fields)).encode(), headers, path="/api/quote/")
        assert (answer.status, answer.error["code"]) == (status, code)

    refused(404, "model_not_found", model="nobody")
    refused(400, "invalid_request", temperature=9)
    refused(401, "invalid_api_key", {"authorization": "Bearer yout-wrong"})
    refused(400, "invalid_request", {"x-yout-max-credits": "many"})
    refused(402, "insufficient_credits", {"x-yout-max-credits": "1"})
    narrow = stack.take_lane(allowed_models=[lane.pair])
    answer = narrow.post(json.dumps(lane.body()).encode(), path="/api/quote/")
    assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
