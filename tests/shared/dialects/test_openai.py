"""Adapting requests to quirks of providers with OpenAI's format."""

from __future__ import annotations

from typing import Any

import pytest

from shared.dialects.strip_foreign_fields import ANSWER_FIELDS, has_no_answer_fields
from tests.shared.dialects.calls import Json, request_body, request_of

MARK: Json = {"cache_control": {"type": "ephemeral"}}
CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
TOOL: Json = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {"reasoning": {}}}}}
SIGNED: Json = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
LEFT: Json = {
    "reasoning_content": "hm",
    "reasoning": "hm",
    "reasoning_details": [{"type": "reasoning.text", "text": "hm"}],
    "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}],
    "annotations": [],
    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
    "content_parts": [{"type": "reference"}],
    **SIGNED,
    **MARK,
}
ASKED: Json = {"role": "user", "content": 'Is `"reasoning":` a key? {"type":"thinking"}'}
ANSWERED: Json = {"role": "assistant", "content": None}
PLAIN: list[Json] = [ASKED, {**ANSWERED, "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
HISTORY: list[Json] = [
    {**ASKED, **MARK},
    {**ANSWERED, "content": [{"type": "thinking", "thinking": "hm"}], "tool_calls": [{**CALL, **SIGNED}], **LEFT},
    {**PLAIN[2], **MARK},
]


@pytest.mark.parametrize(
    ("supported", "requested", "sent"),
    [
        (None, "xhigh", "xhigh"),
        (["low", "medium", "high"], "medium", "medium"),
        (["low", "medium", "high"], "max", "high"),
        (["low", "medium", "high"], "none", "low"),
        (["none", "low", "high"], "minimal", "low"),
        (["none", "default"], "high", "default"),
        (["none", "default"], "none", "none"),
        ([], "high", None),
        ({"acme-model": []}, "high", None),
        ({"another-model": []}, "high", "high"),
        (["low"], "extreme", "extreme"),
        (["low"], None, None),
    ],
)
def test_an_effort_becomes_the_nearest_supported_one(supported: Any, requested: str | None, sent: str | None) -> None:
    body = request_body("openai", settings={"efforts": supported}, reasoning_effort=requested)
    assert body.get("reasoning_effort") == sent


def test_a_provider_gets_only_the_history_fields_it_accepts() -> None:
    body = request_body("openai", settings={"history": []}, messages=HISTORY, tools=[{**TOOL, **MARK}], **MARK)
    assert body["messages"] == PLAIN
    assert body["tools"] == [TOOL], "a field that only looks similar must be kept"
    assert "cache_control" not in body


@pytest.mark.parametrize("taken", ANSWER_FIELDS)
def test_accepted_history_fields_are_sent_back(taken: str) -> None:
    body = request_body("openai", settings={"history": [taken]}, messages=HISTORY, tools=[{**TOOL, **MARK}], **MARK)
    asked, answered, result = body["messages"]
    assert {name for name in LEFT if name in answered} == {taken} - {"thinking"}
    assert answered["content"] == (HISTORY[1]["content"] if taken == "thinking" else None)
    assert ("extra_content" in answered["tool_calls"][0]) == (taken == "extra_content")
    marked = [
        name
        for name, owner in (("body", body), ("tool", body["tools"][0]), ("asked", asked), ("result", result))
        if MARK.items() <= owner.items()
    ]
    assert marked == (["body", "tool", "asked", "result"] if taken == "cache_control" else [])


def test_cache_control_is_removed_and_a_reasoning_only_answer_is_empty() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello", **MARK}]
    thoughts = {"role": "assistant", "content": parts[:1]}
    body = request_body("openai", settings={"history": []}, messages=[{"role": "assistant", "content": parts}, thoughts, ASKED])
    assert [message["content"] for message in body["messages"]] == [[{"type": "text", "text": "Hello"}], "", ASKED["content"]]


def test_an_unknown_provider_gets_all_fields() -> None:
    assert request_body("openai", messages=HISTORY)["messages"] == HISTORY


def test_a_plain_history_is_detected_from_its_bytes() -> None:
    assert has_no_answer_fields(request_of("openai", messages=PLAIN).body)
    for name, value in LEFT.items():
        assert not has_no_answer_fields(request_of("openai", messages=[{**ANSWERED, "content": "Hi", name: value}, ASKED]).body)
    assert not has_no_answer_fields(request_of("openai", messages=[HISTORY[1], ASKED]).body)
