"""Requests to Gemini, validated by its own SDK's types, and the meaning of its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types

from shared.dialects import DIALECTS
from shared.dialects.base import BlockedPrompt, BrokenStream, UnsupportedField
from tests import gemini_payloads as gemini
from tests.shared.dialects.calls import Json, call_of, message_of, read_stream, read_whole, request_body, request_of, target_of
from tests.shared.dialects.test_anthropic import CONVERSATION, PNG, SCHEMA_FORMAT, TOOL, WEATHER

PARTS: dict[str, type[Any]] = {
    "systemInstruction": types.Content,
    "generationConfig": types.GenerationConfig,
    "toolConfig": types.ToolConfig,
}


def valid(body: Json) -> Json:
    """`body`, after checking that the provider's own SDK knows every part of it."""
    assert set(body) <= {"contents", "tools", *PARTS}
    for name, kind in PARTS.items():
        if name in body:
            kind.model_validate(body[name], extra="forbid")
    for content in body["contents"]:
        types.Content.model_validate(content, extra="forbid")
    for tool in body.get("tools", ()):
        types.Tool.model_validate(tool, extra="forbid")
    return body


def config(**fields: Any) -> Json:
    made: Json = valid(request_body("gemini", **fields)).get("generationConfig", {})
    return made


def test_a_complete_conversation_in_geminis_format() -> None:
    signed = {"google": {"thought_signature": "c2ln"}}
    conversation = json.loads(json.dumps(CONVERSATION))
    conversation[3]["tool_calls"][0]["extra_content"] = signed
    body = valid(request_body("gemini", messages=conversation, tools=[TOOL]))
    assert body["systemInstruction"] == {"parts": [{"text": "Be short."}, {"text": "Be kind."}]}
    assert [turn["role"] for turn in body["contents"]] == ["user", "model", "user"]
    assert body["contents"][0]["parts"] == [
        {"text": "Ada: Look."},
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"fileUri": "https://example.com/cat.png", "mimeType": "image/png"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0="}},
        {"inlineData": {"mimeType": "text/plain", "data": "SGVsbG8="}},
    ]
    assert body["contents"][1]["parts"] == [
        {"functionCall": {"name": "weather", "args": {"city": "Bonn"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "now", "args": {}}},
    ]
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "weather", "response": {"result": "rain"}}},
        {"functionResponse": {"name": "now", "response": {"result": "noon"}}},
        {"text": "And now?"},
    ]
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "weather", "description": "Tells it.", "parametersJsonSchema": WEATHER}]}
    ]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "AUTO"}}


def test_a_tool_result_object_stays_an_object() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": '{"a": 1}'},
    ]
    part = valid(request_body("gemini", messages=messages))["contents"][2]["parts"][0]
    assert part == {"functionResponse": {"name": "f", "response": {"a": 1}}}


def test_the_key_is_in_a_header_and_never_in_the_url() -> None:
    whole, streamed = request_of("gemini"), request_of("gemini", stream=True)
    assert whole.url == "http://acme/v1/models/acme-model:generateContent"
    assert streamed.url == "http://acme/v1/models/acme-model:streamGenerateContent?alt=sse"
    assert dict(whole.headers)["x-goog-api-key"] == "sk-secret"
    assert "authorization" not in dict(whole.headers)


def test_sampling() -> None:
    fields = {"temperature": 1.5, "top_p": 0.5, "top_k": 7, "n": 2, "seed": 9, "frequency_penalty": 0.5, "presence_penalty": 1}
    assert config(**fields, stop=["a", "b"], max_tokens=50, clamp=20, logprobs=True, top_logprobs=3) == {
        **{"temperature": 1.5, "topP": 0.5, "topK": 7, "candidateCount": 2, "seed": 9},
        **{"frequencyPenalty": 0.5, "presencePenalty": 1, "stopSequences": ["a", "b"], "maxOutputTokens": 20},
        **{"responseLogprobs": True, "logprobs": 3},
    }
    assert config() == {}


@pytest.mark.parametrize(
    ("effort", "style", "expected"),
    [
        ("none", "level", {"includeThoughts": False, "thinkingLevel": "MINIMAL"}),
        ("high", "level", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("none", "budget", {"includeThoughts": False, "thinkingBudget": 0}),
        ("medium", {"acme-model": "budget"}, {"includeThoughts": True, "thinkingBudget": 8_192}),
    ],
)
def test_an_effort_becomes_thinking(effort: str, style: Any, expected: Json) -> None:
    assert config(settings={"thinking": style}, reasoning_effort=effort)["thinkingConfig"] == expected


def test_a_model_without_thinking_gets_no_effort() -> None:
    assert "thinkingConfig" not in config(settings={"thinking": {"acme-model": "none"}}, reasoning_effort="high")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tool_choice": "none"}, {"mode": "NONE"}),
        ({"tool_choice": "required"}, {"mode": "ANY"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"mode": "ANY", "allowedFunctionNames": ["weather"]},
        ),
    ],
)
def test_tool_choices(fields: Json, expected: Json) -> None:
    assert valid(request_body("gemini", tools=[TOOL], **fields))["toolConfig"] == {"functionCallingConfig": expected}


