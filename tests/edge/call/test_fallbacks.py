"""Callers choose their way: fallback models, preferred channels, and what they are told and charged for the one that served."""

from __future__ import annotations

import time
from email.utils import formatdate
from typing import Any, NamedTuple

import pytest

from shared.models import Hold, UsageLedger
from tests import anthropic_payloads as claude
from tests import factories, openai_payloads
from tests.edge.http_calls import Answered, Stream, chat
from tests.openai_payloads import DONE, chunk, finish, role, usage
from tests.servers.edge import WebProcess
from tests.upstream import Upstream
from tests.upstream_responses import context_too_long, reply, status, stream

CHEAP, DEAR = {"input": 1_000, "output": 1_000}, {"input": 1_000, "output": 50_000}
GOOD = reply(openai_payloads.completion("Hello", usage=openai_payloads.tokens(7, 3)))
CHEAP_COST, DEAR_COST = 10, 157


class Street(NamedTuple):
    """One edge, two shops (vendors) on it, and a key."""

    edge: WebProcess
    near: Upstream
    far: Upstream
    secret: str
    owner: Any

    def chat(self, **fields: Any) -> Answered:
        return chat(self.edge, self.secret, **fields)

    def row(self) -> UsageLedger:
        return UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()).get()


pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


@pytest.fixture
def street(bound_database: Any, any_database_url: str, redis_url: str, start_upstream: Any, start_edge: Any) -> Street:
    near, far = start_upstream(), start_upstream()
    near.default = far.default = GOOD
    owner = factories.account(credits=1_000_000)
    _, secret = factories.api_key(owner)
    first = factories.channel(near.url, name="account-of-jane", settings={"provider": "acme", "public_name": "acme-eu"})
    second = factories.channel(far.url, name="account-of-jim", settings={"provider": "best", "data_collection": "deny"})
    factories.model("cheap", first, **CHEAP, max_output_tokens=100)
    factories.model("dear", second, **DEAR, max_output_tokens=100)
    factories.model("both", first, second, **CHEAP, max_output_tokens=100)
    factories.model("mixed", factories.channel(near.url, dialect="anthropic"), second, **CHEAP)
    edge = start_edge(database_url=any_database_url, redis_url=redis_url)
    return Street(edge, near, far, secret, owner)


def test_a_fallback_model_serves_at_its_own_price_and_under_its_own_name(street: Street) -> None:
    street.near.default = status(500)
    answer = street.chat(models=["cheap", "dear"], model=None)
    assert answer.status == 200
    assert answer.body["model"] == "dear"
    assert answer.body["yout"]["credits_charged"] == DEAR_COST
    assert (answer.headers["x-yout-channel"], answer.headers["x-yout-attempts"]) == ("best", "4")
    row = street.row()
    assert (row.model, row.asked_model, row.credits, row.attempts) == ("dear", "cheap", DEAR_COST, 4)
    assert row.failed_attempts == "status_500,status_500,status_500"
    assert street.far.calls[0].json["model"] == "vendor-model"
    assert not {"models", "provider"} & set(street.far.calls[0].json)
    assert {hold.state for hold in Hold.select()} == {"settled"}


def test_a_fallback_in_a_stream(street: Street) -> None:
    street.near.default = stream(role(), b"data: {garbage\n\n")
    street.far.default = stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)
    with Stream(street.edge, street.secret, model="cheap", models=["dear"], stream_options={"include_usage": True}) as running:
        headers = dict(running.open().getheaders())
        events = running.rest()
    assert headers["x-yout-channel"] == "best"
    assert {event["model"] for event in events if "model" in event} == {"dear"}
    assert events[-2]["yout"]["credits_charged"] == DEAR_COST


def test_the_hold_pays_for_the_dearest(street: Street) -> None:
    poor = factories.account(credits=200)
    _, secret = factories.api_key(poor)
    assert chat(street.edge, secret, model="cheap").status == 200
    refused = chat(street.edge, secret, model="cheap", models=["dear"])
    assert (refused.status, refused.code) == (402, "insufficient_credits")


