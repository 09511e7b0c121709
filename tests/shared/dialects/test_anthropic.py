"""Requests to Anthropic, validated by its own SDK's types, and the meaning of its errors."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from anthropic.types import MessageCreateParams
from pydantic import TypeAdapter

from shared.dialects import DIALECTS
from shared.dialects.base import BrokenStream, UnsupportedField
from tests import anthropic_payloads as claude
from tests.shared.dialects.calls import Json, call_of, message_of, read_stream, read_whole, request_body, request_of, target_of

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it.", "parameters": WEATHER}}
PNG = "iVBORw0KGgo="
CONVERSATION = [
    {"role": "system", "content": "Be short."},
    {"role": "developer", "content": [{"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}}]},
    {
        "role": "user",
        "name": "Ada",
        "content": [
            {"type": "text", "text": "Look."},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "high"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
            {"type": "file", "file": {"file_data": "data:text/plain;base64,SGVsbG8="}},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "annotations": [],
        "reasoning_content": "hm",
        "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}],
        "tool_calls": [
            {"id": "call.1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
            {"id": "call_2", "type": "function", "function": {"name": "now", "arguments": ""}},
        ],
    },
    {"role": "tool", "tool_call_id": "call.1", "content": "rain"},
    {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
    {"role": "user", "content": "And now?"},
]


def valid(body: Json) -> Json:
    """`body`, after checking that the provider's own SDK could have sent it."""
    _adapter().validate_python(body)
    return body


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(MessageCreateParams)


def test_a_complete_conversation_in_anthropics_format() -> None:
    body = valid(
        request_body("anthropic", messages=CONVERSATION, tools=[TOOL], stop="END", temperature=0.5, top_p=0.9, stream=True)
    )
    assert body["system"] == [
        {"type": "text", "text": "Be short."},
        {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
    ]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Ada: Look."},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hello"}},
    ]
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bonn"}},
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ]
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "noon"}]},
        {"type": "text", "text": "And now?"},
    ]
    assert body["tools"] == [{"name": "weather", "description": "Tells it.", "input_schema": WEATHER}]
    assert (body["model"], body["stream"], body["stop_sequences"]) == ("acme-model", True, ["END"])
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 0.9, 1_000)


def test_key_and_version_are_sent_as_headers() -> None:
    request = request_of("anthropic", settings={"headers": {"anthropic-beta": "files-1"}, "body": {"service_tier": "auto"}})
    headers = dict(request.headers)
    assert request.url == "http://acme/v1/messages"
    assert (headers["x-api-key"], headers["anthropic-version"]) == ("sk-secret", "2023-06-01")
    assert headers["anthropic-beta"] == "files-1"
    assert "authorization" not in headers
    assert json.loads(request.body)["service_tier"] == "auto"


@pytest.mark.parametrize(
    ("fields", "clamp", "limit"),
    [({}, None, 1_000), ({}, 7, 7), ({"max_tokens": 50}, None, 50), ({"max_tokens": 50, "max_completion_tokens": 9}, 20, 9)],
)
def test_there_is_always_an_output_limit(fields: Json, clamp: int | None, limit: int) -> None:
    assert request_body("anthropic", clamp=clamp, **fields)["max_tokens"] == limit


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, {"type": "tool", "name": "weather"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "required"}, {"type": "any", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, {"type": "none"}),
        ({"parallel_tool_calls": True}, None),
    ],
)
def test_tool_choices(fields: Json, choice: Json | None) -> None:
    assert valid(request_body("anthropic", tools=[TOOL], **fields)).get("tool_choice") == choice


def test_a_strict_tool_stays_strict() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]  # of mixed values
    assert valid(request_body("anthropic", tools=[strict]))["tools"][0]["strict"] is True


