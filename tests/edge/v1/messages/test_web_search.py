"""Anthropic's web search in the Messages API: its tool, its blocks in answers and in the next call, and its charge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from edge.v1.messages.request import parse
from shared.billing.cost_effects import read_costs
from shared.billing.rates import Rate
from shared.core.errors import InvalidRequest
from shared.dialects import DIALECTS
from tests import anthropic_payloads as claude
from tests import factories
from tests.edge.assertions import both
from tests.edge.shared_edge import OpenStream, Reply, Sandbox
from tests.servers.process import eventually
from tests.shared.dialects.calls import target_of
from tests.upstream import Upstream
from tests.upstream_responses import HANG, Gate, stream

Json = dict[str, Any]
TOOL: Json = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
LATER: Json = {**TOOL, "type": "web_search_20260318"}
HI = [{"role": "user", "content": "Hi"}]
CITED: Json = {"type": "text", "text": "It rained.", "citations": [claude.CITATION]}
SEARCHED = (*claude.search(), {"type": "text", "text": "Well. "}, CITED)
RATES = (Rate("web_search", 0, 40),)


def sent_body(*tools: Json, messages: list[Json] | None = None, settings: Json | None = None, **fields: Any) -> Json:
    """The body that Anthropic gets for a Messages call."""
    call = parse(orjson.dumps({"model": "m", "max_tokens": 9, "messages": messages or HI, "tools": tools, **fields}))
    target = target_of("anthropic", settings=settings)
    body: Json = orjson.loads(DIALECTS["anthropic"].build_request(call.for_dialect("anthropic"), target).body)
    return body


@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        (TOOL, TOOL),
        ({**TOOL, "max_uses": None}, {**TOOL, "max_uses": 5}),
        ({**TOOL, "max_uses": 10**6}, {**TOOL, "max_uses": 1_000}),
        ({**TOOL, "allowed_callers": ["code_execution_20260120"], "other": 1}, TOOL),
        ({**TOOL, "allowed_domains": ["a.example"]}, {**TOOL, "allowed_domains": ["a.example"]}),
        (LATER, {**LATER, "allowed_callers": ["direct"]}),
    ],
)
def test_the_tool_is_sent_with_a_limit_that_the_hold_pays_for(tool: Json, sent: Json) -> None:
    function = {"name": "f", "input_schema": {"type": "object"}}
    body = sent_body(tool, function, tool_choice={"type": "tool", "name": "web_search"})
    assert body["tools"] == [{**function, "input_schema": body["tools"][0]["input_schema"]}, sent]
    assert body["tool_choice"] == {"type": "tool", "name": "web_search"}
    call = parse(orjson.dumps({"model": "m", "max_tokens": 9, "messages": HI, "tools": [tool]}))
    found = read_costs(call.body, "chat", "anthropic", {})
    assert (found.limits.web_searches, found.limits.unbounded_input) == (sent["max_uses"], True)


@pytest.mark.parametrize("limit", [0, -1, 1.5, "3", True])
def test_an_invalid_limit_is_refused(limit: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent_body({**TOOL, "max_uses": limit})
    assert refused.value.param == "tools[0].max_uses"


def test_only_documented_fields_of_earlier_searches_are_sent() -> None:
    call, result = claude.search()
    thought = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
    turn = [thought, {**call, "caller": {"type": "direct"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    turn += [{**result, "extra": 1}, {**CITED, "citations": [{**claude.CITATION, "file_id": "f"}, {"type": "page_location"}]}]
    messages = [*HI, {"role": "assistant", "content": turn}, *HI]
    body = sent_body(TOOL, messages=messages)
    assert body["messages"][1]["content"] == [thought, call, result, CITED]
    other = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {}}
    body = sent_body(TOOL, messages=[*HI, {"role": "assistant", "content": [other, CITED]}, *HI])
    assert body["messages"][1]["content"] == [{"type": "text", "text": CITED["text"]}]


def test_a_paused_turn_continues_even_if_the_model_accepts_no_prefill() -> None:
    messages = [*HI, {"role": "assistant", "content": list(claude.search())}]
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    body = sent_body(TOOL, messages=messages, settings={"prefill": False}, thinking=thinking, max_tokens=2_000)
    assert (body["messages"][-1], body["thinking"]) == ({"role": "assistant", "content": list(claude.search())}, thinking)


AddModel = Callable[..., str]


@pytest.fixture
def add_model(sandbox: Sandbox, upstream: Upstream) -> AddModel:
    """Add a model of these dialects; returns its id once it is served."""

    def add(*dialects: str, **columns: Any) -> str:
        name = "-".join((sandbox.model, *dialects))
        values = {"input": 100, "output": 300, "rates": RATES, "context_window": 5_000, **columns}
        factories.model(name, *(factories.channel(upstream.url, dialect=dialect) for dialect in dialects), **values)
        eventually(lambda: sandbox.get(f"/v1/models/{name}").status == 200, "the edge knows the model")
        return name

    return add


def post(sandbox: Sandbox, model: str, *, streaming: bool = False, tools: Any = (TOOL,), messages: Any = HI) -> Reply:
    body = {"model": model, "max_tokens": 100, "messages": messages, "tools": tools, "stream": streaming}
    return sandbox.post(orjson.dumps(body), path="/v1/messages")


def content_of(reply: Reply, streaming: bool) -> tuple[list[Json], Json]:
    """Return the blocks of an answer, and the fields after them, as an SDK merges its events."""
    if not streaming:
        return reply.json["content"], reply.json
    blocks: list[Json] = []
    end: Json = {}
    for event in reply.chunks:
        delta = event.get("delta", {})
        match event["type"]:
            case "content_block_start":
                blocks.append({**event["content_block"], "json": ""})
            case "content_block_delta" if "partial_json" in delta:
                blocks[-1]["json"] += delta["partial_json"]
            case "content_block_delta" if "citation" in delta:
                blocks[-1].setdefault("citations", []).append(delta["citation"])
            case "content_block_delta":
                blocks[-1]["text"] += delta["text"]
            case "message_delta":
                end = {**event, **delta}
    for block in blocks:
        if written := block.pop("json"):
            block["input"] = orjson.loads(written)
    return blocks, end


@both
def test_searches_are_relayed_charged_and_sent_back(
    sandbox: Sandbox, add_model: AddModel, upstream: Upstream, streaming: bool
) -> None:
    model = add_model("anthropic")
    reported = {**claude.usage(), "server_tool_use": {"web_search_requests": 1}}
    upstream.default = claude.script_of(claude.message(*SEARCHED, reported=reported))
    served = post(sandbox, model, streaming=streaming)
    blocks, end = content_of(served, streaming)
    assert blocks == list(SEARCHED)
    assert (end["stop_reason"], end["usage"]["server_tool_use"]) == ("end_turn", {"web_search_requests": 1})
    assert end["yout"]["credits_charged"] == -(-(7 * 100 + 3 * 300) // 1_000) + 40 == sandbox.charged
    post(sandbox, model, messages=[*HI, {"role": "assistant", "content": blocks}, *HI])
    assert upstream.calls[-1].json["messages"][1]["content"] == list(SEARCHED)


@both
def test_a_paused_turn_and_a_failed_search(sandbox: Sandbox, add_model: AddModel, upstream: Upstream, streaming: bool) -> None:
    failed = claude.search(error="max_uses_exceeded")
    upstream.default = claude.script_of(claude.message(*failed, stop="pause_turn"))
    blocks, end = content_of(post(sandbox, add_model("anthropic"), streaming=streaming), streaming)
    assert (blocks, end["stop_reason"]) == (list(failed), "pause_turn")
    assert end["yout"]["credits_charged"] == 2, "a failed search is free"


def test_a_stream_that_is_cut_off_is_charged_for_its_searches(sandbox: Sandbox, add_model: AddModel, upstream: Upstream) -> None:
    model = add_model("anthropic")
    gate = Gate()
    events = claude.events(claude.message(*claude.search(), claude.text("Hello")))
    upstream.script(stream(*map(claude.event, events[:-3]), gate, HANG))
    body = {"model": model, "max_tokens": 100, "messages": HI, "tools": [TOOL], "stream": True}
    running = OpenStream(sandbox.edge.port, sandbox.secret, orjson.dumps(body), "/v1/messages")
    running.read_until(b"Hello"[:4])
    running.disconnect()
    gate.open()
    eventually(lambda: bool(sandbox.usage()), "the call is settled")
    [row] = sandbox.usage()
    assert (row.status, row.extra_usage) == ("cancelled", {"web_searches": 1})
    assert row.input_tokens == 7 + 200 // 5, "the results in the prompt are estimated"
    assert row.credits >= 40


def test_without_a_rate_or_at_other_providers_it_is_refused(sandbox: Sandbox, add_model: AddModel, upstream: Upstream) -> None:
    refused = post(sandbox, add_model("anthropic", rates=()))
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert "tools[0].type" in refused.error["message"]
    for dialect in ("openai", "gemini", "responses"):
        refused = post(sandbox, add_model(dialect))
        assert (refused.status, "tools[0].type" in refused.error["message"]) == (400, True)
    assert upstream.calls == []
    mixed = add_model("openai", "anthropic")
    upstream.default = claude.script_of(claude.message(claude.text("Hi")))
    assert post(sandbox, mixed).status == 200
    assert [call.path for call in upstream.calls] == ["/v1/messages"]