def test_a_prompt_too_long_for_one_model_is_carried_to_the_next(street: Street) -> None:
    street.near.default = context_too_long()
    answer = street.chat(model="cheap", models=["dear"])
    assert (answer.status, answer.body["model"]) == (200, "dear")
    assert street.chat(model="cheap").code == "context_length_exceeded"
    street.near.default = status(400)
    assert street.chat(model="cheap", models=["dear"]).status == 400, "a request that is wrong is wrong everywhere"


def test_every_named_model_must_be_there_and_allowed(street: Street) -> None:
    assert street.chat(model="cheap", models=["nobody"]).code == "model_not_found"
    _, secret = factories.api_key(street.owner, "narrow", allowed_models=["cheap"])
    refused = chat(street.edge, secret, model="cheap", models=["dear"])
    assert (refused.status, refused.code) == (403, "model_not_allowed")
    assert street.near.calls + street.far.calls == []


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
def test_a_caller_chooses_the_channel(street: Street, provider: dict[str, Any], served_by: str) -> None:
    answer = street.chat(model="both", provider=provider)
    assert answer.headers["x-yout-channel"] == served_by
    sent = (street.near if served_by == "acme-eu" else street.far).calls[0].json
    assert "provider" not in sent


def test_no_channel_is_left(street: Street) -> None:
    answer = street.chat(model="cheap", provider={"data_collection": "deny"})
    assert (answer.status, answer.code, answer.body["error"]["param"]) == (400, "no_matching_provider", "provider")
    answer = street.chat(model="both", provider={"only": ["account-of-jane"]})
    assert answer.code == "no_matching_provider", "a channel's own name is nobody's business"
    answer = street.chat(model="dear", provider={"max_price": {"completion": 49_999}})
    assert answer.body["error"]["param"] == "provider.max_price"


def test_models_by_price(street: Street) -> None:
    answer = street.chat(model="dear", models=["cheap"], provider={"sort": "price"})
    assert (answer.body["model"], answer.body["yout"]["credits_charged"]) == ("cheap", CHEAP_COST)
    assert street.row().asked_model == "dear"


def test_without_fallbacks_the_other_channel_is_left_alone(street: Street) -> None:
    street.near.default = status(500)
    assert street.chat(model="both", provider={"order": ["acme"], "allow_fallbacks": False}).status == 502
    assert street.far.calls == []


def test_the_latency_that_was_seen_decides(street: Street) -> None:
    street.near.default = street.far.default = stream(role(), chunk("Hello"), finish(), usage(7, 3), DONE)
    seen = set()
    for _ in range(2):  # an unknown channel is tried before a known one
        with Stream(street.edge, street.secret, model="both", provider={"sort": "latency"}) as running:
            seen.add(running.open().getheader("x-yout-channel"))
            running.rest()
    assert seen == {"acme-eu", "best"}


def test_a_short_wait_that_a_vendor_asks_for_is_waited(street: Street) -> None:
    street.near.script(status(429, headers={"retry-after-ms": "300"}))
    answer = street.chat(model="cheap")
    assert (answer.status, answer.headers["x-yout-attempts"]) == (200, "2")
    assert street.row().failed_attempts == "status_429"


def test_a_date_is_understood_as_a_wait(street: Street) -> None:
    street.near.script(status(503, headers={"retry-after": formatdate(time.time() + 40, usegmt=True)}))
    assert street.chat(model="cheap").status == 502
    assert street.chat(model="cheap").status == 503, "the vendor is left alone for as long as it asked for"
    assert len(street.near.calls) == 1


def test_a_channel_without_a_place_for_a_field_is_passed_over(street: Street) -> None:
    street.near.default = claude.say(claude.message(claude.text("Hello")))
    assert street.chat(model="mixed").headers["x-yout-channel"] == "anthropic"
    answer = street.chat(model="mixed", seed=5)
    assert (answer.headers["x-yout-channel"], answer.headers["x-yout-attempts"]) == ("best", "1")
    assert street.far.calls[0].json["seed"] == 5
