"""A running edge with providers of three dialects: what the caller gets, what the provider gets, and the charge."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from shared.models import UsageLedger
from tests import anthropic_payloads as claude
from tests import factories
from tests import gemini_payloads as gemini
from tests.edge.http_calls import Stream, chat
from tests.servers.edge import WebProcess
from tests.servers.process import eventually
from tests.shared.dialects.test_anthropic import valid as valid_claude
from tests.shared.dialects.test_gemini import valid as valid_gemini
from tests.upstream import Upstream, default_script
from tests.upstream_responses import HANG, Gate, error_response, json_response, stream

PRICES = {"input": 1_000, "output": 2_000, "cached_input": 100, "cache_write": 1_250, "minimum": 10}


class DialectSetup(NamedTuple):
    """One edge, one scripted provider on channels of two dialects, and a key."""

    edge: WebProcess
    upstream: Upstream
    secret: str

    def chat(self, model: str, **fields: Any) -> Any:
        return chat(self.edge, self.secret, model=model, **fields)

    def stream(self, model: str, **fields: Any) -> tuple[int, dict[str, str], list[dict[str, Any]]]:
        with Stream(self.edge, self.secret, model=model, stream_options={"include_usage": True}, **fields) as running:
            response = running.response_head()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return response.status, headers, running.remaining_events()

    def usage(self) -> UsageLedger:
        """The usage row of the newest call."""
        return UsageLedger.select().order_by(UsageLedger.created_at.desc(), UsageLedger.id.desc()).get()


@pytest.fixture
def setup(bound_database: Any, any_database_url: str, redis_url: str, upstream: Upstream, start_edge: Any) -> DialectSetup:
    owner = factories.account(credits=1_000_000)
    _, secret = factories.api_key(owner)
    settings = {"provider": "acme"}
    factories.model("claude", factories.channel(upstream.url, name="c", dialect="anthropic", settings=settings), **PRICES)
    factories.model("gemini", factories.channel(upstream.url, name="g", dialect="gemini"), **PRICES)
    return DialectSetup(start_edge(database_url=any_database_url, redis_url=redis_url), upstream, secret)


one_kind = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))


def test_charges_are_exact_in_both_dialects_whole_and_streamed(setup: DialectSetup) -> None:
    counts = claude.usage(input=10, output=5, read=100, written=20)
    whole = claude.message(claude.text("Hello 🙂"), reported=counts)
    expected = (10 * 1_000 + 100 * 100 + 20 * 1_250 + 5 * 2_000) // 1_000
    setup.upstream.default = claude.script_of(whole)
    answer = setup.chat("claude")
    assert answer.status == 200
    assert answer.body["choices"][0]["message"]["content"] == "Hello 🙂"
    assert answer.body["usage"]["prompt_tokens"] == 130
    assert answer.body["yout"]["credits_charged"] == expected
    assert (answer.headers["x-yout-channel"], answer.headers["x-yout-attempts"]) == ("acme", "1")
    code, headers, events = setup.stream("claude")
    assert (code, headers["x-yout-channel"], headers["x-yout-attempts"]) == (200, "acme", "1")
    assert text_of(events) == "Hello 🙂"
    assert events[-1] == {"done": True}
    assert events[-2]["yout"]["credits_charged"] == expected
    assert events[-2]["usage"]["prompt_tokens_details"] == {"cached_tokens": 100, "cache_write_tokens": 20}
    row = setup.usage()
    counts = (row.input_tokens, row.cached_tokens, row.cache_write_tokens, row.output_tokens, row.credits, row.estimated)
    assert counts == (130, 100, 20, 5, expected, False)

    whole = gemini.answer(
        gemini.thought("hm"), gemini.text("Hi"), reported=gemini.usage(input=50, output=4, cached=30, thoughts=6)
    )
    expected = (20 * 1_000 + 30 * 100 + 10 * 2_000) // 1_000
    setup.upstream.default = gemini.script_of(whole)
    answer = setup.chat("gemini")
    assert answer.body["yout"]["credits_charged"] == expected
    assert answer.body["choices"][0]["message"] == {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}
    _, _, events = setup.stream("gemini")
    assert (text_of(events), events[-2]["yout"]["credits_charged"]) == ("Hi", expected)
    row = setup.usage()
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens) == (50, 30, 10, 6)
    paths = [call.path for call in setup.upstream.calls]
    assert paths[:2] == ["/v1/messages"] * 2
    assert paths[2:] == [
        "/v1/models/acme-model:generateContent",
        "/v1/models/acme-model:streamGenerateContent?alt=sse",
    ]


@one_kind
def test_a_tool_round_trip_in_both_dialects(setup: DialectSetup) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}}
    scripts = {
        "claude": claude.script_of(claude.message(claude.tool_use("toolu_1", "weather", city="Bonn"), stop="tool_use")),
        "gemini": gemini.script_of(gemini.answer(gemini.call("weather", signature="c2ln", city="Bonn"))),
    }
    for model, script in scripts.items():
        setup.upstream.default = script
        requested = [{"role": "user", "content": "Weather?"}]
        message = setup.chat(model, messages=requested, tools=[tool]).body["choices"][0]["message"]
        (call,) = message["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Bonn"}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
        assert setup.chat(model, messages=[*requested, message, result], tools=[tool]).status == 200
    first, second = setup.upstream.calls[1].json, setup.upstream.calls[3].json
    valid_claude(first)
    valid_gemini(second)
    assert first["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
    assert second["contents"][1]["parts"][0]["thoughtSignature"] == "c2ln"
    assert second["contents"][2]["parts"][0]["functionResponse"]["name"] == "weather"


@one_kind
def test_errors_and_rejections_keep_status_and_code_and_cost_nothing(setup: DialectSetup) -> None:
    setup.upstream.script(error_response(400, claude.failure("invalid_request_error", "max_tokens: 9 > 8")))
    answer = setup.chat("claude")
    assert (answer.status, answer.code, answer.body["error"]["param"]) == (400, "invalid_request", "max_tokens")
    refused = setup.chat("claude", seed=1)
    assert (refused.status, refused.code, refused.body["error"]["param"]) == (400, "unsupported_parameter", "seed")
    assert "x-yout-channel" not in refused.headers, "no provider was called"
    setup.upstream.default = error_response(529, claude.failure("overloaded_error", "Overloaded"))
    answer = setup.chat("claude")
    assert (answer.status, answer.headers["x-yout-attempts"]) == (502, "3")
    assert setup.usage().failed_attempts == "status_529,status_529,status_529"
    setup.upstream.default = json_response(gemini.blocked())
    answer = setup.chat("gemini")
    assert (answer.status, answer.code) == (400, "content_filter")
    assert {row.credits for row in UsageLedger.select()} == {0}


@one_kind
def test_a_disconnect_cancels_the_upstream_and_bills_delivered_output(setup: DialectSetup) -> None:
    gate = Gate()
    first = list(map(claude.event, claude.events(claude.message(claude.text("Hello there, you")))))[:5]
    setup.upstream.script(stream(*first, gate, HANG))
    with Stream(setup.edge, setup.secret, model="claude") as running:
        running.response_head()
        running.read_text("Hello th")
    assert setup.upstream.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: UsageLedger.select().exists(), "the call is settled")
    row = setup.usage()
    assert (row.status, row.cut, row.estimated) == ("cancelled", "cancelled_upstream", True)
    assert row.input_tokens == 7, "reported by the provider"
    assert row.output_tokens in (2, 3), "counted locally from the delivered text"
    assert row.credits == max(10, row.input_tokens + 2 * row.output_tokens)


@one_kind
def test_an_overload_mid_stream_is_one_error(setup: DialectSetup) -> None:
    first = list(map(claude.event, claude.events(claude.message(claude.text("Hello there, you")))))[:5]
    gate = Gate()
    setup.upstream.script(stream(*first, gate, claude.event(claude.failure("overloaded_error"))))
    with Stream(setup.edge, setup.secret, model="claude") as running:
        running.response_head()
        running.read_text("Hello th")
        gate.open()
        rest = running.remaining_events()
    assert [event["error"]["code"] for event in rest if "error" in event] == ["upstream_error"]
    assert {"done": True} not in rest
    row = setup.usage()
    assert (row.status, row.cut) == ("failed", "broken_upstream")


@one_kind
def test_a_history_with_provider_fields_fails_over_to_a_strict_provider(setup: DialectSetup) -> None:
    strict = factories.channel(setup.upstream.url, name="s", settings={"provider": "strict", "history": []})
    factories.model("gpt", strict, **PRICES)
    eventually(lambda: chat(setup.edge, setup.secret, model="gpt").status == 200, "the edge knows the model")
    thought = claude.thinking("Hm.")
    setup.upstream.default = claude.script_of(claude.message(thought, claude.text("Hello")))
    message = setup.chat("claude").body["choices"][0]["message"]
    assert message["thinking_blocks"] == [thought]
    assert message["reasoning_content"] == "Hm."
    busy = error_response(529, claude.failure("overloaded_error", "Overloaded"))
    setup.upstream.default = lambda request: busy if request.path == "/v1/messages" else default_script(request)
    turns = [{"role": "user", "content": "Hi"}, message, {"role": "user", "content": "Go on"}]
    answer = setup.chat("claude", models=["gpt"], messages=turns)
    assert (answer.status, answer.headers["x-yout-channel"]) == (200, "strict")
    requested = [call.json["messages"] for call in setup.upstream.calls[-2:]]
    assert requested[0][1]["content"] == [thought, {"type": "text", "text": "Hello"}]
    assert requested[1] == [turns[0], {"role": "assistant", "content": "Hello"}, turns[2]]


@one_kind
def test_a_field_unsupported_by_one_provider_goes_to_another(setup: DialectSetup) -> None:
    map_of_numbers = {"type": "object", "additionalProperties": {"type": "integer"}}
    tool = {"type": "function", "function": {"name": "f", "strict": True, "parameters": map_of_numbers}}
    for fields, param in (
        ({"stop": "\n\n"}, "stop"),
        ({"tools": [tool]}, "tools[0].function.parameters.additionalProperties"),
    ):
        refused = setup.chat("claude", **fields)
        assert (refused.status, refused.code, refused.body["error"]["param"]) == (400, "unsupported_parameter", param)
    factories.model(
        "any", factories.channel(setup.upstream.url, dialect="anthropic"), factories.channel(setup.upstream.url), **PRICES
    )
    eventually(lambda: chat(setup.edge, setup.secret, model="any").status == 200, "the edge knows the model")
    before = len(setup.upstream.calls)
    setup.upstream.default = default_script
    for _ in range(4):  # channels of equal priority are tried in random order
        answer = setup.chat("any", stop="\n\n")
        assert (answer.status, answer.headers["x-yout-attempts"]) == (200, "1")
    assert {call.path for call in setup.upstream.calls[before:]} == {"/v1/chat/completions"}


@one_kind
def test_the_output_limit_sent_to_the_provider(setup: DialectSetup) -> None:
    serving = factories.channel(setup.upstream.url, name="limits", dialect="anthropic")
    other = factories.channel(setup.upstream.url, name="others")
    factories.model("unknown", serving, context_window=200_000, **PRICES)
    factories.model("limited", serving, context_window=200_000, max_output_tokens=9_000, **PRICES)
    factories.model("gpt", other, max_output_tokens=9_000, **PRICES)
    factories.model("bare", other, **PRICES)
    eventually(lambda: chat(setup.edge, setup.secret, model="bare").status == 200, "the edge knows the models")
    claude_says, openai_says = claude.script_of(claude.message(claude.text("Hi"))), default_script
    cases: list[tuple[str, int | None, int | None]] = [
        ("unknown", None, 8_192),  # not the whole window, which the provider would reject
        ("unknown", 20_000, 20_000),
        ("limited", None, 9_000),
        ("limited", 20_000, 9_000),
        ("gpt", None, None),
        ("gpt", 20_000, 9_000),
        ("gpt", 100, 100),
        ("bare", 20_000, 20_000),
    ]
    for model, requested, sent in cases:
        setup.upstream.default = openai_says if model in ("gpt", "bare") else claude_says
        assert setup.chat(model, **({} if requested is None else {"max_tokens": requested})).status == 200
        assert setup.upstream.calls[-1].json.get("max_tokens") == sent, (model, requested)


@one_kind
def test_a_required_output_limit_stays_within_the_credits(setup: DialectSetup) -> None:
    factories.model("big", factories.channel(setup.upstream.url, name="b", dialect="anthropic"), context_window=200_000, **PRICES)
    eventually(lambda: chat(setup.edge, setup.secret, model="big").status != 404, "the edge knows the model")
    setup.upstream.default = claude.script_of(claude.message(claude.text("Hi")))
    answer = chat(setup.edge, setup.secret, {"x-yout-max-credits": "3000"}, model="big")
    assert answer.status == 200
    assert 1_000 < setup.upstream.calls[-1].json["max_tokens"] <= 1_500


@one_kind
def test_a_stream_that_starts_with_an_overload_error_is_retried(setup: DialectSetup) -> None:
    setup.upstream.script(stream(claude.event(claude.failure("overloaded_error", "Overloaded"))))
    setup.upstream.default = claude.script_of(claude.message(claude.text("Hello")))
    code, headers, events = setup.stream("claude")
    assert (code, headers["x-yout-attempts"], text_of(events)) == (200, "2", "Hello")
    assert (setup.usage().status, setup.usage().attempts) == ("completed", 2)


@one_kind
def test_an_answer_blocked_mid_stream_ends_as_content_filter_and_is_charged(setup: DialectSetup) -> None:
    begun = gemini.answer(gemini.text("Hello there"), finish=None, reported=gemini.usage(input=20, output=4))
    setup.upstream.script(stream(gemini.event(begun), gemini.event(gemini.blocked())))
    _, _, events = setup.stream("gemini")
    assert text_of(events) == "Hello there"
    assert [c["finish_reason"] for event in events for c in event.get("choices", ()) if c["finish_reason"]] == ["content_filter"]
    assert events[-1] == {"done": True}
    row = setup.usage()
    assert (row.status, row.output_tokens, row.credits > 0) == ("completed", 4, True)


@one_kind
def test_an_unexplained_empty_answer_is_retried_and_costs_nothing(setup: DialectSetup) -> None:
    empty = gemini.answer(finish="NO_IMAGE", reported=gemini.usage(7, 0))
    good = gemini.answer(gemini.text("Hello"))
    setup.upstream.script(json_response(empty), json_response(good), stream(gemini.event(empty)), stream(gemini.wire(good)))
    assert setup.chat("gemini").body["choices"][0]["message"]["content"] == "Hello"
    assert (setup.usage().attempts, setup.usage().failed_attempts) == (2, "malformed")
    status, _, events = setup.stream("gemini")
    assert (status, text_of(events)) == (200, "Hello")
    assert (setup.usage().attempts, setup.usage().failed_attempts) == (2, "broken")
    setup.upstream.default = json_response(empty)
    answer = setup.chat("gemini")
    assert (answer.status, answer.body["error"]["code"], setup.usage().credits) == (502, "upstream_error", 0)


@one_kind
def test_an_image_is_charged_by_the_providers_token_count(setup: DialectSetup) -> None:
    image = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
    answer = gemini.answer(image, reported=gemini.usage(7, 1_290))
    setup.upstream.script(json_response(answer), stream(gemini.event(answer)))
    body = setup.chat("gemini").body
    assert body["choices"][0]["message"]["images"][0]["image_url"]["url"] == "data:image/png;base64,iVBORw0KGgo="
    assert (setup.usage().output_tokens, setup.usage().credits) == (1_290, 7 + 2 * 1_290)
    _, _, events = setup.stream("gemini")
    assert [choice["delta"]["images"] for event in events for choice in event.get("choices", ()) if choice["delta"].get("images")]
    assert (setup.usage().output_tokens, setup.usage().credits) == (1_290, 7 + 2 * 1_290)
