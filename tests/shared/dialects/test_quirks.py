"""Channel settings adapt requests to what a provider of OpenAI's format accepts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.v1.messages.request import parse as read_message
from edge.v1.responses.request import parse as read_response
from shared.catalog.templates import TEMPLATES
from shared.dialects import DIALECTS
from shared.dialects.base import ChatCall, UnsupportedField
from shared.dialects.tool_ids import rewrite_ids
from tests.shared.dialects.calls import Json, call_of, request_body, target_of

MISTRAL_IDS = "[a-zA-Z0-9]{9}"
FOUR = ["system", "user", "assistant", "tool"]
HI: Json = {"role": "user", "content": "Hi"}


def call(id: str, name: str = "weather") -> Json:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}


def turn(*ids: str, **fields: Any) -> list[Json]:
    """An assistant turn that calls tools, and their results in reverse order."""
    results = [{"role": "tool", "tool_call_id": id, "content": id} for id in reversed(ids)]
    return [{"role": "assistant", "content": None, "tool_calls": [call(id) for id in ids], **fields}, *results]


# Roles and names


@pytest.mark.parametrize(
    ("roles", "role", "messages_sent"),
    [
        (FOUR, "developer", "system"),
        (FOUR, "system", "system"),
        (["developer", "user"], "system", "developer"),
        (None, "developer", "developer"),
        ([*FOUR, "developer"], "developer", "developer"),
    ],
)
def test_an_unsupported_role_is_replaced(roles: Any, role: str, messages_sent: str) -> None:
    settings = {} if roles is None else {"roles": roles}
    body = request_body("openai", settings=settings, messages=[{"role": role, "content": "Be brief."}, HI])
    assert [message["role"] for message in body["messages"]] == [messages_sent, "user"]


def test_a_role_without_a_replacement_is_rejected_by_name() -> None:
    with pytest.raises(UnsupportedField) as refused:
        request_body("openai", settings={"roles": FOUR}, messages=[HI, {"role": "function", "name": "f", "content": "x"}])
    assert refused.value.param == "messages[1].role"


@pytest.mark.parametrize(
    ("content", "messages_sent"),
    [
        ("Hi", "Ada: Hi"),
        ([{"type": "text", "text": "Hi"}], [{"type": "text", "text": "Ada: Hi"}]),
        (
            [{"type": "image_url", "image_url": {"url": "https://x/a"}}],
            [{"type": "text", "text": "Ada:"}, {"type": "image_url", "image_url": {"url": "https://x/a"}}],
        ),
    ],
)
def test_an_unsupported_name_is_prepended_to_the_text(content: Any, messages_sent: Any) -> None:
    messages = [
        {"role": "user", "name": "Ada", "content": content},
        {"role": "tool", "name": "f", "tool_call_id": "a", "content": "x"},
    ]
    body = request_body("openai", settings={"named_roles": ["tool"]}, messages=messages)
    assert body["messages"] == [{"role": "user", "content": messages_sent}, messages[1]]
    assert request_body("openai", messages=messages)["messages"] == messages


# Ids of tool calls


def test_ids_are_adapted_in_calls_and_results() -> None:
    messages = [HI, *turn("call_Zq81/öß", "Abc123xyz"), *turn("call_2")]
    body = request_body("openai", settings={"tool_ids": MISTRAL_IDS}, messages=messages)
    calls = [each["id"] for message in body["messages"] for each in message.get("tool_calls", ())]
    results = [message["tool_call_id"] for message in body["messages"] if message["role"] == "tool"]
    assert calls[1] == "Abc123xyz", "valid ids must stay"
    assert results == [calls[1], calls[0], calls[2]]
    assert all(re.fullmatch(MISTRAL_IDS, id) for id in calls)
    assert [m["content"] for m in body["messages"] if m["role"] == "tool"] == ["Abc123xyz", "call_Zq81/öß", "call_2"]


IDS = st.lists(st.text(alphabet="aA1_-./ö", max_size=12) | st.from_regex(f"{MISTRAL_IDS}\\Z"), max_size=8)


@given(IDS, st.sampled_from([(MISTRAL_IDS, None), ("[A-Za-z0-9_-]+", "[^A-Za-z0-9_-]"), (".{1,40}", None)]))
def test_different_calls_keep_different_ids(ids: list[str], rule: tuple[str, str | None]) -> None:
    pattern, unwanted = rule
    messages = [message for id in ids for message in turn(id)]
    made = rewrite_ids(messages, pattern, invalid_characters=unwanted)
    messages_sent = {id: made.get(id, id) for id in ids if id}
    assert all(re.fullmatch(pattern, id) for id in messages_sent.values())
    assert len(set(messages_sent.values())) == len(messages_sent)
    assert not {id for id in made if re.fullmatch(pattern, id)}, "valid ids must stay"
    assert rewrite_ids(messages, pattern, invalid_characters=unwanted) == made


def test_ids_that_differ_only_in_unusual_letters_stay_different() -> None:
    body = request_body("anthropic", messages=[HI, *turn("call.1", "call_1", "call/1")])
    calls = [block["id"] for block in body["messages"][1]["content"]]
    results = [block["tool_use_id"] for block in body["messages"][2]["content"]]
    assert len(set(calls)) == 3
    assert results == calls[::-1]
    assert calls[1] == "call_1"


# Sampling, tools and thinking


@pytest.mark.parametrize(
    ("takes", "effort", "kept"),
    [
        ("all", "high", True),
        ("none", None, False),
        ("none", "none", False),
        ("without_reasoning", None, False),
        ("without_reasoning", "none", True),
        ("by_default_without_reasoning", None, True),
        ("by_default_without_reasoning", "low", False),
        ({"acme-model": "none"}, None, False),
        ({"another-model": "none"}, None, True),
    ],
)
def test_sampling_fields_are_sent_only_if_supported(takes: Any, effort: str | None, kept: bool) -> None:
    fields = {"temperature": 0.7, "top_p": 0.5, "presence_penalty": 1, "frequency_penalty": 1}
    body = request_body("openai", settings={"sampling": takes}, reasoning_effort=effort, seed=1, **fields)
    assert {name: body[name] for name in fields if name in body} == (fields if kept else {})
    assert body["seed"] == 1


TOOL: Json = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
NAMED: Json = {"type": "function", "function": {"name": "weather"}}
OFF: Json = {"thinking": {"type": "disabled"}}


def test_effort_in_combination_with_tools() -> None:
    settings = {"effort_with_tools": {"acme-model": "none"}}
    assert request_body("openai", settings=settings, tools=[TOOL], reasoning_effort="high")["reasoning_effort"] == "none"
    assert request_body("openai", settings=settings, reasoning_effort="high")["reasoning_effort"] == "high"
    with pytest.raises(UnsupportedField) as refused:
        request_body("openai", settings={"effort_with_tools": False}, tools=[TOOL])
    assert refused.value.param == "tools"


@pytest.mark.parametrize(
    ("fields", "off"),
    [
        ({"reasoning_effort": "none"}, True),
        ({"tools": [TOOL], "tool_choice": "required", "reasoning_effort": "high"}, True),
        ({"tools": [TOOL], "tool_choice": NAMED}, True),
        ({"tools": [TOOL], "tool_choice": "auto", "reasoning_effort": "high"}, False),
        ({"reasoning_effort": "high"}, False),
    ],
)
def test_a_forced_tool_disables_thinking(fields: Json, off: bool) -> None:
    body = request_body("openai", settings={"no_thinking": OFF}, **fields)
    assert (body.get("thinking"), body.get("reasoning_effort")) == (
        (OFF["thinking"], None) if off else (None, fields.get("reasoning_effort"))
    )


# Strict schemas


def test_strict_schemas_are_converted_to_openais_subset() -> None:
    loose = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}, "required": ["a"]}
    strict = {
        "type": "object",
        "properties": {"a": {"type": "string", "description": "(minLength: 1)"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tools = [
        {"type": "function", "function": {"name": "f", "strict": True, "parameters": loose}},
        {"type": "function", "function": {"name": "g", "parameters": loose}},
    ]
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": loose}}
    body = request_body("openai", settings={"strict_schemas": True}, tools=tools, response_format=wanted)
    assert [tool["function"]["parameters"] for tool in body["tools"]] == [strict, loose]
    assert body["response_format"]["json_schema"] == {"name": "x", "strict": True, "schema": strict}
    assert request_body("openai", tools=tools, response_format=wanted)["tools"] == tools
    optional = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {**loose, "required": []}}}
    with pytest.raises(UnsupportedField) as refused:
        request_body("openai", settings={"strict_schemas": True}, response_format=optional)
    assert refused.value.param == "response_format.json_schema.schema.properties.a"


# Reasoning is sent back where required

SETTINGS = {**TEMPLATES["deepseek"].settings}
THOUGHT = "I need the weather."
FUNCTION: Json = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


def by_chat(**thought: Any) -> ChatCall:
    return call_of(messages=[HI, *turn("call_1", **thought)], tools=[TOOL])


def by_messages(signature: str = "") -> ChatCall:
    blocks = [
        {"type": "thinking", "thinking": THOUGHT, "signature": signature},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
    ]
    result = [{"type": "tool_result", "tool_use_id": "call_1", "content": "Rain"}]
    messages = [HI, {"role": "assistant", "content": blocks}, {"role": "user", "content": result}]
    tool = {"name": "weather", "input_schema": FUNCTION["parameters"]}
    return read_message(orjson.dumps({"model": "m", "max_tokens": 9, "messages": messages, "tools": [tool]}))


def by_responses() -> ChatCall:
    items = [
        HI,
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": THOUGHT}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Rain"},
    ]
    return read_response(orjson.dumps({"model": "m", "input": items, "tools": [{"type": "function", **FUNCTION}]})).call


def messages_sent(call: ChatCall, settings: Json) -> list[Json]:
    request = DIALECTS["openai"].build_request(call.for_dialect("openai", settings), target_of("openai", settings=settings))
    messages: list[Json] = orjson.loads(request.body)["messages"]
    return messages


@pytest.mark.parametrize(
    "call",
    [
        lambda: by_chat(reasoning_content=THOUGHT),
        lambda: by_chat(reasoning=THOUGHT),
        lambda: by_chat(thinking_blocks=[{"type": "thinking", "thinking": THOUGHT, "signature": "c2ln"}]),
        by_messages,
        lambda: by_messages("c2ln"),
        by_responses,
    ],
    ids=["chat", "chat of another provider", "chat of Claude", "messages", "messages of Claude", "responses"],
)
def test_reasoning_is_sent_back(call: Callable[[], ChatCall]) -> None:
    answered = messages_sent(call(), SETTINGS)[1]
    assert answered["tool_calls"][0]["id"] == "call_1"
    assert answered["reasoning_content"] == THOUGHT
    assert not answered.keys() & {"reasoning", "thinking_blocks"}


@pytest.mark.parametrize("call", [by_messages, by_responses])
def test_other_providers_get_no_reasoning_of_another_endpoint(call: Callable[[], ChatCall]) -> None:
    for settings in ({}, {"history": ["reasoning_content"]}):
        assert set(messages_sent(call(), settings)[1]) == {"role", "content", "tool_calls"}
    for dialect in ("anthropic", "gemini"):
        body = orjson.loads(DIALECTS[dialect].build_request(call().for_dialect(dialect), target_of(dialect)).body)
        assert THOUGHT not in orjson.dumps(body).decode()


def test_missing_reasoning_is_replaced_by_a_placeholder() -> None:
    messages = [HI, {"role": "assistant", "content": "Hello"}, HI, *turn("call_1")]
    body = request_body("openai", settings=SETTINGS, messages=messages, tools=[TOOL])
    assert [message.get("reasoning_content") for message in body["messages"]] == [None, " ", None, " ", None]
    plain = request_body("openai", settings=SETTINGS, messages=messages[:3])
    assert plain["messages"] == messages[:3], "only conversations with tools are changed"


def test_reasoning_between_text_and_a_call_does_not_split_the_message() -> None:
    items = [
        HI,
        {"role": "assistant", "content": "I look."},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": THOUGHT}], "summary": []},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Rain"},
    ]
    call = read_response(orjson.dumps({"model": "m", "input": items})).call
    assert [message["role"] for message in messages_sent(call, {})] == ["user", "assistant", "tool"]
    assert messages_sent(call, SETTINGS)[1]["reasoning_content"] == THOUGHT


# Templates


@pytest.mark.parametrize("name", ["mistral", "deepseek", "groq", "together", "fireworks", "vllm", "ollama", "llama.cpp"])
def test_providers_with_four_roles(name: str) -> None:
    settings = {**TEMPLATES[name].settings}
    body = request_body("openai", settings=settings, messages=[{"role": "developer", "content": "Be brief."}, HI])
    assert body["messages"][0]["role"] == "system"


def test_mistral_accepts_a_history_of_another_model() -> None:
    settings = {**TEMPLATES["mistral"].settings}
    body = request_body("openai", settings=settings, messages=[{**HI, "name": "Ada"}, *turn("call_Zq81abcdefgh")])
    asked, answered, result = body["messages"]
    assert asked == {"role": "user", "content": "Ada: Hi"}
    assert re.fullmatch(MISTRAL_IDS, answered["tool_calls"][0]["id"])
    assert result["tool_call_id"] == answered["tool_calls"][0]["id"]


def test_openai_accepts_no_long_ids() -> None:
    settings = {**TEMPLATES["openai"].settings}
    long = "call_0123456789abcdef0123456789abcdef_0_0"
    body = request_body("openai", settings=settings, messages=[HI, *turn(long, "call_1")])
    ids = [each["id"] for each in body["messages"][1]["tool_calls"]]
    assert len(ids[0]) <= 40
    assert ids[1] == "call_1"
