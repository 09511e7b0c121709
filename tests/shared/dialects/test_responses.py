"""The `responses` dialect: chat calls as requests of OpenAI's Responses API, and its errors. `test_conformance` reads answers."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming
from pydantic import TypeAdapter

from shared.dialects import DIALECTS
from shared.dialects.base import BlockedPrompt, UnsupportedField
from tests import responses_payloads as responses
from tests.shared.dialects.calls import Json, call_of, message_of, read_stream, read_whole, request_body, request_of, target_of

PARAMS: TypeAdapter[Any] = TypeAdapter(ResponseCreateParamsNonStreaming)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
PATCH = {"type": "custom", "custom": {"name": "patch", "description": "Edits.", "format": {"type": "text"}}}
GRAMMAR = {"syntax": "lark", "definition": "start: /x/"}
HELLO = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def valid(body: Json) -> Json:
    PARAMS.validate_python(body)
    return body


def input_of(*messages: Json, **fields: Any) -> list[Json]:
    found: list[Json] = valid(request_body("responses", messages=list(messages), **fields))["input"]
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 50}, {"max_output_tokens": 50}),
        ({"max_tokens": 50, "max_completion_tokens": 40}, {"max_output_tokens": 40}),
        ({"max_tokens": 5}, {"max_output_tokens": 16}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}),
        ({"reasoning_effort": "none"}, {"reasoning": {"effort": "none"}}),
        ({"logprobs": True, "top_logprobs": 2}, {"include": ["message.output_text.logprobs"], "top_logprobs": 2}),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}},
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}},
        ),
        ({"user": "ada", "safety_identifier": "ada"}, {"user": "hash-of-3", "safety_identifier": "hash-of-3"}),
        ({"prompt_cache_key": "ada's"}, {"prompt_cache_key": "hash-of-22"}),
        ({"metadata": {"user_id": "ada", "project": "secret"}, "store": True}, {"metadata": {"user_id": "hash-of-3"}}),
        ({"metadata": {"project": "secret"}}, {}),
        ({"parallel_tool_calls": False}, {}),
        ({"temperature": 0.5, "service_tier": "flex"}, {"temperature": 0.5, "service_tier": "flex"}),
    ],
)
def test_fields(fields: Json, expected: Json) -> None:
    body = valid(request_body("responses", **fields))
    assert body == {"model": "acme-model", "store": False, "input": HELLO, **expected}


def test_the_address_and_the_key() -> None:
    request = request_of("responses")
    assert (request.method, request.url) == ("POST", "http://acme/v1/responses")
    assert dict(request.headers)["authorization"] == "Bearer sk-secret"
    azure = {"path": "/openai/v1/responses", "query": {"api-version": "preview"}, "key_header": "api-key"}
    request = request_of("responses", settings=azure)
    assert request.url == "http://acme/v1/openai/v1/responses?api-version=preview"
    assert dict(request.headers)["api-key"] == "sk-secret"


def test_a_conversation() -> None:
    assert input_of(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": PIXEL}}]},
        {"role": "assistant", "content": "I see.", "name": "eve", "reasoning_content": "hm"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "name": "ada", "content": "Go on"},
    ) == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Look"}, {"type": "input_image", "image_url": PIXEL, "detail": "auto"}],
        },
        {"type": "message", "role": "assistant", "content": "eve: I see."},
        {"type": "message", "role": "assistant", "content": "No."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "ada: Go on"}]},
    ]


def test_files() -> None:
    pdf = "data:application/pdf;base64,JVBERi0="
    parts = [{"type": "file", "file": {"file_data": pdf, "filename": "a.pdf"}}]
    parts.append({"type": "file", "file": {"file_data": "https://example.com/b.pdf"}})
    (message,) = input_of({"role": "user", "content": parts})
    assert message["content"] == [
        {"type": "input_file", "file_data": pdf, "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]


def test_calls_of_tools_and_their_results() -> None:
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}},
        {"id": "call_2", "type": "custom", "custom": {"name": "patch", "input": "+x"}},
    ]
    shot = [{"type": "text", "text": "Seen:"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}}]
    assert input_of(
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Wait.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": shot},
        {"role": "tool", "tool_call_id": "call_2", "content": "done"},
        tools=[WEATHER, PATCH],
    ) == [
        *HELLO,
        {"type": "message", "role": "assistant", "content": "Wait."},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Bonn"}'},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "+x"},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [
                {"type": "input_text", "text": "Seen:"},
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
            ],
        },
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
    ]


def test_tools_are_not_strict_unless_they_say_so() -> None:
    strict = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}, "required": ["a"]}
    tools = [
        WEATHER,
        {"type": "function", "function": {"name": "now"}},
        {"type": "function", "function": {"name": "add", "strict": True, "parameters": strict}},
        {"type": "custom", "custom": {"name": "patch", "format": {"type": "grammar", "grammar": GRAMMAR}}},
    ]
    body = valid(request_body("responses", tools=tools, parallel_tool_calls=False))
    empty = {"type": "object", "properties": {}}
    assert body["tools"][:2] == [
        {"type": "function", "name": "weather", "parameters": empty, "strict": False},
        {"type": "function", "name": "now", "parameters": empty, "strict": False},
    ]
    assert body["tools"][2]["strict"] is True
    assert body["tools"][2]["parameters"]["additionalProperties"] is False
    assert body["tools"][3] == {"type": "custom", "name": "patch", "format": {"type": "grammar", **GRAMMAR}}
    assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", "required"),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "function", "name": "weather"}),
        ({"type": "custom", "custom": {"name": "patch"}}, {"type": "custom", "name": "patch"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "a"}}]},
            },
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "a"}]},
        ),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    assert valid(request_body("responses", tools=[WEATHER, PATCH], tool_choice=choice))["tool_choice"] == expected


def user_parts(*parts: Json) -> Json:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (user_parts({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "messages[0].content[0].type"),
        (user_parts({"type": "file", "file": {"file_id": "file-1"}}), "messages[0].content[0].file.file_id"),
        (user_parts({"type": "image_url", "image_url": {"url": "http://a/b"}}), "messages[0].content[0].image_url.url"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "mcp"}}, "tool_choice"),
        ({"messages": [{"role": "assistant", "content": ""}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(fields: Json, param: str) -> None:
    with pytest.raises(UnsupportedField) as problem:
        request_body("responses", **fields)
    assert problem.value.param == param


def test_settings_of_the_channel() -> None:
    settings = {
        "efforts": {"acme-model": ["low", "high"]},
        "sampling": "none",
        "roles": ["developer"],
        "identity": "end_user",
        "reasoning_summary": "auto",
        "body": {"safety": "on"},
    }
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    body = request_body("responses", settings=settings, messages=messages, reasoning_effort="max", top_p=0.5, user="ada")
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert "top_p" not in body
    assert body["input"][0]["role"] == "developer"
    assert (body["end_user"], body["safety"]) == ("hash-of-3", "on")
    plain = {"efforts": {"acme-model": []}, "reasoning_summary": "auto"}
    body = request_body("responses", settings=plain, reasoning_effort="max")
    assert not {"reasoning", "include"} & body.keys()


def test_the_hold_limits_the_output() -> None:
    assert request_body("responses", clamp=30)["max_output_tokens"] == 30
    assert request_body("responses", clamp=30, max_tokens=20)["max_output_tokens"] == 20


def test_encrypted_reasoning_goes_back_to_the_provider_only() -> None:
    whole = responses.response(responses.reasoning("Let me see."), responses.call("weather"))
    message = read_whole("responses", whole).body["choices"][0]["message"]
    streamed = message_of(read_stream("responses", [responses.wire(whole)]).chunks)
    conversation = [{"role": "user", "content": "Hello"}, message, {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}]
    assert input_of(*conversation) == [
        *HELLO,
        responses.reasoning("Let me see."),
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Rain"},
    ]
    assert input_of(conversation[0], {**message, "thinking_blocks": streamed["thinking_blocks"]}, conversation[2])[1] == (
        responses.reasoning("Let me see.")
    )
    foreign = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]
    assert input_of(conversation[0], {**message, "thinking_blocks": foreign}, conversation[2])[1]["type"] == "function_call"
    turn = request_body("anthropic", messages=conversation)["messages"][1]
    assert [block["type"] for block in turn["content"]] == ["tool_use"]


@pytest.mark.parametrize(("code", "blocks"), [("server_error", False), ("rate_limit_exceeded", False), ("invalid_prompt", True)])
@pytest.mark.parametrize("event", ["response.failed", "error"])
def test_failures(code: str, event: str, *, blocks: bool) -> None:
    whole = responses.failed(code)
    begun, last = responses.events(responses.response(responses.text("Hi")))[:6], {"type": event, "response": whole}
    if event == "error":
        last = {"type": event, "code": code, "message": "No.", "param": None}
    if blocks:
        with pytest.raises(BlockedPrompt):
            read_stream("responses", [responses.event(begun[0]), responses.event(last)])
        with pytest.raises(BlockedPrompt):
            read_whole("responses", whole)
    else:
        assert read_stream("responses", [responses.event(begun[0]), responses.event(last)]).error == "BrokenStream"
    streamed = read_stream("responses", [*map(responses.event, begun), responses.event(last)])
    assert (streamed.text, streamed.error) == ("Hi", "BrokenStream"), "after the first token, the answer is cut"


def test_the_service_tier_is_reported_by_all_readers() -> None:
    whole = responses.response(responses.text("Hi"), service_tier="priority")
    call = call_of()._replace(responses_body=dict)
    relayed = DIALECTS["responses"].new_stream_reader(call, "chatcmpl-1", 1)
    relayed.feed(responses.wire(whole))
    found = (read_whole("responses", whole).usage, read_stream("responses", [responses.wire(whole)]).usage, relayed.usage())
    assert [usage.extra for usage in found] == [{"service_tier": "priority", "web_searches": 0}] * 3


def test_a_stream_that_only_has_its_last_event() -> None:
    whole = responses.response(responses.text("Hi"), responses.call("weather"))
    streamed = read_stream("responses", [responses.event(responses.events(whole)[-1])])
    message = message_of(streamed.chunks)
    assert (message["content"], message["finish_reason"]) == ("Hi", "tool_calls")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ("input[2].content[0].image_url", "messages"),
        ("max_output_tokens", "max_tokens"),
        ("reasoning.effort", "reasoning_effort"),
        ("text.format.schema", "response_format"),
        ("text.verbosity", "verbosity"),
        ("tools[0].parameters", "tools[0].parameters"),
        ("temperature", "temperature"),
    ],
)
def test_errors_name_the_field_of_the_chat_body(sent: str, field: str) -> None:
    data = orjson.dumps({"error": {"message": "Invalid.", "param": sent, "code": "invalid_value", "type": "x"}})
    error = DIALECTS["responses"].parse_error(400, data, call_of(), target_of("responses"))
    assert (error.is_request_error, error.param, error.code) == (True, field, "invalid_value")
    assert not DIALECTS["responses"].parse_error(401, data, call_of(), target_of("responses")).is_request_error


def test_the_request_is_json_that_the_provider_can_read() -> None:
    assert json.loads(request_of("responses", stream=True).body)["stream"] is True
