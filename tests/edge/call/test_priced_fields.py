"""Hints that a price does not cover are left out, so clients that always send them are served."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from edge.call.priced_fields import possible_costs, priced_call
from edge.v1.messages.request import parse as read_message
from edge.v1.responses.request import parse as read_response
from shared.billing.pricing import PLAIN, RequestCosts
from shared.billing.rates import PriceList, Rate
from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from tests.shared.dialects.calls import call_of, target_of

Json = dict[str, Any]
MARK: Json = {"cache_control": {"type": "ephemeral"}}
# As Claude Code marks its requests, with its tool search.
MESSAGE: Json = {
    "model": "m",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief.", **MARK}],
    "tools": [
        {"name": "search", "input_schema": {"type": "object"}, **MARK},
        {"name": "add", "input_schema": {"type": "object"}, "defer_loading": True},
    ],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi", **MARK}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "search", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "tool_reference", "tool_name": "add"}], **MARK}
            ],
        },
    ],
}


def route(dialect: str) -> Route:
    return Route(UUID(int=1), UUID(int=2), "c", dialect, "https://provider.example", "", {}, "acme", 0, 1)


def price(cache_write: int | None = None, *rates: Rate) -> PriceList:
    return PriceList(UUID(int=1), 0, 100, 300, None, 0, 0, credits_per_1k_cache_write=cache_write, rates=rates)


@pytest.mark.parametrize(("cache_write", "marks"), [(None, 0), (125, 4)])
def test_marks_of_the_messages_api_are_sent_if_the_price_covers_them(cache_write: int | None, marks: int) -> None:
    call = read_message(orjson.dumps(MESSAGE))
    adapted, refused = priced_call(call, route("anthropic"), price(cache_write))
    assert refused is None
    body = DIALECTS["anthropic"].build_request(adapted, target_of("anthropic")).body
    assert body.count(b"cache_control") == marks
    assert body.count(b"defer_loading") == body.count(b"tool_reference") == 1


@pytest.mark.parametrize("dialect", ["openai", "gemini", "responses"])
def test_other_providers_get_no_marks(dialect: str) -> None:
    call = read_message(orjson.dumps(MESSAGE))
    adapted, refused = priced_call(call, route(dialect), price(None))
    assert refused is None
    assert b"cache_control" not in DIALECTS[dialect].build_request(adapted, target_of(dialect)).body


def test_a_chat_that_requests_a_cache_is_refused() -> None:
    call = call_of(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", **MARK}]}])
    refused = priced_call(call, route("anthropic"), price(None))[1]
    assert refused is not None
    assert refused.param == "messages[0].content[0].cache_control"


def test_parts_without_a_type_are_not_relayed() -> None:
    items: list[Json] = [
        {"role": "user", "content": "Go"},
        {"type": "agent_message", "author": "a", "recipient": "b", "content": ["x"]},
    ]
    call = read_response(orjson.dumps({"model": "m", "input": items})).call
    refused = priced_call(call, route("responses"), price(None))[1]
    assert refused is not None
    assert refused.param == "input[1].content[0].type"


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "responses"])
def test_the_tools_of_agents_cost_only_their_tokens(dialect: str) -> None:
    function = {"type": "function", "name": "add", "parameters": {"type": "object"}}
    tools = [
        *({"type": kind} for kind in ("local_shell", "shell", "apply_patch", "web_search", "image_generation")),
        {"type": "custom", "name": "exec"},
        {"type": "namespace", "name": "mcp__demo", "description": "", "tools": [function]},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object"}},
    ]
    items = [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "image_generation"}, function]},
        {"role": "user", "content": "Go"},
        {"type": "shell_call", "call_id": "c1", "status": "completed", "action": {"commands": ["ls"]}},
        {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a", "outcome": {"type": "exit", "exit_code": 0}}]},
        {"type": "custom_tool_call", "call_id": "c2", "name": "exec", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "y"}]},
        {"type": "tool_search_call", "call_id": "c3", "execution": "client", "arguments": {}},
        {"type": "tool_search_output", "call_id": "c3", "execution": "client", "status": "completed", "tools": [function]},
    ]
    fields = {
        "reasoning": {"effort": "low", "context": "all_turns"},
        "text": {"verbosity": "low"},
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "client_metadata": {"installation": "x"},
        "truncation": "auto",
        "store": False,
    }
    call = read_response(orjson.dumps({"model": "m", "input": items, "tools": tools, **fields})).call
    adapted, refused = priced_call(call, route(dialect), price(None))
    assert refused is None
    sent = DIALECTS[dialect].build_request(adapted, target_of(dialect)).body
    assert b"image_generation" not in sent
    assert b'"web_search"' not in sent


HOSTED: list[Json] = [{"type": "web_search", "external_web_access": True}, {"type": "code_interpreter", "container": {}}]
SEARCH = price(None, Rate("web_search", 0, 10_000))
ALLOWED: Json = {"allowed_parameters": {"tools": "0.10 USD a call"}}
FIVE, TWO = RequestCosts(web_searches=5, unbounded_input=True), RequestCosts(web_searches=2, unbounded_input=True)


@pytest.mark.parametrize("place", ["tools", "additional_tools"])
@pytest.mark.parametrize(
    ("listed", "settings", "fields", "sent", "costs"),
    [
        (price(), {}, {}, [], RequestCosts()),
        (SEARCH, {}, {}, ["web_search"], FIVE),
        (SEARCH, {}, {"max_tool_calls": 2}, ["web_search"], TWO),
        (price(), ALLOWED, {}, ["web_search", "code_interpreter"], FIVE),
    ],
)
def test_tools_of_the_provider_are_sent_if_the_price_covers_them(
    place: str, listed: PriceList, settings: Json, fields: Json, sent: list[str], costs: RequestCosts
) -> None:
    function = {"type": "function", "name": "add", "parameters": {"type": "object"}}
    tools = [HOSTED[0], function, HOSTED[1]]
    items: list[Json] = [{"role": "user", "content": "Go"}]
    if place == "tools":
        fields = {**fields, "tools": tools}
    else:
        items.insert(0, {"type": "additional_tools", "role": "developer", "tools": tools})
    call = read_response(orjson.dumps({"model": "m", "input": items, **fields})).call
    channel = route("responses")._replace(settings=settings)
    adapted, refused = priced_call(call, channel, listed)
    assert refused is None
    body = orjson.loads(DIALECTS["responses"].build_request(adapted, target_of("responses")).body)
    found = body["tools"] if place == "tools" else body["input"][0]["tools"]
    assert [tool["type"] for tool in found if tool != function] == sent
    assert function in found
    assert body.get("max_tool_calls") == (costs.web_searches or None)
    quoted = possible_costs(call, [channel], listed)
    assert quoted == costs
    assert quoted is not PLAIN, "plain calls are sent without reading their costs again"


def test_tools_found_by_a_search_are_never_executed_by_the_provider() -> None:
    found = {"type": "tool_search_output", "call_id": "c", "execution": "client", "status": "completed", "tools": HOSTED}
    asked = {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {}}
    items = [{"role": "user", "content": "Go"}, asked, found]
    call = read_response(orjson.dumps({"model": "m", "input": items})).call
    assert call.responses_body is not None
    assert call.responses_body()["input"][2]["tools"] == []
