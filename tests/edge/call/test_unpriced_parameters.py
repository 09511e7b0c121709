"""A running edge: parameters that cost extra are refused without a price, served where they are allowed, and charged with one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from shared.billing.rates import Rate
from shared.ledger.receipt_proof import check_receipt
from shared.models import UsageLedger
from tests import anthropic_payloads as claude
from tests import factories
from tests import responses_payloads as responses
from tests.edge.shared_edge import Reply, Sandbox
from tests.openai_payloads import chunk, completion, finish, role, usage
from tests.servers.process import eventually
from tests.upstream import Upstream
from tests.upstream_responses import json_response, stream

ALLOWED = {"public_name": "lenient", "allowed_parameters": {"plugins": "0.02 USD a call"}}
AddModel = Callable[..., str]


@pytest.fixture
def add_model(sandbox: Sandbox) -> AddModel:
    """Add a model on channels with these settings, by default of the sandbox's provider; returns its id once it is served."""

    def add(*settings: dict[str, Any], dialect: str = "openai", url: str = sandbox.provider.url, **columns: Any) -> str:
        name = f"{sandbox.model}-{dialect}-{len(settings)}"
        factories.model(name, *(factories.channel(url, settings=one, dialect=dialect) for one in settings), **columns)
        eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
        return name

    return add


def refusal(reply: Reply) -> tuple[int, str, str]:
    return reply.status, reply.error["code"], reply.error["param"]


def test_an_unpriced_parameter_is_refused_and_nothing_is_charged(sandbox: Sandbox) -> None:
    for name, value in (("plugins", [{"id": "web"}]), ("service_tier", "priority"), ("web_search_options", {}), ("mystery", 1)):
        assert refusal(sandbox.chat(**{name: value})) == (400, "unpriced_parameter", name)
    assert sandbox.provider.calls == []
    assert (sandbox.charged, sandbox.held) == (0, 0)


def test_a_channel_that_allows_the_parameter_serves_the_call(sandbox: Sandbox, add_model: AddModel) -> None:
    model = add_model({}, ALLOWED)
    served = sandbox.chat(model=model, plugins=[{"id": "web"}])
    assert (served.status, served.headers["x-yout-channel"]) == (200, "lenient")
    assert sandbox.provider.calls[-1].json["plugins"] == [{"id": "web"}]
    assert refusal(sandbox.chat(model=model, plugins=[], mystery=1)) == (400, "unpriced_parameter", "mystery")


def test_rates_are_charged_and_shown_on_the_receipt(sandbox: Sandbox, add_model: AddModel) -> None:
    rates = (Rate("audio_input", 0, 1_000), Rate("tier:flex", 0, 500), Rate("web_search", 0, 40))
    model = add_model({}, input=100, output=300, rates=rates)
    reported = {
        **{"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
        "prompt_tokens_details": {"audio_tokens": 400, "cached_tokens": 0},
        "server_tool_use": {"web_search_requests": 2},
    }
    sandbox.provider.script(json_response({**completion("Hi", usage=reported), "service_tier": "flex"}))
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    asked = {"service_tier": "flex", "web_search_options": {}, "messages": [{"role": "user", "content": [sound]}]}
    served = sandbox.chat(model=model, **asked)
    # 600 text, 400 audio and 100 output tokens at half price, and two searches.
    assert served.json["yout"]["credits_charged"] == (60 + 400 + 30) // 2 + 80 == sandbox.charged
    receipt = sandbox.get(f"/api/receipts/{served.headers['x-request-id']}/").json
    assert (receipt["cost"], receipt["credits_charged"], receipt["service_tier"]) == (325, 325, "flex")
    assert check_receipt(receipt) == []
    assert receipt["tokens"]["audio_input_tokens"] == 400
    assert receipt["tokens"]["web_searches"] == 2
    lines = {step["step"].split(" ×")[0]: step["result"] for step in receipt["steps"]}
    assert (lines["input tokens"], lines["audio input tokens"], lines["web searches"]) == (60_000, 400_000, 80_000)
    assert receipt["price"]["rates"] == [rate._asdict() for rate in rates]
    [row] = sandbox.usage()
    assert row.extra_usage == {"audio_input_tokens": 400, "web_searches": 2, "service_tier": "flex"}


def test_the_tier_of_a_stream_is_charged(sandbox: Sandbox, add_model: AddModel) -> None:
    model = add_model({}, input=100, output=300, rates=(Rate("tier:priority", 0, 2_000),))
    events = [{**event, "service_tier": "priority"} for event in (role(), chunk("Hi"), finish(), usage(1_000, 100))]
    sandbox.provider.script(stream(*events))
    assert sandbox.chat(model=model, stream=True, service_tier="priority").status == 200
    eventually(lambda: UsageLedger.select().where(UsageLedger.model == model).exists(), "the call is settled")
    assert sandbox.charged == 2 * (100 + 30)


def test_a_cache_of_an_hour_needs_its_own_rate(sandbox: Sandbox, add_model: AddModel) -> None:
    model = add_model({}, dialect="anthropic", input=100, output=300, cache_write=125)
    content = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    refused = sandbox.chat(model=model, messages=[{"role": "user", "content": content}])
    assert refusal(refused) == (400, "unpriced_parameter", "messages[0].content[0].cache_control.ttl")


def test_a_hint_for_a_cache_is_left_out_without_a_rate(sandbox: Sandbox, add_model: AddModel, upstream: Upstream) -> None:
    model = add_model({}, url=upstream.url, dialect="anthropic", input=100, output=300)
    upstream.script(json_response(claude.message(claude.text("Hi"))))
    assert sandbox.chat(model=model, prompt_cache_key="k", prompt_cache_retention="24h").status == 200
    assert "cache_control" not in upstream.calls[-1].json


def test_a_web_search_of_the_responses_api_is_charged_or_left_out(
    sandbox: Sandbox, add_model: AddModel, upstream: Upstream
) -> None:
    window = {"context_window": 5_000, "url": upstream.url}
    model = add_model({}, dialect="responses", input=100, output=300, rates=(Rate("web_search", 0, 40),), **window)
    found = responses.response(responses.search(), responses.search("open_page", id="ws_2"), responses.text("Hi"))
    upstream.default = responses.script_of({**found, "tools": [{"type": "web_search"}]})
    body = orjson.dumps({"model": model, "input": "Hi", "tools": [{"type": "web_search"}, {"type": "image_generation"}]})
    served = sandbox.post(body, path="/v1/responses")
    sent = upstream.calls[-1].json
    assert (served.status, sent["tools"], sent["max_tool_calls"]) == (200, [{"type": "web_search"}], 5)
    assert served.json["yout"]["ignored_tools"] == ["image_generation"]
    plain = -(-(7 * 100 + 3 * 300) // 1_000)
    assert served.json["yout"]["credits_charged"] == plain + 40 == sandbox.charged
    # A tight pool does not hold the whole context window for the results, and neither does a small limit.
    _, poor = factories.api_key(factories.account(credits=300))
    upstream.default = responses.script_of(responses.response(responses.text("Hi")))
    for headers in ({"authorization": f"Bearer {poor}"}, {"x-yout-max-credits": "150"}):
        served = sandbox.post(body, headers, path="/v1/responses")
        sent = upstream.calls[-1].json
        assert (served.status, sent["tools"], "max_tool_calls" in sent) == (200, [], False)
        assert served.json["yout"]["ignored_tools"] == ["web_search", "image_generation"]
        assert served.json["yout"]["credits_charged"] == plain
