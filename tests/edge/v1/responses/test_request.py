"""Converting a Responses body to a chat call: fields that are translated, forwarded, echoed or rejected."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edge.v1.provider_fields import encode_thinking
from edge.v1.responses.request import parse
from shared.core.errors import InvalidRequest

Body = dict[str, Any]


def chat_of(**fields: Any) -> Body:
    return dict(parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode())[1].body)


HI = [{"role": "user", "content": "Hi"}]
FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
CHAT_FUNCTION = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}


def test_a_string_is_one_user_message() -> None:
    assert chat_of() == {"model": "m", "messages": HI}


TRANSLATED: list[tuple[Body, Body]] = [
    ({"instructions": "Be brief."}, {"messages": [{"role": "system", "content": "Be brief."}, *HI]}),
    ({"tools": [FUNCTION]}, {"tools": [{"type": "function", "function": CHAT_FUNCTION}]}),
    ({"tools": [], "parallel_tool_calls": True, "tool_choice": "auto"}, {}),
    ({"text": {"format": SCHEMA, "verbosity": "low"}}, {"verbosity": "low", "response_format": {
        "type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}}),
    ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
    ({"text": {"format": {"type": "text"}}}, {}),
    ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
    ({"max_output_tokens": 50}, {"max_completion_tokens": 50}),
    ({"top_logprobs": 2}, {"top_logprobs": 2, "logprobs": True}),
    ({"include": ["message.output_text.logprobs", "reasoning.encrypted_content"]}, {"logprobs": True}),
    ({"metadata": {"a": "b"}, "truncation": "disabled", "store": False, "previous_response_id": None}, {}),
    ({"stream": True, "stream_options": {"include_obfuscation": False}}, {"stream": True}),
    *(({name: value}, {name: value}) for name, value in {
        "temperature": 0.5, "top_p": 0.9, "user": "ann", "safety_identifier": "s", "service_tier": "auto",
        "prompt_cache_key": "k", "stop": ["x"], "unheard_of": 1}.items()),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "made"), TRANSLATED)
def test_fields_are_translated_or_passed_on(asked: Body, made: Body) -> None:
    assert chat_of(**asked) == {"model": "m", "messages": HI, **made}


@pytest.mark.parametrize(
    ("choice", "made", "tools"),
    [
        ("required", "required", ["f", "g"]),
        ({"type": "function", "name": "f"}, {"type": "function", "function": {"name": "f"}}, ["f", "g"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}, "required", ["g"]),
    ],
)
def test_a_tool_choice(choice: Any, made: Any, tools: list[str]) -> None:
    body = chat_of(tools=[FUNCTION, {**FUNCTION, "name": "g"}], tool_choice=choice)
    assert body["tool_choice"] == made
    assert [tool["function"]["name"] for tool in body["tools"]] == tools


def test_the_reasoning_of_an_interrupted_turn_is_not_added_to_the_next_one() -> None:
    def reasoning(text: str) -> dict[str, Any]:
        thought = {"type": "thinking", "thinking": text, "signature": "c2ln"}
        return {"type": "reasoning", "summary": [], "encrypted_content": encode_thinking([thought])}

    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "Go"}, reasoning("Cut off."), {"role": "user", "content": "<turn_aborted>"},
        reasoning("Whole."), call, {"type": "function_call_output", "call_id": "c1", "output": "Rain."},
    ]  # fmt: skip
    sent = parse(json.dumps({"model": "m", "input": items, "tools": [FUNCTION]}).encode()).call.for_dialect("anthropic").body
    assert [block["thinking"] for block in sent["messages"][2]["thinking_blocks"]] == ["Whole."]


def test_items_become_messages() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "What?"}, image,
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "I ", "annotations": []}, {"type": "output_text", "text": "look."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "See:"}, image]},
        {"type": "function_call_output", "call_id": "c2", "output": "Rain."},
        {"type": "message", "role": "user", "content": "And?"},
    ]  # fmt: skip
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
    assert chat_of(input=items)["messages"] == [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "text", "text": "What?"}, shown,
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA==", "filename": "a.pdf"}},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]},
        {"role": "assistant", "content": "I look.", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "See:"},
        {"role": "tool", "tool_call_id": "c2", "content": "Rain."},
        {"role": "user", "content": [{"type": "text", "text": "What the tool call c1 returned:"}, shown]},
        {"role": "user", "content": "And?"},
    ]  # fmt: skip


def test_a_call_without_text_is_a_separate_turn() -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    user, turn = chat_of(input=[{"role": "user", "content": "Hi"}, call])["messages"]
    assert user["role"] == "user"
    assert turn["content"] is None
    assert turn["tool_calls"][0]["id"] == "c1"


ITEM: Body = {"role": "user", "content": "Hi"}
REFUSED: list[tuple[Body, str]] = [
    ({"store": "yes"}, "store"),
    ({"previous_response_id": 1}, "previous_response_id"),
    ({"conversation": {"id": "c"}}, "conversation"),
    ({"background": True}, "background"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"truncation": "middle"}, "truncation"),
    ({"n": 2}, "n"),
    ({"max_tokens": 5}, "max_tokens"),
    ({"messages": HI}, "messages"),
    ({"input": None, "messages": HI}, "messages"),
    ({"model": None}, "model"),
    ({"temperature": 9}, "temperature"),
    *(({"max_output_tokens": value}, "max_output_tokens") for value in (0, -1, "5", True, 1.5, 10**9, 10**30)),
    ({"metadata": 1}, "metadata"),
    ({"instructions": 1}, "instructions"),
    ({"reasoning": 1}, "reasoning"),
    ({"reasoning": {"effort": 1}}, "reasoning.effort"),
    ({"include": "x"}, "include"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"text": {"format": "x"}}, "text.format"),
    ({"tools": {}}, "tools"),
    ({"tools": [1]}, "tools[0]"),
    ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "a_new_tool"}]}, "tools[0].type"),
    ({"tools": [{"type": ["x"]}]}, "tools[0].type"),
    ({"tools": [{"type": "shell", "environment": "local"}]}, "tools[0].environment"),
    ({"tools": [{"type": "namespace", "name": "n"}]}, "tools[0].tools"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "web_search"}]}]}, "tools[0].tools[0].type"),
    ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function"}]}]}, "tools[0].tools[0].name"),
    ({"tools": [{"type": "custom", "name": "c", "format": "text"}]}, "tools[0].format"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
    ({"tools": [{"type": "web_search_preview_2025_03_11"}], "tool_choice": {"type": "web_search_preview"}}, "tool_choice"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "name": "c"}}, "tool_choice"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "web_search"}}, "tool_choice"),
    *(({"input": value}, "input") for value in (None, [], {}, 1)),
    ({"input": ["x"]}, "input[0]"),
    ({"input": [ITEM, {"type": "item_reference"}]}, "input[1].id"),
    ({"input": [ITEM, {"type": "item_reference", "id": 1}]}, "input[1].id"),
    ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, "input"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": [ITEM, {"type": "shell_call_output", "call_id": "c", "output": ["x"]}]}, "input[1].output"),
    ({"input": [{"type": "compaction_trigger"}, ITEM]}, "input[0]"),
    ({"input": [{"type": "compaction_trigger"}]}, "input"),
    ({"input": [{"type": "compaction", "encrypted_content": "b3RoZXI"}, ITEM]}, "input[0].encrypted_content"),
    ({"input": [{"type": "additional_tools", "tools": 1}, ITEM]}, "input[0].tools"),
    ({"input": [ITEM, {"type": "custom_tool_call", "call_id": "c", "name": "n"}]}, "input[1].input"),
    (
        {"input": [ITEM, {"type": "function_call", "call_id": "c", "name": "n", "arguments": "{}", "namespace": 1}]},
        "input[1].namespace",
    ),
    ({"input": [{"type": ["x"]}]}, "input[0].type"),
    ({"input": [{**ITEM, "role": "tool"}]}, "input[0].role"),
    ({"input": [{**ITEM, "content": None}]}, "input[0].content"),
    ({"input": [{**ITEM, "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0].type"),
    ({"input": [{**ITEM, "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
    ({"input": [{**ITEM, "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
    (
        {"input": [{**ITEM, "role": "assistant", "content": [{"type": "input_image", "image_url": "https://x"}]}]},
        "input[0].content[0].type",
    ),
    ({"input": [{**ITEM, "content": [{"type": "input_file", "file_url": "https://x"}]}]}, "input[0].content[0].file_url"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
    ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
]


@pytest.mark.parametrize(("asked", "param"), REFUSED)
def test_unsupported_fields_are_rejected_by_name(asked: Body, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat_of(**asked)
    assert caught.value.param == param