def test_strict_tools_are_validated() -> None:
    strict = {"type": "function", "function": {**TOOL["function"], "strict": True}}  # type: ignore[dict-item]  # of mixed values
    assert valid(request_body("gemini", tools=[strict]))["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


def test_without_parallel_calls_only_the_first_call_is_returned() -> None:
    whole = gemini.answer(gemini.call("weather", city="Bonn"), gemini.call("now"))
    (choice,) = read_whole("gemini", whole, parallel_tool_calls=False).body["choices"]
    streamed = message_of(read_stream("gemini", [gemini.wire(whole)], parallel_tool_calls=False).chunks)
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["weather"]
    assert [call["function"]["name"] for call in streamed["tool_calls"]] == ["weather"]


def test_output_formats() -> None:
    assert config(response_format={"type": "json_object"}) == {"responseMimeType": "application/json"}
    assert config(response_format=SCHEMA_FORMAT) == {"responseMimeType": "application/json", "responseJsonSchema": WEATHER}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"unknown_field": 1}, "unknown_field"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"messages": [{"role": "tool", "tool_call_id": "nobody", "content": "x"}]}, "messages[0].tool_call_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "messages[0].content[0].file.file_id",
        ),
    ],
)
def test_unsupported_fields_are_rejected_by_name(fields: Json, param: str) -> None:
    with pytest.raises(UnsupportedField) as refused:
        request_body("gemini", **fields)
    assert refused.value.param == param


def test_the_user_id_is_never_sent() -> None:
    body = json.dumps(request_body("gemini", user="ada@example.com", safety_identifier="ada", metadata={"user_id": "ada"}))
    assert "ada" not in body
    assert "hash-of" not in body


def test_audio_and_video() -> None:
    parts = [
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    ]
    body = valid(request_body("gemini", messages=[{"role": "user", "content": parts}]))
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "audio/wav", "data": "UklGRg=="}},
        {"fileData": {"fileUri": "https://example.com/a.mp4", "mimeType": "video/mp4"}},
    ]


# Answers


def test_log_probabilities() -> None:
    whole = gemini.answer(gemini.text("Hi"))
    chosen = {"token": "Hi", "tokenId": 5, "logProbability": -0.5}
    whole["candidates"][0]["logprobsResult"] = {"chosenCandidates": [chosen], "topCandidates": [{"candidates": [chosen]}]}
    types.GenerateContentResponse.model_validate(whole, extra="forbid")
    result = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}
    (choice,) = read_whole("gemini", whole, logprobs=True).body["choices"]
    assert choice["logprobs"]["content"] == [{**result, "top_logprobs": [result]}]
    chunks = read_stream("gemini", [gemini.wire(whole)], logprobs=True).chunks
    assert [c["choices"][0]["logprobs"] for c in chunks if c["choices"][0].get("logprobs")] == [choice["logprobs"]]


def test_several_candidates() -> None:
    whole = gemini.answer(gemini.text("One"))
    whole["candidates"].append(
        {"content": {"parts": [{"text": "Two"}], "role": "model"}, "index": 1, "finishReason": "MAX_TOKENS"}
    )
    choices = read_whole("gemini", whole, n=2).body["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "One", "stop"),
        (1, "Two", "length"),
    ]
    streamed = read_stream("gemini", [gemini.event(whole)], n=2)
    assert [message_of(streamed.chunks, index)["content"] for index in (0, 1)] == ["One", "Two"]


def test_a_blocked_prompt_raises() -> None:
    types.GenerateContentResponse.model_validate(gemini.blocked(), extra="forbid")
    with pytest.raises(BlockedPrompt):
        read_whole("gemini", gemini.blocked())
    with pytest.raises(BlockedPrompt):
        read_stream("gemini", [gemini.event(gemini.blocked())])


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_an_abandoned_answer_raises(reason: str) -> None:
    assert read_stream("gemini", [gemini.wire(gemini.answer(gemini.text("I "), finish=reason))]).error == BrokenStream.__name__


def test_a_stream_without_a_finish_reason_is_broken() -> None:
    piece = gemini.answer(gemini.text("Hello"), finish=None)
    assert read_stream("gemini", [gemini.event(piece)]).error == BrokenStream.__name__


@pytest.mark.parametrize(
    ("status", "error", "about_request", "param", "code", "retry_after_ms"),
    [
        (400, gemini.failure(400, "INVALID_ARGUMENT", "Invalid value at 'contents[0]'"), True, "messages", None, None),
        (400, gemini.failure(400, "INVALID_ARGUMENT", "Bad thing"), True, None, None, None),
        (
            400,
            gemini.failure(
                400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (5)."
            ),
            True,
            "messages",
            "context_length_exceeded",
            None,
        ),
        (
            400,
            gemini.failure(400, "INVALID_ARGUMENT", "API key not valid.", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}),
            *(False, None, None, None),
        ),
        (400, gemini.failure(400, "FAILED_PRECONDITION", "User location is not supported"), False, None, None, None),
        (403, gemini.failure(403, "PERMISSION_DENIED", "no"), False, None, None, None),
        (
            429,
            gemini.failure(429, "RESOURCE_EXHAUSTED", "quota", {"@type": "RetryInfo", "retryDelay": "34.07s"}),
            *(False, None, None, 34_000),
        ),
        (503, gemini.failure(503, "UNAVAILABLE", "overloaded"), False, None, None, None),
    ],
)
def test_errors(
    status: int, error: Json, about_request: bool, param: str | None, code: str | None, retry_after_ms: int | None
) -> None:
    found = DIALECTS["gemini"].parse_error(status, json.dumps(error).encode(), call_of(), target_of("gemini"))
    assert (found.is_request_error, found.param, found.code, found.retry_after_ms) == (about_request, param, code, retry_after_ms)


def test_an_error_list_is_parsed() -> None:
    data = json.dumps([gemini.failure(400, "INVALID_ARGUMENT", "contents is wrong")]).encode()
    assert DIALECTS["gemini"].parse_error(400, data, call_of(), target_of("gemini")).is_request_error
