"""Callers choose models and channels: fallback models, channel preferences, and the charge of the model that served."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest

from shared.models import Hold, UsageLedger
from tests import anthropic_payloads as claude
from tests import factories, openai_payloads
from tests.edge.http_calls import Response, Stream, chat
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import WebProcess
from tests.upstream import Upstream
from tests.upstream_responses import context_too_long, error_response, json_response, stream

CHEAP, DEAR = {"input": 1_000, "output": 1_000}, {"input": 1_000, "output": 50_000}
GOOD = json_response(openai_payloads.completion("Hello", usage=openai_payloads.tokens(7, 3)))
CHEAP_COST, DEAR_COST = 10, 157


class RoutingSetup(NamedTuple):
    """One edge, two scripted providers, and a key."""

    edge: WebProcess
    primary: Upstream
    secondary: Upstream
    secret: str
    owner: Any

    def chat(self, **fields: Any) -> Response:
        return chat(self.edge, self.secret, **fields)

    def row(self) -> UsageLedger:
        return UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()).get()


pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


@pytest.fixture
def setup(bound_database: Any, any_database_url: str, redis_url: str, start_upstream: Any, start_edge: Any) -> RoutingSetup:
    primary, secondary = start_upstream(), start_upstream()
    primary.default = secondary.default = GOOD
    owner = factories.account(credits=1_000_000)
    _, secret = factories.api_key(owner)
    first = factories.channel(primary.url, name="account-of-jane", settings={"provider": "acme", "public_name": "acme-eu"})
    second = factories.channel(secondary.url, name="account-of-jim", settings={"provider": "best", "data_collection": "deny"})
    factories.model("cheap", first, **CHEAP, max_output_tokens=100)
    factories.model("dear", second, **DEAR, max_output_tokens=100)
    factories.model("both", first, second, **CHEAP, max_output_tokens=100)
    factories.model("mixed", factories.channel(primary.url, dialect="anthropic"), second, **CHEAP)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    return RoutingSetup(edge, primary, secondary, secret, owner)


def test_a_fallback_model_serves_at_its_own_price_and_under_its_own_name(setup: RoutingSetup) -> None:
    setup.primary.default = error_response(500)
    answer = setup.chat(models=["cheap", "dear"], model=None)
    assert answer.status == 200
    assert answer.body["model"] == "dear"
    assert answer.body["yout"]["credits_charged"] == DEAR_COST
    assert (answer.headers["x-yout-channel"], answer.headers["x-yout-attempts"]) == ("best", "4")
    row = setup.row()
    assert (row.model, row.asked_model, row.credits, row.attempts) == ("dear", "cheap", DEAR_COST, 4)
    assert row.failed_attempts == "status_500,status_500,status_500"
    assert setup.secondary.calls[0].json["model"] == "acme-model"
    assert not {"models", "provider"} & set(setup.secondary.calls[0].json)
    assert not Hold.select().exists()


def test_an_unused_fallback_does_not_change_the_price(setup: RoutingSetup) -> None:
    answer = setup.chat(model="cheap", models=["dear"])
    assert (answer.body["model"], answer.body["yout"]["credits_charged"]) == ("cheap", CHEAP_COST)
    assert setup.row().credits == CHEAP_COST


def test_a_fallback_in_a_stream(setup: RoutingSetup) -> None:
    setup.primary.default = stream(role(), b"data: {garbage\n\n")
    setup.secondary.default = stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)
    with Stream(setup.edge, setup.secret, model="cheap", models=["dear"], stream_options={"include_usage": True}) as running:
        headers = dict(running.response_head().getheaders())
        events = running.remaining_events()
    assert headers["x-yout-channel"] == "best"
    assert {event["model"] for event in events if "model" in event} == {"dear"}
    assert events[-2]["yout"]["credits_charged"] == DEAR_COST


def test_the_hold_covers_the_most_expensive_model(setup: RoutingSetup) -> None:
    poor = factories.account(credits=200)
    _, secret = factories.api_key(poor)
    assert chat(setup.edge, secret, model="cheap").status == 200
    refused = chat(setup.edge, secret, model="cheap", models=["dear"])
    assert (refused.status, refused.code) == (402, "insufficient_credits")


def test_a_prompt_too_long_for_one_model_falls_back_to_the_next(setup: RoutingSetup) -> None:
    setup.primary.default = context_too_long()
    answer = setup.chat(model="cheap", models=["dear"])
    assert (answer.status, answer.body["model"]) == (200, "dear")
    assert setup.chat(model="cheap").code == "context_length_exceeded"
    setup.primary.default = error_response(400)
    assert setup.chat(model="cheap", models=["dear"]).status == 400, "an invalid request must not fall back"


def test_every_requested_model_must_exist_and_be_allowed(setup: RoutingSetup) -> None:
    assert setup.chat(model="cheap", models=["nobody"]).code == "model_not_found"
    _, secret = factories.api_key(setup.owner, "narrow", allowed_models=["cheap"])
    refused = chat(setup.edge, secret, model="cheap", models=["dear"])
    assert (refused.status, refused.code) == (403, "model_not_allowed")
    assert setup.primary.calls + setup.secondary.calls == []


@pytest.mark.parametrize(
    ("provider", "served_by"),
    [
        ({}, "acme-eu"),
        ({"order": ["best"]}, "best"),
        ({"only": ["best"]}, "best"),
        ({"ignore": ["acme"]}, "best"),
        ({"ignore": ["acme-eu"]}, "best"),
        ({"data_collection": "deny"}, "best"),
    ],
)
def test_a_caller_chooses_the_channel(setup: RoutingSetup, provider: dict[str, Any], served_by: str) -> None:
    answer = setup.chat(model="both", provider=provider)
    assert answer.headers["x-yout-channel"] == served_by
    sent = (setup.primary if served_by == "acme-eu" else setup.secondary).calls[0].json
    assert "provider" not in sent


def test_no_matching_channel(setup: RoutingSetup) -> None:
    answer = setup.chat(model="cheap", provider={"data_collection": "deny"})
    assert (answer.status, answer.code, answer.body["error"]["param"]) == (400, "no_matching_provider", "provider")
    answer = setup.chat(model="both", provider={"only": ["account-of-jane"]})
    assert answer.code == "no_matching_provider", "a channel's internal name must not match"
    answer = setup.chat(model="dear", provider={"max_price": {"completion": 49_999}})
    assert answer.body["error"]["param"] == "provider.max_price"


def test_models_sorted_by_price(setup: RoutingSetup) -> None:
    answer = setup.chat(model="dear", models=["cheap"], provider={"sort": "price"})
    assert (answer.body["model"], answer.body["yout"]["credits_charged"]) == ("cheap", CHEAP_COST)
    assert setup.row().asked_model == "dear"


def test_without_fallbacks_the_other_channel_is_not_called(setup: RoutingSetup) -> None:
    setup.primary.default = error_response(500)
    assert setup.chat(model="both", provider={"order": ["acme"], "allow_fallbacks": False}).status == 502
    assert setup.secondary.calls == []


def test_channels_sorted_by_measured_latency(setup: RoutingSetup) -> None:
    setup.primary.default = setup.secondary.default = stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)
    seen = set()
    for _ in range(2):  # a channel without measurements is tried first
        with Stream(setup.edge, setup.secret, model="both", provider={"sort": "latency"}) as running:
            seen.add(running.response_head().getheader("x-yout-channel"))
            running.remaining_events()
    assert seen == {"acme-eu", "best"}


def test_a_short_retry_after_is_waited_for(setup: RoutingSetup) -> None:
    setup.primary.script(error_response(429, headers={"retry-after-ms": "300"}))
    answer = setup.chat(model="cheap")
    assert (answer.status, answer.headers["x-yout-attempts"]) == (200, "2")
    assert setup.row().failed_attempts == "status_429"


def test_retry_after_accepts_a_date(setup: RoutingSetup) -> None:
    setup.primary.script(error_response(503, headers={"retry-after": formatdate(time.time() + 40, usegmt=True)}))
    assert setup.chat(model="cheap").status == 502
    assert setup.chat(model="cheap").status == 503, "the channel is paused for the requested time"
    assert len(setup.primary.calls) == 1


def test_a_channel_that_does_not_support_a_field_is_skipped(setup: RoutingSetup) -> None:
    setup.primary.default = claude.script_of(claude.message(claude.text("Hello")))
    assert setup.chat(model="mixed").headers["x-yout-channel"] == "anthropic"
    answer = setup.chat(model="mixed", seed=5)
    assert (answer.headers["x-yout-channel"], answer.headers["x-yout-attempts"]) == ("best", "1")
    assert setup.secondary.calls[0].json["seed"] == 5
