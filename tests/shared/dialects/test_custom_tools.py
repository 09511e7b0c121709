"""Custom tools reach every dialect, as functions where the provider has none, and their calls come back as custom calls."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dialects.custom_tools import InputReader, input_of
from tests import anthropic_payloads as claude
from tests import gemini_payloads as gemini
from tests.openai_payloads import DONE, chunk, completion, finish, frames, role, usage
from tests.shared.dialects.calls import read_stream, read_whole, request_body

Json = dict[str, Any]
PATCH = '*** Begin "Patch" \\ \n+é😀\u2028\t*** End'
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}}
TOOL = {"type": "custom", "custom": {"name": "patch", "description": "Patches files.", "format": GRAMMAR}}
FUNCTION = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
}
HISTORY: list[Json] = [
    {"role": "user", "content": "Patch it."},
    {"role": "assistant", "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "patch", "input": PATCH}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "Done"},
]
CHOICE = {"type": "custom", "custom": {"name": "patch"}}


@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), st.integers(1, 9))
def test_any_input_is_read_from_any_pieces_of_its_arguments(text: str, ascii: bool, size: int) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii)
    reader = InputReader()
    pieces = [reader.feed(arguments[at : at + size]) for at in range(0, len(arguments), size)]
    assert "".join(pieces) + reader.finish(cut=False) == text


def test_a_long_input_arrives_before_its_end() -> None:
    reader = InputReader()
    assert [reader.feed(piece) for piece in ('{"inp', 'ut": "ab', "c\\", 'nd"', "}")] == ["", "ab", "c", "\nd", ""]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ("{}", ""),
        (' { "input" : "a" , "more": 1}', "a"),
        ('{"more": 1, "input": "a"}', "a"),
        ('{"patch": "a"}', "a"),
        ('"a"', "a"),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"input": ["a"]}', '{"input": ["a"]}'),
        ('{"input": "two\nlines"}', "two\nlines"),
        ('{"input": "a\\d"}', "a\\d"),
        ('{"input": "\\ud800"}', "\\ud800"),
        ('{"patch": "\\ud800"}', "?"),
    ],
)
def test_arguments_that_ignore_the_schema_are_read_as_far_as_possible(arguments: str, expected: str) -> None:
    assert input_of(arguments) == expected


@pytest.mark.parametrize("arguments", ['{"inp', '{"input": ', '{"input": "abc\\', '{"input": "abc\\u00'])
def test_of_incomplete_arguments_only_complete_characters_are_used(arguments: str) -> None:
    assert input_of(arguments, cut=True) == ("abc" if "abc" in arguments else "")


def function_of(dialect: str, body: Json) -> Json:
    """Name, description and schema of the first function in a provider's request."""
    if dialect == "openai":
        made = body["tools"][0]["function"]
        return {**made, "schema": made["parameters"]}
    made = body["tools"][0] if dialect == "anthropic" else body["tools"][0]["functionDeclarations"][0]
    return {**made, "schema": made.get("input_schema") or made.get("parametersJsonSchema")}


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
def test_a_provider_without_custom_tools_gets_a_function_with_one_string(dialect: str) -> None:
    body = request_body(dialect, tools=[TOOL, FUNCTION], tool_choice=CHOICE, messages=HISTORY)
    function = function_of(dialect, body)
    assert (function["name"], list(function["schema"]["properties"]), function["schema"]["required"]) == (
        "patch",
        ["input"],
        ["input"],
    )
    assert function["description"].startswith("Patches files.\n\n")
    assert function["description"].endswith("(lark):\nstart: /x/")
    sent = orjson.dumps(body)
    assert b'"custom"' not in sent
    assert orjson.dumps(PATCH) in sent or orjson.dumps(orjson.dumps({"input": PATCH}).decode()) in sent
    forced = {
        "openai": lambda: body["tool_choice"] == {"type": "function", "function": {"name": "patch"}},
        "anthropic": lambda: body["tool_choice"] == {"type": "tool", "name": "patch"},
        "gemini": lambda: body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["patch"],
    }
    assert forced[dialect]()


def test_a_description_that_is_not_text_is_left_out() -> None:
    tool = {"type": "custom", "custom": {"name": "c", "description": {"a": 1}, "format": GRAMMAR}}
    assert request_body("openai", tools=[tool])["tools"][0]["function"]["description"].startswith("The input must match")


