"""Converting a Messages body to a chat call: translated fields, provider-specific fields, and rejected ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.v1.messages.request import parse
from edge.v1.provider_fields import id_with_signature
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

Json = dict[str, Any]
HI = [{"role": "user", "content": "Hi"}]
MARK = {"cache_control": {"type": "ephemeral"}}
IMAGE_PART = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
SHOWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object"}}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "description": "d"}}


def call_of(**fields: Any) -> ChatCall:
    return parse(json.dumps({"model": "m", "max_tokens": 9, "messages": HI, **fields}).encode())


def messages_of(*messages: Json, **fields: Any) -> Any:
    return call_of(messages=list(messages), **fields).body["messages"]


def user(*blocks: Json) -> Json:
    return {"role": "user", "content": list(blocks)}


def test_a_minimal_body() -> None:
    assert call_of().body == {"model": "m", "max_tokens": 9, "messages": HI}
    assert call_of().bodies_by_dialect is None


CLOSED: Json = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
TRANSLATED: list[tuple[Json, Json]] = [
    ({"stop_sequences": ["a"]}, {"stop": ["a"]}),
    ({"stop_sequences": []}, {}),
    ({"metadata": {"user_id": "u"}}, {"user": "u"}),
    ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
    ({"tools": [{**TOOL, "type": "custom"}], "tool_choice": {"type": "auto"}}, {"tools": [CHAT_TOOL], "tool_choice": "auto"}),
    ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tools": [CHAT_TOOL], "tool_choice": "none"}),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
     {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}}),
    ({"tool_choice": {"type": "auto"}, "tools": []}, {}),
    ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ({"output_config": {"format": {"type": "json_schema", "schema": {}}}},
     {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}, "strict": False}}}),
    ({"output_config": {"format": {"type": "json_schema", "schema": CLOSED}}},
     {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": CLOSED, "strict": True}}}),
    ({"service_tier": "auto", "speed": "standard", "context_management": {"edits": []}, "container": None}, {}),
    *(({name: value}, {name: value}) for name, value in {
        "temperature": 0.5, "top_p": 0.9, "stream": True, "unheard_of": 1}.items()),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "made"), TRANSLATED)
def test_fields_are_translated_or_passed_on(asked: Json, made: Json) -> None:
    assert call_of(**asked).body == {"model": "m", "max_tokens": 9, "messages": HI, **made}


def test_tool_results_come_first_and_their_images_move_to_a_user_message() -> None:
    made = messages_of(
        user(
            {"type": "text", "text": "Well?"},
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "See:"}, IMAGE_PART]},
            {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
            {"type": "tool_result", "tool_use_id": "t3"},
        )
    )
    assert made == [
        {"role": "tool", "tool_call_id": "t1", "content": "See:"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        user(
            {"type": "text", "text": "Well?"},
            {"type": "text", "text": "What the tool call t1 returned:"},
            SHOWN,
        ),
    ]


def test_documents_and_search_results() -> None:
    def document(source: Json, **fields: Any) -> Json:
        return {"type": "document", "source": source, **fields}

    made = messages_of(
        user(
            document({"type": "base64", "media_type": "application/pdf", "data": "AA=="}, title="a.pdf", context="Old."),
            document({"type": "text", "media_type": "text/plain", "data": "Words."}, title="b"),
            document({"type": "content", "content": [{"type": "text", "text": "In."}, IMAGE_PART]}),
            document({"type": "url", "url": "https://example.com/c.pdf"}),
            {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "found"}]},
        )
    )
    assert made == [
        user(
            {"type": "text", "text": "Old."},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            {"type": "text", "text": "b\nWords."},
            {"type": "text", "text": "In."},
            SHOWN,
            {"type": "file", "file": {"file_data": "https://example.com/c.pdf", "filename": "document.pdf"}},
            {"type": "text", "text": "T\nS\nfound"},
        )
    ]


def test_an_assistant_turn() -> None:
    turn = {"role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "thinking", "thinking": "another provider's", "signature": ""},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": id_with_signature("c1", "gem"), "name": "f", "input": {"a": 1}},
    ]}  # fmt: skip
    call = call_of(messages=[*HI, turn])
    said = {"role": "assistant", "content": "I look."}
    made = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert call.body["messages"][1] == {**said, "tool_calls": [made]}
    assert call.for_dialect("openai").body == call.body
    thoughts = [{"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "redacted_thinking", "data": "x"}]
    assert call.for_dialect("anthropic").body["messages"][1] == {**said, "tool_calls": [made], "thinking_blocks": thoughts}
    signed = {**made, "extra_content": {"google": {"thought_signature": "gem"}}}
    assert call.for_dialect("gemini").body["messages"][1] == {**said, "tool_calls": [signed]}


def test_provider_specific_fields() -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    block = {"type": "text", "text": "Hi", **MARK}
    call = call_of(messages=[user(block)], system=[block], tools=[{**TOOL, **MARK}], top_k=5, thinking=thinking)
    assert call.body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "system", "content": "Hi"}, *HI],
        "tools": [CHAT_TOOL],
    }
    assert call.for_dialect("anthropic").body == {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "system", "content": [block]}, user(block)],
        "tools": [{**CHAT_TOOL, **MARK}],
        "top_k": 5,
        "thinking": thinking,
    }
    assert call.for_dialect("gemini").body == {**call.body, "top_k": 5}


def test_removed_fields_reach_no_dialect() -> None:
    call = call_of(top_k=5, provider={"order": ["a"]}, models=["m", "n"])
    assert call.preferences is not None
    assert call.fallbacks == ("n",)
    for dialect in ("openai", "anthropic", "gemini"):
        assert not {"provider", "models"} & call.for_dialect(dialect).body.keys()


def test_cache_control_on_a_tool_result() -> None:
    call = call_of(messages=[*HI, user({"type": "tool_result", "tool_use_id": "t1", "content": "x", **MARK})])
    assert call.for_dialect("anthropic").body["messages"][1] == {"role": "tool", "tool_call_id": "t1", "content": "x", **MARK}


def block(**fields: Any) -> Json:
    return {"messages": [user(fields)]}


REFUSED: list[tuple[Json, str]] = [
    *(({"max_tokens": value}, "max_tokens") for value in (None, 0, "5", True)),
    *(({"messages": value}, "messages") for value in (None, [], {}, "Hi")),
    ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
    ({"model": None}, "model"),
    ({"messages": ["x"]}, "messages[0]"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    (block(type="container_upload"), "messages[0].content[0].type"),
    (block(type="text"), "messages[0].content[0].text"),
    (block(type="image", source={"type": "file", "file_id": "f"}), "messages[0].content[0].source.type"),
    (block(type="image", source={"type": "base64", "data": "x"}), "messages[0].content[0].source.media_type"),
    (block(type="document", source={}, citations={"enabled": True}), "messages[0].content[0].citations"),
    (block(type="tool_result", content="x"), "messages[0].content[0].tool_use_id"),
    (block(type="tool_result", tool_use_id="t", content=1), "messages[0].content[0].content"),
    ({"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "input": 1}]}]}, "messages[0].content[0].input"),
    ({"system": 1}, "system"),
    ({"system": [{"type": "image"}]}, "system[0].type"),
    ({"tools": {}}, "tools"),
    ({"tools": [1]}, "tools[0]"),
    ({"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]}, "tools[0].type"),
    ({"tools": [{"name": "f"}]}, "tools[0].input_schema"),
    ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
    ({"tools": [TOOL], "tool_choice": {"type": "x"}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "tool_choice"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"metadata": {"user_id": 1}}, "metadata.user_id"),
    ({"output_config": {"format": {"type": "text"}}}, "output_config.format"),
    ({"output_config": {"effort": 1}}, "output_config.effort"),
    ({"thinking": {"type": 1}}, "thinking.type"),
    ({"temperature": 9}, "temperature"),
    ({"service_tier": "fast"}, "service_tier"),
    ({"speed": "fast"}, "speed"),
    ({"container": {"id": "c"}}, "container"),
    ({"mcp_servers": [{}]}, "mcp_servers"),
    ({"max_tokens": None, "max_completion_tokens": 9}, "max_completion_tokens"),
    ({"inference_geo": "us"}, "inference_geo"),
    ({"n": 2}, "n"),
]


@pytest.mark.parametrize(("asked", "param"), REFUSED)
def test_unsupported_fields_are_rejected_by_name(asked: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call_of(**asked)
    assert caught.value.param == param
