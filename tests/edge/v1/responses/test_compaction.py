"""Compaction: the model's summary as one opaque item, streamed and as `POST /v1/responses/compact`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest
from openai.types.responses import CompactedResponse, Response, ResponseStreamEvent
from pydantic import TypeAdapter

from edge.call.exchange import Finished
from edge.v1.responses import COMPACT, RESPONSES
from edge.v1.responses.request import parse, with_items
from shared.billing.token_usage import TokenUsage
from shared.core.errors import InvalidRequest
from shared.dialects import DIALECTS
from shared.ledger import Settled
from tests import anthropic_payloads as claude
from tests.openai_payloads import DONE, chunk, completion, finish, frames, role, usage
from tests.shared.dialects.calls import BEGAN, CALL_ID, target_of

Json = dict[str, Any]
CALL = UUID(int=7)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
TRIGGER: Json = {"type": "compaction_trigger"}
USER: Json = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the bug."}]}
TOOL: Json = {"type": "function", "name": "sh", "parameters": {"type": "object", "properties": {}}}
HISTORY: list[Json] = [
    USER,
    {"type": "function_call", "call_id": "c1", "name": "sh", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "ok"},
]
SUMMARY = "The bug is in é.py."


def body_of(**fields: Any) -> bytes:
    return orjson.dumps({"model": "m", "input": [*HISTORY, TRIGGER], "tools": [TOOL], "tool_choice": "auto", **fields})


def finished(body: Json, frame: Json | None = None) -> Finished:
    return Finished(body, frame or {}, TokenUsage(7, 3), Settled(1, 2))


def compaction() -> Json:
    item: Json = RESPONSES.parse(body_of(), CALL).renderer.render_complete(finished(completion(SUMMARY)))["output"][0]  # type: ignore[index]
    return item


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "responses"])
def test_the_prompt_requests_a_summary_and_forbids_tools(dialect: str) -> None:
    call = parse(body_of(text={"format": {"type": "json_object"}})).call.for_dialect(dialect)
    sent = orjson.loads(DIALECTS[dialect].build_request(call, target_of(dialect)).body)
    text = orjson.dumps(sent).decode()
    assert "replaced by a summary" in text
    assert "compaction_trigger" not in text
    assert "json_object" not in text
    assert sent["tools"]
    choice = sent.get("tool_choice") or sent["toolConfig"]["functionCallingConfig"]["mode"]
    assert choice in ("none", "NONE", {"type": "none"})


def test_a_stream_has_one_compaction_and_no_text() -> None:
    parsed = RESPONSES.parse(body_of(stream=True), CALL)
    reader = DIALECTS["openai"].new_stream_reader(parsed.call, CALL_ID, BEGAN)
    thought = chunk(reasoning_content="Let me see.")
    data = frames(role(), thought, chunk(SUMMARY[:5]), chunk(SUMMARY[5:]), finish("stop"), usage()) + DONE
    assert parsed.renderer.transform_chunks is not None
    rendered = parsed.renderer.transform_chunks(reader.feed(data))
    rendered += parsed.renderer.finish(finished(reader.final_chunk(), reader.chunk_fields()))
    events = [orjson.loads(line[6:]) for line in rendered.split(b"\n") if line.startswith(b"data: ")]
    for event in events:
        EVENTS.validate_python(event)
    kinds = [event["type"].removeprefix("response.") for event in events]
    assert kinds == ["created", "in_progress", "output_item.added", "output_item.done", "completed"]
    assert [event["sequence_number"] for event in events] == list(range(5))
    [item] = events[-1]["response"]["output"]
    assert item["type"] == "compaction"
    assert SUMMARY.encode() not in rendered
    assert events[-1]["response"]["yout"] == {"credits_charged": 1, "balance": 2}


def test_later_calls_send_the_summary() -> None:
    call = parse(orjson.dumps({"model": "m", "input": [USER, compaction(), USER]})).call
    first, summary, last = call.body["messages"]
    assert (first["content"], last["content"]) == ("Fix the bug.", "Fix the bug.")
    assert summary["role"] == "user"
    assert summary["content"].endswith(f"\n\n{SUMMARY}")
    assert call.responses_body is not None
    assert call.responses_body()["input"][1]["content"] == summary["content"]


@pytest.mark.parametrize("dialect", ["openai", "responses"])
def test_items_before_a_compaction_reach_no_provider(dialect: str) -> None:
    hosted = {"type": "tool_search_output", "tools": [{"type": "mcp", "server_url": "https://mcp.example"}]}
    more_tools = {"type": "additional_tools", "tools": [{**TOOL, "name": "later"}]}
    earlier = [more_tools, hosted, {"type": "compaction"}, {"type": "tool_search_output"}, *HISTORY, TRIGGER]
    call = parse(body_of(input=[*earlier, compaction(), {"role": "user", "content": "Go on."}])).call
    sent = orjson.loads(DIALECTS[dialect].build_request(call.for_dialect(dialect), target_of(dialect)).body)
    text = orjson.dumps(sent).decode()
    assert all(part in text for part in (SUMMARY, "Go on.", "later"))
    assert not any(part in text for part in ("Fix the bug.", "mcp", "compaction_trigger", "tool_search_output"))


def test_an_answer_without_text_is_no_compaction() -> None:
    response = RESPONSES.parse(body_of(), CALL).renderer.render_complete(finished(completion("")))
    assert Response.model_validate(response).output == []


def test_compact_returns_the_users_messages_and_the_compaction() -> None:
    items = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, *HISTORY]
    parsed = COMPACT.parse(body_of(input=items, instructions="Be brief."), CALL)
    result: Any = parsed.renderer.render_complete(finished(completion(SUMMARY)))
    # The SDK has no type for the user's messages in a list of output items, which the API reference describes.
    CompactedResponse.model_validate({**result, "output": result["output"][2:]})
    assert (result["object"], result["usage"]["total_tokens"]) == ("response.compaction", 10)
    assert [item["type"] for item in result["output"]] == ["message", "message", "compaction"]
    assert [item["content"][0]["text"] for item in result["output"][:2]] == ["Hi", "Fix the bug."]
    again = parse(orjson.dumps({"model": "m", "input": [*result["output"], USER]})).call.body["messages"]
    assert [message["role"] for message in again] == ["user"] * 4


@pytest.mark.parametrize("field", ["stream", "store"])
def test_compact_neither_streams_nor_stores(field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        COMPACT.parse(body_of(**{field: True}), CALL)
    assert refused.value.param == field


def test_compact_needs_a_conversation() -> None:
    with pytest.raises(InvalidRequest) as refused:
        COMPACT.parse(orjson.dumps({"model": "m"}), CALL)
    assert refused.value.param == "input"


def test_a_stored_response_can_be_compacted_and_continued() -> None:
    """The recorder puts the stored items before the call's own."""
    request = parse(orjson.dumps({"model": "m", "previous_response_id": "resp_1"}), compacts=True)
    compacted = with_items(request, HISTORY, 100).call.body["messages"]
    assert [message["role"] for message in compacted] == ["user", "assistant", "tool", "user"]
    stored = [*HISTORY, TRIGGER, compaction()]
    next_request = parse(orjson.dumps({"model": "m", "input": [USER], "previous_response_id": "resp_2"}))
    continued = with_items(next_request, [*stored, USER], 100).call.body["messages"]
    assert [message["role"] for message in continued] == ["user", "user"]
    assert continued[0]["content"].endswith(SUMMARY)


def test_anthropics_thinking_is_left_out_of_the_summary() -> None:
    parsed = COMPACT.parse(body_of(input=HISTORY), CALL)
    whole = claude.message(claude.thinking("Hm."), claude.text(SUMMARY))
    answer = DIALECTS["anthropic"].parse_response(orjson.dumps(whole), parsed.call, CALL_ID, BEGAN)
    result: Any = parsed.renderer.render_complete(finished(answer.body))
    messages = parse(orjson.dumps({"model": "m", "input": result["output"]})).call.body["messages"]
    assert messages[-1]["content"].endswith(f"\n\n{SUMMARY}")