@pytest.mark.parametrize(
    ("effort", "style", "expected"),
    [
        ("none", "adaptive", {"thinking": {"type": "disabled"}}),
        ("low", "adaptive", {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}}),
        ("xhigh", "adaptive", {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}}),
        ("high", "budget", {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        ("medium", {"acme-model": "budget"}, {"thinking": {"type": "enabled", "budget_tokens": 8_192}}),
    ],
)
def test_an_effort_becomes_thinking(effort: str, style: Any, expected: Json) -> None:
    body = valid(request_body("anthropic", settings={"thinking": style}, reasoning_effort=effort, max_tokens=20_000))
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


ADAPTIVE: Json = {"type": "adaptive"}
OFF: Json = {"type": "disabled"}
OWN: Json = {"type": "enabled", "budget_tokens": 4_000}


@pytest.mark.parametrize(
    ("thinking", "effort", "style", "expected"),
    [
        (ADAPTIVE, "high", "adaptive", {"thinking": ADAPTIVE, "output_config": {"effort": "high"}}),
        (OFF, "low", "adaptive", {"thinking": OFF, "output_config": {"effort": "low"}}),
        (OWN, "max", "adaptive", {"thinking": OWN, "output_config": {"effort": "max"}}),
        (ADAPTIVE, None, "adaptive", {"thinking": ADAPTIVE}),
        (ADAPTIVE, "none", "adaptive", {"thinking": ADAPTIVE}),
        (ADAPTIVE, "low", "budget", {"thinking": {"type": "enabled", "budget_tokens": 2_048}}),
        (ADAPTIVE, None, "budget", {"thinking": {"type": "enabled", "budget_tokens": 16_384}}),
        (ADAPTIVE, "none", "budget", {}),
        (OFF, "high", "budget", {"thinking": OFF}),
        (OWN, "high", "budget", {"thinking": OWN}),
        (ADAPTIVE, "high", "none", {}),
        (None, "high", "none", {}),
    ],
)
def test_thinking_together_with_an_effort(thinking: Json | None, effort: str | None, style: str, expected: Json) -> None:
    asked = {"thinking": thinking, "reasoning_effort": effort}
    body = valid(request_body("anthropic", settings={"thinking": style}, max_tokens=20_000, **asked))
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


LATER: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "system", "content": "It is late."},
    {"role": "assistant", "content": "Good night."},
    {"role": "developer", "content": "It is early."},
    {"role": "user", "content": "Morning"},
    {"role": "user", "content": "again"},
]


@pytest.mark.parametrize(
    ("result", "roles", "system"),
    [
        (None, "user assistant user", ["Be brief.", "It is late.", "It is early."]),
        (["another-model"], "user assistant user", ["Be brief.", "It is late.", "It is early."]),
        (True, "user system assistant user system", ["Be brief."]),
        (["acme-model"], "user system assistant user system", ["Be brief."]),
    ],
)
def test_later_system_messages_stay_in_place_if_the_model_supports_them(result: Any, roles: str, system: list[str]) -> None:
    body = valid(request_body("anthropic", settings={"system_in_place": result}, messages=LATER))
    assert " ".join(turn["role"] for turn in body["messages"]) == roles
    assert [block["text"] for block in body["system"]] == system
    late = [turn["content"] for turn in body["messages"] if turn["role"] == "system"]
    assert late == [[{"type": "text", "text": text}] for text in ("It is late.", "It is early.")][: len(late)]


def test_system_messages_after_the_last_answer() -> None:
    body = valid(request_body("anthropic", settings={"system_in_place": True}, messages=LATER[:5]))
    assert [turn["role"] for turn in body["messages"]] == ["user", "system", "assistant"]
    assert [block["text"] for block in body["system"]] == ["Be brief.", "It is early."]


@pytest.mark.parametrize(("limit", "budget"), [(1_024, None), (1_025, 1_024), (5_000, 4_999)])
def test_a_thinking_budget_stays_below_the_output_limit(limit: int, budget: int | None) -> None:
    body = request_body("anthropic", settings={"thinking": "budget"}, reasoning_effort="medium", max_tokens=limit)
    assert body.get("thinking", {}).get("budget_tokens") == budget


