"""Field combinations that Anthropic or Gemini reject: the request is adapted, or rejected with the field's name."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from shared.catalog.templates import TEMPLATES
from shared.dialects.base import UnsupportedField
from shared.dialects.gemini_request import PLACEHOLDER_SIGNATURE
from tests.shared.dialects.calls import Json, request_body
from tests.shared.dialects.test_anthropic import TOOL
from tests.shared.dialects.test_anthropic import valid as valid_claude
from tests.shared.dialects.test_gemini import valid as valid_gemini

HI: Json = {"role": "user", "content": "Hi"}
NAMED: Json = {"type": "function", "function": {"name": "weather"}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
RESULT: Json = {"role": "tool", "tool_call_id": "call_1", "content": "Rain"}
ADAPTIVE: Json = {"type": "adaptive", "display": "summarized"}
SIGNED: Json = {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}]}


def claude(**fields: Any) -> Json:
    return valid_claude(request_body("anthropic", **fields))


def gemini(**fields: Any) -> Json:
    return valid_gemini(request_body("gemini", **fields))


def refused(dialect: str, **fields: Any) -> str:
    with pytest.raises(UnsupportedField) as problem:
        request_body(dialect, **fields)
    return problem.value.param


# Thinking combined with other fields


@pytest.mark.parametrize("choice", ["required", NAMED])
@pytest.mark.parametrize(
    ("settings", "effort", "expected"),
    [
        ({}, "high", {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
        ({}, "max", {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}),
        ({"thinking": "budget"}, "high", {"thinking": {"type": "disabled"}}),
        ({"thinking": "adaptive_only"}, None, {"thinking": {"type": "disabled"}}),
        ({}, None, {}),
    ],
)
def test_a_forced_tool_disables_thinking(settings: Json, effort: str | None, expected: Json, choice: Any) -> None:
    body = claude(settings=settings, tools=[TOOL], tool_choice=choice, reasoning_effort=effort, max_tokens=20_000)
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected
    free = claude(settings=settings, tools=[TOOL], tool_choice="auto", reasoning_effort="high", max_tokens=20_000)
    assert free["thinking"]["type"] in ("adaptive", "enabled")


def test_models_without_forced_tools_reject_them_by_name() -> None:
    settings = {"forced_tools": {"acme-model": False}}
    assert refused("anthropic", settings=settings, tools=[TOOL], tool_choice="required") == "tool_choice"
    assert refused("anthropic", settings=settings, response_format={"type": "json_object"}) == "response_format"
    assert claude(settings=settings, tools=[TOOL], tool_choice="auto")["tool_choice"] == {"type": "auto"}


@pytest.mark.parametrize(
    ("off", "expected"),
    [
        ("disabled", {"thinking": {"type": "disabled"}}),
        ("between_tools", {"thinking": {"type": "between_tools"}}),
        ({"acme-model": "never"}, {"output_config": {"effort": "low"}}),
    ],
)
def test_disabling_thinking(off: Any, expected: Json) -> None:
    body = claude(settings={"thinking_off": off}, reasoning_effort="none")
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


def test_a_budget_becomes_adaptive_thinking_if_nothing_else_is_supported() -> None:
    own = {"type": "enabled", "budget_tokens": 2_000}
    assert claude(settings={"thinking": "adaptive_only"}, thinking=own, max_tokens=5_000)["thinking"] == ADAPTIVE
    assert claude(thinking=own, max_tokens=5_000)["thinking"] == own


@pytest.mark.parametrize(
    ("takes", "thinks", "fields", "kept"),
    [
        ("all", False, {"temperature": 0.2, "top_p": 0.9, "top_k": 5}, {"temperature": 0.2, "top_p": 0.9, "top_k": 5}),
        ("all", True, {"temperature": 0.2, "top_p": 0.9, "top_k": 5}, {}),
        ("all", True, {"top_p": 0.97}, {"top_p": 0.97}),
        ("all", True, {"temperature": 2}, {}),
        ("one", False, {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}),
        ("one", False, {"top_p": 0.9}, {"top_p": 0.9}),
        ("none", False, {"temperature": 0.7, "top_p": 0.9, "top_k": 5}, {}),
        ({"acme-model": "none"}, False, {"temperature": 0.7}, {}),
    ],
)
def test_sampling_fields_that_the_model_supports(takes: Any, thinks: bool, fields: Json, kept: Json) -> None:
    effort = "high" if thinks else None
    body = claude(settings={"sampling": takes}, reasoning_effort=effort, **fields)
    assert {name: body[name] for name in ("temperature", "top_p", "top_k") if name in body} == kept


@pytest.mark.parametrize(("thought", "thinks"), [({}, False), (SIGNED, True)])
def test_a_budget_requires_the_reasoning_before_a_tool_call(thought: Json, thinks: bool) -> None:
    messages = [HI, {"role": "assistant", "content": "I look.", "tool_calls": [CALL], **thought}, RESULT]
    body = claude(settings={"thinking": "budget"}, messages=messages, tools=[TOOL], reasoning_effort="low", max_tokens=9_000)
    assert ("thinking" in body) == thinks
    assert "thinking" in claude(messages=messages, tools=[TOOL], reasoning_effort="low"), "adaptive thinking does not need it"


@pytest.mark.parametrize(
    ("style", "takes", "effort", "expected"),
    [
        ("budget", ["minimal", "low", "high"], "none", {"includeThoughts": False, "thinkingBudget": 512}),
        ("budget", None, "none", {"includeThoughts": False, "thinkingBudget": 0}),
        ("level", ["low", "high"], "none", {"includeThoughts": False, "thinkingLevel": "LOW"}),
        ("level", ["low", "high"], "minimal", {"includeThoughts": True, "thinkingLevel": "LOW"}),
        ("level", {"acme-model": ["low", "medium", "high"]}, "max", {"includeThoughts": True, "thinkingLevel": "HIGH"}),
        ("level", [], "high", None),
    ],
)
def test_an_effort_becomes_the_nearest_gemini_level(style: str, takes: Any, effort: str, expected: Json | None) -> None:
    body = gemini(settings={"thinking": style, "efforts": takes}, reasoning_effort=effort)
    assert body.get("generationConfig", {}).get("thinkingConfig") == expected


def test_claude_efforts() -> None:
    body = claude(settings={"efforts": {"acme-model": ["none", "low", "high", "max"]}}, reasoning_effort="xhigh")
    assert body["output_config"] == {"effort": "high"}


# Signatures


def calls(*signatures: str | None) -> Json:
    made = []
    for number, signature in enumerate(signatures):
        signed = {"extra_content": {"google": {"thought_signature": signature}}} if signature else {}
        made.append({**CALL, "id": f"call_{number}", **signed})
    return {"role": "assistant", "content": None, "tool_calls": made}


@pytest.mark.parametrize(
    ("settings", "signatures", "result"),
    [
        ({}, (None, None), [PLACEHOLDER_SIGNATURE, None]),
        ({}, ("c2ln", None), ["c2ln", None]),
        ({"thinking": "budget"}, (None, None), [None, None]),
        ({"thinking": "none"}, (None, None), [None, None]),
    ],
)
def test_tool_calls_of_another_model_get_googles_placeholder_signature(settings: Json, signatures: Any, result: Any) -> None:
    results = [{**RESULT, "tool_call_id": f"call_{number}"} for number in range(len(signatures))]
    body = gemini(
        settings=settings, messages=[HI, calls(*signatures), *results, calls(None), {**RESULT, "tool_call_id": "call_0"}]
    )
    steps = [[part.get("thoughtSignature") for part in turn["parts"]] for turn in body["contents"] if turn["role"] == "model"]
    assert steps[0] == result
    assert steps[1] == [PLACEHOLDER_SIGNATURE if not settings else None]


# Empty text

EMPTY = [{"type": "text", "text": ""}, {"type": "text", "text": " \n"}]


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize("nothing", ["", "\n", EMPTY])
def test_claude_gets_no_empty_text(role: str, nothing: Any) -> None:
    body = claude(messages=[{"role": role, "content": nothing}, HI, {"role": role, "content": nothing}])
    assert body["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert "system" not in body


def test_content_next_to_empty_text_is_kept() -> None:
    messages = [
        {"role": "user", "content": [EMPTY[0], {"type": "text", "text": " Hi "}]},
        {"role": "assistant", "content": "\n", "tool_calls": [CALL]},
        {**RESULT, "content": [EMPTY[1]]},
        {"role": "assistant", "content": "Well, \n"},
    ]
    body = claude(messages=messages)
    assert [turn["content"] for turn in body["messages"]] == [
        [{"type": "text", "text": " Hi "}],
        [{"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}],
        [{"type": "tool_result", "tool_use_id": "call_1", "content": []}],
        [{"type": "text", "text": "Well,"}],
    ]
    assert [turn["role"] for turn in gemini(messages=messages)["contents"]] == ["user", "model", "user", "model"]


def test_cache_control_moves_to_the_last_block_with_text() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "Hi"}, EMPTY[0]], "cache_control": {"type": "ephemeral"}}
    (block,) = claude(messages=[marked])["messages"][0]["content"]
    assert block == {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_a_call_without_any_content_is_rejected(dialect: str) -> None:
    assert refused(dialect, messages=[{"role": "user", "content": [EMPTY[0]]}]) == "messages"


def test_gemini_gets_no_empty_part() -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": [EMPTY[0], {"type": "text", "text": "Hi"}]}]
    assert gemini(messages=messages) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_a_prefilled_answer() -> None:
    begun = [HI, {"role": "assistant", "content": "Hello"}]
    assert claude(messages=begun, reasoning_effort="high")["thinking"] == {"type": "disabled"}
    assert refused("anthropic", settings={"prefill": {"acme-model": False}}, messages=begun) == "messages[1].role"


@pytest.mark.parametrize(
    ("dialect", "stop", "param"),
    [
        ("anthropic", "\n\n", "stop"),
        ("anthropic", ["END", " "], "stop"),
        ("gemini", ["a", "b", "c", "d", "e", "f"], "stop"),
    ],
)
def test_unsupported_stop_sequences(dialect: str, stop: Any, param: str) -> None:
    assert refused(dialect, stop=stop) == param


def test_an_empty_stop_is_omitted() -> None:
    assert claude(stop=["", "END"])["stop_sequences"] == ["END"]
    assert gemini(stop="") == gemini()


# Media types are detected from the content

JPEG, PNG, GIF = b"\xff\xd8\xff\xe0" + bytes(60), b"\x89PNG\r\n\x1a\n" + bytes(60), b"GIF89a" + bytes(60)
PDF = b"%PDF-1.7\n" + bytes(60)
LABELS = [
    ("image/jpg", JPEG, "image/jpeg"),
    ("image/png", JPEG, "image/jpeg"),
    ("image/jpeg", PNG, "image/png"),
    ("application/octet-stream", GIF, "image/gif"),
    ("image/jpg", b"unknown", "image/jpeg"),
    ("image/png", b"", "image/png"),
    ("application/octet-stream", PDF, "application/pdf"),
]


def url_of(label: str, content: bytes) -> str:
    return f"data:{label};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize(("label", "content", "real"), LABELS, ids=[f"{label} is {real}" for label, _, real in LABELS])
@pytest.mark.parametrize("kind", ["image_url", "file"])
def test_the_media_type_is_that_of_the_content(kind: str, label: str, content: bytes, real: str) -> None:
    url = url_of(label, content)
    part = {"type": kind, kind: {"url": url} if kind == "image_url" else {"file_data": url}}
    messages = [{"role": "user", "content": [part]}]
    (block,) = claude(messages=messages)["messages"][0]["content"]
    assert block["type"] == ("document" if real == "application/pdf" else "image")
    assert block["source"]["media_type"] == real
    (result,) = gemini(messages=messages)["contents"][0]["parts"]
    assert result["inlineData"]["mimeType"] == real


def test_base64_with_line_breaks_is_decoded() -> None:
    encoded = base64.encodebytes(JPEG).decode()
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
    (block,) = claude(messages=[{"role": "user", "content": [part]}])["messages"][0]["content"]
    assert block["source"]["media_type"] == "image/jpeg"


@pytest.mark.parametrize("label", ["text/plain", "audio/mp3", "video/webm"])
def test_media_types_of_text_and_audio_are_kept(label: str) -> None:
    part = {"type": "file", "file": {"file_data": url_of(label, JPEG)}}
    (result,) = gemini(messages=[{"role": "user", "content": [part]}])["contents"][0]["parts"]
    assert result["inlineData"]["mimeType"] == label


def test_an_unsupported_image_format_is_rejected_by_name() -> None:
    part = {"type": "image_url", "image_url": {"url": url_of("image/tiff", b"II*\x00")}}
    assert refused("anthropic", messages=[{"role": "user", "content": [part]}]) == "messages[0].content[0].image_url.url"


# Schemas

MAP: Json = {"type": "object", "additionalProperties": {"type": "integer"}}
DEFS: Json = {"$defs": {"X": {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]}}}
ROOTS: list[Json] = [
    {"$ref": "#/$defs/X", **DEFS},
    {"allOf": [{"$ref": "#/$defs/X"}, {"properties": {"b": {"type": "string"}}}], **DEFS},
    {"anyOf": [{"$ref": "#/$defs/X"}, {"type": "object", "properties": {"b": {"type": "string"}}}], **DEFS},
]


def tool_of(schema: Json, **fields: Any) -> Json:
    return {"type": "function", "function": {"name": "f", "parameters": schema, **fields}}


@pytest.mark.parametrize("schema", ROOTS)
def test_a_tool_keeps_its_parameters(schema: Json) -> None:
    result = gemini(tools=[tool_of(schema)])["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]
    assert result["type"] == "object"
    assert result["properties"]["a"] == {"type": "integer", "minimum": 1}
    for strict, a in ((True, {"type": "integer", "description": "(minimum: 1)"}), (False, {"type": "integer", "minimum": 1})):
        (tool,) = claude(tools=[tool_of(schema, strict=strict)])["tools"]
        assert tool["input_schema"]["type"] == "object"
        assert tool["input_schema"]["properties"]["a"] == a
        assert tool["input_schema"].get("additionalProperties") == (False if strict else None)


def test_tool_parameters_may_be_a_map() -> None:
    assert gemini(tools=[tool_of(MAP)])["tools"][0]["functionDeclarations"] == [{"name": "f", "parametersJsonSchema": MAP}]
    assert claude(tools=[tool_of(MAP)])["tools"][0]["input_schema"] == MAP
    assert refused("anthropic", tools=[tool_of(MAP, strict=True)]) == "tools[0].function.parameters.additionalProperties"


@pytest.mark.parametrize("dialect", ["anthropic", "gemini"])
def test_an_invalid_schema_is_rejected_with_its_path(dialect: str) -> None:
    broken = {"type": "object", "properties": {"a": {"$ref": "#/$defs/Nowhere"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": broken}}
    assert refused(dialect, response_format=wanted) == "response_format.json_schema.schema.properties.a"
    tool = tool_of({"type": "string"})
    assert refused(dialect, tools=[TOOL, tool]) == "tools[1].function.parameters"


def test_an_unsupported_claude_schema_uses_a_tool_unless_strict() -> None:
    wanted: Json = {"type": "json_schema", "json_schema": {"name": "x", "schema": MAP}}
    body = claude(response_format=wanted)
    assert body["tools"][0]["input_schema"] == MAP
    assert body["tool_choice"]["type"] == "tool"
    for fields in ({"tools": [TOOL]}, {"reasoning_effort": "high"}, {"settings": {"forced_tools": False}}):
        assert refused("anthropic", response_format=wanted, **fields) == "response_format.json_schema.schema.additionalProperties"


# Templates


@pytest.mark.parametrize("model", [model.id for model in TEMPLATES["anthropic"].models])
def test_typed_output_and_temperature_for_every_model_of_the_template(model: str) -> None:
    """As typed-output libraries do: an effort, a temperature and a forced tool in one request."""
    settings = {
        name: {"acme-model": value[model]} if isinstance(value, dict) and model in value else value
        for name, value in TEMPLATES["anthropic"].settings.items()
    }
    fields: Json = {"tools": [TOOL], "reasoning_effort": "high", "temperature": 0.7, "top_p": 0.9}
    body = claude(settings=settings, max_tokens=20_000, **fields)
    assert "temperature" not in body
    if settings["forced_tools"] == {"acme-model": False}:
        assert refused("anthropic", settings=settings, tool_choice="required", **fields) == "tool_choice"
    else:
        forced = claude(settings=settings, tool_choice="required", max_tokens=20_000, **fields)
        assert forced["thinking"] == {"type": "disabled"}