@pytest.mark.parametrize(("custom_tools", "native"), [(True, True), ({"acme-model": True}, True), ({"other": True}, False)])
def test_a_provider_with_custom_tools_gets_them_unchanged(custom_tools: Any, native: bool) -> None:
    body = request_body("openai", settings={"custom_tools": custom_tools}, tools=[TOOL], tool_choice=CHOICE, messages=HISTORY)
    assert ((body["tools"], body["tool_choice"], body["messages"]) == ([TOOL], CHOICE, HISTORY)) is native


def fragments(*calls: Json) -> bytes:
    return frames(role(), *(chunk(tool_calls=[call]) for call in calls), finish("tool_calls"), usage()) + DONE


def openai_stream(arguments: str, size: int) -> bytes:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "patch", "arguments": ""}}
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    return fragments(first, *({"index": 0, "function": {"arguments": piece}} for piece in pieces))


NATIVE = {"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": PATCH}}
STREAMS = {
    "openai": ("openai", openai_stream(json.dumps({"input": PATCH}), 5)),
    "openai, one fragment": ("openai", openai_stream(json.dumps({"input": PATCH}), 999)),
    "openai, plain text": ("openai", openai_stream(PATCH, 7)),
    "openai, native": ("openai", fragments(NATIVE)),
    "anthropic": ("anthropic", claude.wire(claude.message(claude.tool_use("c1", "patch", input=PATCH), stop="tool_use"))),
    "gemini": ("gemini", gemini.wire(gemini.answer(gemini.call("patch", input=PATCH)))),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streamed_calls_are_custom_calls_again(name: str) -> None:
    dialect, data = STREAMS[name]
    result = read_stream(dialect, [data], tools=[TOOL, FUNCTION])
    deltas = [piece for piece in result.chunks if piece["choices"]]
    calls = [call for piece in deltas for call in piece["choices"][0]["delta"].get("tool_calls") or ()]
    assert (calls[0]["type"], calls[0]["custom"]["name"], calls[0]["index"]) == ("custom", "patch", 0)
    assert not any("function" in call for call in calls)
    assert "".join(call["custom"]["input"] for call in calls) == PATCH
    assert deltas[-1]["choices"][0]["finish_reason"] == "tool_calls"


WHOLE = {
    "openai": completion(
        None,
        finish="tool_calls",
        tool_calls=[{"id": "c1", "type": "function", "function": {"name": "patch", "arguments": json.dumps({"input": PATCH})}}],
    ),
    "anthropic": claude.message(claude.tool_use("c1", "patch", input=PATCH), stop="tool_use"),
    "gemini": gemini.answer(gemini.call("patch", input=PATCH)),
}


@pytest.mark.parametrize("dialect", WHOLE)
def test_calls_in_whole_answers_are_custom_calls_again(dialect: str) -> None:
    [call] = read_whole(dialect, WHOLE[dialect], tools=[TOOL]).body["choices"][0]["message"]["tool_calls"]
    assert {name: call[name] for name in ("type", "custom")} == {"type": "custom", "custom": {"name": "patch", "input": PATCH}}


def test_functions_beside_custom_tools_stay_functions() -> None:
    second = {"index": 1, "id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"a":"x"}'}}
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "patch", "arguments": '{"input":"p"}'}}
    chunks = read_stream("openai", [fragments(first, second)], tools=[TOOL, FUNCTION]).chunks
    calls = [call for piece in chunks for choice in piece["choices"] for call in choice["delta"].get("tool_calls") or ()]
    assert calls == [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": "p"}}, second]


def test_an_answer_that_is_cut_keeps_the_input_so_far() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "patch", "arguments": '{"input":"ab\\'}}
    data = frames(role(), chunk(tool_calls=[first]), finish("length"), usage()) + DONE
    chunks = read_stream("openai", [data], tools=[TOOL]).chunks
    calls = [call for piece in chunks for choice in piece["choices"] for call in choice["delta"].get("tool_calls") or ()]
    assert calls == [{"index": 0, "id": "c1", "type": "custom", "custom": {"name": "patch", "input": "ab"}}]