@pytest.mark.parametrize(
    ("clamp", "expected"),
    [
        (None, {"type": "enabled", "budget_tokens": 4_000}),
        (6_000, {"type": "enabled", "budget_tokens": 4_000}),
        (2_000, {"type": "enabled", "budget_tokens": 1_999}),
        (500, {"type": "disabled"}),
    ],
)
def test_a_thinking_budget_is_reduced_to_the_affordable_output(clamp: int | None, expected: Json) -> None:
    wanted = {"type": "enabled", "budget_tokens": 4_000}
    assert valid(request_body("anthropic", clamp=clamp, thinking=wanted, max_tokens=5_000))["thinking"] == expected


def test_the_user_is_sent_as_a_pseudonym() -> None:
    assert valid(request_body("anthropic", user="ada@example.com"))["metadata"] == {"user_id": "hash-of-15"}
    assert request_body("anthropic", metadata={"user_id": "ada"})["metadata"] == {"user_id": "hash-of-3"}
    assert request_body("anthropic", user="a", safety_identifier="bb")["metadata"] == {"user_id": "hash-of-2"}


def test_a_prompt_cache_key_enables_caching() -> None:
    assert valid(request_body("anthropic", prompt_cache_key="k"))["cache_control"] == {"type": "ephemeral"}
    assert request_body("anthropic", prompt_cache_retention="24h")["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert "cache_control" not in request_body("anthropic")


# Structured output


SCHEMA_FORMAT = {"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER, "strict": True}}


def test_a_schema_becomes_anthropics_output_format() -> None:
    body = valid(request_body("anthropic", response_format=SCHEMA_FORMAT, tools=[TOOL], reasoning_effort="low"))
    assert body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": WEATHER}}


@pytest.mark.parametrize(
    ("wanted", "settings"),
    [({"type": "json_object"}, {}), (SCHEMA_FORMAT, {"structured_output": False})],
    ids=["object", "schema"],
)
def test_json_from_a_tool_call_becomes_content(wanted: Json, settings: Json) -> None:
    body = valid(request_body("anthropic", response_format=wanted, settings=settings))
    (tool,) = body["tools"]
    assert body["tool_choice"] == {"type": "tool", "name": tool["name"], "disable_parallel_tool_use": True}
    whole = claude.message(claude.tool_use("toolu_1", tool["name"], city="Bonn"), stop="tool_use")
    (choice,) = read_whole("anthropic", whole, response_format=wanted).body["choices"]
    streamed = message_of(read_stream("anthropic", [claude.wire(whole)], response_format=wanted).chunks)
    assert json.loads(choice["message"]["content"]) == json.loads(streamed["content"]) == {"city": "Bonn"}
    assert choice["finish_reason"] == streamed["finish_reason"] == "stop"
    assert "tool_calls" not in choice["message"]
    assert "tool_calls" not in streamed


# Rejected fields and messages


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"temperature": 1.5}, "temperature"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"service_tier": {}}, "service_tier"),
        ({"stream_options": {"include_obfuscation": True}, "stream": True}, "stream_options.include_obfuscation"),
        ({"chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": [1]}}]}, "tools[0].function.parameters"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": [TOOL]}, "tool_choice"),
        ({"response_format": {"type": "grammar"}}, "response_format"),
        ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "response_format"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
    ],
)
def test_unsupported_fields_are_rejected_by_name(fields: Json, param: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        request_body("anthropic", **fields)
    assert refused.value.param == param
    assert param in str(refused.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 1, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}},
        {"modalities": ["text"], "store": True, "verbosity": "medium", "function_call": "auto", "seed": None},
    ],
)
def test_values_without_effect_are_accepted(fields: Json) -> None:
    valid(request_body("anthropic", **fields))


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "a", "format": "wav"}}]},
            "content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/a.png"}}]},
            "content[0].image_url.url",
        ),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a", "detail": "low"}}]},
            "content[0].image_url.detail",
        ),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "content[0].file.file_id"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:image/tiff;base64,AA=="}}]},
            "content[0].file",
        ),
        ({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x/a"}}]}, "content[0].type"),
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
        ({"role": "user", "content": "x", "flavour": "sweet"}, "flavour"),
        ({"role": "assistant", "content": "x", "audio": {"id": "a"}}, "audio"),
        (
            {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]},
            "tool_calls[0].function.arguments",
        ),
    ],
)
def test_unsupported_messages_are_rejected_by_name(message: Json, param: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        request_body("anthropic", messages=[{"role": "user", "content": "Hello"}, message])
    assert refused.value.param.startswith(f"messages[1].{param}")


# Errors


@pytest.mark.parametrize(
    ("status", "kind", "words", "about_request", "param", "code"),
    [
        (400, "invalid_request_error", "max_tokens: 9999 > 8192", True, "max_tokens", None),
        (400, "invalid_request_error", "messages.0.content: Field required", True, "messages", None),
        (400, "invalid_request_error", "stop_sequences: too many", True, "stop", None),
        (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum",
            True,
            "messages",
            "context_length_exceeded",
        ),
        (413, "request_too_large", "Request exceeds the maximum size", True, None, None),
        (400, "invalid_request_error", "Your credit balance is too low to access the API", False, None, None),
        (401, "authentication_error", "invalid x-api-key", False, None, None),
        (403, "permission_error", "no", False, None, None),
        (404, "not_found_error", "model: claude-x", False, None, None),
        (429, "rate_limit_error", "slow down", False, None, None),
        (500, "api_error", "Internal server error", False, None, None),
        (529, "overloaded_error", "Overloaded", False, None, None),
    ],
)
def test_errors(status: int, kind: str, words: str, about_request: bool, param: str | None, code: str | None) -> None:
    data = json.dumps(claude.failure(kind, words)).encode()
    error = DIALECTS["anthropic"].parse_error(status, data, call_of(), target_of("anthropic"))
    assert (error.is_request_error, error.param, error.code) == (about_request, param, code)
    assert error.message == (words if about_request else None)


@pytest.mark.parametrize("kind", ["overloaded_error", "api_error"])
def test_a_mid_stream_error_is_raised_after_the_received_output(kind: str) -> None:
    events = claude.events(claude.message(claude.text("Hello there")))[:5]
    data = b"".join(map(claude.event, [*events, claude.failure(kind)]))
    streamed = read_stream("anthropic", [data])
    assert streamed.error == BrokenStream.__name__
    assert (streamed.text, streamed.delivered) == ("Hello th", True)


def test_unknown_events_are_ignored() -> None:
    whole = claude.message(claude.text("Hi"))
    noise = claude.event({"type": "tea_time", "cups": 2})
    delta = claude.event({"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}})
    block = claude.event({"type": "content_block_start", "index": 9, "content_block": {"type": "holo_block"}})
    stop = claude.event({"type": "content_block_stop", "index": 9})
    pieces = [*map(claude.event, claude.events(whole))]
    mixed = b"".join([noise, pieces[0], noise, block, stop, *pieces[1:4], delta, *pieces[4:]])
    assert message_of(read_stream("anthropic", [mixed]).chunks)["content"] == "Hi"


def test_only_thinking_is_sent_of_thinking_blocks() -> None:
    thinking = [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "x"}]
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    others = [{"type": "text", "text": "a", **mark}, {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}}]
    answer = {
        "role": "assistant",
        "content": "42",
        "thinking_blocks": [*others, {**thinking[0], **mark, "index": 0}, thinking[1]],
    }
    body = request_body("anthropic", messages=[{"role": "user", "content": "Hi"}, answer, {"role": "user", "content": "Why?"}])
    assert body["messages"][1]["content"] == [*thinking, {"type": "text", "text": "42"}]
